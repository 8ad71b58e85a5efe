// Package interrupt holds sessions to their promises about what comes from
// outside: interrupts are served wherever a session waits, sources that go
// away in the middle are errors, and nothing is left of those who were here.
package interrupt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/policy"
	"portcullis.dev/portcullis/service"
	"portcullis.dev/portcullis/test/world"
)

// Each source holds numbers, and two views that never end: slow before its
// first row, trickle after 12,000 of 500 bytes. Their text is masked.
const (
	postgresTables = `
CREATE TABLE hr.numbers (n int PRIMARY KEY, dept text, filler text);
INSERT INTO hr.numbers SELECT g, 'sales', 'word ' || g FROM generate_series(1, 1000) g;
CREATE VIEW hr.slow AS SELECT 1 AS n, 'sales'::text AS dept, pg_sleep(60)::text AS filler;
CREATE VIEW hr.trickle AS SELECT g AS n, 'sales'::text AS dept, CASE WHEN g > 12000 THEN pg_sleep(60)::text ELSE repeat('x', 500) END AS filler FROM generate_series(1, 1000000) g;
CREATE TABLE hr.deaf (n int, dept text, filler text);
GRANT SELECT ON ALL TABLES IN SCHEMA hr TO reader`
	mariadbTables = `
CREATE TABLE hr.numbers (n int PRIMARY KEY, dept varchar(20), filler varchar(500));
INSERT INTO hr.numbers SELECT seq, 'sales', concat('word ', seq) FROM seq_1_to_1000;
CREATE VIEW hr.slow AS SELECT 1 AS n, 'sales' AS dept, CAST(sleep(60) AS char(100)) AS filler;
CREATE VIEW hr.trickle AS SELECT CAST(seq AS int) AS n, 'sales' AS dept, CASE WHEN seq > 12000 THEN CAST(sleep(60) AS char(100)) ELSE repeat('x', 500) END AS filler FROM seq_1_to_1000000;
CREATE TABLE hr.deaf (n int, dept varchar(20), filler varchar(100))`
	sqliteTables = `
CREATE TABLE numbers (n integer PRIMARY KEY, dept text, filler text);
WITH RECURSIVE s(g) AS (SELECT 1 UNION ALL SELECT g + 1 FROM s WHERE g < 1000) INSERT INTO numbers SELECT g, 'sales', 'word ' || g FROM s;
CREATE VIEW slow AS WITH RECURSIVE s(g) AS (SELECT 1 UNION ALL SELECT g + 1 FROM s) SELECT max(g) AS n, 'sales' AS dept, '' AS filler FROM s;
CREATE VIEW trickle AS WITH RECURSIVE s(g) AS (SELECT 1 UNION ALL SELECT g + 1 FROM s) SELECT g AS n, 'sales' AS dept, printf('%.500c', 'x') AS filler FROM s WHERE g <= 12000 OR g < 0`
)

// site is the installation that the tests share.
type site struct {
	*world.World
	admin  *pgx.Conn
	faults *testenv.DiskFaults           // of the audit spool
	ways   map[string]*testenv.Forwarder // to the servers that are reached over a network, by kind of source
	spare  *testenv.SQLite               // a file of its own, with the table bulk
	deaf   map[string]*testenv.Forwarder // servers that accept and never answer
}

func TestSite(t *testing.T) {
	faults := testenv.NewDiskFaults(t)
	w := world.Start(t, world.Options{Wrap: faults.Wrap(), Settings: map[string]string{"portcullis.lease": "60s", "fsync": "on"}})
	s := &site{World: w, admin: w.Login(t, w.User), faults: faults, ways: map[string]*testenv.Forwarder{}, deaf: map[string]*testenv.Forwarder{}}
	s.register(t)
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s *site)
	}{
		{"interrupts", testInterrupts},
		{"a locked file", testLockedFile},
		{"no decision", testNoDecision},
		{"no audit", testNoAudit},
		{"dropped", testDropped},
		{"many scans", testManyScans},
		{"many sessions", testManySessions},
		{"a file that changes", testChangedFile},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, s) })
	}
}

// register makes the tables and describes them to the service.
func (s *site) register(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	if err := s.PutPerson(ctx, service.Person{UserID: world.Eve, Groups: []string{"sales"}, Attributes: map[string][]string{"dept": {"sales"}}}); err != nil {
		t.Fatal(err)
	}
	for kind, sql := range map[string]string{"pg": postgresTables, "my": mariadbTables, "lite": sqliteTables} {
		if err := s.source(kind).Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	tables := policy.Target{}
	for _, kind := range []string{"pg", "my", "lite"} {
		names := []string{"numbers", "slow", "trickle"}
		if kind != "lite" {
			s.ways[kind] = s.reroute(t, kind, "way_"+kind)
			s.deaf[kind] = s.reroute(t, kind, "deaf_"+kind)
			names = append(names, "deaf")
		}
		for _, name := range names {
			d := service.DataSource{Name: name + "_" + kind, Source: "way_" + kind, RemoteSchema: "hr", RemoteTable: name, Discoverable: true}
			switch {
			case name == "deaf":
				d.Source = "deaf_" + kind
			case kind == "lite":
				d.Source, d.RemoteSchema = "src_lite", ""
			}
			if kind == "my" {
				d.RemoteSchema = ""
			}
			s.post(t, "/v1/data_sources", d)
			tables.DataSources = append(tables.DataSources, d.Name)
		}
	}
	s.registerSpare(t)
	tables.DataSources = append(tables.DataSources, "bulk_spare")
	people := &policy.Who{Any: []*policy.Who{{Group: "everything"}, {Group: "sales"}}}
	s.post(t, "/v1/policies", service.Policy{Name: "may read", Kind: policy.KindSubscription, On: tables, Who: people})
	s.post(t, "/v1/policies", service.Policy{Name: "filler is masked", Kind: policy.KindMask, On: tables,
		Columns: &policy.ColumnChoice{Names: []string{"filler"}}, Mask: &policy.Mask{Kind: policy.MaskHash}, Except: &policy.Who{Group: "everything"}})
	s.post(t, "/v1/policies", service.Policy{Name: "own rows", Kind: policy.KindFilter, On: tables, Filter: "@attributeValuesContains('dept', dept)"})
	if err := s.WaitSynced(ctx); err != nil {
		t.Fatal(err)
	}
	for _, f := range s.deaf {
		f.Silence()
	}
}

// registerSpare makes a second file, for tests that do harm to it.
func (s *site) registerSpare(t *testing.T) {
	t.Helper()
	s.spare = s.file(t, "spare.db", bulk(20000))
	s.post(t, "/v1/sources", service.Source{Name: "src_spare", Driver: "SQLite3", Database: s.spare.Path})
	s.post(t, "/v1/data_sources", service.DataSource{Name: "bulk_spare", Source: "src_spare", RemoteTable: "bulk", Discoverable: true})
}

// file makes a database in the folder that the engine may read.
func (s *site) file(t *testing.T, name, script string) *testenv.SQLite {
	t.Helper()
	f := &testenv.SQLite{Folder: s.SQLite.Folder, Path: filepath.Join(s.SQLite.Folder, name)}
	err := os.WriteFile(f.Path, nil, 0o644)
	if err == nil {
		err = f.Exec(t.Context(), script)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// bulk makes a table of so many rows of 500 bytes.
func bulk(rows int) string {
	return fmt.Sprintf(`DROP TABLE IF EXISTS bulk; CREATE TABLE bulk (n integer PRIMARY KEY, dept text, filler text);
		WITH RECURSIVE s(g) AS (SELECT 1 UNION ALL SELECT g + 1 FROM s WHERE g < %d) INSERT INTO bulk SELECT g, 'sales', printf('%%.500c', 'x') FROM s;`, rows)
}

func (s *site) source(kind string) *world.Source {
	for _, source := range s.Sources {
		if source.Kind == kind {
			return source
		}
	}
	return nil
}

// login opens a session of a client that dials once: one whose connection is
// gone would dial again to have its statement cancelled.
func (s *site) login(t testing.TB, role string) *pgx.Conn {
	t.Helper()
	return s.LoginBy(t, role, testenv.DialOnce)
}

// reroute makes a source like that of a kind, reached by a forwarder.
func (s *site) reroute(t *testing.T, kind, name string) *testenv.Forwarder {
	t.Helper()
	var d service.Source
	if err := s.Call(t.Context(), http.MethodGet, "/v1/sources/src_"+kind, nil, &d); err != nil {
		t.Fatal(err)
	}
	password := world.RemotePassword
	f := testenv.StartForwarder(t, net.JoinHostPort(d.Host, strconv.Itoa(d.Port)))
	s.post(t, "/v1/sources", service.Source{Name: name, Driver: d.Driver, Host: d.Host, Port: f.Port, Database: d.Database, Username: d.Username, Password: &password})
	return f
}

func (s *site) post(t *testing.T, path string, body any) {
	t.Helper()
	if err := s.Call(t.Context(), http.MethodPost, path, body, nil); err != nil {
		t.Fatal(err)
	}
}

func (s *site) do(t testing.TB, sql string, args ...any) {
	t.Helper()
	if _, err := s.admin.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// number asks the administrator's session for one.
func (s *site) number(t testing.TB, sql string, args ...any) (n int64) {
	t.Helper()
	if err := s.admin.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// reads checks that a session reads a source.
func reads(t testing.TB, conn *pgx.Conn, kind string) {
	t.Helper()
	var n int
	if err := conn.QueryRow(t.Context(), "SELECT count(n) FROM immuta.numbers_"+kind).Scan(&n); err != nil || n != 1000 {
		t.Errorf("the session reads %d rows: %v", n, err)
	}
}

// until fails the test when something does not come about.
func until(t testing.TB, what string, done func(ctx context.Context) (bool, error)) {
	t.Helper()
	if err := testenv.Until(t.Context(), 15*time.Second, func() (bool, error) { return done(t.Context()) }); err != nil {
		t.Fatalf("waited in vain for %s: %v", what, err)
	}
}

func wantState(t testing.TB, err error, state string) {
	t.Helper()
	var answer *pgconn.PgError
	if !errors.As(err, &answer) || answer.Code != state {
		t.Errorf("want %s, got %v", state, describe(err))
	}
}

func describe(err error) string {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return fmt.Sprintf("%s %s (detail %q, hint %q)", answer.Code, answer.Message, answer.Detail, answer.Hint)
	}
	return fmt.Sprint(err)
}
