package rows

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"portcullis.dev/portcullis/connection/filter/filtertest"
	"portcullis.dev/portcullis/connection/parts"
	"portcullis.dev/portcullis/policy"
)

func TestMain(m *testing.M) { os.Exit(filtertest.Run(m)) }

// TestRowsAreThoseOfTheEvaluator draws filters for two people and compares what
// they see of the table with what the evaluator lets pass.
func TestRowsAreThoseOfTheEvaluator(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			people := []string{"ana", "ben"}
			b := newBenchOf(t, major, filtertest.Orders+`ALTER SCHEMA "Sales ""x""" OWNER TO keeper; ALTER TABLE "Sales ""x""".orders OWNER TO keeper`, people...)
			b.exec(t, "SET timezone = 'UTC'")
			all := filtertest.Texts(t, b.root, b.table.Columns, ordersName+" ORDER BY id")
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
	var ids []string
	for _, row := range filtertest.Passing(tb, columns, p, all) {
		ids = append(ids, *row[0])
	}
	return strings.Join(ids, " ")
}
