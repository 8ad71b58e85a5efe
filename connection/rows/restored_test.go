package rows

import (
	"strings"
	"testing"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/policy"
)

// TestWhatARestoreLeftOpensNoOtherTable has rows of our tables name an OID that is another
// table's, which nobody but its owner may read: that must stay so.
func TestWhatARestoreLeftOpensNoOtherTable(t *testing.T) {
	b := newBench(t, 0, "ana")
	b.apply(t, region("ana", "east"))
	if _, err := b.owner.PgConn().Exec(t.Context(), `CREATE TABLE "Sales ""x""".closed (region text); INSERT INTO "Sales ""x""".closed VALUES ('east');
		ALTER TABLE "Sales ""x""".closed ENABLE ROW LEVEL SECURITY; GRANT SELECT ON "Sales ""x""".closed TO etl`).ReadAll(); err != nil {
		t.Fatal(err)
	}
	closed := Table{Ref: connection.ObjectRef{Database: "postgres", Schema: `Sales "x"`, Name: "closed", OID: b.oid(t, `"Sales ""x""".closed`)},
		Columns: []policy.Column{{Name: "region", Type: "text"}}, People: []Person{region("ana", "east")}}
	stays := func(about string) {
		t.Helper()
		var secured bool
		var policies int
		if err := b.root.QueryRow(t.Context(), "SELECT relrowsecurity, (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid) FROM pg_class c WHERE oid = $1", closed.Ref.OID).Scan(&secured, &policies); err != nil {
			t.Fatal(err)
		}
		if n := countIn(t, b.connect(t, "etl"), `"Sales ""x""".closed`); !secured || policies > 0 || n > 0 {
			t.Errorf("%s: row-level security is %t, with %d policies, and shows %d rows", about, secured, policies, n)
		}
	}
	restore := func() {
		t.Helper()
		for _, table := range []string{"row_table", "row_person", "row_slot"} {
			if _, err := b.root.Exec(t.Context(), "UPDATE portcullis_broker."+table+" SET base = $2 WHERE base = $1", b.table.Ref.OID, closed.Ref.OID); err != nil {
				t.Fatal(err)
			}
		}
	}
	restore()
	stays("to begin with")
	out, err := Apply(t.Context(), b.options(), "postgres", []Table{closed})
	if err != nil || len(out.Made) > 0 || len(out.Refused) != 1 || !strings.Contains(out.Refused[0].Reason, "of its own") || !out.Surplus {
		t.Errorf("wanted: %+v, %v", out, err)
	}
	stays("wanted")
	account := b.connect(t, "acc'ount")
	if _, err := account.Exec(t.Context(), "SELECT portcullis_broker.row_policies(jsonb_build_object('oid', $1::bigint, 'schema', 'Sales \"x\"', 'name', 'closed', 'readers', 'portcullis_r_01', 'writers', 'portcullis_w_01', 'digest', '', 'forms', '[]'::jsonb))",
		int64(closed.Ref.OID)); code(err) != "55000" {
		t.Errorf("policies of ours beside its own row-level security: %v", err)
	}
	if _, err := account.Exec(t.Context(), "SELECT portcullis_broker.row_fill($1::oid, '[{\"role\": 10, \"form\": 1, \"values\": []}]', '')", closed.Ref.OID); code(err) != "42704" {
		t.Errorf("people of a table that has no policies of ours: %v", err)
	}
	if out := b.clear(t); out.Cleared != 1 || len(out.Waiting) > 0 {
		t.Errorf("%+v", out)
	}
	stays("no longer wanted")
	if out, err := Apply(t.Context(), b.options(), "postgres", nil); err != nil || out.Surplus {
		t.Errorf("what was restored is still known: %+v, %v", out, err)
	}
}

// TestARenamedTableKeepsItsPolicies: they are known by themselves where the name is another one.
func TestARenamedTableKeepsItsPolicies(t *testing.T) {
	b := newBench(t, 0, "ana")
	b.apply(t, region("ana", "east"))
	b.exec(t, "REVOKE ALL ON "+ordersName+" FROM "+roleOf(b.target.Prefix, b.table.Ref, connection.Read), "ALTER TABLE "+ordersName+" RENAME TO sold")
	if out := b.clear(t); out.Cleared != 1 {
		t.Errorf("%+v", out)
	}
	if enabled, policies := b.secured(t); enabled || policies > 0 {
		t.Errorf("row-level security is %t, with %d policies", enabled, policies)
	}
}

// TestAnUnlistedTableGetsNobodyMore: people can only be taken from what the owner unlisted, and
// that does not hold up other tables.
func TestAnUnlistedTableGetsNobodyMore(t *testing.T) {
	b := newBench(t, 0, "ana", "ben")
	if _, err := b.owner.PgConn().Exec(t.Context(), `CREATE TABLE "Sales ""x""".other (region text); INSERT INTO "Sales ""x""".other VALUES ('east'), ('west')`).ReadAll(); err != nil {
		t.Fatal(err)
	}
	other := Table{Ref: connection.ObjectRef{Database: "postgres", Schema: `Sales "x"`, Name: "other", OID: b.oid(t, `"Sales ""x""".other`)}, Columns: []policy.Column{{Name: "region", Type: "text"}}}
	of := b.table
	both := func(person Person) Outcome {
		t.Helper()
		of.People, other.People = []Person{person}, []Person{person}
		out, err := Apply(t.Context(), b.options(), "postgres", []Table{of, other})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	out := both(region("ana", "east"))
	b.grant(t, out)
	if n := b.count(t, "ana"); len(out.Made) != 2 || n != 1000 {
		t.Fatalf("%+v, and ana sees %d rows", out, n)
	}
	if _, err := b.owner.PgConn().Exec(t.Context(), `SELECT portcullis_broker.unlist_schema('Sales "x"'); SELECT portcullis_broker.list_table('"Sales ""x""".other')`).ReadAll(); err != nil {
		t.Fatal(err)
	}
	fill := func(people string) error {
		_, err := b.connect(t, "acc'ount").Exec(t.Context(), "SELECT portcullis_broker.row_fill($1::oid, $2::jsonb, '')", b.table.Ref.OID, people)
		return err
	}
	if err := fill(`[{"role": 10, "form": 1, "values": []}]`); code(err) != "42704" {
		t.Errorf("people of an unlisted table: %v", err)
	}
	if err := fill("[]"); err != nil {
		t.Errorf("nobody of an unlisted table: %v", err)
	}
	if n := b.count(t, "ana"); n != 0 {
		t.Errorf("ana sees %d rows of a table that shows nobody anything", n)
	}
	out = both(region("ben", "west"))
	if len(out.Made) != 1 || out.Made[0].Base != other.Ref || len(out.Refused) != 1 || out.Refused[0].Table != of.Ref || !strings.Contains(out.Refused[0].Fix, `list_table('"Sales ""x"""."orders"')`) {
		t.Errorf("%+v", out)
	}
	var values string
	if err := b.root.QueryRow(t.Context(), "SELECT string_agg(p.name || ' ' || s.list::text, ', ') FROM portcullis_broker.row_person p JOIN portcullis_broker.row_slot s USING (base, role) WHERE base = $1", other.Ref.OID).Scan(&values); err != nil || values != "ben {west}" {
		t.Errorf("the other table shows %s, %v", values, err)
	}
}
