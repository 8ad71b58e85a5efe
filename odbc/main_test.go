package odbc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/odbc"
)

// source is one remote database under test.
type source struct {
	name string
	spec odbc.ConnSpec
}

// The servers of all tests, started once.
var servers struct {
	env      *testenv.Env
	postgres *testenv.Postgres
	mariadb  *testenv.MariaDB
	sqlite   *testenv.SQLite
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	env, err := testenv.New(testenv.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	servers.env = env
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := env.Stop(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	if err := registerLiars(filepath.Join(env.Dir, "liars")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := start(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func start(ctx context.Context) (err error) {
	if servers.postgres, err = servers.env.StartPostgres(ctx, testenv.PostgresOptions{}); err != nil {
		return err
	}
	if servers.mariadb, err = servers.env.StartMariaDB(ctx, testenv.MariaDBOptions{}); err != nil {
		return err
	}
	if err = servers.mariadb.Exec(ctx, "", "CREATE DATABASE d CHARACTER SET utf8mb4"); err != nil {
		return err
	}
	servers.sqlite, err = servers.env.SQLiteFile(ctx, "d.db", "CREATE TABLE t (i INTEGER)")
	return err
}

func postgres() source {
	p := servers.postgres
	return source{"postgres", odbc.ConnSpec{Driver: "PostgreSQL Unicode", Attrs: []odbc.Attr{
		{Name: "Server", Value: p.Host}, {Name: "Port", Value: strconv.Itoa(p.Port)}, {Name: "Database", Value: "postgres"},
		{Name: "UID", Value: p.User}, {Name: "PWD", Value: p.Password}, {Name: "UseDeclareFetch", Value: "1"}, {Name: "Fetch", Value: "1000"},
	}}}
}

func mariadb() source {
	m := servers.mariadb
	return source{"mariadb", odbc.ConnSpec{Driver: "MariaDB Unicode", Attrs: []odbc.Attr{
		{Name: "Server", Value: m.Host}, {Name: "Port", Value: strconv.Itoa(m.Port)}, {Name: "Database", Value: "d"},
		{Name: "UID", Value: m.User}, {Name: "PWD", Value: m.Password}, {Name: "CHARSET", Value: "utf8mb4"},
	}}}
}

func sqlite() source {
	return source{"sqlite", odbc.ConnSpec{Driver: "SQLite3", Attrs: []odbc.Attr{
		{Name: "Database", Value: servers.sqlite.Path}, {Name: "StepAPI", Value: "1"},
	}}}
}

func sources() []source { return []source{postgres(), mariadb(), sqlite()} }

func (s source) with(name, value string) source {
	attrs := append([]odbc.Attr(nil), s.spec.Attrs...)
	for i := range attrs {
		if attrs[i].Name == name {
			attrs[i].Value = value
			s.spec.Attrs = attrs
			return s
		}
	}
	s.spec.Attrs = append(attrs, odbc.Attr{Name: name, Value: value})
	return s
}

func (s source) connect(tb testing.TB) *odbc.Conn {
	tb.Helper()
	c, err := odbc.Connect(tb.Context(), s.spec)
	if err != nil {
		tb.Fatalf("%s: %v", s.name, err)
	}
	tb.Cleanup(c.Close)
	return c
}

func exec(tb testing.TB, c *odbc.Conn, sql string) {
	tb.Helper()
	if err := c.Exec(tb.Context(), sql); err != nil {
		tb.Fatalf("%.60s: %v", sql, err)
	}
}

// each runs a test on a connection to every source.
func each(t *testing.T, f func(t *testing.T, s source, c *odbc.Conn)) {
	for _, s := range sources() {
		t.Run(s.name, func(t *testing.T) { f(t, s, s.connect(t)) })
	}
}

// all reads a cursor to its end; visit sees every row.
func all(cur *odbc.Cursor, visit func(b *odbc.Block, row int)) (rows int, err error) {
	for {
		b, err := cur.Next()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return rows, err
		}
		for row := range b.Rows() {
			if visit != nil {
				visit(b, row)
			}
			rows++
		}
		b.Release()
	}
}

func query(tb testing.TB, c *odbc.Conn, sql string, params []odbc.Param, cols []odbc.Column, o odbc.QueryOptions) *odbc.Cursor {
	tb.Helper()
	cur, err := c.Query(tb.Context(), sql, params, cols, o)
	if err != nil {
		tb.Fatalf("%.80s: %v", sql, err)
	}
	tb.Cleanup(cur.Close)
	return cur
}

func cols(kinds ...odbc.Kind) []odbc.Column {
	out := make([]odbc.Column, len(kinds))
	for i, k := range kinds {
		out[i].Kind = k
	}
	return out
}

func text(s string) odbc.Param { return odbc.Param{Type: odbc.ParamText, Text: s} }

func state(err error) string {
	var e *odbc.Error
	if errors.As(err, &e) {
		return e.State
	}
	return ""
}
