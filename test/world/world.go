// Package world is an installation with people, policies and three remote
// tables of one shape, for tests that do what users and attackers do.
package world

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/policy"
	"portcullis.dev/portcullis/service"
)

// RemotePassword is the credential of the sources: nobody who queries may ever read it.
const RemotePassword = "remote-s3cr3t"

// The people and roles.
const (
	Hera   = "hera"   // sees everything
	Eve    = "eve"    // sees sales, masked
	Max    = "max"    // sees hr and board as they are
	Dan    = "dan"    // subscribed to nothing
	Nobody = "nobody" // a login of bodata_user that belongs to no person
	Exempt = "exa"    // member of portcullis_exempt
	Friend = "friend_of_eve"
)

// World is the running installation.
type World struct {
	*testenv.Engine
	Postgres *testenv.Postgres // the remote one
	MariaDB  *testenv.MariaDB
	SQLite   *testenv.SQLite
	Sources  []*Source

	key      string            // administrator's API key
	password map[string]string // by role
}

// Source is one remote database with its table staff.
type Source struct {
	Kind   string // pg, my, lite
	Name   string // of the source and foreign server
	Data   string // name of the data source and the foreign table
	Schema string // remote schema for IMPORT FOREIGN SCHEMA
	ID     string // uuid of the data source
	Remote string // table options that name the remote table

	// Exec runs statements at the remote database, as its administrator.
	Exec func(ctx context.Context, sql string) error
	// Table is the remote table's name there.
	Table string
	// Backslashes escape in this database's literals.
	Backslashes bool
}

// Local is the foreign table's qualified name.
func (s *Source) Local() string { return "immuta." + s.Data }

// Options change what Start makes.
type Options struct {
	Settings map[string]string // of the engine
	Wrap     []string          // a program with arguments to run the engine under
}

const staffColumns = "(id %s PRIMARY KEY, name %s, dept %[2]s, salary %[1]s, ssn %[2]s, phone %[2]s, born date, note %[2]s)"

// Start starts an installation that ends with the test.
func Start(t testing.TB, o Options) *World {
	t.Helper()
	ctx := t.Context()
	env := testenv.ForTest(t)
	w := &World{password: map[string]string{}}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		w.Engine, err = env.StartEngine(gctx, testenv.EngineOptions{Settings: o.Settings, Wrap: o.Wrap})
		return err
	})
	g.Go(func() error { return w.startPostgres(gctx, env) })
	g.Go(func() error { return w.startMariaDB(gctx, env) })
	g.Go(func() error { return w.makeSQLite(gctx, env) })
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := w.settle(ctx); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *World) startPostgres(ctx context.Context, env *testenv.Env) (err error) {
	if w.Postgres, err = env.StartPostgres(ctx, testenv.PostgresOptions{Name: "remote"}); err != nil {
		return err
	}
	return w.Postgres.Exec(ctx, "postgres", fmt.Sprintf(`CREATE SCHEMA hr; CREATE TABLE hr.staff `+staffColumns+`;
		CREATE ROLE reader LOGIN PASSWORD '%s'; GRANT USAGE ON SCHEMA hr TO reader; GRANT SELECT ON hr.staff TO reader`, "int", "text", RemotePassword))
}

func (w *World) startMariaDB(ctx context.Context, env *testenv.Env) (err error) {
	if w.MariaDB, err = env.StartMariaDB(ctx, testenv.MariaDBOptions{Name: "mariadb"}); err != nil {
		return err
	}
	return w.MariaDB.Exec(ctx, "", fmt.Sprintf(`CREATE DATABASE hr CHARACTER SET utf8mb4; CREATE TABLE hr.staff `+staffColumns+`;
		CREATE USER reader@'127.0.0.1' IDENTIFIED BY '%s'; GRANT SELECT ON hr.* TO reader@'127.0.0.1'`, "int", "varchar(200)", RemotePassword))
}

func (w *World) makeSQLite(ctx context.Context, env *testenv.Env) (err error) {
	w.SQLite, err = env.SQLiteFile(ctx, "staff.db", fmt.Sprintf("CREATE TABLE staff "+staffColumns, "integer", "varchar(200)"))
	return err
}

// settle describes everything to the service and waits until the engine follows.
func (w *World) settle(ctx context.Context) error {
	raw, err := os.ReadFile(w.Service.APIKeyFile)
	if err != nil {
		return err
	}
	w.key = strings.TrimSpace(string(raw))
	w.Sources = []*Source{
		{Kind: "pg", Name: "src_pg", Data: "staff_pg", Schema: "hr", Table: "hr.staff", Remote: "schema_name 'hr', table_name 'staff'",
			Exec: func(ctx context.Context, sql string) error { return w.Postgres.Exec(ctx, "postgres", sql) }},
		{Kind: "my", Name: "src_my", Data: "staff_my", Schema: "hr", Table: "hr.staff", Remote: "table_name 'staff'", Backslashes: true,
			Exec: func(ctx context.Context, sql string) error { return w.MariaDB.Exec(ctx, "hr", sql) }},
		{Kind: "lite", Name: "src_lite", Data: "staff_lite", Schema: "main", Table: "staff", Remote: "table_name 'staff'", Exec: w.SQLite.Exec},
	}
	state := w.state()
	if err := w.Call(ctx, http.MethodPost, "/v1/state", state, nil); err != nil {
		return err
	}
	if err := w.WaitSynced(ctx); err != nil {
		return err
	}
	for _, s := range w.Sources {
		var d service.DataSource
		if err := w.Call(ctx, http.MethodGet, "/v1/data_sources/"+s.Data, nil, &d); err != nil {
			return err
		}
		s.ID = d.ID
	}
	return w.addRoles(ctx)
}

func ptr[T any](v T) *T { return &v }

func (w *World) state() service.State {
	sources := []service.Source{
		{Name: "src_pg", Driver: "PostgreSQL Unicode", Host: w.Postgres.Host, Port: w.Postgres.Port, Database: "postgres", Username: "reader", Password: ptr(RemotePassword)},
		{Name: "src_my", Driver: "MariaDB Unicode", Host: w.MariaDB.Host, Port: w.MariaDB.Port, Database: "hr", Username: "reader", Password: ptr(RemotePassword)},
		{Name: "src_lite", Driver: "SQLite3", Database: w.SQLite.Path},
	}
	data := []service.DataSource{
		{Name: "staff_pg", Source: "src_pg", RemoteSchema: "hr", RemoteTable: "staff", Contact: "steward@example.com", Discoverable: true},
		{Name: "staff_my", Source: "src_my", RemoteTable: "staff", Contact: "steward@example.com", Discoverable: true},
		{Name: "staff_lite", Source: "src_lite", RemoteTable: "staff", Contact: "steward@example.com", Discoverable: true},
	}
	all := policy.Target{DataSources: []string{"staff_pg", "staff_my", "staff_lite"}}
	unmasked := &policy.Who{Any: []*policy.Who{{Group: "everything"}, {Group: "people"}}}
	mask := func(column string, m policy.Mask) service.Policy {
		return service.Policy{Name: column + " is masked", Kind: policy.KindMask, On: all, Columns: &policy.ColumnChoice{Names: []string{column}}, Mask: &m, Except: unmasked}
	}
	policies := []service.Policy{
		{Name: "readers", Kind: policy.KindSubscription, On: all, Who: &policy.Who{Any: []*policy.Who{{Group: "everything"}, {Group: "people"}, {Group: "sales"}}}},
		mask("name", policy.Mask{Kind: policy.MaskHash}),
		mask("salary", policy.Mask{Kind: policy.MaskConstant, Constant: ptr("100")}),
		mask("ssn", policy.Mask{Kind: policy.MaskNull}),
		mask("phone", policy.Mask{Kind: policy.MaskRegex, Pattern: `^.*(..)$`, Replacement: "***$1"}),
		mask("born", policy.Mask{Kind: policy.MaskTruncate, Unit: "year"}),
		{Name: "own departments", Kind: policy.KindFilter, On: all, Filter: "@attributeValuesContains('dept', dept)", Except: &policy.Who{Group: "everything"}},
	}
	accounts := []service.Account{}
	for _, p := range []string{Hera, Eve, Max, Dan} {
		w.password[p] = testenv.Password()
		accounts = append(accounts, service.Account{Role: p, UserID: p, Password: ptr(w.password[p])})
	}
	return service.State{
		Groups: &[]service.Group{{Name: "everything"}, {Name: "people"}, {Name: "sales"}},
		People: &[]service.Person{
			{UserID: Hera, Groups: []string{"everything"}},
			{UserID: Eve, Groups: []string{"sales"}, Attributes: map[string][]string{"dept": manyDepartments()}},
			{UserID: Max, Groups: []string{"people"}, Attributes: map[string][]string{"dept": {"hr", "board"}}},
			{UserID: Dan},
		},
		Sources: &sources, DataSources: &data, Policies: &policies, Accounts: &accounts,
	}
}

// manyDepartments makes the row filter dear, so that a planner that may order
// conditions by their cost puts the person's own ones first.
func manyDepartments() []string {
	departments := []string{"sales"}
	for i := range 60 {
		departments = append(departments, fmt.Sprintf("department %d", i))
	}
	return departments
}

// addRoles makes the roles that are not the service's.
func (w *World) addRoles(ctx context.Context) error {
	for _, role := range []string{Nobody, Exempt} {
		w.password[role] = testenv.Password()
	}
	w.password[w.User] = w.Password
	return w.Exec(ctx, testenv.EngineDatabase, fmt.Sprintf(`
		CREATE ROLE %s LOGIN PASSWORD '%s' IN ROLE bodata_user;
		CREATE ROLE %s LOGIN PASSWORD '%s' IN ROLE bodata_user, portcullis_exempt;
		CREATE ROLE %s NOLOGIN ROLE %s; GRANT bodata_user TO %[5]s`,
		Nobody, w.password[Nobody], Exempt, w.password[Exempt], Friend, Eve))
}

// As is the connection string of a person.
func (w *World) As(role string) string {
	return w.DSNAs(role, w.password[role], testenv.EngineDatabase)
}

// PasswordOf is the password of a role.
func (w *World) PasswordOf(role string) string { return w.password[role] }

// Login opens a session that ends with the test.
func (w *World) Login(t testing.TB, role string) *pgx.Conn {
	t.Helper()
	return w.LoginBy(t, role, func(*pgx.ConnConfig) {})
}

// LoginBy is Login by a client that is set up otherwise.
func (w *World) LoginBy(t testing.TB, role string, set func(*pgx.ConnConfig)) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(w.As(role))
	if err != nil {
		t.Fatal(err)
	}
	set(config)
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatalf("%s cannot log in: %v", role, err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = conn.Close(ctx) // a test may have ended it
	})
	return conn
}

// WaitSynced waits until the engine has what the service describes.
func (w *World) WaitSynced(ctx context.Context) error {
	return Until(ctx, 30*time.Second, func() (bool, error) {
		var st service.Status
		if err := w.Call(ctx, http.MethodGet, "/v1/status", nil, &st); err != nil {
			return false, err
		}
		var accounts []service.Account
		if err := w.Call(ctx, http.MethodGet, "/v1/sql_accounts", nil, &accounts); err != nil {
			return false, err
		}
		for _, a := range accounts {
			if !a.Synced {
				return false, fmt.Errorf("account %s is not there: %s", a.Role, st.Engine)
			}
		}
		if len(st.Unsynced) > 0 {
			return false, fmt.Errorf("not synced: %v (engine: %s)", st.Unsynced, st.Engine)
		}
		return true, nil
	})
}

// Until is testenv's.
func Until(ctx context.Context, limit time.Duration, done func() (bool, error)) error {
	return testenv.Until(ctx, limit, done)
}

// Call calls the service's API as administrator; reply may be nil.
func (w *World) Call(ctx context.Context, method, path string, body, reply any) error {
	var in io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, w.Service.URL+path, in)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+w.key)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, raw)
	}
	if reply == nil {
		return nil
	}
	return json.Unmarshal(raw, reply)
}

// PutPerson replaces a person; it holds from the version that is returned.
func (w *World) PutPerson(ctx context.Context, p service.Person) error {
	return w.Call(ctx, http.MethodPut, "/v1/people/"+url.PathEscape(p.UserID), p, nil)
}

// Audit returns the audit records that match a query string, newest first.
func (w *World) Audit(ctx context.Context, query string) ([]service.AuditEntry, error) {
	var entries []service.AuditEntry
	err := w.Call(ctx, http.MethodGet, "/v1/audit?limit=1000&"+query, nil, &entries)
	return entries, err
}
