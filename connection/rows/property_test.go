package rows

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"portcullis.dev/portcullis/connection/filter/filtertest"
	"portcullis.dev/portcullis/connection/parts"
	"portcullis.dev/portcullis/internal/sqltext"
	"portcullis.dev/portcullis/policy"
)

// TestMain draws few filters, since each is tried at servers; -rapid.checks asks for more.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("25"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// TestRowsAreThoseOfTheEvaluator draws filters for two people and compares what
// they see of the table with what the evaluator lets pass.
func TestRowsAreThoseOfTheEvaluator(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			people := []string{"ana", "ben"}
			b := newBenchOf(t, major, filtertest.Orders+`ALTER SCHEMA "Sales ""x""" OWNER TO keeper; ALTER TABLE "Sales ""x""".orders OWNER TO keeper`, people...)
			b.exec(t, "SET timezone = 'UTC'")
			all := b.texts(t, b.root)
			sessions := map[string]*pgx.Conn{}
			for _, p := range people {
				sessions[p] = b.connect(t, p)
			}
			compare := func(fail func(string, ...any), filters ...*policy.Predicate) {
				var wanted []Person
				for i, f := range filters {
					wanted = append(wanted, Person{Role: people[i], Filter: f})
				}
				out := b.apply(t, wanted...)
				for _, p := range wanted {
					if slices.ContainsFunc(out.Refused, func(f parts.Refusal) bool { return f.Role == p.Role }) {
						continue
					}
					if got, want := b.ids(t, sessions[p.Role]), evaluated(t, b.table.Columns, p.Filter, all); got != want {
						fail("%s with %+v sees %s, want %s", p.Role, *p.Filter, got, want)
					}
				}
			}
			// The column's collation takes a for A.
			compare(t.Errorf, &policy.Predicate{Op: policy.OpEq, Column: "note", Values: []policy.Value{{Type: "text", Text: "a"}}},
				&policy.Predicate{Op: policy.OpIn, Column: "note", Values: []policy.Value{{Type: "text", Text: "A"}, {Type: "text", Text: "ä"}}})
			rapid.Check(t, func(r *rapid.T) {
				compare(r.Fatalf, filtertest.Draw(r, b.table.Columns, all, 3), filtertest.Draw(r, b.table.Columns, all, 3))
			})
		})
	}
}

// texts are all rows as text, in the order of id.
func (b *bench) texts(tb testing.TB, conn *pgx.Conn) [][]*string {
	tb.Helper()
	var list []string
	for _, c := range b.table.Columns {
		list = append(list, sqltext.Identifier(c.Name)+"::text")
	}
	found, err := conn.Query(tb.Context(), "SELECT ARRAY["+strings.Join(list, ", ")+"] FROM "+ordersName+" ORDER BY id")
	if err != nil {
		tb.Fatal(err)
	}
	out, err := pgx.CollectRows(found, pgx.RowTo[[]*string])
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func (b *bench) ids(tb testing.TB, conn *pgx.Conn) (ids string) {
	tb.Helper()
	if err := conn.QueryRow(tb.Context(), "SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), '') FROM "+ordersName).Scan(&ids); err != nil {
		tb.Fatal(err)
	}
	return ids
}

// evaluated are the ids of the rows that the evaluator lets pass.
func evaluated(tb testing.TB, columns []policy.Column, p *policy.Predicate, all [][]*string) string {
	tb.Helper()
	holds, err := p.Compile(columns)
	if err != nil {
		tb.Fatal(err)
	}
	var ids []string
	for _, row := range all {
		if holds(func(i int) ([]byte, bool) {
			if row[i] == nil {
				return nil, true
			}
			return []byte(*row[i]), false
		}) {
			ids = append(ids, *row[0])
		}
	}
	return strings.Join(ids, " ")
}
