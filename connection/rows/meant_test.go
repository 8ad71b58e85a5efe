package rows

import (
	"fmt"
	"testing"

	"portcullis.dev/portcullis/policy"
)

// TestAColumnThatTakesTheNameOfAFilteredOne: a policy follows the column that it was
// made for, and is made anew for the one that has the name now.
func TestAColumnThatTakesTheNameOfAFilteredOne(t *testing.T) {
	b := newBench(t, 17, "ana")
	b.apply(t, region("ana", "east"))
	b.exec(t, "ALTER TABLE "+ordersName+" RENAME region TO region_old; ALTER TABLE "+ordersName+" ADD region text; UPDATE "+ordersName+" SET region = CASE WHEN id <= 5 THEN 'east' ELSE 'secret' END")
	b.apply(t, region("ana", "east"))
	if n := countIn(t, b.connect(t, "ana"), ordersName+" WHERE region <> 'east'"); n > 0 {
		t.Errorf("ana sees %d rows outside of her filter", n)
	}
	if n := b.count(t, "ana"); n == 0 {
		t.Error("ana sees nothing")
	}
}

// TestARenamedDatabaseOpensNothing: its sets get other names, which the policies that stand do not know.
func TestARenamedDatabaseOpensNothing(t *testing.T) {
	b := newBench(t, 17, "ana", "ben", "chloe")
	b.apply(t, region("ana", "east"), region("ben", "west"))
	etl := b.connect(t, "etl")
	if _, err := etl.Exec(t.Context(), "BEGIN; SELECT count(*) FROM "+ordersName); err != nil {
		t.Fatal(err)
	}
	b.table.Ref.Database = "renamed"
	few := Person{Role: "chloe", Filter: &policy.Predicate{Op: policy.OpLe, Column: "id", Values: []policy.Value{{Type: "bigint", Text: "7"}}}}
	b.apply(t, region("ana", "east"), few)
	if n := b.count(t, "chloe"); n > 7 {
		t.Errorf("while the table is held chloe sees %d rows", n)
	}
	if _, err := etl.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	b.table.People = []Person{region("ana", "east"), few}
	if _, err := Apply(t.Context(), b.options(), "postgres", []Table{b.table}); err != nil {
		t.Fatal(err)
	}
	if n := b.count(t, "ben"); n > 1000 {
		t.Errorf("ben, whose privileges are not revoked yet, sees %d rows", n)
	}
}

// TestTheAccountFillsInNoFreeForm: 0 is who is no person of ours, and sees all.
func TestTheAccountFillsInNoFreeForm(t *testing.T) {
	b := newBench(t, 17, "ana")
	b.apply(t, region("ana", "east"))
	var role uint32
	if err := b.root.QueryRow(t.Context(), "SELECT 'ana'::regrole::oid").Scan(&role); err != nil {
		t.Fatal(err)
	}
	_, err := b.connect(t, "acc'ount").Exec(t.Context(), "SELECT portcullis_broker.row_fill($1::oid, $2::jsonb, '')", b.table.Ref.OID,
		fmt.Sprintf(`[{"role": %d, "form": 0, "values": []}]`, role))
	if n := b.count(t, "ana"); err == nil || n != 1000 {
		t.Errorf("%v, and ana sees %d rows", err, n)
	}
}
