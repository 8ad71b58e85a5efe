package grants_test

import (
	"strings"
	"testing"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/broker"
)

// leavingBroker: a broker that acts as its owner, and leaves code for the commit,
// which would run as the account.
func leavingBroker(t *testing.T, a *adverse) {
	if a.target.Mode != connection.ModeBroker {
		return
	}
	away, owner := a.db+"_leaving", a.target.Prefix[:11]+"mallory"
	a.sql("postgres", "CREATE DATABASE %s", away)
	a.sql("postgres", "CREATE ROLE %s; GRANT CONNECT ON DATABASE %s TO %s", owner, away, ident(a.target.Username))
	a.sql(away, `CREATE SCHEMA portcullis_broker AUTHORIZATION %[3]s; GRANT USAGE ON SCHEMA portcullis_broker TO PUBLIC; GRANT CREATE ON SCHEMA public TO %[3]s; SET ROLE %[3]s;
		CREATE TABLE public.far (a int); CREATE TABLE public.trap (who name); GRANT INSERT ON public.trap TO PUBLIC;
		CREATE TABLE portcullis_broker.late (a int);
		CREATE FUNCTION public.spring() RETURNS int LANGUAGE sql VOLATILE AS $$ INSERT INTO public.trap VALUES (current_user); SELECT 1 $$;
		CREATE FUNCTION public.fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.spring(); RETURN NULL; END $$;
		CREATE CONSTRAINT TRIGGER late AFTER INSERT ON portcullis_broker.late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.fire();
		CREATE FUNCTION portcullis_broker.about() RETURNS jsonb LANGUAGE sql SECURITY DEFINER AS $$ SELECT '{"version": %[1]d, "prefix": "%[2]s"}'::jsonb $$;
		CREATE TABLE portcullis_broker.listed (schema_oid oid, schema_name text, relation_oid oid, relation_name text); GRANT SELECT ON portcullis_broker.listed TO PUBLIC;
		INSERT INTO portcullis_broker.listed SELECT oid, 'public', 0, '' FROM pg_namespace WHERE nspname = 'public'; RESET ROLE`, broker.Version, a.target.Prefix, owner)
	want := a.want()
	far := a.ref(away, "public", "far")
	want.Managed = append(want.Managed, far)
	want.Sets = append(want.Sets, set("far", connection.Read, []connection.ObjectRef{far}, a.p))
	for name, left := range map[string]string{"a trigger": "INSERT INTO portcullis_broker.late VALUES (1)",
		"a cursor": "EXECUTE 'DECLARE late CURSOR WITH HOLD FOR SELECT public.spring()'"} {
		a.sql(away, `SET ROLE %s; CREATE OR REPLACE FUNCTION portcullis_broker.tables(changes jsonb) RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN %s; RETURN 1; END $$; RESET ROLE`, owner, left)
		r := a.round(want)
		told := false
		for _, p := range r.Pending {
			told = told || p.Error != nil && p.Error.Code == "foreign_broker"
		}
		if !told {
			t.Errorf("%s: not told: %+v", name, r.Pending)
		}
		if who := a.value(away, "SELECT coalesce(string_agg(who, ' '), '') FROM public.trap"); strings.Contains(who, a.target.Username) {
			t.Errorf("%s: the account ran what others wrote: %s", name, who)
		}
		a.sql(away, "TRUNCATE public.trap")
	}
	// Asked for its version it changes nothing, and no commit runs what it put off either.
	a.sql(away, `SET ROLE %[3]s; CREATE FUNCTION public.heard() RETURNS int LANGUAGE sql VOLATILE AS $$ SELECT pg_catalog.pg_notify('trap', current_user); SELECT 1 $$;
		CREATE OR REPLACE FUNCTION portcullis_broker.about() RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
			PERFORM pg_catalog.pg_notify('trap', current_user); PREPARE left_over AS SELECT 1;
			EXECUTE 'DECLARE late CURSOR WITH HOLD FOR SELECT public.heard()'; RETURN '{"version": %[1]d, "prefix": "%[2]s"}'; END $$; RESET ROLE; LISTEN trap`, broker.Version, a.target.Prefix, owner)
	a.round(want)
	a.sql(away, "NOTIFY trap, 'the end'")
	for {
		n, err := a.dba(away).WaitForNotification(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n.Payload == "the end" {
			break
		}
		t.Errorf("%s ran what the broker put off", n.Payload)
	}
}
