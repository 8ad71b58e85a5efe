package odbc_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"portcullis.dev/portcullis/odbc"
)

func connectError(t *testing.T, s source) *odbc.Error {
	t.Helper()
	c, err := odbc.Connect(t.Context(), s.spec)
	if err == nil {
		c.Close()
		t.Errorf("%s: connected", s.name)
		return &odbc.Error{}
	}
	var e *odbc.Error
	if !errors.As(err, &e) {
		t.Fatalf("%s: %T %v", s.name, err, err)
	}
	return e
}

func TestWrongPassword(t *testing.T) {
	for _, s := range []source{postgres(), mariadb()} {
		const secret = "not-the-pass;word}"
		e := connectError(t, s.with("PWD", secret))
		if e.State == "" || strings.Contains(e.Error(), secret) {
			t.Errorf("%s: %v", s.name, e)
		}
		t.Log(e)
	}
}

func TestRefusedAndUnknownHost(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	for _, s := range []source{postgres(), mariadb()} {
		for name, bad := range map[string]source{"refused": s.with("Port", port), "unknown": s.with("Server", "no-such-host.invalid")} {
			e := connectError(t, bad)
			if !strings.HasPrefix(e.State, "08") && e.State != "HY000" {
				t.Errorf("%s, %s: %v", s.name, name, e)
			}
			t.Log(e)
		}
	}
}

func TestMissingDriver(t *testing.T) {
	evil := filepath.Join(t.TempDir(), "evil.so")
	if err := os.WriteFile(evil, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"No Such Driver", evil, "../evil.so", "", "PostgreSQL Unicode};Driver={" + evil, "SQLite3\x00"} {
		e := connectError(t, source{name, odbc.ConnSpec{Driver: name}})
		if e.State != "IM002" || !strings.Contains(e.Hint, "SQLite3") {
			t.Errorf("%q: %v, hint %q", name, e, e.Hint)
		}
	}
}

func TestStatementErrors(t *testing.T) {
	each(t, func(t *testing.T, s source, c *odbc.Conn) {
		_, err := c.QueryStrings(t.Context(), "SELECT * FROM no_such_table", nil)
		var e *odbc.Error
		if !errors.As(err, &e) || e.State == "" || !strings.Contains(e.Message, "no_such_table") {
			t.Errorf("missing table: %v", err)
		}
		if _, err := c.Query(t.Context(), "SELECT 1, 2", nil, cols(odbc.KindInt64), odbc.QueryOptions{}); state(err) != "07009" {
			t.Errorf("wrong number of columns: %v", err)
		}
		if _, err := c.Query(t.Context(), "SELECT 1", nil, cols(99), odbc.QueryOptions{}); state(err) != "HY003" {
			t.Errorf("unknown kind: %v", err)
		}
		if rows, err := c.QueryStrings(t.Context(), "SELECT 1", nil); err != nil || *rows[0][0] != "1" {
			t.Errorf("after errors: %v", err)
		}
	})
}

// An error in the middle of the rows ends the cursor with it, not with fewer rows.
func TestErrorWhileFetching(t *testing.T) {
	c := postgres().connect(t)
	cur := query(t, c, series(postgres(), 5000, "1 / (i - 3500)"), nil, cols(odbc.KindInt64), odbc.QueryOptions{})
	n, err := all(cur, nil)
	if state(err) != "22012" || n >= 3500 {
		t.Errorf("%d rows, then %v", n, err)
	}
	s := sqlite()
	cur = query(t, s.connect(t), series(s, 5000, "CASE WHEN i = 3500 THEN abs(-9223372036854775807 - 1) ELSE i END"), nil, cols(odbc.KindInt64), odbc.QueryOptions{})
	if n, err = all(cur, nil); err == nil || n >= 3500 {
		t.Errorf("sqlite: %d rows, then %v", n, err)
	}
}

// A connection that drops in mid-fetch is an error and known as dead.
func TestDroppedConnection(t *testing.T) {
	s := postgres()
	c, other := s.connect(t), s.connect(t)
	cur := query(t, c, series(s, 100000, "i"), nil, cols(odbc.KindInt64), odbc.QueryOptions{})
	b, err := cur.Next()
	if err != nil {
		t.Fatal(err)
	}
	b.Release()
	exec(t, other, "SELECT pg_terminate_backend("+strconv.FormatInt(c.Session(), 10)+", 5000)")
	n, err := all(cur, nil)
	if err == nil || n >= 99000 {
		t.Errorf("%d rows, %v", n, err)
	}
	t.Log(err)
	if c.Alive(t.Context()) {
		t.Error("the connection counts as alive")
	}
}

func TestAlive(t *testing.T) {
	each(t, func(t *testing.T, s source, c *odbc.Conn) {
		if !c.Alive(t.Context()) {
			t.Error("a good connection is not alive")
		}
		c.Close()
		if c.Alive(t.Context()) {
			t.Error("a closed connection is alive")
		}
	})
}

func TestTransactions(t *testing.T) {
	each(t, func(t *testing.T, s source, c *odbc.Conn) {
		exec(t, c, "CREATE TABLE tx (i int)")
		if err := c.SetAutoCommit(false); err != nil {
			t.Fatal(err)
		}
		count := func(want string) {
			t.Helper()
			rows, err := c.QueryStrings(t.Context(), "SELECT count(*) FROM tx", nil)
			if err != nil || *rows[0][0] != want {
				t.Errorf("%v rows, %v; want %s", rows, err, want)
			}
		}
		exec(t, c, "INSERT INTO tx VALUES (1)")
		count("1")
		if err := c.Rollback(); err != nil {
			t.Fatal(err)
		}
		count("0")
		exec(t, c, "INSERT INTO tx VALUES (1)")
		if err := c.Commit(); err != nil {
			t.Fatal(err)
		}
		count("1")
		if s.name == "postgres" {
			if err := c.Rollback(); err != nil {
				t.Fatal(err)
			}
			if err := c.SetIsolation(odbc.RepeatableRead); err != nil {
				t.Fatal(err)
			}
			rows, err := c.QueryStrings(t.Context(), "SHOW transaction_isolation", nil)
			if err != nil || *rows[0][0] != "repeatable read" {
				t.Errorf("isolation %v, %v", rows, err)
			}
		}
	})
}

func TestSQLiteReachesNoOtherFile(t *testing.T) {
	s := sqlite()
	s.spec.ReadOnly = true
	c := s.connect(t)
	for _, sql := range []string{"INSERT INTO t VALUES (1)", "ATTACH '" + filepath.Join(t.TempDir(), "x.db") + "' AS x", "CREATE TABLE u (i)"} {
		if err := c.Exec(t.Context(), sql); err == nil {
			t.Errorf("%s succeeded", sql)
		}
	}
}

func TestTypesAndCatalog(t *testing.T) {
	each(t, func(t *testing.T, s source, c *odbc.Conn) {
		exec(t, c, "CREATE TABLE described (id int NOT NULL PRIMARY KEY, name varchar(20))")
		defer exec(t, c, "DROP TABLE described")
		cur := query(t, c, "SELECT id, name, id FROM described", nil, cols(odbc.KindInt64, odbc.KindText), odbc.QueryOptions{Told: 1})
		types, err := cur.Types()
		if err != nil || len(types) != 3 || types[0] != types[2] || types[0].SQLType == types[1].SQLType || types[1].TypeName == "" {
			t.Errorf("%+v, %v", types, err)
		}
		cur.Close()
		tables, err := c.Tables(t.Context(), "", "described", "TABLE")
		if err != nil || len(tables) != 1 || *tables[0][2] != "described" {
			t.Errorf("tables: %d, %v", len(tables), err)
		}
		listed, err := c.Columns(t.Context(), "", "described")
		if err != nil || len(listed) != 2 || *listed[1][3] != "name" {
			t.Errorf("columns: %d, %v", len(listed), err)
		}
		keys, err := c.PrimaryKeys(t.Context(), "", "described")
		if err != nil || len(keys) != 1 || *keys[0][3] != "id" {
			t.Errorf("keys: %d, %v", len(keys), err)
		}
		info := c.Info()
		if info.DBMSName == "" || info.DBMSVersion == "" || info.DriverVersion == "" || info.Quote == "" {
			t.Errorf("%+v", info)
		}
	})
}
