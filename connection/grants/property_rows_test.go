package grants_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"
	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/grants"
	"portcullis.dev/portcullis/connection/parts"
	"portcullis.dev/portcullis/connection/rows"
	"portcullis.dev/portcullis/policy"
)

// Of some tables some people see the rows with a = 1 only, by policies of the table. The
// rows with a = 99 are the others.

const hiddenRow = "SELECT 1 / (SELECT count(*)::int FROM %s WHERE a = 99)" // fails where it is not seen

// drawRows has people see some rows only of tables, which no other set gives them.
func (r *random) drawRows(want *connection.Want) {
	r.rows = nil
	if r.target.Mode != connection.ModeBroker {
		return
	}
	for _, t := range r.tables {
		if rapid.IntRange(0, 2).Draw(r.rt, "some rows") > 0 {
			continue
		}
		table := rows.Table{Ref: t, Columns: []policy.Column{{Name: "a", Type: "integer"}, {Name: "b", Type: "integer"}}}
		for _, p := range rapid.SliceOfNDistinct(rapid.SampledFrom(r.people), 1, -1, rapid.ID).Draw(r.rt, "of whom") {
			filter := &policy.Predicate{Op: policy.OpEq, Column: "a", Values: []policy.Value{{Type: "bigint", Text: "1"}}}
			table.People = append(table.People, rows.Person{Role: p, Filter: filter, Write: rapid.Bool().Draw(r.rt, "writes")})
		}
		r.rows = append(r.rows, table)
		for i := range want.Sets {
			s := &want.Sets[i]
			if slices.ContainsFunc(s.Members, func(m string) bool { return r.seesSome(t.OID, m) }) {
				s.Tables = slices.DeleteFunc(slices.Clone(s.Tables), func(o connection.ObjectRef) bool { return o.OID == t.OID })
			}
		}
	}
	want.Sets = slices.DeleteFunc(want.Sets, func(s connection.AccessSet) bool { return len(s.Tables) == 0 })
}

func (r *random) seesSome(table uint32, person string) bool {
	return slices.ContainsFunc(r.rows, func(t rows.Table) bool {
		return t.Ref.OID == table && slices.ContainsFunc(t.People, func(p rows.Person) bool { return p.Role == person })
	})
}

// applyRows makes the policies, as comes before each round, and adds the sets of those who
// see rows by them.
func (r *random) applyRows(want connection.Want) connection.Want {
	r.plain = slices.Clone(want.Sets)
	if r.target.Mode != connection.ModeBroker {
		return want
	}
	out, err := rows.Apply(context.Background(), r.rowOptions(), r.db, r.rows)
	if err != nil {
		r.rt.Fatalf("the policies of tables: %v", err)
	}
	want.Sets = slices.Clone(want.Sets)
	for _, m := range out.Made {
		want.Sets = append(want.Sets, m.Sets()...)
		r.done = append(r.done, fmt.Sprintf("-- %v", m))
	}
	return want
}

// clearRows takes away the policies that are not wanted, as comes after each round.
func (r *random) clearRows(wanted []rows.Table) {
	if r.target.Mode == connection.ModeBroker {
		if _, err := rows.Clear(context.Background(), r.rowOptions(), r.db, wanted); err != nil {
			r.rt.Fatalf("policies that are not wanted: %v", err)
		}
	}
}

func (r *random) rowOptions() rows.Options {
	return rows.Options{Options: parts.Options{Target: r.target, Fence: r.fence, Limit: time.Minute}, Open: func(ctx context.Context) (*pgx.Conn, error) { return r.connect(ctx, r.db) }}
}

func (r *random) hasPolicies(table uint32) bool {
	return slices.ContainsFunc(r.rows, func(t rows.Table) bool { return t.Ref.OID == table })
}

// pastPolicies says whether a person sees rows that are hidden, whom the verdict has see none.
func (r *random) pastPolicies(real map[string]bool, p grants.Pair) bool {
	if !real[fmt.Sprint(p.Object.OID, " ", "ROWS")] || p.Verdict == connection.Exceeds {
		return false
	}
	return !slices.ContainsFunc(r.plain, func(s connection.AccessSet) bool {
		return slices.Contains(s.Members, p.Role) && slices.ContainsFunc(s.Tables, func(o connection.ObjectRef) bool { return o.OID == p.Object.OID })
	})
}
