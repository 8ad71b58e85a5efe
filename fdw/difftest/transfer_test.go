package difftest

import (
	"testing"

	"portcullis.dev/portcullis/fdw"
)

// TestValuesArriveExactly reads every value of every type and compares it
// with the same value here, by the type's own output function.
func TestValuesArriveExactly(t *testing.T) {
	for _, name := range []string{"postgres", "mariadb", "sqlite"} {
		t.Run(name, func(t *testing.T) {
			s, here := open(t, name), local(t)
			table := load(t, s, here)
			for i := range fields {
				f := &fields[i]
				st, err := fdw.Compose(s.dialect, fdw.ScanRequest{Table: table, Wanted: []int32{1, int32(i + 2)}, Limit: -1})
				if err != nil {
					t.Fatal(err)
				}
				rows, err := s.rows(t.Context(), st, nil)
				if err != nil {
					t.Errorf("%s: %v", f.name, err)
					continue
				}
				if len(rows) != rowsOf {
					t.Fatalf("%s: %d rows", f.name, len(rows))
				}
				for _, row := range rows {
					var same bool
					var want *string
					print := "::text"
					if f.base == "numeric" {
						print = "" // zeros at the end are no difference
					}
					err := here.QueryRow(t.Context(), "SELECT "+f.name+print+" IS NOT DISTINCT FROM CAST($2::text AS "+f.pgType+")"+print+", "+f.name+
						"::text FROM reference WHERE id = $1::text::int4", row[0], row[1]).Scan(&same, &want)
					if err != nil || !same {
						t.Errorf("%s of row %s: %s arrived, want %s (%v)", f.name, show(row[0]), show(row[1]), show(want), err)
					}
				}
			}
		})
	}
}

func show(s *string) string {
	if s == nil {
		return "NULL"
	}
	return `"` + *s + `"`
}
