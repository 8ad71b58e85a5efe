package queryaudit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/testenv"
)

// logging is an instance that writes its log in a format.
func logging(t *testing.T, major int, settings map[string]string) *testenv.Postgres {
	t.Helper()
	all := map[string]string{"logging_collector": "on", "log_directory": "log", "log_filename": "at-%Y%m%d-%H%M%S.log", "log_file_mode": "0640",
		"log_timezone": "Europe/Berlin", "log_rotation_age": "0"}
	for name, value := range settings {
		all[name] = value
	}
	p := testenv.StartServer(t, testenv.ServerOptions{Major: major, Settings: all})
	exec(t, p, `CREATE ROLE ann LOGIN PASSWORD 'ann'; CREATE ROLE bob LOGIN PASSWORD 'bob'; CREATE ROLE gate LOGIN PASSWORD 'gate'; CREATE TABLE t (a int, "o""dd" text);
		GRANT SELECT, INSERT ON t TO ann; CREATE ROLE team; GRANT team TO ann`)
	return p
}

func exec(t *testing.T, p *testenv.Postgres, sql string) {
	t.Helper()
	if err := p.Exec(t.Context(), "postgres", sql); err != nil {
		t.Fatal(err)
	}
}

func connect(t *testing.T, p *testenv.Postgres, user string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), p.DSNAs(user, user, "postgres")+"&application_name=tool")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func persons(role string) string { return map[string]string{"ann": "idp/ann@example.com"}[role] }

// readUntil reads on until a statement that holds the text was read, or fails.
func readUntil(t *testing.T, r *Reader, from Position, text string) ([]Record, Position) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all []Record
	for {
		b, err := r.Read(ctx, from)
		if err != nil {
			t.Fatal(err)
		}
		if b.Lost != "" {
			t.Fatal(b.Lost)
		}
		all = append(all, b.Records...)
		from = b.Next
		if slices.ContainsFunc(all, func(r Record) bool { return strings.Contains(r.Statement, text) }) {
			return all, from
		}
		if !b.More {
			select {
			case <-time.After(10 * time.Millisecond): // the collector tells nobody what it wrote
			case <-ctx.Done():
				t.Fatalf("no statement with %q; read up to %+v", text, from)
			}
		}
	}
}

func find(t *testing.T, all []Record, text string) Record {
	t.Helper()
	at := slices.IndexFunc(all, func(r Record) bool { return strings.Contains(r.Statement, text) })
	if at < 0 {
		t.Fatalf("no record of %q in %+v", text, all)
	}
	return all[at]
}

// What a person does is read from the log of every version, by the account and
// its functions alone, across rotations, and has the same ids each time.
func TestStatementsOfEveryVersion(t *testing.T) {
	for _, major := range testenv.Majors() {
		for _, format := range []string{"csv", "json"} {
			if major < 15 && format == "json" {
				continue // jsonlog came with 15
			}
			t.Run(fmt.Sprint(major, " ", format), func(t *testing.T) {
				p := logging(t, major, map[string]string{"log_destination": format + "log", "log_statement": "all"})
				exec(t, p, Script("gate"))
				exec(t, p, Script("gate"))
				log := Remote{Conn: connect(t, p, "gate")}
				zone, err := log.Zone(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				r := &Reader{Log: log, Instance: "4711", Zone: zone, Person: persons}
				began := time.Now().Add(-time.Second)
				ann, bob := connect(t, p, "ann"), connect(t, p, "bob")
				do := func(conn *pgx.Conn, sql string, args ...any) error {
					_, err := conn.Exec(t.Context(), sql, args...)
					return err
				}
				if err := errors.Join(do(ann, "SET ROLE team"), do(ann, "RESET ROLE"), do(ann, "SELECT 'üml\"aut,\n2026-01-01 00:00:00.000 UTC,\"bob\"' AS \"o\"\"dd\" FROM t WHERE a = $1", 7),
					do(bob, "SELECT 'of bob'"), do(ann, "SELECT 'first file'")); err != nil {
					t.Fatal(err)
				}
				if do(ann, "DELETE FROM t") == nil || do(ann, "ALTER ROLE ann PASSWORD 'hush-hush'") != nil {
					t.Error("the privileges are not as this test needs them")
				}
				first, at := readUntil(t, r, Position{}, "ALTER ROLE ann PASSWORD")
				odd := find(t, first, "üml")
				if odd.Person != "idp/ann@example.com" || odd.Role != "ann" || odd.Database != "postgres" || odd.Application != "tool" || odd.Source != FromStatement ||
					!strings.Contains(odd.Statement, "\n2026-01-01 00:00:00.000 UTC,\"bob\"") || !strings.HasPrefix(odd.Client, "127.0.0.1:") || odd.PID != int(ann.PgConn().PID()) {
					t.Errorf("got %+v", odd)
				}
				if odd.Time.Before(began) || odd.Time.After(time.Now().Add(time.Second)) {
					t.Errorf("time %s, want about %s", odd.Time, began)
				}
				if refused := find(t, first, "DELETE FROM t"); !slices.ContainsFunc(first, func(r Record) bool {
					return r.Source == FromError && r.SQLState == "42501" && r.Statement == "DELETE FROM t" && r.Session == refused.Session
				}) {
					t.Errorf("no record of the error in %+v", first)
				}
				if text, _ := json.Marshal(first); strings.Contains(string(text), "hush-hush") || strings.Contains(string(text), "of bob") {
					t.Error("a password, or what nobody's account did, is in the records")
				}
				// Another file, and the same again from the start.
				exec(t, p, "SELECT pg_rotate_logfile()")
				if err := do(ann, "SELECT 'second file'"); err != nil {
					t.Fatal(err)
				}
				second, _ := readUntil(t, r, at, "second file")
				again, _ := readUntil(t, r, Position{}, "second file")
				if got, want := ids(again), append(ids(first), ids(second)...); !slices.Equal(got, want) || len(slices.Compact(slices.Sorted(slices.Values(got)))) != len(got) {
					t.Errorf("%d records, %d when read at once, or not the same ids", len(want), len(got))
				}
			})
		}
	}
}

func ids(all []Record) []string {
	var out []string
	for _, r := range all {
		out = append(out, r.ID)
	}
	return out
}

func TestPgaudit(t *testing.T) {
	p := logging(t, 15, map[string]string{"log_destination": "csvlog", "shared_preload_libraries": "pgaudit", "pgaudit.log": "all", "pgaudit.log_relation": "on", "log_statement": "all"})
	ann := connect(t, p, "ann")
	for _, sql := range []string{`INSERT INTO t VALUES (1, 'x, "y"' || E'\n')`, `SELECT "o""dd" FROM t`, "ALTER ROLE ann PASSWORD 'hush-hush'", "SELECT 'end'"} {
		if _, err := ann.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	r := &Reader{Log: Folder{Path: filepath.Join(p.DataDir, "log")}, Instance: "1", Zone: zone, Person: persons, Sources: []Source{FromPgaudit}}
	all, _ := readUntil(t, r, Position{}, "SELECT 'end'")
	if got := find(t, all, "INSERT INTO"); got.Class != "WRITE" || got.Command != "INSERT" || got.ObjectType != "TABLE" || got.Object != "public.t" || got.Source != FromPgaudit ||
		got.Statement != `INSERT INTO t VALUES (1, 'x, "y"' || E'\n')` {
		t.Errorf("got %+v", got)
	}
	if got := find(t, all, "SELECT \"o\"\"dd\""); got.Class != "READ" || got.Person == "" {
		t.Errorf("got %+v", got)
	}
	if text, _ := json.Marshal(all); strings.Contains(string(text), "hush-hush") {
		t.Error("a password is in the records")
	}
	for _, record := range all {
		if record.Source != FromPgaudit {
			t.Errorf("%+v is none of pgaudit's", record)
		}
	}
}

// The account gets the log and nothing else of the data folder.
func TestOnlyTheLogCanBeRead(t *testing.T) {
	p := logging(t, 16, map[string]string{"log_destination": "jsonlog"})
	gate := connect(t, p, "gate")
	_, err := (Remote{Conn: gate}).Files(t.Context())
	var e *connection.Error
	if !errors.As(err, &e) || e.Code != CodeUnavailable || e.Hint == "" {
		t.Errorf("before the script: %v", err)
	}
	exec(t, p, Script("gate"))
	for _, name := range []string{"../PG_VERSION", "../pg_hba.conf", "/etc/passwd", "..", "a/../../PG_VERSION", "../postgresql.conf\n.csv", "x.csv/../../global/1260", ""} {
		if _, err := (Remote{Conn: gate}).Read(t.Context(), name, 0, 10); err == nil {
			t.Errorf("read %q", name)
		}
	}
	bob := connect(t, p, "bob")
	if _, err := (Remote{Conn: bob}).Files(t.Context()); err == nil {
		t.Error("anybody may list the log")
	}
	exec(t, p, RemovalScript())
	if _, err := (Remote{Conn: gate}).Files(t.Context()); err == nil {
		t.Error("the log can be read after the removal")
	}
	exec(t, p, "CREATE SCHEMA portcullis_audit AUTHORIZATION bob")
	if p.Exec(t.Context(), "postgres", Script("gate")) == nil {
		t.Error("the functions were put into somebody else's schema")
	}
}
