package rows

import (
	"errors"
	"os"
	"strings"
	"testing"

	"portcullis.dev/portcullis/connection"
)

// earlier makes of what is installed what the first version did, which knew tables and roles by
// their OIDs alone.
func (b *bench) earlier(t *testing.T) {
	t.Helper()
	script, err := os.ReadFile("testdata/install_first.sql")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.owner.PgConn().Exec(t.Context(), `DROP FUNCTION portcullis_broker.row_stands(oid), portcullis_broker.row_listed(oid), portcullis_broker.row_state();
		ALTER TABLE portcullis_broker.row_table DROP COLUMN name, DROP COLUMN policies; ALTER TABLE portcullis_broker.row_person DROP COLUMN name; `+fillIn(string(script), b.target)).ReadAll(); err != nil {
		t.Fatal(err)
	}
}

// TestAnEarlierScriptIsUpgraded by running the one of now: nobody sees more rows at any moment.
func TestAnEarlierScriptIsUpgraded(t *testing.T) {
	for _, major := range []int{14, 18} {
		b := newBench(t, major, "ana", "ben")
		b.apply(t, region("ana", "east"), region("ben", "west"))
		b.earlier(t)
		b.exec(t, "GRANT SELECT ON "+ordersName+` TO ben; GRANT USAGE ON SCHEMA "Sales ""x""" TO ben`, "REVOKE "+roleOf(b.target.Prefix, b.table.Ref, connection.Read)+" FROM ben") // he reads by what others gave
		see := func(about string) {
			t.Helper()
			for who, want := range map[string]int{"ana": 1000, "ben": 1000, "etl": 3000} {
				if n := b.count(t, who); n != want {
					t.Errorf("PostgreSQL %d, %s: %s sees %d rows in place of %d", major, about, who, n, want)
				}
			}
		}
		see("with the earlier script")
		var remote *connection.Error
		if _, err := Apply(t.Context(), b.options(), "postgres", []Table{b.table}); !errors.As(err, &remote) || remote.Code != "rows_not_ready" {
			t.Errorf("a round on the earlier script: %v", err)
		}
		if _, err := b.owner.Exec(t.Context(), RemovalScript()); err == nil || !strings.Contains(err.Error(), "still have policies") {
			t.Errorf("the earlier script is removed while a table has its policies: %v", err)
		}
		before := b.connect(t, "ben")
		if _, err := before.PgConn().Exec(t.Context(), "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").ReadAll(); err != nil {
			t.Fatal(err)
		}
		b.install(t)
		see("after the script of now")
		if n := countIn(t, before, ordersName); n != 0 {
			t.Errorf("PostgreSQL %d: a snapshot of before shows ben %d rows", major, n)
		}
		_ = before.Close(t.Context())
		out := b.apply(t, region("ana", "west"), region("ben", "west"))
		if len(out.Made) != 1 || len(out.Refused)+len(out.Waiting) > 0 {
			t.Errorf("PostgreSQL %d: %+v", major, out)
		}
		see("after a round")
		b.install(t)
		if out := b.apply(t); !out.Surplus {
			t.Errorf("%+v", out)
		}
		if out := b.clear(t); out.Cleared != 1 {
			t.Errorf("%+v", out)
		}
		b.earlier(t)
		if _, err := b.owner.Exec(t.Context(), RemovalScript()); err != nil {
			t.Errorf("PostgreSQL %d: the earlier script is not removed: %v", major, err)
		}
		var left string
		if err := b.root.QueryRow(t.Context(), `SELECT coalesce((SELECT string_agg(proname, ' ') FROM pg_proc WHERE starts_with(proname, 'row_') AND pronamespace = 'portcullis_broker'::regnamespace), '')
			|| coalesce((SELECT string_agg(relname, ' ') FROM pg_class WHERE starts_with(relname, 'row_') AND relnamespace = 'portcullis_broker'::regnamespace), '')`).Scan(&left); err != nil || left != "" {
			t.Errorf("PostgreSQL %d: left are %s, %v", major, left, err)
		}
	}
}
