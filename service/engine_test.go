package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/internal/scram"
	"portcullis.dev/portcullis/internal/seal"
	"portcullis.dev/portcullis/internal/testenv"
)

// engineFixture is a service with an engine that it keeps in step, and a
// remote PostgreSQL with a table.
type engineFixture struct {
	*fixture
	cfg    EngineConfig
	engine *testenv.Postgres
	conn   *pgx.Conn // to the engine, as superuser
	remote *pgx.Conn
}

func startEngine(t *testing.T) *engineFixture {
	t.Helper()
	return startEngineWith(t, func(*EngineConfig) {})
}

func startEngineWith(t *testing.T, set func(*EngineConfig)) *engineFixture {
	t.Helper()
	nodeKeyFile := filepath.Join(shared.env.Dir, fmt.Sprintf("node%d.key", shared.n.Add(1)))
	nodeKey := keyAt(t, nodeKeyFile)
	giveToServer(t, nodeKeyFile)
	engine := testenv.StartPostgres(t, testenv.PostgresOptions{Name: "engine", Preload: "portcullis",
		Settings: map[string]string{"portcullis.key_file": nodeKeyFile, "log_statement": "all", "log_min_duration_statement": "0"}})
	if err := engine.CreateDatabase(t.Context(), testenv.EngineDatabase); err != nil {
		t.Fatal(err)
	}
	if err := engine.Exec(t.Context(), testenv.EngineDatabase, "CREATE EXTENSION portcullis"); err != nil {
		t.Fatal(err)
	}
	remoteDSN := newDatabase(t)
	f := &engineFixture{engine: engine, conn: connect(t, engine.DSN(testenv.EngineDatabase)), remote: connect(t, remoteDSN)}
	key, _ := newKey(t)
	f.cfg = EngineConfig{URL: engine.DSN(testenv.EngineDatabase), Node: "engine", ServiceURL: "http://127.0.0.1:1", NodeKey: nodeKey}
	set(&f.cfg)
	f.fixture = startOn(t, newDatabase(t), key, &f.cfg)
	f.exec(f.remote, `CREATE SCHEMA shop; CREATE TABLE shop.orders (id bigint PRIMARY KEY, "e-Mail" text, amount numeric(12,2), made date)`)
	return f
}

// giveToServer lets the server read a file that root made.
func giveToServer(t *testing.T, path string) {
	t.Helper()
	if os.Getuid() != 0 {
		return
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, uid, -1); err != nil {
		t.Fatal(err)
	}
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (f *engineFixture) exec(conn *pgx.Conn, sql string) {
	f.t.Helper()
	if _, err := conn.Exec(f.t.Context(), sql); err != nil {
		f.t.Fatal(err)
	}
}

func (f *engineFixture) text(conn *pgx.Conn, sql string, args ...any) string {
	f.t.Helper()
	var s *string
	if err := conn.QueryRow(f.t.Context(), sql, args...).Scan(&s); err != nil && err != pgx.ErrNoRows {
		f.t.Fatal(err)
	}
	if s == nil {
		return ""
	}
	return *s
}

// eventually asks until the answer is right; the service works in the background.
func (f *engineFixture) eventually(what string, is func() bool) {
	f.t.Helper()
	if err := testenv.Until(f.t.Context(), 20*time.Second, func() (bool, error) { return is(), errors.New(f.server.engine.State()) }); err != nil {
		f.t.Fatalf("%s: %v", what, err)
	}
}

func (f *engineFixture) source() Source {
	c := f.remote.Config()
	return Source{Name: "shop", Driver: "PostgreSQL Unicode", Host: c.Host, Port: int(c.Port), Database: c.Database, Username: c.User, Password: &c.Password}
}

func TestEngineIsKeptInStep(t *testing.T) {
	f := startEngine(t)
	f.must("POST", "/v1/people", Person{UserID: "ana"}, nil)
	f.must("POST", "/v1/sources", f.source(), nil)
	f.must("POST", "/v1/data_sources", DataSource{Name: "orders", Source: "shop", RemoteSchema: "shop", RemoteTable: "orders", LocalName: "my orders"}, nil)
	password := `it's "ana's" \ ü`
	f.must("POST", "/v1/people/ana/sql-account", accountRequest{Role: `an"a`, Password: &password}, nil)

	f.eventually("the foreign table", func() bool { return f.text(f.conn, `SELECT to_regclass('immuta."my orders"')::text`) != "" })
	var d DataSource
	f.eventually("the dictionary", func() bool {
		f.must("GET", "/v1/data_sources/orders", nil, &d)
		return d.Synced
	})
	want := []Column{{Name: "id", Type: "bigint"}, {Name: "e-Mail", Type: "text"}, {Name: "amount", Type: "numeric(12,2)"}, {Name: "made", Type: "date"}}
	if len(d.Columns) != len(want) {
		t.Fatalf("columns %+v", d.Columns)
	}
	for i, c := range d.Columns {
		if c.Name != want[i].Name || c.Type != want[i].Type || c.Unconfirmed {
			t.Errorf("column %d is %+v, want %+v", i, c, want[i])
		}
	}
	options := f.text(f.conn, `SELECT array_to_string(ftoptions, ' ') FROM pg_foreign_table WHERE ftrelid = 'immuta."my orders"'::regclass`)
	for _, o := range []string{"schema_name=shop", "table_name=orders", "data_source=" + d.ID} {
		if !strings.Contains(options, o) {
			t.Errorf("options %q lack %q", options, o)
		}
	}
	if f.text(f.conn, `SELECT has_table_privilege('bodata_user', 'immuta."my orders"', 'SELECT')::text`) != "true" {
		t.Error("bodata_user may not ask for the table")
	}
	f.logsIn(`an"a`, password)
	f.checkNode()
	f.checkNoSecretIsLogged(password)
	f.checkTaggedColumns()
	f.checkChanges(d)
}

// logsIn proves the password and the membership.
func (f *engineFixture) logsIn(role, password string) {
	f.t.Helper()
	member := f.text(f.conn, `SELECT pg_has_role($1::name, 'bodata_user', 'MEMBER')::text`, role)
	verifier := f.text(f.conn, `SELECT rolpassword FROM pg_authid WHERE rolname = $1`, role)
	if member != "true" || !scram.Matches(verifier, password) {
		f.t.Errorf("member %s, verifier %q", member, verifier)
	}
	stored := f.text(connect(f.t, f.dsn), "SELECT role_oid::text FROM portcullis.sql_accounts WHERE role = $1", role)
	if oid := f.text(f.conn, "SELECT oid::text FROM pg_roles WHERE rolname = $1", role); oid != stored {
		f.t.Errorf("the role's OID is %s, stored %s", oid, stored)
	}
}

func (f *engineFixture) checkNode() {
	f.t.Helper()
	if got := f.text(f.conn, "SELECT url || ' ' || node FROM immutasys.service_config"); got != "http://127.0.0.1:1 engine" {
		f.t.Errorf("service_config: %q", got)
	}
	sealed := f.text(f.conn, "SELECT api_key_sealed FROM immutasys.dbtoken")
	raw, err := f.server.engine.cfg.NodeKey.Unseal(sealed)
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := f.store.MakeToken(f.t.Context(), string(raw), "engine", TokenLife); err != nil {
		f.t.Errorf("the node's API key: %v", err)
	}
	options := f.text(f.conn, "SELECT array_to_string(umoptions, ' ') FROM pg_user_mapping")
	if !strings.Contains(options, "password_sealed=v1:") || strings.Contains(options, f.remote.Config().Password) {
		f.t.Errorf("user mapping: %s", options)
	}
	if !seal.IsSealed(sealed) {
		f.t.Error("API key is not sealed")
	}
}

func (f *engineFixture) checkNoSecretIsLogged(password string) {
	f.t.Helper()
	log, err := f.engine.LogText()
	if err != nil {
		f.t.Fatal(err)
	}
	if !strings.Contains(log, "statement: SELECT") && !strings.Contains(log, "duration:") {
		f.t.Error("the probe sees no statement in the log")
	}
	for _, secret := range []string{password, f.remote.Config().Password, "pk_", "SCRAM-SHA-256$"} {
		if strings.Contains(log, secret) {
			f.t.Errorf("%q is in the engine's log", secret)
		}
	}
}

// checkChanges follows what changes later: a new column is masked until
// confirmed, a deleted data source and account vanish.
func (f *engineFixture) checkChanges(d DataSource) {
	f.t.Helper()
	f.exec(f.remote, "ALTER TABLE shop.orders ADD COLUMN secret text")
	f.must("POST", "/v1/data_sources/orders/sync", nil, nil)
	f.eventually("the new column", func() bool {
		f.must("GET", "/v1/data_sources/orders", nil, &d)
		return len(d.Columns) == 5 && d.Columns[4].Unconfirmed
	})
	f.must("POST", "/v1/subscriptions", Subscription{DataSource: "orders", UserID: "ana"}, nil)
	var e Explanation
	f.must("GET", "/v1/explain?user=ana&data_source=orders", nil, &e)
	if !e.Decision.Allowed || e.Decision.Masks["secret"].Kind != "null" || len(e.Decision.Masks) != 1 {
		f.t.Errorf("decision: %+v", e.Decision)
	}
	f.must("DELETE", "/v1/data_sources/orders", nil, nil)
	f.must("DELETE", "/v1/sources/shop", nil, nil)
	f.must("DELETE", "/v1/people/ana", nil, nil)
	f.eventually("everything gone", func() bool {
		return f.text(f.conn, `SELECT (SELECT count(*) FROM pg_foreign_table) + (SELECT count(*) FROM pg_foreign_server) + (SELECT count(*) FROM pg_roles WHERE rolname = 'an"a') || ''`) == "0"
	})
}

// checkTaggedColumns: tags of a column that the source does not have keep a new
// data source out of use, and are refused once the columns are known.
func (f *engineFixture) checkTaggedColumns() {
	f.t.Helper()
	f.exec(f.remote, "CREATE TABLE shop.people (email text)")
	tagged := DataSource{Name: "people", Source: "shop", RemoteSchema: "shop", RemoteTable: "people", Columns: []Column{{Name: "emial", Tags: []string{"PII"}}}}
	f.must("POST", "/v1/data_sources", tagged, nil)
	var d DataSource
	f.eventually("the misspelt column is told", func() bool {
		f.must("GET", "/v1/data_sources/people", nil, &d)
		return strings.Contains(d.SyncError, `column "emial", which is stated with tags, is not at the source`)
	})
	if f.text(f.conn, "SELECT to_regclass('immuta.people')::text") != "" {
		f.t.Error("the table is there")
	}
	tagged.Columns[0].Name = "email"
	f.must("PUT", "/v1/data_sources/people", tagged, nil)
	f.eventually("the table is there", func() bool {
		d = DataSource{}
		f.must("GET", "/v1/data_sources/people", nil, &d)
		return d.Synced && len(d.Columns) == 1 && len(d.Columns[0].Tags) == 1
	})
	status, raw := f.call("PUT", "/v1/data_sources/people", f.admin, `{"name":"people","source":"shop","remote_schema":"shop","remote_table":"people","columns":[{"name":"emial","tags":["PII"]}]}`)
	if status != 422 || !contains(raw, `"field":"columns[0].name"`) {
		f.t.Errorf("%d %s", status, raw)
	}
	f.must("DELETE", "/v1/data_sources/people", nil, nil)
}

func TestEngineKeepsForeignRolesAndTables(t *testing.T) {
	f := startEngine(t)
	f.exec(f.conn, "CREATE ROLE boss CREATEROLE LOGIN; CREATE ROLE app LOGIN PASSWORD 'x'")
	f.must("POST", "/v1/people", Person{UserID: "ana"}, nil)
	for _, role := range []string{"boss", "app"} {
		f.must("POST", "/v1/people/ana/sql-account", accountRequest{Role: role, Password: new(string("taken"))}, nil)
	}
	f.eventually("the refusal is told", func() bool {
		st := f.server.engine.State()
		return strings.Contains(st, `"boss"`) && strings.Contains(st, `"app"`)
	})
	if scram.Matches(f.text(f.conn, "SELECT rolpassword FROM pg_authid WHERE rolname = 'app'"), "taken") {
		t.Error("a role that is not ours got another password")
	}
	f.must("DELETE", "/v1/sql_accounts/boss", nil, nil)
	f.must("DELETE", "/v1/sql_accounts/app", nil, nil)
	f.eventually("in step", func() bool { return f.server.engine.State() == "in step" })
	if f.text(f.conn, "SELECT count(*)::text FROM pg_roles WHERE rolname IN ('boss', 'app')") != "2" {
		t.Error("a role that is not ours was dropped")
	}
}

func TestEngineKeepsTablesOfAdministrators(t *testing.T) {
	f := startEngine(t)
	f.must("POST", "/v1/sources", f.source(), nil)
	f.eventually("the server", func() bool { return f.text(f.conn, "SELECT srvname FROM pg_foreign_server") == "shop" })
	f.exec(f.conn, `CREATE SCHEMA own; CREATE FOREIGN TABLE own.mine (id bigint, mail text OPTIONS (column_name 'e-Mail')) SERVER shop OPTIONS (schema_name 'shop', table_name 'orders')`)
	oid := f.text(f.conn, "SELECT 'own.mine'::regclass::oid::text")
	var d DataSource
	f.must("POST", "/v1/data_sources", DataSource{Name: "mine", Source: "shop", RemoteSchema: "shop", RemoteTable: "orders", Unmanaged: true}, &d)
	f.eventually("it waits", func() bool { return strings.Contains(f.server.engine.State(), "create_data_source") })
	f.exec(f.conn, "ALTER FOREIGN TABLE own.mine OPTIONS (ADD data_source '"+d.ID+"')")
	f.eventually("the dictionary", func() bool {
		f.must("GET", "/v1/data_sources/mine", nil, &d)
		return d.Synced
	})
	if len(d.Columns) != 2 || d.Columns[1].Name != "e-Mail" {
		t.Errorf("columns %+v", d.Columns)
	}
	f.must("DELETE", "/v1/data_sources/mine", nil, nil)
	f.eventually("in step", func() bool { return f.server.engine.State() == "in step" })
	if got := f.text(f.conn, "SELECT string_agg(oid::text, ',') FROM pg_class WHERE relkind = 'f'"); got != oid {
		t.Errorf("foreign tables %s, want %s", got, oid)
	}
}

// A second foreign table that claims a data source is told, not followed.
func TestEngineTellsOfTablesThatClaimTheSameDataSource(t *testing.T) {
	f := startEngine(t)
	f.must("POST", "/v1/sources", f.source(), nil)
	var d DataSource
	f.must("POST", "/v1/data_sources", DataSource{Name: "orders", Source: "shop", RemoteSchema: "shop", RemoteTable: "orders"}, &d)
	f.eventually("in step", func() bool {
		f.must("GET", "/v1/data_sources/orders", nil, &d)
		return d.Synced
	})
	oid := f.text(f.conn, "SELECT 'immuta.orders'::regclass::oid::text")
	f.exec(f.conn, "CREATE SCHEMA own; CREATE FOREIGN TABLE own.second (id bigint) SERVER shop OPTIONS (schema_name 'shop', table_name 'orders', data_source '"+d.ID+"')")
	f.server.engine.Wake()
	f.eventually("the refusal is told", func() bool {
		f.must("GET", "/v1/data_sources/orders", nil, &d)
		return strings.Contains(d.SyncError, `"own"."second"`) && strings.Contains(f.server.engine.State(), "claim")
	})
	if got := f.text(f.conn, "SELECT 'immuta.orders'::regclass::oid::text"); got != oid || len(d.Columns) != 4 {
		t.Errorf("the table was made anew or learned from the other: %s, %+v", got, d.Columns)
	}
	f.exec(f.conn, "DROP FOREIGN TABLE own.second")
	f.server.engine.Wake()
	f.eventually("in step", func() bool {
		f.must("GET", "/v1/data_sources/orders", nil, &d)
		return d.Synced && f.server.engine.State() == "in step"
	})
}
