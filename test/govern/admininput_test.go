package govern

import (
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/test/world"
)

// testBadInput: what administrators may get wrong has a clear error each, and
// changes nothing. {key} is an administrator's API key.
func testBadInput(t *testing.T, n *node) {
	api := n.apiKey(t)
	n.exec(t, `CREATE SCHEMA "o'dd ""schema"""; CREATE TABLE immuta.local (id int); CREATE SERVER unknown_there FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'SQLite3', database '`+n.SQLite.Path+`')`)
	n.exec(t, `CREATE FOREIGN TABLE immuta."o'dd; ""table""" (id int) SERVER src_pg OPTIONS (schema_name 'hr', table_name 'bad')`)
	n.exec(t, `CREATE FOREIGN TABLE immuta.unregistered2 (id int) SERVER src_pg OPTIONS (schema_name 'hr', table_name 'bad')`)
	if err := n.Postgres.Exec(t.Context(), "postgres", "CREATE TABLE hr.bad (id int); GRANT SELECT ON hr.bad TO reader"); err != nil {
		t.Fatal(err)
	}
	settings := n.text(t, "SELECT concat_ws('|', url, node) FROM immutasys.service_config")
	sources := n.text(t, "SELECT immutasys.service_result('GET', '/v1/data_sources', NULL, '"+api+"')::text")
	options := n.text(t, "SELECT string_agg(ftrelid::regclass || coalesce(ftoptions::text, ''), ' ' ORDER BY ftrelid) FROM pg_foreign_table")
	for _, test := range []struct{ sql, state, part string }{
		// Wrong types.
		{`SELECT immutasys.create_data_source(42::oid, NULL, NULL, '{key}')`, "42809", "not a foreign table"},
		{`SELECT immutasys.create_data_source('nowhere.nothing')`, "3F000 42P01", "nowhere"},
		{`SELECT immutasys.create_data_source('immuta.nothing')`, "42P01", "does not exist"},
		{`SELECT immutasys.create_data_source('immuta.local')`, "42809", "not a foreign table"},
		{`SELECT immutasys.create_data_source('immuta.unregistered2', NULL, 'not an array', '{key}')`, "22P02", "malformed array"},
		{`SELECT immutasys.recent_audit('many')`, "22P02", "integer"},
		{`SELECT immutasys.service_call('GET', '/v1/sources', 'no json')`, "22P02", "json"},
		// NULLs.
		{`SELECT immutasys.create_data_source(NULL)`, "22004", "table"},
		{`SELECT immutasys.drop_data_source(NULL)`, "42704", ""},
		{`SELECT immutasys.explain_decision(NULL, 'immuta.staff_pg', NULL, '{key}')`, "22004", "userid"},
		{`SELECT immutasys.explain_decision('eve', NULL, NULL, '{key}')`, "42704", "not a data source"},
		{`SELECT * FROM immutasys.import_data_sources(NULL, 'hr', 'immuta', NULL, '{key}')`, "22004", "server"},
		{`SELECT * FROM immutasys.import_data_sources('src_pg', NULL, 'immuta', NULL, '{key}')`, "22004", "remote_schema"},
		{`SELECT * FROM immutasys.import_data_sources('src_pg', 'hr', NULL, NULL, '{key}')`, "22004", "local_schema"},
		{`SELECT immutasys.service_call(NULL, '/v1/sources')`, "22004", "must not be null"},
		{`SELECT immutasys.service_call('GET', NULL)`, "22004", "must not be null"},
		// Unknown names.
		{`SELECT immutasys.explain_decision('nobody knows', 'immuta.staff_pg', NULL, '{key}')`, "02000", `"nobody knows"`},
		{`SELECT immutasys.explain_decision('eve', 'immuta.staff_pg', 'no such provider', '{key}')`, "02000", ""},
		{`SELECT immutasys.explain_decision('eve', 'immuta.unregistered2', NULL, '{key}')`, "42704", "not a data source"},
		{`SELECT immutasys.drop_data_source('immuta.unregistered2', '{key}')`, "42704", "not a data source"},
		{`SELECT * FROM immutasys.import_data_sources('nowhere', 'hr', 'immuta', NULL, '{key}')`, "42704", `"nowhere"`},
		{`SELECT * FROM immutasys.import_data_sources('src_pg', 'no such schema', 'immuta', NULL, '{key}')`, "HV00P", "no such schema"},
		{`SELECT * FROM immutasys.import_data_sources('src_pg', 'hr', 'no such schema', NULL, '{key}')`, "3F000", "no such schema"},
		{`SELECT immutasys.fault('no such kind')`, "22023", "no such kind"},
		// Hostile identifiers and values.
		{`SELECT immutasys.create_data_source('immuta.unregistered2', '', NULL, '{key}')`, "", ""},
		{`SELECT immutasys.create_data_source('immuta.unregistered2', repeat('x', 100000), NULL, '{key}')`, "22023", ""},
		{`SELECT immutasys.create_data_source('immuta.unregistered2', 'fine', '{"a b\n", ""}', '{key}')`, "22023", "tags"},
		{`SELECT * FROM immutasys.import_data_sources('src_pg"; DROP SERVER src_my CASCADE; --', 'hr', 'immuta', NULL, '{key}')`, "42704", ""},
		{`SELECT * FROM immutasys.import_data_sources('src_pg', 'hr" FROM SERVER src_my INTO public; --', 'immuta', NULL, '{key}')`, "HV00P", ""},
		{`SELECT * FROM immutasys.import_data_sources('src_pg', 'hr', 'immuta"; DROP TABLE immuta.local; --', NULL, '{key}')`, "3F000", ""},
		{`SELECT immutasys.explain_decision('eve&data_source=staff_my', 'immuta.staff_pg', NULL, '{key}')`, "02000", ""},
		{`SELECT immutasys.service_result('GET', '/v1/../../etc/passwd', NULL, '{key}')`, "58000", "HTTP status 307"},
		{`SELECT immutasys.service_result('GET', 'http://127.0.0.1:1/', NULL, '{key}')`, "22023", "path"},
		{`SELECT immutasys.service_result('GET', '@127.0.0.1:1/', NULL, '{key}')`, "22023", "path"},
		{`SELECT immutasys.service_result(E'GET /v1/sources HTTP/1.1\r\nX: y', '/v1/sources', NULL, '{key}')`, "22023", "method"},
		{`SELECT immutasys.service_result('GET', E'/v1/sources HTTP/1.1\r\nX: y\r\n', NULL, '{key}')`, "22023", "path"},
		{`SELECT immutasys.service_result('GET', '/v1/sources', NULL, E'pk_x\r\nX-Injected: y')`, "22023", "api_key"},
		{`SELECT immutasys.service_call('GET', '/v1/sources', NULL, 'pk_x y')`, "22023", "api_key"},
		{`SELECT immutasys.service_result('GET', '/v1/sources', NULL, '')`, "22023", "api_key"},
		{`SELECT immutasys.service_result('BREW', '/v1/sources', NULL, '{key}')`, "22023", ""},
		{`SELECT immutasys.recent_audit(-5)`, "", "none"},
		{`SELECT immutasys.configure('no url at all')`, "22023", "url"},
		{`SELECT immutasys.configure('file:///etc/passwd')`, "22023", "url"},
		{`SELECT immutasys.configure('http://db.example.com:8080')`, "22023", "loopback"},
		{`SELECT immutasys.configure('http://127.0.0.1.example.com')`, "22023", "loopback"},
		{`SELECT immutasys.configure('http://localhost@example.com')`, "22023", "loopback"},
		{`SELECT immutasys.configure('http://127.999.0.1:8080')`, "22023", "loopback"},
		{`SELECT immutasys.configure('https://:8443')`, "22023", "host"},
		{`SELECT immutasys.configure('https://policy.example.com:https')`, "22023", "host"},
		{`SELECT immutasys.configure('https://policy.example.com/%zz')`, "22023", "host"},
		{`SELECT immutasys.configure('https://[fd00::1]:8443/a%20b')`, "", "none"},
		{`SELECT immutasys.configure('unix://host/path')`, "22023", "unix:///"},
		{`SELECT immutasys.configure('unix:///run/portcullis.sock')`, "", "none"},
		{`SELECT immutasys.configure('https://policy.example.com/base')`, "", "none"},
		{`SELECT immutasys.configure('http://[::1]:8080')`, "", "none"},
		{`SELECT immutasys.configure('http://user:secret@127.0.0.1:1')`, "22023", "url"},
		{`SELECT immutasys.configure('http://example.com/' || repeat('x', 2000))`, "22023", "url"},
		{`SELECT immutasys.configure('` + n.Service.URL + `', NULL, repeat('n', 300))`, "22023", "node"},
		{`SELECT immutasys.set_api_key('')`, "22023", ""},
		{`SELECT immutasys.set_admin_key('  ')`, "22023", "no API key"},
		{`SELECT immutasys.set_admin_key('')`, "22023", "no API key"},
		{`SELECT immutasys.set_admin_key(E'pk_x\ny')`, "22023", "no API key"},
		{`SELECT immutasys.set_admin_key('pk_é')`, "22023", "no API key"},
		{`SELECT immutasys.set_admin_key(repeat('k', 10000))`, "22023", "no API key"},
		{`SELECT immutasys.configure('` + n.Service.URL + `', '  ')`, "22023", "no API key"},
		{`SELECT immutasys.set_api_key(repeat('k', 10000))`, "22023", ""},
		{`SELECT immutasys.seal('')`, "", "none"},
		{`INSERT INTO immutasys.service_config (singleton, url) VALUES (false, 'x')`, "23514", ""},
	} {
		t.Run(strings.NewReplacer("/", "|", " ", "_").Replace(test.sql[:min(len(test.sql), 110)]), func(t *testing.T) {
			tx, err := n.admin.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_, err = tx.Exec(t.Context(), strings.ReplaceAll(test.sql, "{key}", api), pgx.QueryExecModeSimpleProtocol)
			if test.part == "none" {
				if err != nil {
					t.Error(err)
				}
			} else if test.state != "" {
				wantError(t, err, test.state, test.part)
			} else if err == nil {
				t.Error("no error")
			} else {
				t.Log(err)
			}
			if err := tx.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
	if now := n.text(t, "SELECT concat_ws('|', url, node) FROM immutasys.service_config"); now != settings {
		t.Errorf("the configuration was %s and is %s", settings, now)
	}
	if now := n.text(t, "SELECT immutasys.service_result('GET', '/v1/data_sources', NULL, '"+api+"')::text"); now != sources {
		t.Errorf("the data sources were %s and are %s", sources, now)
	}
	if now := n.text(t, "SELECT string_agg(ftrelid::regclass || coalesce(ftoptions::text, ''), ' ' ORDER BY ftrelid) FROM pg_foreign_table"); now != options {
		t.Errorf("the foreign tables were %s and are %s", options, now)
	}
	t.Run("odd names that are right", func(t *testing.T) {
		odd := `immuta."o''dd; ""table"""`
		n.exec(t, `SELECT immutasys.create_data_source('`+odd+`', E'../people/eve?x=1#y\n', '{Odd}', '`+api+`')`)
		if got := n.text(t, `SELECT immutasys.explain_decision('eve', '`+odd+`', NULL, '`+api+`')::text`); !strings.Contains(got, "decision") {
			t.Error("no decision")
		}
		n.exec(t, `SELECT immutasys.drop_data_source('`+odd+`', '`+api+`')`)
		n.exec(t, `SELECT * FROM immutasys.import_data_sources('src_lite', 'main', 'o''dd "schema"', NULL, '`+api+`')`)
	})
	wantCount(t, n.Login(t, world.Eve), countStaff, rows/2)
}

// testFunctionsAreNotPublic: nobody may call what was not given to them.
func testFunctionsAreNotPublic(t *testing.T, n *node) {
	rows, err := n.admin.Query(t.Context(), `SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
		JOIN pg_extension e ON d.refobjid = e.oid AND e.extname = 'portcullis'
		WHERE p.oid <> 'portcullis_version'::regproc AND (has_function_privilege('eve', p.oid, 'EXECUTE') OR EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0))`)
	if err != nil {
		t.Fatal(err)
	}
	open, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(open) > 0 {
		t.Errorf("everybody may call %v, %v", open, err)
	}
	wantCount(t, n.admin, `SELECT count(*) FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
		JOIN pg_extension e ON d.refobjid = e.oid AND e.extname = 'portcullis' WHERE c.relkind IN ('r', 'v', 'f') AND has_table_privilege('eve', c.oid, 'SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER')`, 0)
	wantCount(t, n.admin, `SELECT count(*) FROM pg_foreign_data_wrapper WHERE fdwname = 'portcullis' AND has_foreign_data_wrapper_privilege('eve', oid, 'USAGE')`, 0)
	wantCount(t, n.admin, `SELECT count(*) FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid AND e.extname = 'portcullis'
		WHERE d.deptype = 'e' AND d.classid IN ('pg_proc'::regclass, 'pg_class'::regclass) AND obj_description(d.objid, d.classid::regclass::name) IS NULL`, 0)
}

// text is the one value of a query.
func (n *node) text(t *testing.T, sql string) (value string) {
	t.Helper()
	if err := n.admin.QueryRow(t.Context(), sql).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

func (n *node) apiKey(t *testing.T) string {
	t.Helper()
	key, err := os.ReadFile(n.Service.APIKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(key))
}
