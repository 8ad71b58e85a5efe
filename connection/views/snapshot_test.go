package views

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/policy"
)

// TestAnOldSnapshotShowsNoOtherShape holds a snapshot from before the view
// changed: PostgreSQL runs the new view on the old rows, so what these say must not
// mean another person's part.
func TestAnOldSnapshotShowsNoOtherShape(t *testing.T) {
	b := newBench(t, 0)
	few := Person{Role: "chloe", Filter: &policy.Predicate{Op: policy.OpIn, Column: "note", Values: []policy.Value{{Type: "text", Text: "a"}}}}
	b.table.People = []Person{few}
	b.apply(t, b.table)
	before := b.seen(t, "chloe")
	if before == 0 || before == len(b.rows) {
		t.Fatalf("chloe sees %d rows of %d to begin with", before, len(b.rows))
	}
	tx, err := b.connect(t, "chloe", "secret").BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if _, err := tx.Exec(t.Context(), "SELECT"); err != nil { // takes the snapshot, and no lock on the view
		t.Fatal(err)
	}
	b.table.People = []Person{{Role: "ana", Masks: map[string]policy.Mask{"note": {Kind: policy.MaskNull}}}, few}
	b.apply(t, b.table)
	if n := len(b.read(t, tx.Conn(), viewName)); n > before {
		t.Errorf("chloe sees %d rows in her old snapshot, %d before and after it", n, before)
	}
	if n := b.seen(t, "chloe"); n != before {
		t.Errorf("chloe sees %d rows in a new snapshot, had %d", n, before)
	}
}
