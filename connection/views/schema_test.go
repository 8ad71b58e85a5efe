package views

import (
	"fmt"
	"strings"
	"testing"

	"portcullis.dev/portcullis/connection/parts"
	"portcullis.dev/portcullis/internal/sqltext"
	"portcullis.dev/portcullis/internal/testenv"
)

// TestAStolenAccountMakesNoSchemaOfItsOwn has the account's password, on every major version.
func TestAStolenAccountMakesNoSchemaOfItsOwn(t *testing.T) {
	for _, major := range testenv.Majors() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			b := newBench(t, major)
			b.exec(t, `CREATE ROLE dba LOGIN; CREATE ROLE policy_trap LOGIN; CREATE SCHEMA trap; CREATE SCHEMA policy_taken; CREATE SCHEMA taken`)
			account := b.connect(t, "account", "account")
			run := func(sql string, args ...any) error {
				t.Helper()
				_, err := account.Exec(t.Context(), sql, args...)
				return err
			}
			// Temporary tables of its own do not stand before PostgreSQL's in the function.
			for _, sql := range []string{"CREATE TEMP TABLE pg_roles AS SELECT oid, 'portcullis_views'::name AS rolname, false AS rolcanlogin FROM pg_catalog.pg_roles WHERE rolname = 'dba'",
				"CREATE TEMP TABLE pg_namespace (oid oid, nspname name, nspowner oid)", "INSERT INTO pg_namespace VALUES (1, 'evil', 0)", "SET search_path = pg_temp, pg_catalog"} {
				if err := run(sql); err != nil {
					t.Fatal(err)
				}
			}
			for _, as := range []string{"NONE", "portcullis_views"} {
				if err := run("SET ROLE " + as); err != nil {
					t.Fatal(err)
				}
				for _, sql := range []string{"CREATE SCHEMA dba", `CREATE SCHEMA "$user"`, "CREATE SCHEMA policy_public", "CREATE SCHEMA AUTHORIZATION portcullis_views",
					"CREATE TABLE portcullis_views.x ()", "CREATE FUNCTION portcullis_views.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "DROP FUNCTION portcullis_views.make_schema(oid)",
					"CREATE OR REPLACE FUNCTION portcullis_views.make_schema(base oid) RETURNS text LANGUAGE sql AS $$ SELECT '' $$", "ALTER SCHEMA portcullis_views RENAME TO dba",
					"CREATE TRIGGER t BEFORE INSERT ON portcullis_views.person EXECUTE FUNCTION pg_catalog.suppress_redundant_updates_trigger()",
					"ALTER SCHEMA portcullis_views OWNER TO account", "ALTER FUNCTION portcullis_views.make_schema(oid) RESET search_path"} {
					if err := run(sql); err == nil {
						t.Errorf("as %s: %s: succeeds", as, sql)
					}
				}
				for _, base := range []string{"0", "1", "'pg_catalog'::pg_catalog.regnamespace", "'information_schema'::pg_catalog.regnamespace", "'portcullis_views'::pg_catalog.regnamespace",
					"'trap'::pg_catalog.regnamespace", "'taken'::pg_catalog.regnamespace", "NULL"} {
					if err := run("SELECT portcullis_views.make_schema(" + base + "::pg_catalog.oid)"); err == nil {
						t.Errorf("as %s: a schema is made of %s", as, base)
					}
				}
			}
			if err := run("SELECT portcullis_views.make_schema('public'::pg_catalog.regnamespace)"); err != nil {
				t.Error(err)
			}
			if err := run("SELECT portcullis_views.make_schema('policy_public'::pg_catalog.regnamespace)"); err == nil {
				t.Error("a schema is made of one that holds views")
			}
			if err := run("ALTER SCHEMA policy_public RENAME TO dba"); err == nil {
				t.Error("a schema of views takes the name of a role")
			}
			if _, err := b.connect(t, "ana", "secret").Exec(t.Context(), "SELECT portcullis_views.make_schema('taken'::regnamespace)"); err == nil {
				t.Error("anybody may call the function")
			}
		})
	}
}

// TestSchemasAreNamedAsTheServiceNamesThem compares the function's names with SchemaOf.
func TestSchemasAreNamedAsTheServiceNamesThem(t *testing.T) {
	b := newBench(t, 0)
	for _, name := range []string{`a"b`, "$user", "; DROP SCHEMA public; --", strings.Repeat("x", 56), strings.Repeat("x", 57), strings.Repeat("é", 31), "a" + strings.Repeat("é", 31), strings.Repeat("日", 21), "x" + strings.Repeat("𝄞", 15), `\`, "%I %s $1"} {
		b.exec(t, "CREATE SCHEMA "+sqltext.Identifier(name))
		var made, owner string
		if err := b.account.QueryRow(t.Context(), "SELECT portcullis_views.make_schema(oid) FROM pg_namespace WHERE nspname = $1", name).Scan(&made); err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if err := b.root.QueryRow(t.Context(), "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = $1", SchemaOf(name)).Scan(&owner); err != nil || made != SchemaOf(name) || owner != "portcullis_views" {
			t.Errorf("%q: made %q, want %q; it belongs to %q, %v", name, made, SchemaOf(name), owner, err)
		}
	}
}

// TestWhatOthersMadeBeforehandIsLeft squats what the views need.
func TestWhatOthersMadeBeforehandIsLeft(t *testing.T) {
	for _, c := range []struct{ about, sql, undo, reason string }{
		{"a schema of somebody else", `CREATE SCHEMA "policy_Sales ""x""" AUTHORIZATION ana; ALTER ROLE ana CREATEROLE`, `DROP SCHEMA "policy_Sales ""x"""; ALTER ROLE ana NOCREATEROLE`, "is there and belongs to ana"},
		{"a table of the view's name", `CREATE SCHEMA "policy_Sales ""x""" AUTHORIZATION portcullis_views; CREATE TABLE ` + viewName + ` ()`, "DROP TABLE " + viewName, "must be owner of table orders"},
		{"a view of somebody else", "CREATE VIEW " + viewName + " AS SELECT 1; ALTER VIEW " + viewName + " OWNER TO ana", "DROP VIEW " + viewName, "must be owner of view orders"},
		{"a trigger of a superuser", `CREATE FUNCTION public.no() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no views on weekdays'; END $$;
			CREATE EVENT TRIGGER no ON ddl_command_end WHEN tag IN ('CREATE VIEW') EXECUTE FUNCTION public.no()`, "DROP EVENT TRIGGER no", "no views on weekdays"},
		{"row-level security", `ALTER TABLE "Sales ""x""".orders ENABLE ROW LEVEL SECURITY`, `ALTER TABLE "Sales ""x""".orders DISABLE ROW LEVEL SECURITY`, "row-level security is on"},
	} {
		t.Run(c.about, func(t *testing.T) {
			b := newBench(t, 0)
			b.table.People = []Person{{Role: "ana", Filter: notes("a")}}
			other := b.small(t, "other")
			b.apply(t, other)
			b.exec(t, "CREATE ROLE x; "+map[bool]string{true: `CREATE SCHEMA "policy_Sales ""x""" AUTHORIZATION portcullis_views; `}[strings.HasPrefix(c.sql, "CREATE VIEW")]+c.sql)
			other.People[0].Filter = notes("a", "b")
			made, refused := b.apply(t, b.table, other)
			if len(refused) != 1 || refused[0].Table != b.table.Ref || !strings.Contains(refused[0].Reason, c.reason) {
				t.Errorf("refused %+v, want %q", refused, c.reason)
			}
			if len(made) != 1 || made[0].Base != other.Ref {
				t.Errorf("made %+v", made)
			}
			b.exec(t, c.undo)
			if made, refused := b.apply(t, b.table, other); len(made) != 2 || len(refused) > 0 || b.seen(t, "ana") == 0 {
				t.Errorf("once it is undone: made %+v, refused %+v", made, refused)
			}
		})
	}
}

// TestAnotherRoleOfTheOwnersNameIsNotActedAs takes the name of the owner of views.
func TestAnotherRoleOfTheOwnersNameIsNotActedAs(t *testing.T) {
	b := guarded(t, 0)
	b.exec(t, "ALTER ROLE portcullis_views RENAME TO old", "CREATE ROLE mallory LOGIN", "CREATE ROLE trap", "GRANT trap TO mallory, account", "ALTER ROLE trap RENAME TO portcullis_views",
		`GRANT USAGE ON SCHEMA "Sales ""x""" TO portcullis_views; GRANT SELECT ON "Sales ""x""".orders TO portcullis_views; GRANT CREATE ON DATABASE postgres TO portcullis_views`)
	made, refused := b.apply(t, b.table)
	if len(made) != 0 || len(refused) != 1 || !strings.Contains(refused[0].Reason, "not set up") {
		t.Errorf("made %v, refused %v", made, refused)
	}
	if _, err := b.account.Exec(t.Context(), "SELECT portcullis_views.make_schema('public'::regnamespace)"); err == nil {
		t.Error("the function makes schemas for another role")
	}
}

// TestAFunctionOfSomebodyElseIsNotCalled makes what the script makes, before a DBA runs it.
func TestAFunctionOfSomebodyElseIsNotCalled(t *testing.T) {
	b := newBench(t, 0)
	b.table.People = []Person{{Role: "ana"}}
	b.exec(t, "CREATE TABLE public.trap (who text)", "GRANT INSERT ON public.trap TO PUBLIC", "ALTER SCHEMA portcullis_views OWNER TO ana", "DROP FUNCTION portcullis_views.make_schema(oid)",
		`SET ROLE ana; CREATE FUNCTION portcullis_views.make_schema(base oid) RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ INSERT INTO public.trap VALUES (current_user); SELECT 'x' $$; RESET ROLE`)
	if out, err := Apply(t.Context(), b.account, parts.Options{Target: b.target, Fence: noFence}, "postgres", []Table{b.table}); err == nil || !strings.Contains(err.Error(), "belongs to \"ana\"") {
		t.Errorf("out %+v, %v", out, err)
	}
	var n int
	if err := b.root.QueryRow(t.Context(), "SELECT count(*) FROM public.trap").Scan(&n); err != nil || n != 0 {
		t.Errorf("it ran %d times, %v", n, err)
	}
	if _, err := b.root.Exec(t.Context(), "SET ROLE ana; RESET ROLE;"+Script(b.target)); err == nil {
		t.Error("the script takes somebody else's schema for its own")
	}
}

// TestATableThatIsSwappedIsNotShown has its owner swap the table while its view is made,
// and make a view of it after that.
func TestATableThatIsSwappedIsNotShown(t *testing.T) {
	b := newBench(t, 15) // the last where a table can become a view
	table := b.small(t, "t")
	a := &applier{o: parts.Options{Target: b.target, Fence: noFence}, database: "postgres", conn: b.account}
	swapped, err := b.account.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := swapped.Exec(t.Context(), "SET LOCAL ROLE portcullis_views"); err != nil {
		t.Fatal(err)
	}
	jobs, _, err := a.fillAll(t.Context(), swapped, []Table{table})
	if err != nil || len(jobs) != 1 {
		t.Fatal(jobs, err)
	}
	if err := swapped.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.exec(t, "ALTER TABLE public.t RENAME TO mine; CREATE TABLE public.t AS SELECT * FROM public.mine; GRANT SELECT ON public.t TO portcullis_views")
	if err := a.define(t.Context(), jobs); err != nil || len(a.out.Made) > 0 || len(a.out.Refused) != 1 || !strings.Contains(a.out.Refused[0].Reason, "replaced") {
		t.Errorf("out %+v, %v", a.out, err)
	}

	b.exec(t, "DROP TABLE public.t; ALTER TABLE public.mine RENAME TO t")
	if made, refused := b.apply(t, table); len(made) != 1 {
		t.Fatalf("refused %+v", refused)
	}
	b.exec(t, `TRUNCATE public.t; CREATE RULE "_RETURN" AS ON SELECT TO public.t DO INSTEAD SELECT id, note FROM "Sales ""x""".orders`)
	if made, refused := b.apply(t, table); len(made) > 0 || len(refused) != 1 || !strings.Contains(refused[0].Reason, "it is a view") {
		t.Errorf("made %+v, refused %+v", made, refused)
	}
	var n int
	if err := b.connect(t, "ana", "secret").QueryRow(t.Context(), "SELECT count(*) FROM policy_public.t").Scan(&n); err != nil || n != 0 {
		t.Errorf("ana sees %d rows of a view in the table's place, %v", n, err)
	}
}

// TestTheOwnerOfATableReadsNoOther has who owns a table with a view write a policy
// that reads another one, which the owner of views may read and they may not. The positive control
// is an owner of views who does not bypass policies.
func TestTheOwnerOfATableReadsNoOther(t *testing.T) {
	for _, major := range []int{14, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			b := newBench(t, major)
			table, other := b.small(t, "t"), b.small(t, "other")
			b.apply(t, table, other)
			b.exec(t, "CREATE ROLE seller", "ALTER TABLE public.t OWNER TO seller; GRANT SELECT ON public.t TO portcullis_views", "GRANT CREATE ON SCHEMA public TO seller", "SET ROLE seller",
				"CREATE FUNCTION public.leak(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'heard %', $1; END $$",
				"ALTER TABLE public.t ENABLE ROW LEVEL SECURITY; ALTER TABLE public.t FORCE ROW LEVEL SECURITY",
				"CREATE POLICY p ON public.t USING ((SELECT bool_and(public.leak(o.note)) FROM public.other o))", "RESET ROLE")
			var n int
			if err := b.connect(t, "ana", "secret").QueryRow(t.Context(), "SELECT count(*) FROM policy_public.t").Scan(&n); err != nil || n != 1 {
				t.Errorf("ana sees %d rows, %v", n, err)
			}
			b.exec(t, "ALTER ROLE portcullis_views NOBYPASSRLS")
			if err := b.connect(t, "ana", "secret").QueryRow(t.Context(), "SELECT count(*) FROM policy_public.t").Scan(&n); err == nil || !strings.Contains(err.Error(), "heard a") {
				t.Errorf("without BYPASSRLS: %v", err)
			}
		})
	}
}
