package difftest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/fdw"
	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/odbc"
)

// servers are started once for all tests.
type servers struct {
	env      *testenv.Env
	postgres *testenv.Postgres
	mariadb  *testenv.MariaDB
	sqlite   *testenv.SQLite
}

var shared servers

func TestMain(m *testing.M) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	code := 1
	if err := shared.start(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "these tests need real servers, see make deps:", err)
	} else {
		code = m.Run()
	}
	if shared.env != nil {
		if err := shared.env.Stop(context.WithoutCancel(ctx)); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	cancel()
	os.Exit(code)
}

func (s *servers) start(ctx context.Context) (err error) {
	if s.env, err = testenv.New(testenv.Options{}); err != nil {
		return err
	}
	if s.postgres, err = s.env.StartPostgres(ctx, testenv.PostgresOptions{}); err != nil {
		return err
	}
	if s.mariadb, err = s.env.StartMariaDB(ctx, testenv.MariaDBOptions{}); err != nil {
		return err
	}
	s.sqlite, err = s.env.SQLiteFile(ctx, "d.db", "")
	return err
}

// source is one remote database with the dialect that speaks to it.
type source struct {
	name    string
	dialect fdw.Dialect
	conn    *odbc.Conn
	exec    func(sql string) error
	schema  string
}

// open connects as the dialect says, with all that a session gets.
func open(t *testing.T, name string) *source {
	t.Helper()
	s := &source{name: name}
	var server, mapping map[string]string
	env := fdw.Env{}
	ctx := t.Context()
	switch name {
	case "postgres":
		p := shared.postgres
		server = map[string]string{"driver": "PostgreSQL Unicode", "host": p.Host, "port": strconv.Itoa(p.Port), "database": "postgres"}
		mapping = map[string]string{"username": p.User, "password": p.Password}
		s.exec, s.schema = func(sql string) error { return p.Exec(ctx, "postgres", sql) }, "public"
	case "mariadb":
		m := shared.mariadb
		if err := m.Exec(ctx, "", "CREATE DATABASE IF NOT EXISTS d CHARACTER SET utf8mb4"); err != nil {
			t.Fatal(err)
		}
		server = map[string]string{"driver": "MariaDB Unicode", "host": m.Host, "port": strconv.Itoa(m.Port), "database": "d"}
		mapping = map[string]string{"username": m.User, "password": m.Password}
		s.exec, s.schema = func(sql string) error { return m.Exec(ctx, "d", sql) }, "d"
	case "sqlite":
		server = map[string]string{"driver": "SQLite3", "database": shared.sqlite.Path}
		env.FileFolder = shared.sqlite.Folder
		s.exec, s.schema = func(sql string) error { return shared.sqlite.Exec(ctx, sql) }, "main"
	}
	if err := fdw.ValidateOptions('s', server); err != nil {
		t.Fatal(err)
	}
	d, err := fdw.ForServer(server)
	if err != nil {
		t.Fatal(err)
	}
	how, err := d.Connection(server, mapping, env)
	if err != nil {
		t.Fatal(err)
	}
	spec := odbc.ConnSpec{Driver: how.Driver}
	for _, a := range how.Attrs {
		spec.Attrs = append(spec.Attrs, odbc.Attr{Name: a.Name, Value: a.Value})
	}
	if s.conn, err = odbc.Connect(ctx, spec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.conn.Close)
	for _, sql := range how.Setup {
		if err := s.conn.Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	for _, v := range how.Verify {
		rows, err := s.conn.QueryStrings(ctx, v.SQL, nil)
		if err != nil || len(rows) != 1 || rows[0][0] == nil || *rows[0][0] != v.Want {
			t.Fatalf("%s: %v %v", v.SQL, rows, err)
		}
	}
	s.dialect = d
	if err := s.conn.SetAutoCommit(how.AutoCommit); err != nil {
		t.Fatal(err)
	}
	return s
}

// QueryStrings makes a source a Querier.
func (s *source) QueryStrings(ctx context.Context, sql string, params []string) ([][]*string, error) {
	var bound []odbc.Param
	for _, p := range params {
		bound = append(bound, odbc.Param{Type: odbc.ParamText, Text: p})
	}
	return s.conn.QueryStrings(ctx, sql, bound)
}

func bind(args []fdw.Arg, params []*string) ([]odbc.Param, error) {
	var out []odbc.Param
	for _, a := range args {
		v, err := a.Value(params)
		if err != nil {
			return nil, err
		}
		kind := map[fdw.Bind]odbc.ParamType{fdw.BindText: odbc.ParamText, fdw.BindInt64: odbc.ParamInt,
			fdw.BindFloat64: odbc.ParamFloat, fdw.BindBytes: odbc.ParamBytes}[v.Bind]
		out = append(out, odbc.Param{Type: kind, Null: v.Null, Text: v.Text, Int: v.Int, Float: v.Float, Bytes: v.Bytes})
	}
	return out, nil
}

// rows runs a statement and reads every value as text; nil is NULL.
func (s *source) rows(ctx context.Context, st *fdw.Statement, params []*string) ([][]*string, error) {
	bound, err := bind(st.Args, params)
	if err != nil {
		return nil, err
	}
	var cols []odbc.Column
	for _, c := range st.Columns {
		cols = append(cols, odbc.Column{Kind: odbc.Kind(c.Kind), MaxLen: c.MaxLen})
	}
	cur, err := s.conn.Query(ctx, st.SQL, bound, cols, odbc.QueryOptions{})
	if err != nil {
		return nil, err
	}
	defer cur.Close()
	var out [][]*string
	for {
		b, err := cur.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		for r := range b.Rows() {
			row := make([]*string, len(cols))
			for c := range cols {
				if !b.IsNull(c, r) {
					v := value(b, cols[c].Kind, c, r)
					row[c] = &v
				}
			}
			out = append(out, row)
		}
		b.Release()
	}
}

func value(b *odbc.Block, k odbc.Kind, c, r int) string {
	switch k {
	case odbc.KindInt64:
		return strconv.FormatInt(b.Int64(c, r), 10)
	case odbc.KindFloat64, odbc.KindFloat64Bits:
		return strconv.FormatFloat(b.Float64(c, r), 'g', -1, 64)
	case odbc.KindBool:
		return strconv.FormatBool(b.Bool(c, r))
	case odbc.KindBytes:
		return fmt.Sprintf("\\x%x", b.Bytes(c, r))
	}
	return string(b.Bytes(c, r))
}

// local is the PostgreSQL that says what is right.
func local(t *testing.T) *pgx.Conn {
	t.Helper()
	c, err := shared.postgres.Connect(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	if _, err := c.Exec(t.Context(), "SET TimeZone = 'Asia/Kathmandu'; SET extra_float_digits = 3"); err != nil {
		t.Fatal(err)
	}
	return c
}
