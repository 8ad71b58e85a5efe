// Package fdw_test holds the foreign data wrapper to its promises, in a real
// PostgreSQL and against real sources, as an administrator uses it.
package fdw_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/internal/testenv"
)

// fixture is one instance with the extension and one that is the source.
type fixture struct {
	env    *testenv.Env
	local  *testenv.Postgres
	remote *testenv.Postgres
}

const remoteSchema = `
CREATE TABLE numbers (n int PRIMARY KEY, word text, amount numeric(12,2), day date, ratio double precision, at timestamp);
INSERT INTO numbers SELECT g, 'word ' || g, g + 0.25, date '2020-01-01' + g % 365, g / 3.0, timestamp '2020-01-01' + g * interval '1 second'
  FROM generate_series(1, 20000) g;
CREATE VIEW wide AS SELECT n, word, amount, at, n + 40000 AS large FROM numbers;
CREATE VIEW slow AS SELECT 1 AS n, pg_sleep(60)::text AS nothing;
CREATE VIEW trickle AS SELECT g AS n, CASE WHEN g > 12000 THEN pg_sleep(60)::text ELSE repeat('x', 500) END AS filler FROM generate_series(1, 1000000) g;
`

const localSchema = `
CREATE EXTENSION portcullis;
CREATE SERVER remote FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'PostgreSQL Unicode', host '%[1]s', port '%[2]d', database 'postgres');
CREATE USER MAPPING FOR PUBLIC SERVER remote OPTIONS (username '%[3]s', password '%[4]s');
CREATE FOREIGN TABLE numbers (n int, word text, amount numeric(12,2), day date, ratio double precision, at timestamp) SERVER remote OPTIONS (schema_name 'public');
CREATE FOREIGN TABLE slow (n int, nothing text) SERVER remote OPTIONS (schema_name 'public');
CREATE FOREIGN TABLE trickle (n int, filler text) SERVER remote OPTIONS (schema_name 'public');
`

var shared *fixture

func TestMain(m *testing.M) {
	os.Exit(runAll(m))
}

func runAll(m *testing.M) int {
	ctx := context.Background()
	env, err := testenv.New(testenv.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := env.Stop(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	if shared, err = start(ctx, env); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, env.LogTails(4096))
		return 1
	}
	code := m.Run()
	if code != 0 {
		fmt.Fprintln(os.Stderr, env.LogTails(4096))
	}
	return code
}

func start(ctx context.Context, env *testenv.Env) (*fixture, error) {
	f := &fixture{env: env}
	var err error
	if f.remote, err = env.StartPostgres(ctx, testenv.PostgresOptions{Name: "remote"}); err != nil {
		return nil, err
	}
	if err = f.remote.Exec(ctx, "postgres", remoteSchema); err != nil {
		return nil, err
	}
	folder, err := env.FileFolder()
	if err != nil {
		return nil, err
	}
	settings := map[string]string{"portcullis.file_folder": folder}
	if f.local, err = env.StartPostgres(ctx, testenv.PostgresOptions{Name: "local", Preload: "portcullis", Settings: settings}); err != nil {
		return nil, err
	}
	return f, f.local.Exec(ctx, "postgres", fmt.Sprintf(localSchema, f.remote.Host, f.remote.Port, f.remote.User, f.remote.Password))
}

// session opens a connection as the administrator, closed with the test.
func session(t testing.TB) *pgx.Conn {
	t.Helper()
	conn, err := shared.local.Connect(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	})
	return conn
}

// dialsOnce is a session of a client that, when its connection is gone, does
// not dial again to have its statement cancelled.
func dialsOnce(t *testing.T) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(shared.local.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	testenv.DialOnce(config)
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func do(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %s", sql, describe(err))
	}
}

// cleanup runs sql at the end of the test, in a session of its own.
func cleanup(t testing.TB, sql string) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := shared.local.Exec(ctx, "postgres", sql); err != nil {
			t.Errorf("%s: %s", sql, describe(err))
		}
	})
}

// value reads one value of one row.
func value[T any](t testing.TB, conn *pgx.Conn, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %s", sql, describe(err))
	}
	return v
}

// lines reads the first column of all rows as text.
func lines(t testing.TB, conn *pgx.Conn, sql string, args ...any) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatalf("%s: %s", sql, describe(err))
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %s", sql, describe(err))
	}
	return all
}

// refused runs sql and returns the error that the server answers with.
func refused(t testing.TB, conn *pgx.Conn, sql string, args ...any) *pgconn.PgError {
	t.Helper()
	_, err := conn.Exec(t.Context(), sql, args...)
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		t.Fatalf("%s: want an error of the server, got %v", sql, err)
	}
	return answer
}

func describe(err error) string {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return fmt.Sprintf("%s %s (detail %q, hint %q, where %q)", answer.Code, answer.Message, answer.Detail, answer.Hint, answer.Where)
	}
	return err.Error()
}
