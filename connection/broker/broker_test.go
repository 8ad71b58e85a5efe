package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/broker"
	"portcullis.dev/portcullis/internal/testenv"
)

// world is a cluster with an owner of tables, a person and the broker.
type world struct {
	t       *testing.T
	pg      *testenv.Postgres
	target  connection.Target
	dba     *pgx.Conn // of database shop
	account *pgx.Conn
}

func everyMajor(t *testing.T, f func(w *world)) {
	for _, major := range testenv.Majors() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			w := &world{t: t, pg: testenv.StartServer(t, testenv.ServerOptions{Major: major}), target: connection.Target{
				Username: `sys "acc'ount`, Prefix: "portcullis_", MakeRoles: true, Database: "postgres"}}
			w.dba = w.connect("postgres", w.pg.Password, "postgres")
			w.must(`CREATE ROLE "sys ""acc'ount" LOGIN PASSWORD 'pw'`)
			w.must(`CREATE ROLE shopkeeper LOGIN PASSWORD 'pw' CREATEROLE`)
			w.must(`CREATE ROLE alice LOGIN PASSWORD 'pw'`)
			w.must(`CREATE DATABASE shop OWNER shopkeeper`)
			w.dba = w.connect("postgres", w.pg.Password, "shop")
			owner := w.connect("shopkeeper", "pw", "shop")
			w.exec(owner, `CREATE SCHEMA "od""d"; CREATE TABLE "od""d"."Ta'ble" (a int); INSERT INTO "od""d"."Ta'ble" VALUES (7);
				CREATE SCHEMA private; CREATE TABLE private.t (a int)`)
			w.install(owner)
			w.account = w.connect(w.target.Username, "pw", "shop")
			f(w)
		})
	}
}

func (w *world) install(conn *pgx.Conn) {
	w.t.Helper()
	script, err := broker.Script(broker.Options{Target: w.target, Roles: true, Schemas: []string{`od"d`}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.exec(conn, script)
}

func (w *world) connect(user, password, database string) *pgx.Conn {
	w.t.Helper()
	conn, err := pgx.Connect(w.t.Context(), w.pg.DSNAs(user, password, database))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func (w *world) exec(conn *pgx.Conn, sql string) {
	w.t.Helper()
	if err := run(w.t, conn, sql); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

func (w *world) must(sql string) { w.t.Helper(); w.exec(w.dba, sql) }

func run(t *testing.T, conn *pgx.Conn, sql string) error {
	_, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
	return err
}

func (w *world) oid(query string, args ...any) uint32 {
	w.t.Helper()
	var oid uint32
	if err := w.dba.QueryRow(w.t.Context(), query, args...).Scan(&oid); err != nil {
		w.t.Fatal(err)
	}
	return oid
}

func (w *world) role(name string) uint32 {
	w.t.Helper()
	return w.oid(`SELECT oid FROM pg_roles WHERE rolname = $1`, name)
}

func (w *world) table(name string) uint32 {
	w.t.Helper()
	return w.oid(`SELECT $1::regclass::oid`, name)
}

type m = map[string]any

// call runs one of the functions as the system account.
func (w *world) call(function string, changes ...m) error {
	w.t.Helper()
	text, err := json.Marshal(changes)
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = w.account.Exec(w.t.Context(), "SELECT portcullis_broker."+function+"($1)", string(text))
	return err
}

func (w *world) do(function string, changes ...m) {
	w.t.Helper()
	if err := w.call(function, changes...); err != nil {
		w.t.Fatalf("%s(%v): %v", function, changes, err)
	}
}

func (w *world) refused(function, state string, changes ...m) {
	w.t.Helper()
	err := w.call(function, changes...)
	var e *pgconn.PgError
	if !errors.As(err, &e) || e.Code != state {
		w.t.Errorf("%s(%v): %v, wanted %s", function, changes, err, state)
	}
}

func grant(oid uint32, schema, name, role string, grantee uint32, privileges ...string) m {
	if privileges == nil {
		privileges = []string{}
	}
	return m{"do": "grant", "on": "table", "oid": oid, "schema": schema, "name": name, "role": role, "grantee": grantee, "privileges": privileges}
}

const set = "portcullis_r_0a"

func TestBroker(t *testing.T) {
	everyMajor(t, func(w *world) {
		w.do("roles", m{"do": "make", "role": set, "comment": "it's a set"}, m{"do": "make", "role": "new one", "login": true})
		id, alice := w.role(set), w.role("alice")
		table := w.table(`"od""d"."Ta'ble"`)

		w.t.Run("works", func(t *testing.T) {
			w := *w
			w.t = t
			w.do("roles", m{"do": "grant", "role": set, "oid": id, "to": "alice", "member": alice})
			w.do("tables", m{"do": "grant", "on": "schema", "oid": w.oid(`SELECT 'od"d'::regnamespace::oid`), "schema": `od"d`, "role": set, "grantee": id, "privileges": []string{"USAGE"}},
				m{"do": "grant", "on": "database", "oid": w.oid(`SELECT oid FROM pg_database WHERE datname = 'shop'`), "name": "shop", "role": set, "grantee": id, "privileges": []string{"CONNECT"}},
				grant(table, `od"d`, "Ta'ble", set, id, "SELECT"))
			person := w.connect("alice", "pw", "shop")
			w.exec(person, `SELECT a FROM "od""d"."Ta'ble"`)
			if err := run(t, person, `INSERT INTO "od""d"."Ta'ble" VALUES (1)`); err == nil {
				t.Error("reading lets write")
			}
			w.do("tables", m{"do": "revoke", "on": "table", "oid": table, "schema": `od"d`, "name": "Ta'ble", "role": set, "grantee": id, "privileges": []string{"ALL"}})
			if err := run(t, person, `SELECT a FROM "od""d"."Ta'ble"`); err == nil {
				t.Error("revoked and still read")
			}
			w.do("roles", m{"do": "revoke", "role": set, "oid": id, "to": "alice", "member": alice})
		})
		w.t.Run("refuses", func(t *testing.T) { w := *w; w.t = t; w.attack(id, table) })
		w.t.Run("upgrade and removal", func(t *testing.T) { w := *w; w.t = t; w.lifecycle() })
	})
}

// attack is what somebody who holds the account would try.
func (w *world) attack(id, table uint32) {
	alice, mine := w.role("alice"), w.role(w.target.Username)
	const priv, gone, name, bad = "42501", "42704", "42602", "22023"

	w.must(`CREATE ROLE portcullis_r_bb NOLOGIN; CREATE ROLE powerful NOLOGIN CREATEROLE; CREATE ROLE portcullisxr_cc NOLOGIN;
		CREATE ROLE super LOGIN SUPERUSER; CREATE ROLE team NOLOGIN`)
	stranger := w.role("portcullis_r_bb")

	// Roles that the broker did not make, whatever they are called.
	w.refused("roles", gone, m{"do": "grant", "role": "portcullis_r_bb", "oid": stranger, "to": "alice", "member": alice})
	w.refused("roles", gone, m{"do": "grant", "role": "powerful", "oid": w.role("powerful"), "to": "alice", "member": alice})
	w.refused("roles", gone, m{"do": "grant", "role": "pg_read_all_data", "oid": w.role("pg_read_all_data"), "to": "alice", "member": alice})
	w.refused("roles", gone, m{"do": "grant", "role": "portcullis_owner", "oid": w.role("portcullis_owner"), "to": "alice", "member": alice})
	w.refused("roles", gone, m{"do": "grant", "role": set, "oid": stranger, "to": "alice", "member": alice})
	w.refused("roles", gone, m{"do": "grant", "role": "portcullis_r_bb", "oid": id, "to": "alice", "member": alice})
	w.refused("roles", gone, m{"do": "drop", "role": "alice", "oid": alice})
	w.refused("roles", gone, m{"do": "drop", "role": "portcullis_r_bb", "oid": stranger})
	w.refused("roles", gone, m{"do": "reset", "role": "super", "oid": w.role("super")})
	w.refused("roles", priv, m{"do": "grant", "role": "new one", "oid": w.role("new one"), "to": "alice", "member": alice})

	// Members: no superuser, not the account, no group of others, nobody else under the name.
	w.refused("roles", priv, m{"do": "grant", "role": set, "oid": id, "to": "super", "member": w.role("super")})
	w.refused("roles", priv, m{"do": "grant", "role": set, "oid": id, "to": w.target.Username, "member": mine})
	w.refused("roles", priv, m{"do": "grant", "role": set, "oid": id, "to": "team", "member": w.role("team")})
	w.refused("roles", gone, m{"do": "grant", "role": set, "oid": id, "to": "alice", "member": mine})
	w.refused("roles", gone, m{"do": "grant", "role": set, "oid": id, "to": "alice"})

	// Names.
	for _, n := range []string{"evil", "portcullis_owner", "portcullis_x_1", "portcullis_r_", "portcullis_r_0A", "portcullis_r_1\n",
		`portcullis_r_1" SUPERUSER --`, "portcullisxr_1", "PORTCULLIS_r_1", "portcullis_r_1 SUPERUSER"} {
		w.refused("roles", name, m{"do": "make", "role": n})
	}
	for _, n := range []string{"", "pg_x", "portcullis_r_1", strings.Repeat("x", 64)} {
		w.refused("roles", name, m{"do": "make", "role": n, "login": true})
	}
	w.refused("roles", "42710", m{"do": "make", "role": "alice", "login": true})
	w.refused("roles", bad, m{"do": "alter", "role": set, "oid": id, "to": "alice", "member": alice})

	// Tables: listed, of that OID and that name, to roles of the prefix, five privileges.
	w.refused("tables", gone, grant(w.table("private.t"), "private", "t", set, id, "SELECT"))
	w.refused("tables", gone, grant(table, "private", "t", set, id, "SELECT"))
	w.refused("tables", gone, grant(w.table("private.t"), `od"d`, "Ta'ble", set, id, "SELECT"))
	w.refused("tables", gone, grant(w.table("pg_catalog.pg_authid"), "pg_catalog", "pg_authid", set, id, "SELECT"))
	w.refused("tables", gone, grant(w.table("portcullis_broker.listed"), "portcullis_broker", "listed", set, id, "INSERT"))
	w.refused("tables", gone, grant(table, `od"d`, "Ta'ble", "alice", alice, "SELECT"))
	w.refused("tables", gone, grant(table, `od"d`, "Ta'ble", w.target.Username, mine, "SELECT"))
	w.refused("tables", gone, grant(table, `od"d`, "Ta'ble", "portcullis_owner", w.role("portcullis_owner"), "SELECT"))
	w.refused("tables", gone, grant(table, `od"d`, "Ta'ble", "portcullisxr_cc", w.role("portcullisxr_cc"), "SELECT"))
	w.refused("tables", gone, grant(table, `od"d`, "Ta'ble", "public", 0, "SELECT"))
	w.refused("tables", gone, grant(table, `od"d`, "Ta'ble", set, alice, "SELECT"))
	for _, p := range []string{"ALL", "TRIGGER", "REFERENCES", "MAINTAIN", "SELECT (a)", "select", "SELECT ON private.t TO alice; --"} {
		w.refused("tables", priv, grant(table, `od"d`, "Ta'ble", set, id, p))
	}
	w.refused("tables", priv, grant(table, `od"d`, "Ta'ble", set, id))
	w.refused("tables", priv, m{"do": "grant", "on": "schema", "oid": table, "schema": `od"d`, "role": set, "grantee": id, "privileges": []string{"CREATE"}})
	w.refused("tables", priv, m{"do": "grant", "on": "function", "oid": table, "role": set, "grantee": id, "privileges": []string{"EXECUTE"}})
	w.refused("tables", gone, m{"do": "grant", "on": "database", "oid": 1, "name": "postgres", "role": set, "grantee": id, "privileges": []string{"CONNECT"}})

	// A role that got powers by hand is not handed out any more.
	w.must(`ALTER ROLE ` + set + ` CREATEROLE`)
	w.refused("roles", priv, m{"do": "grant", "role": set, "oid": id, "to": "alice", "member": alice})
	w.refused("tables", gone, grant(table, `od"d`, "Ta'ble", set, id, "SELECT"))
	w.do("roles", m{"do": "reset", "role": set, "oid": id})

	// Dropped and made again under the same name: neither role nor table is what was meant.
	w.do("roles", m{"do": "make", "role": "portcullis_w_1"})
	old := w.role("portcullis_w_1")
	w.must(`DROP ROLE portcullis_w_1; ALTER ROLE powerful RENAME TO portcullis_w_1`)
	w.refused("roles", gone, m{"do": "grant", "role": "portcullis_w_1", "oid": old, "to": "alice", "member": alice})
	w.refused("roles", gone, m{"do": "grant", "role": "portcullis_w_1", "oid": w.role("portcullis_w_1"), "to": "alice", "member": alice})
	w.must(`ALTER SCHEMA "od""d" RENAME TO was; CREATE SCHEMA "od""d"; CREATE TABLE "od""d"."Ta'ble" (a int)`)
	w.refused("tables", gone, grant(w.table(`"od""d"."Ta'ble"`), `od"d`, "Ta'ble", set, id, "SELECT"))
	w.refused("tables", gone, grant(table, "was", "Ta'ble", set, id, "SELECT"))
	w.must(`DROP TABLE "od""d"."Ta'ble"; DROP SCHEMA "od""d"; ALTER SCHEMA was RENAME TO "od""d"`)

	// The session's own objects and settings reach nothing.
	w.exec(w.account, `CREATE TEMP TABLE pg_roles AS SELECT oid, rolname, false AS rolsuper, true AS rolcanlogin FROM pg_catalog.pg_roles;
		CREATE TEMP TABLE listed (schema_oid oid, schema_name text, relation_oid oid, relation_name text);
		CREATE FUNCTION pg_temp.starts_with(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
		SET search_path = pg_temp, portcullis_broker, pg_catalog`)
	w.refused("roles", gone, m{"do": "grant", "role": "portcullis_r_bb", "oid": stranger, "to": "alice", "member": alice})
	w.refused("tables", gone, grant(w.table("private.t"), "private", "t", set, id, "SELECT"))
	w.exec(w.account, `RESET search_path; DISCARD TEMP`)

	// Nothing but the functions.
	for _, sql := range []string{`SET ROLE portcullis_owner`, `SET ROLE ` + set, `SELECT * FROM "od""d"."Ta'ble"`, `SELECT * FROM private.t`,
		`INSERT INTO portcullis_broker.listed VALUES (1, '', 1, '')`, `DELETE FROM portcullis_broker.made`,
		`SELECT portcullis_broker.list_schema('private')`, `SELECT portcullis_broker.list_table('pg_class')`, `CREATE ROLE x`,
		`CREATE FUNCTION portcullis_broker.x() RETURNS int LANGUAGE sql AS 'SELECT 1'`, `GRANT ` + set + ` TO alice`} {
		if run(w.t, w.account, sql) == nil {
			w.t.Errorf("the account may %s", sql)
		}
	}
	// Nor may anybody else call them.
	person := w.connect("alice", "pw", "shop")
	for _, sql := range []string{`SELECT portcullis_broker.tables('[]')`, `SELECT portcullis_broker.roles('[]')`, `SELECT portcullis_broker.list_schema('private')`} {
		if run(w.t, person, sql) == nil {
			w.t.Errorf("alice may %s", sql)
		}
	}
	var admins int
	if err := w.dba.QueryRow(w.t.Context(), `SELECT count(*) FROM pg_auth_members WHERE admin_option AND roleid = $1
		AND member <> 'portcullis_owner'::regrole`, id).Scan(&admins); err != nil || admins > 0 {
		w.t.Errorf("%d hold ADMIN on the set (%v)", admins, err)
	}
	w.must(`DROP ROLE portcullis_r_bb; DROP ROLE portcullis_w_1; DROP ROLE portcullisxr_cc; DROP ROLE super; DROP ROLE team`)
}

func (w *world) lifecycle() {
	owner := w.connect("shopkeeper", "pw", "shop")
	w.must(`CREATE ROLE successor LOGIN PASSWORD 'pw'`)
	former := w.target.Username
	w.target.Username = "successor"
	w.install(owner)
	w.install(owner)
	if w.call("roles") == nil {
		w.t.Error("the account before may still call")
	}
	w.account = w.connect("successor", "pw", "shop")
	w.do("roles", m{"do": "make", "role": "portcullis_r_77"})

	stranger := w.connect("postgres", w.pg.Password, "shop")
	script, err := broker.Script(broker.Options{Target: w.target})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := run(w.t, stranger, script); err == nil || !strings.Contains(err.Error(), "belongs to shopkeeper") {
		w.t.Errorf("another role takes the schema over: %v", err)
	}

	remove, err := broker.Uninstall(broker.Options{Target: w.target, Roles: true})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := run(w.t, owner, remove); err == nil || !strings.Contains(err.Error(), "portcullis_r_77") {
		w.t.Errorf("removed while its roles are there: %v", err)
	}
	w.exec(owner, `ROLLBACK`)
	id := w.role(set)
	w.do("tables", m{"do": "revoke", "on": "schema", "oid": w.oid(`SELECT 'od"d'::regnamespace::oid`), "schema": `od"d`, "role": set, "grantee": id, "privileges": []string{"ALL"}},
		m{"do": "revoke", "on": "database", "oid": w.oid(`SELECT oid FROM pg_database WHERE datname = 'shop'`), "name": "shop", "role": set, "grantee": id, "privileges": []string{"ALL"}})
	for _, r := range []string{set, "new one", "portcullis_r_77"} {
		w.do("roles", m{"do": "drop", "role": r, "oid": w.role(r)})
	}
	w.exec(owner, remove)
	if n := w.oid(`SELECT count(*)::oid FROM pg_namespace WHERE nspname = 'portcullis_broker'`); n != 0 {
		w.t.Error("the schema is still there")
	}
	if n := w.oid(`SELECT count(*)::oid FROM pg_roles WHERE rolname = 'portcullis_owner'`); n != 0 {
		w.t.Error("the owner role is still there")
	}
	w.must(fmt.Sprintf(`DROP ROLE %s`, pgx.Identifier{former}.Sanitize()))
}
