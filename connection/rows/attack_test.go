package rows

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"portcullis.dev/portcullis/policy"
)

// TestTheAccountCannotWriteSQL has the account itself, as who stole it would,
// ask for policies that would run code as readers or as the owner.
func TestTheAccountCannotWriteSQL(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, major, "ana")
			// Types, operators and functions of the account's own, and a domain whose check would run as who makes the policy.
			b.exec(t, `GRANT CREATE ON SCHEMA public TO "acc'ount", PUBLIC`)
			account := b.connect(t, "acc'ount")
			for _, sql := range []string{
				`CREATE FUNCTION public.leak(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'leaked as %', current_user; END $$`,
				`CREATE DOMAIN public.text AS pg_catalog.text CHECK (public.leak(value))`,
				`CREATE FUNCTION public.same(a text, b text) RETURNS boolean LANGUAGE sql AS 'SELECT public.leak(a)'`,
				`CREATE OPERATOR public.= (FUNCTION = public.same, LEFTARG = text, RIGHTARG = text)`,
				`CREATE FUNCTION public.row_values(oid, integer) RETURNS text[] LANGUAGE sql AS 'SELECT ARRAY[current_user::text]'`,
				`SET search_path = public, pg_catalog`,
			} {
				if _, err := account.Exec(t.Context(), sql); err != nil {
					t.Fatalf("%s: %v", sql, err)
				}
			}
			change := func(schema, name, readers, filter string) string {
				return fmt.Sprintf(`{"oid": %d, "schema": %q, "name": %q, "readers": %q, "writers": "portcullis_w_01", "digest": "", "forms": [{"form": 1, "filter": %s}]}`, b.table.Ref.OID, schema, name, readers, filter)
			}
			const schema, set = `Sales "x"`, "portcullis_r_01"
			own := func(filter string) string { return change(schema, "orders", set, filter) }
			for _, c := range []struct{ about, change, code string }{
				{"text", own(`"true) ; DROP TABLE x; --"`), "42501"},
				{"an operator", own(`{"op": "leak", "left": {"column": "region"}, "right": {"slot": 1, "as": "text"}}`), "42501"},
				{"an operator of SQL", own(`{"op": "= 'x' OR leak(region) OR region =", "left": {"column": "region"}, "right": {"slot": 1, "as": "text"}}`), "42501"},
				{"a schema's operator", own(`{"op": "public.=", "left": {"column": "region"}, "right": {"slot": 1, "as": "text"}}`), "42501"},
				{"a column that is none", own(`{"op": "is null", "left": {"column": "region) OR leak(region"}}`), "42501"},
				{"a system column", own(`{"op": "=", "left": {"column": "tableoid"}, "right": {"column": "id"}}`), "42501"},
				{"a type", own(`{"op": "=", "left": {"column": "region", "as": "regclass"}, "right": {"slot": 1, "as": "text"}}`), "42501"},
				{"SQL as a type", own(`{"op": "=", "left": {"column": "region", "as": "text) OR leak(region"}, "right": {"slot": 1, "as": "text"}}`), "42501"},
				{"a type of the account", own(`{"op": "=", "left": {"column": "region", "as": "public.text"}, "right": {"slot": 1, "as": "text"}}`), "42501"},
				{"SQL as a slot", own(`{"op": "=", "left": {"column": "region"}, "right": {"slot": "1) OR leak(region", "as": "text"}}`), "42501"},
				{"a slot without a type", own(`{"op": "=", "left": {"column": "region"}, "right": {"slot": 1}}`), "42501"},
				{"no operand", own(`{"op": "=", "left": {"column": "region"}}`), "42501"},
				{"no operands", own(`{"op": "and", "args": []}`), "42501"},
				{"an argument that is none", own(`{"op": "not", "args": [null]}`), "42501"},
				{"too deep", own(strings.Repeat(`{"op": "not", "args": [`, 250) + `{"op": "true"}` + strings.Repeat("]}", 250)), "42501 54001"},
				{"a form that is all", strings.Replace(own(`{"op": "true"}`), `"form": 1`, `"form": 0`, 1), "42501"},
				{"SQL as a form", strings.Replace(own(`{"op": "true"}`), `"form": 1`, `"form": "1 THEN true WHEN 2"`, 1), "22P02"},
				{"a role of others", change(schema, "orders", "keeper", `{"op": "true"}`), "42501"},
				{"SQL as a role", change(schema, "orders", "portcullis_r_01'), leak('x", `{"op": "true"}`), "42501"},
				{"a table under another name", change(schema, "other", set, `{"op": "true"}`), "42704"},
				{"the table of values", fmt.Sprintf(`{"oid": %d, "schema": "portcullis_broker", "name": "row_slot", "readers": %q, "writers": "portcullis_w_01", "forms": []}`, b.oid(t, "portcullis_broker.row_slot"), set), "42704"},
			} {
				_, err := account.Exec(t.Context(), "SELECT portcullis_broker.row_policies($1::jsonb)", c.change)
				if !strings.Contains(c.code, code(err)) || err == nil || strings.Contains(err.Error(), "leaked") {
					t.Errorf("%s: %v, want %s", c.about, err, c.code)
				}
				if enabled, policies := b.secured(t); enabled || policies > 0 {
					t.Fatalf("%s: row-level security is %t, with %d policies", c.about, enabled, policies)
				}
			}
			// What is allowed is PostgreSQL's own, whatever the account's search path finds.
			if _, err := account.Exec(t.Context(), "SELECT portcullis_broker.row_policies($1::jsonb)", own(`{"op": "=", "left": {"column": "region", "as": "text"}, "right": {"slot": 1, "as": "text"}}`)); err != nil {
				t.Fatal(err)
			}
			var foreign int
			if err := b.root.QueryRow(t.Context(), `SELECT count(*) FROM pg_depend WHERE classid = 'pg_policy'::regclass AND refobjid >= 16384 AND refobjid <> $1
				AND refobjid NOT IN ('portcullis_broker.row_form(oid, name, text, text)'::regprocedure, 'portcullis_broker.row_values(oid, integer)'::regprocedure)`, b.table.Ref.OID).Scan(&foreign); err != nil || foreign != 0 {
				t.Errorf("the policies depend on %d other objects, %v", foreign, err)
			}
			for _, sql := range []string{
				"SELECT portcullis_broker.row_filter(1, '{}', 0)", "SELECT portcullis_broker.row_operand(1, '{}', false, false)", "TABLE portcullis_broker.row_table", "DELETE FROM portcullis_broker.row_person",
				"SET ROLE keeper", "ALTER TABLE " + ordersName + " DISABLE ROW LEVEL SECURITY", "CREATE POLICY x ON " + ordersName, "TABLE " + ordersName,
			} {
				if _, err := account.Exec(t.Context(), sql); code(err) != "42501" {
					t.Errorf("%s: %v", sql, err)
				}
			}
			// Policies that somebody needs are not taken away.
			b.apply(t, region("ana", "east"))
			if _, err := account.Exec(t.Context(), "SELECT portcullis_broker.row_remove($1::oid)", b.table.Ref.OID); code(err) != "55006" {
				t.Errorf("taking needed policies away: %v", err)
			}
			if n := b.count(t, "ana"); n != 1000 {
				t.Errorf("ana sees %d rows", n)
			}
		})
	}
}

func (b *bench) oid(tb testing.TB, name string) (oid uint32) {
	tb.Helper()
	if err := b.root.QueryRow(tb.Context(), "SELECT $1::text::regclass::oid", name).Scan(&oid); err != nil {
		tb.Fatal(err)
	}
	return oid
}

// TestABrokerThatPutsCodeOffIsRefused has who owns the broker hang code on its
// tables, which would run at the commit as the account.
func TestABrokerThatPutsCodeOffIsRefused(t *testing.T) {
	b := newBench(t, 0, "ana")
	b.exec(t, `CREATE TABLE public.who (role text); GRANT ALL ON public.who TO PUBLIC`)
	if _, err := b.owner.PgConn().Exec(t.Context(), `CREATE FUNCTION portcullis_broker.trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.who VALUES (current_user); RETURN NULL; END $$;
		CREATE CONSTRAINT TRIGGER trap AFTER INSERT ON portcullis_broker.row_person DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION portcullis_broker.trap()`).ReadAll(); err != nil {
		t.Fatal(err)
	}
	of := b.table
	of.People = []Person{region("ana", "east")}
	if _, err := Apply(t.Context(), b.options(), "postgres", []Table{of}); err == nil || !strings.Contains(err.Error(), "what the broker does not") {
		t.Errorf("%v", err)
	}
	var ran int
	if err := b.root.QueryRow(t.Context(), "SELECT count(*) FROM public.who").Scan(&ran); err != nil || ran > 0 {
		t.Errorf("code of others ran %d times, %v", ran, err)
	}
}

// TestReadersHoldUpTheirTableOnly keeps a transaction open on the table.
func TestReadersHoldUpTheirTableOnly(t *testing.T) {
	b := newBench(t, 17, "ana", "ben")
	ana := b.connect(t, "ana")
	if out := b.apply(t, region("ana", "east"), region("ben", "west")); len(out.Made) != 1 {
		t.Fatalf("%+v", out)
	}
	if _, err := ana.Exec(t.Context(), "BEGIN; TABLE "+ordersName); err != nil {
		t.Fatal(err)
	}
	// Values count at once.
	if out := b.apply(t, region("ana", "west"), region("ben", "east")); len(out.Waiting) > 0 || b.count(t, "ana") != 1000 {
		t.Errorf("other values: %+v", out)
	}
	few := Person{Role: "ben", Filter: &policy.Predicate{Op: policy.OpLe, Column: "id", Values: []policy.Value{{Type: "bigint", Text: "7"}}}}
	begun := time.Now()
	out := b.apply(t, region("ana", "west"), few)
	if len(out.Waiting) != 1 || !strings.Contains(out.Waiting[0].Blocker, "role ana") || out.Waited > 300*time.Millisecond || time.Since(begun) > 5*time.Second {
		t.Errorf("another form: %+v", out)
	}
	if a, n := b.count(t, "ana"), b.count(t, "ben"); a != 1000 || n != 0 {
		t.Errorf("meanwhile ana sees %d rows and ben %d", a, n)
	}
	if _, err := ana.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	b.apply(t, region("ana", "west"), few)
	if n := b.count(t, "ben"); n != 7 {
		t.Errorf("then ben sees %d rows", n)
	}
}

// TestWhatTheScriptMadeGoes runs the removal script, which stops where a table has policies.
func TestWhatTheScriptMadeGoes(t *testing.T) {
	b := newBench(t, 0, "ana")
	b.apply(t, region("ana", "east"))
	b.install(t) // again: readers go on
	if n := b.count(t, "ana"); n != 1000 {
		t.Errorf("ana sees %d rows after the scripts ran again", n)
	}
	if _, err := b.owner.Exec(t.Context(), RemovalScript()); err == nil || !strings.Contains(err.Error(), "still have policies") {
		t.Errorf("%v", err)
	}
	b.apply(t)
	b.clear(t)
	if _, err := b.owner.Exec(t.Context(), RemovalScript()); err != nil {
		t.Error(err)
	}
	if out := b.apply(t, region("ana", "east")); len(out.Refused) != 1 || !strings.Contains(out.Refused[0].Fix, "--row-security") {
		t.Errorf("without the functions: %+v", out)
	}
	var left int
	if err := b.root.QueryRow(t.Context(), `SELECT count(*) FROM pg_class WHERE relnamespace = 'portcullis_broker'::regnamespace AND relname LIKE 'row%'`).Scan(&left); err != nil || left > 0 {
		t.Errorf("%d are left, %v", left, err)
	}
}
