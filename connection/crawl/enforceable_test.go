package crawl_test

import (
	"fmt"
	"strings"
	"testing"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/broker"
	"portcullis.dev/portcullis/connection/crawl"
)

// unenforceable are the reasons by name of table; fixes what is said to help.
func unenforceable(dbs []connection.Database, database string) (reasons map[string]string, fixes []string) {
	reasons = map[string]string{}
	for _, db := range dbs {
		if db.Name != database {
			continue
		}
		for _, s := range db.Schemas {
			for _, o := range s.Objects {
				if o.NotEnforceable != "" {
					reasons[s.Name+"."+o.Name] = o.NotEnforceable
					fixes = append(fixes, o.Fix)
				}
			}
		}
	}
	return reasons, fixes
}

const shop = `CREATE SCHEMA "o'd""d"; CREATE TABLE "o'd""d"."T'""\" (a int); CREATE VIEW "o'd""d".v AS SELECT 1 AS one;
	CREATE TABLE p (d int) PARTITION BY RANGE (d); CREATE TABLE part PARTITION OF p DEFAULT; CREATE MATERIALIZED VIEW m AS SELECT 1 AS one`

func TestGrantorsFixMakesTablesEnforceable(t *testing.T) {
	everyMajor(t, func(t *testing.T, h *host) {
		h.sql("postgres", "CREATE ROLE alice LOGIN PASSWORD 'pw'", "CREATE DATABASE d OWNER alice", "REVOKE CONNECT ON DATABASE d FROM PUBLIC", "GRANT CONNECT ON DATABASE d TO sys")
		h.sql("d", "SET ROLE alice; "+shop, `GRANT SELECT ON p TO sys WITH GRANT OPTION; GRANT INSERT ON p TO sys`)
		first := h.crawl(nil)
		reasons, fixes := unenforceable(first, "d")
		if len(reasons) != 5 || !strings.Contains(reasons[`o'd"d.T'"\`], "USAGE on the schema") || !strings.Contains(reasons["public.p"], "grant INSERT, UPDATE, DELETE, TRUNCATE on it") ||
			!strings.Contains(reasons["public.part"], "CONNECT on the database") || strings.Contains(reasons["public.part"], "USAGE") {
			t.Errorf("%q", reasons)
		}
		h.sql("d", "SET ROLE alice;"+strings.Join(fixes, "\n"))
		// What was granted changes the digest: else the old reasons would stay.
		again := h.crawl(crawl.DigestsOf(first, nil))
		if reasons, _ := unenforceable(again, "d"); len(reasons) > 0 || again[len(again)-1].Schemas[0].Objects == nil {
			t.Errorf("%q", reasons)
		}
		h.sql("d", "SET ROLE alice; REVOKE TRUNCATE ON p FROM sys")
		if reasons, _ := unenforceable(h.crawl(crawl.DigestsOf(again, nil)), "d"); len(reasons) != 1 || !strings.Contains(reasons["public.p"], "grant TRUNCATE on it") {
			t.Errorf("%q", reasons)
		}
		h.sql("d", "SET ROLE alice; GRANT TRUNCATE ON p TO sys WITH GRANT OPTION")
		// The default privileges among the fixes make tables to come enforceable, but not those of other owners.
		h.sql("d", `SET ROLE alice; CREATE TABLE "o'd""d".later (); RESET ROLE; CREATE TABLE "o'd""d".others ()`)
		if reasons, _ := unenforceable(h.crawl(nil), "d"); len(reasons) != 1 || !strings.Contains(reasons[`o'd"d.others`], "SELECT") {
			t.Errorf("%q", reasons)
		}
	})
}

func TestGrantorIsTheOwnerRoleWhereThereIsOne(t *testing.T) {
	everyMajor(t, func(t *testing.T, h *host) {
		h.sql("postgres", "CREATE ROLE portcullis_owner NOLOGIN", "CREATE TABLE t ()", "GRANT portcullis_owner TO sys")
		_, fixes := unenforceable(h.crawl(nil), "postgres")
		if len(fixes) != 1 || !strings.Contains(fixes[0], `ON TABLE "public"."t" TO "portcullis_owner" WITH GRANT OPTION`) {
			t.Fatalf("%q", fixes)
		}
		h.sql("postgres", fixes[0])
		if reasons, _ := unenforceable(h.crawl(nil), "postgres"); len(reasons) > 0 {
			t.Errorf("%q", reasons)
		}
		// One of whom the account is no member is somebody's own.
		h.sql("postgres", "REVOKE portcullis_owner FROM sys")
		if _, fixes := unenforceable(h.crawl(nil), "postgres"); len(fixes) != 1 || !strings.Contains(fixes[0], `TO "sys" WITH`) {
			t.Errorf("%q", fixes)
		}
	})
}

func TestBrokersListDecides(t *testing.T) {
	everyMajor(t, func(t *testing.T, h *host) {
		h.target.Mode = connection.ModeBroker
		h.sql("postgres", "CREATE ROLE alice LOGIN PASSWORD 'pw'", "CREATE DATABASE d OWNER alice")
		h.sql("d", "SET ROLE alice; "+shop, "RESET ROLE; CREATE TABLE bobs (a int)")
		first := h.crawl(nil)
		reasons, _ := unenforceable(first, "d")
		if len(reasons) != 6 || !strings.Contains(reasons["public.p"], "not installed") {
			t.Errorf("%q", reasons)
		}
		script, err := broker.Script(broker.Options{Target: h.target, Schemas: []string{`o'd"d`}})
		if err != nil {
			t.Fatal(err)
		}
		h.sql("d", "SET SESSION AUTHORIZATION alice; "+script)
		second := h.crawl(crawl.DigestsOf(first, nil))
		reasons, fixes := unenforceable(second, "d")
		if len(reasons) != 4 || !strings.Contains(reasons["public.p"], "broker lists neither") || !strings.Contains(reasons["public.bobs"], "alice may not grant SELECT") {
			t.Errorf("%q", reasons)
		}
		// A table is granted to the owner of the broker by whoever owns it, and listed by the former.
		for _, fix := range fixes {
			for statement := range strings.Lines(fix) {
				who := "alice"
				if strings.Contains(statement, "bobs") && !strings.Contains(statement, "list_table") || strings.Contains(statement, `ROLE "postgres"`) {
					who = "postgres"
				}
				h.sql("d", fmt.Sprintf("SET ROLE %s; %s", who, statement))
			}
		}
		third := h.crawl(crawl.DigestsOf(second, nil))
		if reasons, _ := unenforceable(third, "d"); len(reasons) > 0 {
			t.Errorf("%q", reasons)
		}
		// Made anew under its name, or renamed, a table is none that was listed; a listed schema has tables to come.
		h.sql("d", `SET ROLE alice; DROP MATERIALIZED VIEW m; CREATE MATERIALIZED VIEW m AS SELECT 1 AS one; ALTER TABLE part RENAME TO parted; CREATE TABLE "o'd""d".later ()`)
		if reasons, _ := unenforceable(h.crawl(crawl.DigestsOf(third, nil)), "d"); len(reasons) != 2 || reasons["public.m"] == "" || reasons["public.parted"] == "" {
			t.Errorf("%q", reasons)
		}
	})
}

// Who may create schemas in a database must not have their code run by the account.
func TestWhatOnlyCallsItselfTheBrokerIsNotRead(t *testing.T) {
	list := "schema_oid oid, schema_name text, relation_oid oid, relation_name text"
	for name, make := range map[string]string{
		"view": `CREATE VIEW portcullis_broker.listed AS SELECT n.oid AS schema_oid, n.nspname::text AS schema_name, 0::oid AS relation_oid, portcullis_broker.trap() AS relation_name FROM pg_namespace n`,
		"row security": "CREATE TABLE portcullis_broker.listed (" + list + `); INSERT INTO portcullis_broker.listed SELECT oid, nspname, 0, '' FROM pg_namespace;
			ALTER TABLE portcullis_broker.listed ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON portcullis_broker.listed USING (portcullis_broker.trap() IS NOT NULL)`,
		"type": `CREATE TYPE portcullis_broker.wrapped AS (x oid); CREATE FUNCTION portcullis_broker.unwrap(portcullis_broker.wrapped) RETURNS oid LANGUAGE plpgsql AS
			'BEGIN PERFORM portcullis_broker.trap(); RETURN ($1).x; END'; CREATE CAST (portcullis_broker.wrapped AS oid) WITH FUNCTION portcullis_broker.unwrap AS IMPLICIT;
			CREATE TABLE portcullis_broker.listed (schema_oid portcullis_broker.wrapped, schema_name text, relation_oid oid, relation_name text);
			INSERT INTO portcullis_broker.listed SELECT ROW(oid)::portcullis_broker.wrapped, nspname, 0, '' FROM pg_namespace`,
	} {
		t.Run(name, func(t *testing.T) {
			h := startHost(t, 17)
			h.target.Mode = connection.ModeBroker
			h.sql("postgres", `CREATE SCHEMA portcullis_broker; CREATE FUNCTION portcullis_broker.trap() RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE ''trapped''; END';
				CREATE FUNCTION portcullis_broker.tables(jsonb) RETURNS integer LANGUAGE sql AS 'SELECT 1'; CREATE TABLE t ()`,
				make, "GRANT SELECT ON portcullis_broker.listed TO sys; GRANT USAGE ON SCHEMA portcullis_broker TO sys")
			dbs := h.crawl(nil)
			if reasons, _ := unenforceable(dbs, "postgres"); !strings.Contains(reasons["public.t"], "not installed") {
				t.Errorf("%q, %+v", reasons, dbs)
			}
		})
	}
}
