package views

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/parts"
	"portcullis.dev/portcullis/policy"
)

// notes is a filter for rows with one of these notes; all such filters have one shape.
func notes(values ...string) *policy.Predicate {
	p := &policy.Predicate{Op: policy.OpIn, Column: "note"}
	for _, v := range values {
		p.Values = append(p.Values, policy.Value{Type: "text", Text: v})
	}
	return p
}

// reads opens a transaction of somebody that reads a view, and leaves it open.
func (b *bench) reads(t *testing.T, role, view string) pgx.Tx {
	t.Helper()
	tx, err := b.connect(t, role, "secret").Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT FROM "+view); err != nil {
		t.Fatal(err)
	}
	return tx
}

func end(t *testing.T, tx pgx.Tx) {
	t.Helper()
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) waits(t *testing.T, out Outcome, statement, blocker string) {
	t.Helper()
	if len(out.Waiting) != 1 {
		t.Fatalf("waiting: %+v, refused %+v", out.Waiting, out.Refused)
	}
	w := out.Waiting[0]
	if !strings.HasPrefix(strings.ReplaceAll(w.Statement, `"orders"`, "orders"), statement) || !strings.Contains(w.Blocker, blocker) || w.Error == nil || w.Error.Code != "locked" {
		t.Errorf("waiting: %q, blocked by %q, %v", w.Statement, w.Blocker, w.Error)
	}
}

// TestAReaderHoldsUpOnlyWhoseShapeIsNew keeps a view from being replaced. Values
// change at once; whose shape changes sees nothing until it is replaced; the others
// go on seeing their part.
func TestAReaderHoldsUpOnlyWhoseShapeIsNew(t *testing.T) {
	b := newBench(t, 0)
	masked := map[string]policy.Mask{"name": {Kind: policy.MaskNull}}
	ana, chloe, other := Person{Role: "ana", Filter: notes("a")}, Person{Role: "chloe", Masks: masked}, Person{Role: "čeněk", Masks: masked}
	b.table.People = []Person{ana, chloe, other}
	b.apply(t, b.table)
	all, few := b.seen(t, "chloe"), b.seen(t, "ana")
	if few == 0 || all != len(b.rows) {
		t.Fatalf("to begin with ana sees %d rows, chloe %d", few, all)
	}
	held := b.reads(t, "ana", viewName)
	ana.Filter, chloe.Masks = notes("no such note"), map[string]policy.Mask{"note": {Kind: policy.MaskNull}}
	b.table.People = []Person{ana, chloe, other}
	out := b.outcome(t, b.table)
	b.waits(t, out, "CREATE OR REPLACE VIEW "+viewName, "role ana")
	if len(out.Made) != 1 || len(out.Made[0].Roles) != 3 || len(out.Refused) != 1 || !strings.Contains(out.Refused[0].Reason, ": 1 people see nothing") {
		t.Errorf("made %+v, refused %+v", out.Made, out.Refused)
	}
	if x, y, z := b.seen(t, "ana"), b.seen(t, "chloe"), b.seen(t, "čeněk"); x != 0 || y != 0 || z != all {
		t.Errorf("meanwhile ana sees %d rows, wants 0 by her new values; chloe %d, wants 0; čeněk %d, wants %d", x, y, z, all)
	}
	end(t, held)
	b.apply(t, b.table)
	if y := b.seen(t, "chloe"); y != all {
		t.Errorf("once it is free chloe sees %d rows of %d", y, all)
	}
}

// TestAColumnMoreTakesNothingFromAnybody adds a column while somebody reads.
func TestAColumnMoreTakesNothingFromAnybody(t *testing.T) {
	b := guarded(t, 0)
	before := b.seen(t, "ana")
	columns := b.table.Columns
	b.exec(t, `ALTER TABLE "Sales ""x""".orders ADD COLUMN more text DEFAULT 'secret'`)
	b.table.Columns = append(b.table.Columns[:len(columns):len(columns)], policy.Column{Name: "more", Type: "text"})
	held := b.reads(t, "chloe", viewName)
	b.waits(t, b.outcome(t, b.table), "CREATE OR REPLACE VIEW", "role chloe")
	b.table.Columns = columns
	if n := b.seen(t, "ana"); n != before || before == 0 {
		t.Errorf("ana sees %d rows, had %d", n, before)
	}
	end(t, held)
}

// TestColumnsThatChangeNamesShowNothing swaps two columns' names and keeps the
// view from being replaced: as it stands it masks the wrong one.
func TestColumnsThatChangeNamesShowNothing(t *testing.T) {
	b := guarded(t, 0)
	if b.seen(t, "chloe") == 0 {
		t.Fatal("chloe sees nothing to begin with")
	}
	const rename = `ALTER TABLE "Sales ""x""".orders RENAME COLUMN `
	b.exec(t, rename+"note TO x", rename+"name TO note", rename+"x TO name")
	held := b.reads(t, "ana", viewName)
	out := b.outcome(t, b.table)
	if len(out.Waiting) != 1 || len(out.Refused) != 1 {
		t.Errorf("made %+v, waiting %+v", out.Made, out.Waiting)
	}
	if n := b.seen(t, "chloe"); n != 0 {
		t.Errorf("chloe sees %d rows through a view that masks another column", n)
	}
	end(t, held)
}

// TestAViewThatIsNotWantedShowsNothingWhileItIsHeld reads a view that is to go.
func TestAViewThatIsNotWantedShowsNothingWhileItIsHeld(t *testing.T) {
	b := guarded(t, 0)
	held := b.reads(t, "ana", viewName)
	out := b.outcome(t)
	b.waits(t, out, "DROP VIEW "+viewName, "role ana")
	if n := b.seen(t, "chloe"); n != 0 || out.Empty {
		t.Errorf("chloe sees %d rows, empty %t", n, out.Empty)
	}
	end(t, held)
	if out = b.outcome(t); len(out.Waiting) > 0 || !out.Empty {
		t.Errorf("once it is free: %+v", out)
	}
}

// small makes a table with a view of it for ana.
func (b *bench) small(t *testing.T, name string) Table {
	t.Helper()
	b.exec(t, "CREATE TABLE public."+name+" (id integer, note text); INSERT INTO public."+name+" VALUES (1, 'a'), (2, 'b'); GRANT SELECT ON public."+name+" TO portcullis_views")
	table := Table{HashKey: b.table.HashKey, Ref: connection.ObjectRef{Database: "postgres", Schema: "public", Name: name}, Columns: []policy.Column{{Name: "id", Type: "integer"}, {Name: "note", Type: "text"}},
		People: []Person{{Role: "ana", Filter: notes("a")}}}
	if err := b.root.QueryRow(t.Context(), "SELECT $1::text::regclass::oid", "public."+name).Scan(&table.Ref.OID); err != nil {
		t.Fatal(err)
	}
	return table
}

// TestManyReadersDelayNoLongerThanOne holds five views, and the table of another
// one, which only who may write it can: what is not theirs is done at once, and patience is
// for all of them together.
func TestManyReadersDelayNoLongerThanOne(t *testing.T) {
	b := newBench(t, 0)
	var tables []Table
	for i := range 7 {
		tables = append(tables, b.small(t, fmt.Sprintf("t%d", i)))
	}
	b.apply(t, tables...)
	for i := range 5 {
		defer end(t, b.reads(t, "ana", fmt.Sprintf("policy_public.t%d", i)))
	}
	b.exec(t, "GRANT UPDATE ON public.t5 TO chloe")
	writer, err := b.connect(t, "chloe", "secret").Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer end(t, writer)
	if _, err := writer.Exec(t.Context(), "LOCK TABLE public.t5 IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	for i := range tables { // another shape for all
		tables[i].People[0].Masks = map[string]policy.Mask{"id": {Kind: policy.MaskNull}}
	}
	out := b.outcome(t, tables...)
	if len(out.Waiting) != 6 || len(out.Made) != 7 || len(out.Refused) != 6 {
		t.Errorf("made %+v, waiting %+v", out.Made, out.Waiting)
	}
	if out.Waited < parts.Patience/2 || out.Waited > 5*parts.Briefly {
		t.Errorf("waited %v for six locks, patience is %v", out.Waited, parts.Patience)
	}
	var n int
	if err := b.connect(t, "ana", "secret").QueryRow(t.Context(), "SELECT count(*) FROM policy_public.t0").Scan(&n); err != nil || n != 0 {
		t.Errorf("ana sees %d rows of a shape that she no longer has, %v", n, err)
	}
}

// TestTimeIsBounded makes one view, since the time is over then, and says that more is left.
func TestTimeIsBounded(t *testing.T) {
	b := newBench(t, 0)
	tables := []Table{b.small(t, "one"), b.small(t, "two")}
	o := parts.Options{Target: b.target, Fence: noFence, Limit: time.Nanosecond}
	for made := 1; made <= 2; made++ {
		out, err := Apply(t.Context(), b.account, o, "postgres", tables)
		if err != nil || out.Left != (made < 2) || len(out.Made) != made {
			t.Fatalf("out %+v, %v", out, err)
		}
	}
}
