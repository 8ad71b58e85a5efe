package setup

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/dial"
	"portcullis.dev/portcullis/internal/sqltext"
	"portcullis.dev/portcullis/internal/testenv"
)

const (
	account = `sys "acc'ount`
	oddDB   = `od"d\d'b =x`
)

// world is an instance with three databases and three owners of tables.
type world struct {
	*testing.T
	pg     *testenv.Postgres
	target connection.Target
	dialer *dial.Dialer
}

func newWorld(t *testing.T, major int, mode connection.Mode) *world {
	t.Helper()
	w := &world{T: t, pg: testenv.StartServer(t, testenv.ServerOptions{Major: major, Settings: map[string]string{"log_statement": "all"}}), dialer: &dial.Dialer{Timeout: time.Minute}}
	w.target = connection.Target{Name: "c", Host: "localhost", Port: w.pg.Port, Database: "postgres", TLS: connection.TLSDisable,
		Username: account, Mode: mode, Prefix: "portcullis_"}
	w.sql("postgres", `CREATE ROLE keeper LOGIN CREATEROLE PASSWORD 'keeper-password'; CREATE ROLE other LOGIN PASSWORD 'x'`)
	w.sql("postgres", "CREATE DATABASE shop OWNER keeper")
	w.sql("postgres", "CREATE DATABASE "+sqltext.Identifier(oddDB))
	w.sql("shop", `SET ROLE keeper; CREATE SCHEMA "sa""les"; CREATE TABLE "sa""les"."or'ders" (a int); CREATE VIEW "sa""les".v AS SELECT 1; CREATE TABLE "sa""les".lines (a int);
		CREATE SCHEMA private; CREATE TABLE private.t (a int); RESET ROLE; CREATE SCHEMA theirs AUTHORIZATION other; CREATE TABLE theirs.t (a int); ALTER TABLE theirs.t OWNER TO other;
		CREATE TABLE "sa""les".foreign_one (a int); ALTER TABLE "sa""les".foreign_one OWNER TO other`)
	return w
}

func everyMajor(t *testing.T, f func(w *world)) {
	for _, major := range testenv.Majors() {
		t.Run(fmt.Sprint(major), func(t *testing.T) { f(newWorld(t, major, connection.ModeBroker)) })
	}
}

// as is the same instance for another connection.
func (w *world) as(mode connection.Mode, prefix, account string) *world {
	other := *w
	other.target.Mode, other.target.Prefix, other.target.Username = mode, prefix, account
	return &other
}

func (w *world) sql(database, sql string) {
	w.Helper()
	if err := w.pg.Exec(w.Context(), database, sql); err != nil {
		w.Fatalf("%s: %v", sql, err)
	}
}

func (w *world) connect(user, password, database string) *pgx.Conn {
	w.Helper()
	conn, err := pgx.Connect(w.Context(), w.pg.DSNAs(user, password, database))
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// text is one value, as the superuser reads it.
func (w *world) text(database, sql string, args ...any) string {
	w.Helper()
	conn := w.connect(w.pg.User, w.pg.Password, database)
	defer conn.Close(context.Background())
	var text string
	if err := conn.QueryRow(w.Context(), sql, args...).Scan(&text); err != nil {
		w.Fatalf("%s: %v", sql, err)
	}
	return text
}

func (w *world) superuser() Credentials {
	return Credentials{Username: w.pg.User, Password: w.pg.Password}
}

func (w *world) request() Request { return Request{Target: w.target, Credentials: w.superuser()} }

// state is all that setup could change, as text.
func (w *world) state() string {
	w.Helper()
	var b strings.Builder
	b.WriteString(w.text("postgres", `SELECT coalesce(string_agg(x, E'\n' ORDER BY x), '') FROM (
		SELECT concat_ws(' ', 'role', rolname, rolsuper, rolcreaterole, rolcanlogin, rolconnlimit, rolpassword, shobj_description(oid, 'pg_authid')) FROM pg_authid WHERE rolname !~ '^pg_'
		UNION ALL SELECT concat_ws(' ', 'member', roleid::regrole, member::regrole, admin_option) FROM pg_auth_members
		UNION ALL SELECT concat_ws(' ', 'database', datname, datacl) FROM pg_database) s(x)`))
	for _, db := range []string{"postgres", "shop", oddDB} {
		b.WriteString("\n" + db + "\n" + w.text(db, `SELECT coalesce(string_agg(x, E'\n' ORDER BY x), '') FROM (
			SELECT concat_ws(' ', 'schema', nspname, nspacl) FROM pg_namespace WHERE nspname !~ '^pg_(toast|temp)'
			UNION ALL SELECT concat_ws(' ', 'relation', relname, relowner, relacl) FROM pg_class WHERE relnamespace::regnamespace::text !~ '^pg_|information_schema'
			UNION ALL SELECT concat_ws(' ', 'function', proname, md5(prosrc), proacl) FROM pg_proc WHERE pronamespace::regnamespace::text !~ '^pg_|information_schema') s(x)`))
	}
	return b.String()
}

func code(err error) string {
	var e *connection.Error
	if !errors.As(err, &e) {
		return fmt.Sprint(err)
	}
	return e.Code
}

func (w *world) wantCode(err error, want string) {
	w.Helper()
	if code(err) != want {
		w.Fatalf("want code %s, got %v", want, err)
	}
}

// psql runs a script as a DBA would, with input for what it asks.
func (w *world) psql(user, password, script string) (string, error) {
	w.Helper()
	path, err := exec.LookPath("psql")
	if err != nil {
		w.Fatal("psql is missing: run make deps")
	}
	cmd := exec.CommandContext(w.Context(), path, "-X", "-q", "-A", "-t", "-h", w.pg.Host, "-p", fmt.Sprint(w.pg.Port), "-U", user, "-d", "template1")
	cmd.Env = []string{"PGPASSWORD=" + password, "LC_ALL=C.UTF-8", "PGSSLMODE=disable"}
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (w *world) mustPsql(user, password, script string) string {
	w.Helper()
	out, err := w.psql(user, password, script)
	if err != nil || strings.Contains(out, "ERROR") {
		w.Fatalf("psql: %v\n%s", err, out)
	}
	return out
}
