// Package native tests connections as an administrator and people use them:
// the program's command line, logins at the instance itself.
package native

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/service"
)

const (
	peoplesPassword = "login-of-a-person"
	patience        = 40 * time.Second // a lease that nobody gave back included
)

// world is an installation and an instance that people reach themselves.
type world struct {
	t       *testing.T
	service *testenv.Service
	store   *testenv.Postgres // where the service keeps what it knows
	remote  *testenv.Postgres
	name    string // of the connection
	dba     string // file with the superuser's password
}

func newWorld(t *testing.T, people ...string) *world {
	t.Helper()
	return newWorldOn(t, testenv.StartEngine(t, testenv.EngineOptions{}), testenv.StartServer(t, testenv.ServerOptions{}), "shop", people...)
}

// newWorldOn is another instance for an installation that runs.
func newWorldOn(t *testing.T, engine *testenv.Engine, remote *testenv.Postgres, name string, people ...string) *world {
	t.Helper()
	w := &world{t: t, service: engine.Service, store: engine.Postgres, remote: remote, name: name}
	if err := w.remote.CreateDatabase(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	for _, p := range people {
		w.run("CREATE ROLE " + pgx.Identifier{p}.Sanitize() + " LOGIN PASSWORD '" + peoplesPassword + "'")
	}
	w.run("CREATE SCHEMA sales; CREATE TABLE sales.orders (id int, email text); CREATE TABLE sales.notes (id int)")
	w.dba = filepath.Join(t.TempDir(), "dba")
	if err := os.WriteFile(w.dba, []byte(w.remote.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

// run runs SQL at the instance as its superuser.
func (w *world) run(sql string) {
	w.t.Helper()
	w.runIn("shop", sql)
}

func (w *world) runIn(database, sql string) {
	w.t.Helper()
	if err := w.remote.Exec(w.t.Context(), database, sql); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) connect() *pgx.Conn {
	w.t.Helper()
	conn, err := w.remote.Connect(w.t.Context(), "shop")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := conn.Close(context.WithoutCancel(w.t.Context())); err != nil {
			w.t.Error(err)
		}
	})
	return conn
}

// add registers the instance, people by their userid.
func (w *world) add(flags ...string) string {
	w.t.Helper()
	return w.cli(w.registration("add", flags...)...)
}

func (w *world) registration(action string, flags ...string) []string {
	return append([]string{"connection", action, w.name, "--host", w.remote.Host, "--port", fmt.Sprint(w.remote.Port), "--database", "shop", "--tls", "disable",
		"--map-by", "userid", "--setup-user", w.remote.User, "--setup-password-file", w.dba}, flags...)
}

// fails runs a command that is to be refused, and returns how.
func (w *world) fails(args ...string) string {
	w.t.Helper()
	out, err := w.service.CLI(w.t.Context(), args...)
	if exitCode(err) != 1 {
		w.t.Fatalf("portcullis %s: exit code %d, %v: %s", strings.Join(args, " "), exitCode(err), err, out)
	}
	return err.Error()
}

func (w *world) cli(args ...string) string {
	w.t.Helper()
	out, err := w.service.CLI(w.t.Context(), args...)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// apply makes the service equal to YAML.
func (w *world) apply(state string) {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), "state.yaml")
	if err := os.WriteFile(file, []byte(state), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.cli("apply", "-f", file)
}

func (w *world) status() (st service.ConnectionStatus) {
	w.t.Helper()
	if err := json.Unmarshal([]byte(w.cli("connection", "status", w.name, "-o", "json")), &st); err != nil {
		w.t.Fatal(err)
	}
	return st
}

// can tells whether a person who logs in at the instance may run a statement.
func (w *world) can(person, sql string) bool {
	w.t.Helper()
	return w.canIn("shop", person, sql)
}

func (w *world) canIn(database, person, sql string) bool {
	w.t.Helper()
	return testenv.May(w.t, w.remote.DSNAs(person, peoplesPassword, database), sql)
}

func (w *world) soon(about string, f func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patience); !f(); {
		if time.Now().After(end) {
			w.t.Fatalf("%s: not so after %s: %+v", about, patience, w.status())
		}
		select {
		case <-w.t.Context().Done():
			w.t.Fatal(w.t.Context().Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (w *world) soonCan(person, sql string, want bool) {
	w.t.Helper()
	w.soon(fmt.Sprintf("%s: %s: %t", person, sql, want), func() bool { return w.can(person, sql) == want })
}

func (w *world) inStep() {
	w.t.Helper()
	w.soon("in step", func() bool { return w.status().State == "in step" })
}

// psql runs a script as the DBA would.
func (w *world) psql(script string) {
	w.t.Helper()
	w.psqlIn("shop", script)
}

func (w *world) psqlIn(database, script string) {
	w.t.Helper()
	cmd := w.store.Command(w.t.Context(), database, "psql", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-q", "-d", w.remote.DSN(database)) // of another version, maybe
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("psql: %v: %s", err, out)
	}
}

// list reads a column of the instance, or of the service's store.
func list(t *testing.T, pg *testenv.Postgres, database, sql string, args ...any) []string {
	t.Helper()
	conn, err := pg.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	rows, err := conn.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return out
}

// ledger lists the roles that the service says it made.
func (w *world) ledger() []string {
	w.t.Helper()
	return list(w.t, w.store, "portcullis", `SELECT l.name FROM portcullis.connection_ledger l JOIN portcullis.connections c ON c.id = l.connection WHERE c.name = $1 ORDER BY 1`, w.name)
}

func (w *world) roles() []string {
	w.t.Helper()
	return list(w.t, w.remote, "shop", `SELECT rolname FROM pg_roles WHERE NOT starts_with(rolname, 'pg_') ORDER BY 1`)
}

// given lists who may do what, and who is in which role.
func (w *world) given() []string {
	w.t.Helper()
	return list(w.t, w.remote, "shop", `SELECT concat_ws(' ', o, a.grantor::regrole, a.grantee::regrole, a.privilege_type, a.is_grantable) FROM (
			SELECT oid::regclass::text AS o, coalesce(relacl, acldefault('r', relowner)) AS acl FROM pg_class WHERE relkind = 'r' AND relnamespace IN ('sales'::regnamespace, 'public'::regnamespace)
			UNION ALL SELECT nspname, coalesce(nspacl, acldefault('n', nspowner)) FROM pg_namespace WHERE NOT starts_with(nspname, 'pg_')
			UNION ALL SELECT datname, coalesce(datacl, acldefault('d', datdba)) FROM pg_database) x, aclexplode(x.acl) a
		UNION ALL SELECT concat_ws(' ', roleid::regrole, 'to', member::regrole, 'by', grantor::regrole) FROM pg_auth_members ORDER BY 1`)
}

// exitCode is how the command line ended.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}
