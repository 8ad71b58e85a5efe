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
	"github.com/jackc/pgx/v5/pgconn"

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
	remote  *testenv.Postgres
	dba     string // file with the superuser's password
}

func newWorld(t *testing.T, people ...string) *world {
	t.Helper()
	w := &world{t: t, service: testenv.StartEngine(t, testenv.EngineOptions{}).Service, remote: testenv.StartPostgres(t, testenv.PostgresOptions{Name: "remote"})}
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
	if err := w.remote.Exec(w.t.Context(), "shop", sql); err != nil {
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

// add registers the instance as "shop", people by their userid.
func (w *world) add(flags ...string) string {
	w.t.Helper()
	return w.cli(append([]string{"connection", "add", "shop", "--host", w.remote.Host, "--port", fmt.Sprint(w.remote.Port), "--database", "shop", "--tls", "disable",
		"--map-by", "userid", "--setup-user", w.remote.User, "--setup-password-file", w.dba}, flags...)...)
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
	if err := json.Unmarshal([]byte(w.cli("connection", "status", "shop", "-o", "json")), &st); err != nil {
		w.t.Fatal(err)
	}
	return st
}

// can tells whether a person who logs in at the instance may run a statement.
func (w *world) can(person, sql string) bool {
	w.t.Helper()
	conn, err := pgx.Connect(w.t.Context(), w.remote.DSNAs(person, peoplesPassword, "shop"))
	if err == nil {
		defer conn.Close(w.t.Context())
		_, err = conn.Exec(w.t.Context(), sql)
	}
	var refused *pgconn.PgError
	if err != nil && (!errors.As(err, &refused) || refused.Code != "42501") {
		w.t.Fatalf("%s: %s: %v", person, sql, err)
	}
	return err == nil
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
	cmd := w.remote.Command(w.t.Context(), "shop", "psql", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-q")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("psql: %v: %s", err, out)
	}
}

// exitCode is how the command line ended.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}
