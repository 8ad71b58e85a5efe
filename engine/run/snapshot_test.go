package run

import "testing"

// TestOneSnapshot: the scans of one local transaction see the source as the
// first of them did; the next transaction sees what has changed.
func TestOneSnapshot(t *testing.T) {
	pg, maria := postgresSource(t), mariadbSource(t)
	const insert, remove = "INSERT INTO people VALUES (9999, 'late', 1, '2024-02-29')", "DELETE FROM people WHERE id = 9999"
	for name, source := range map[string]struct {
		*Source
		admin func(sql string) error
	}{
		"postgres": {pg, func(sql string) error { return servers.postgres.Exec(t.Context(), pg.Server["database"], sql) }},
		"mariadb":  {maria, func(sql string) error { return servers.mariadb.Exec(t.Context(), "d", sql) }},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTestEngine(t, nil)
			count := func() int {
				id := begin(t, e, wholeTable(source.Source, 1))
				rows, err := readAll(t, e, id)
				if err != nil {
					t.Fatal(err)
				}
				e.ScanEnd(id)
				return len(rows)
			}
			before := count()
			if err := source.admin(insert); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := source.admin(remove); err != nil {
					t.Error(err)
				}
			}()
			if n := count(); n != before {
				t.Errorf("%d rows in the same transaction, %d before", n, before)
			}
			e.TransactionEnd(true)
			if n := count(); n != before+1 {
				t.Errorf("%d rows in the next transaction, %d in the one before", n, before)
			}
			e.TransactionEnd(true)
		})
	}
}
