package govern

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/service"
	"portcullis.dev/portcullis/test/world"
)

// salesRows is what eve sees of each source's table.
const salesRows = rows / 2

const countTable = "SELECT count(*) FROM STAFF"

func number(n int64) *int64 { return &n }

// metered is the node with one of its sources under limits.
type metered struct {
	*node
	source *world.Source
}

// sql puts the source's table in place of STAFF.
func (m metered) sql(text string) string { return strings.ReplaceAll(text, "STAFF", m.source.Local()) }

// said is how messages name the source.
func (m metered) said() string { return fmt.Sprintf("source %q", m.source.Name) }

func (m metered) query(t *testing.T, conn *pgx.Conn, text string) (int64, error) {
	t.Helper()
	return query(t, conn, m.sql(text))
}

func (m metered) wantCount(t *testing.T, conn *pgx.Conn, text string, want int64) {
	t.Helper()
	wantCount(t, conn, m.sql(text), want)
}

func (m metered) mustExec(t *testing.T, conn *pgx.Conn, text string) {
	t.Helper()
	mustExec(t, conn, m.sql(text))
}

// limit puts limits on the source and waits until they hold.
func (m metered) limit(t *testing.T, all *service.Limits, of ...service.LimitsFor) {
	t.Helper()
	var s service.Source
	path := "/v1/sources/" + m.source.Name
	if err := m.Call(t.Context(), http.MethodGet, path, nil, &s); err != nil {
		t.Fatal(err)
	}
	s.Limits, s.LimitsFor, s.HasPassword = all, of, false
	if err := m.Call(t.Context(), http.MethodPut, path, s, nil); err != nil {
		t.Fatal(err)
	}
	var st service.Status
	if err := m.Call(t.Context(), http.MethodGet, "/v1/status", nil, &st); err != nil {
		t.Fatal(err)
	}
	if err := world.Until(t.Context(), 10*time.Second, func() (bool, error) {
		version, err := strconv.ParseInt(m.status(t, "policy.version"), 10, 64)
		return version >= st.Version, err
	}); err != nil {
		t.Fatal(err)
	}
}

// Limits hold for a person and a source, and are never met by fewer rows.
func testLimits(t *testing.T, n *node) {
	n.subscribe(t, true)
	for _, source := range n.Sources {
		t.Run(source.Kind, func(t *testing.T) {
			m := metered{n, source}
			m.fill(t)
			defer m.limit(t, nil)
			t.Run("rows", func(t *testing.T) { limitedRows(t, m) })
			t.Run("bytes", func(t *testing.T) { limitedBytes(t, m) })
			t.Run("seconds", func(t *testing.T) { limitedSeconds(t, m) })
			t.Run("statements", func(t *testing.T) { limitedStatements(t, m) })
		})
	}
}

// fill puts the rows that the PostgreSQL source has from the beginning into
// another source's table, with notes of 200 bytes, until the test ends.
func (m metered) fill(t *testing.T) {
	t.Helper()
	const columns = "n, 'name', CASE WHEN n %% 2 = 0 THEN 'sales' ELSE 'board' END, n, 'ssn', '555-01', '2000-01-02'"
	script := map[string]string{
		"my":   "INSERT INTO hr.staff SELECT " + columns + ", repeat('x', 200) FROM (SELECT seq AS n FROM seq_1_to_%d) s",
		"lite": "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < %d) INSERT INTO staff SELECT " + columns + ", printf('%%.200c', 'x') FROM s",
	}[m.source.Kind]
	if script == "" {
		return
	}
	if err := m.source.Exec(t.Context(), fmt.Sprintf(script, rows)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.source.Exec(context.WithoutCancel(t.Context()), "DELETE FROM "+m.source.Table); err != nil {
			t.Error(err)
		}
	})
}

func limitedRows(t *testing.T, m metered) {
	const twice = "SELECT count(*) FROM (SELECT id FROM STAFF UNION ALL SELECT id FROM STAFF) x"
	conn := m.Login(t, world.Eve)
	eve := func(most int64) service.LimitsFor { return service.LimitsFor{UserID: world.Eve, Rows: number(most)} }
	sales := service.LimitsFor{Group: "sales", Rows: number(10)}
	for _, test := range []struct {
		name    string
		all     int64
		of      []service.LimitsFor
		sql     string
		refused bool
	}{
		{"as many as there are", salesRows, nil, countTable, false},
		{"one fewer", salesRows - 1, nil, countTable, true},
		{"few of many are wanted", 10, nil, "SELECT count(*) FROM (SELECT id, note FROM STAFF WHERE length(note) > 0 LIMIT 10) x", false},
		{"one more is wanted", 10, nil, "SELECT count(*) FROM (SELECT id, note FROM STAFF WHERE length(note) > 0 LIMIT 11) x", true},
		{"two scans are one statement", 2*salesRows - 1, nil, twice, true},
		{"two scans fit", 2 * salesRows, nil, twice, false},
		{"a group's is tighter", salesRows, []service.LimitsFor{sales}, countTable, true},
		{"the person's own is wider", 10, []service.LimitsFor{sales, eve(salesRows)}, countTable, false},
		{"the person's own is tighter", salesRows, []service.LimitsFor{eve(10)}, countTable, true},
		{"lifted for the person", 10, []service.LimitsFor{sales, eve(0)}, countTable, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			m.limit(t, &service.Limits{Rows: number(test.all)}, test.of...)
			_, err := m.query(t, conn, test.sql)
			switch {
			case test.refused:
				wantError(t, err, "53400", "rows from "+m.said())
				wantError(t, err, "53400", "ask steward@example.com")
			case err != nil:
				t.Error(err)
			}
		})
	}
	// Nobody is led to believe that there are fewer: rows come until the limit, then an error.
	m.limit(t, &service.Limits{Rows: number(10)})
	found, err := conn.Query(t.Context(), m.sql("SELECT id FROM STAFF"))
	if err != nil {
		t.Fatal(err)
	}
	ids, err := pgx.CollectRows(found, pgx.RowTo[int])
	wantError(t, err, "53400", "at most 10 rows")
	if err == nil {
		t.Errorf("%d rows and no error", len(ids))
	}
}

func limitedBytes(t *testing.T, m metered) {
	conn := m.Login(t, world.Eve)
	m.limit(t, &service.Limits{Bytes: number(1 << 20)})
	_, err := m.query(t, conn, "SELECT count(note) FROM STAFF")
	wantError(t, err, "53400", "bytes from "+m.said())
	m.wantCount(t, conn, "SELECT count(id) FROM STAFF", salesRows)
	m.wantCount(t, conn, "SELECT count(note) FROM (SELECT note FROM STAFF LIMIT 100) x", 100)
	m.limit(t, &service.Limits{Bytes: number(100 << 20)})
	m.wantCount(t, conn, "SELECT count(note) FROM STAFF", salesRows)
}

// whileBlocked runs f while nobody can read the remote table.
func (m metered) whileBlocked(t *testing.T, f func()) {
	t.Helper()
	unlock := map[string]func() func(){
		"pg":   func() func() { return m.lockAtPostgres(t) },
		"my":   func() func() { return m.MariaDB.Lock(t, m.source.Table) },
		"lite": func() func() { return m.SQLite.Lock(t) },
	}[m.source.Kind]()
	defer unlock()
	f()
}

func (m metered) lockAtPostgres(t *testing.T) (unlock func()) {
	t.Helper()
	conn, err := m.Postgres.Connect(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, conn, "BEGIN; LOCK TABLE "+m.source.Table)
	return func() { _ = conn.Close(context.WithoutCancel(t.Context())) }
}

// wantNoRemoteStatement waits until nothing runs at the source for us.
func (m metered) wantNoRemoteStatement(t *testing.T) {
	t.Helper()
	if m.source.Kind == "lite" { // what runs there runs in the session itself
		return
	}
	if err := world.Until(t.Context(), 5*time.Second, func() (bool, error) {
		n, err := m.remoteStatements(t.Context())
		return n == 0, err
	}); err != nil {
		t.Errorf("a remote statement runs on: %v", err)
	}
}

// remoteStatements counts what runs at a server for us.
func (m metered) remoteStatements(ctx context.Context) (count int, err error) {
	if m.source.Kind == "my" {
		out, err := m.MariaDB.Query(ctx, "", "SELECT count(*) FROM information_schema.processlist WHERE user = 'reader' AND command <> 'Sleep'")
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimSpace(out))
	}
	conn, err := m.Postgres.Connect(ctx, "postgres")
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = conn.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader' AND state <> 'idle'").Scan(&count)
	return count, err
}

func limitedSeconds(t *testing.T, m metered) {
	conn := m.Login(t, world.Eve)
	m.limit(t, &service.Limits{Seconds: number(1)})
	m.wantCount(t, conn, countTable, salesRows)
	t.Run("the source is slow", func(t *testing.T) {
		m.whileBlocked(t, func() {
			start := time.Now()
			_, err := m.query(t, conn, countTable)
			wantError(t, err, "57014", m.said()+" busy for at most 1 seconds")
			if took := time.Since(start); took < time.Second || took > 2*time.Second {
				t.Errorf("took %v", took)
			}
			m.wantNoRemoteStatement(t)
		})
		m.wantCount(t, conn, countTable, salesRows)
	})
	t.Run("the reader is slow", func(t *testing.T) {
		m.mustExec(t, conn, "BEGIN; DECLARE c CURSOR FOR SELECT id, note FROM STAFF; FETCH 1 FROM c; SELECT pg_sleep(1.1)")
		m.wantNoRemoteStatement(t)
		_, err := conn.Exec(t.Context(), "FETCH ALL FROM c")
		wantError(t, err, "57014", m.said()+" busy")
		m.mustExec(t, conn, "ROLLBACK")
		m.wantCount(t, conn, countTable, salesRows)
	})
	if m.source.Kind != "pg" { // no source has part in what follows
		return
	}
	t.Run("only the source's time counts", func(t *testing.T) {
		m.wantCount(t, conn, "SELECT count(*) FROM (SELECT id FROM STAFF ORDER BY 1 LIMIT 3) x, pg_sleep(1.2)", 3)
	})
}

// occupy opens a statement that reads on until the function is called.
type occupy func(t *testing.T, conn *pgx.Conn) (end func())

func limitedStatements(t *testing.T, m metered) {
	m.limit(t, &service.Limits{Statements: number(2)}, service.LimitsFor{UserID: world.Hera, Statements: number(1)})
	cursor := func(t *testing.T, conn *pgx.Conn) func() {
		m.mustExec(t, conn, "BEGIN; DECLARE c CURSOR FOR SELECT id, note FROM STAFF; FETCH 1 FROM c")
		return func() { mustExec(t, conn, "CLOSE c; COMMIT") }
	}
	first, second, third := m.Login(t, world.Eve), m.Login(t, world.Eve), m.Login(t, world.Eve)
	endFirst := cursor(t, first)
	for _, test := range []struct {
		name   string
		occupy occupy
	}{
		{"a cursor is closed", cursor},
		{"a transaction is rolled back", func(t *testing.T, conn *pgx.Conn) func() {
			cursor(t, conn)
			return func() { mustExec(t, conn, "ROLLBACK") }
		}},
		{"a cursor fails", func(t *testing.T, conn *pgx.Conn) func() {
			m.mustExec(t, conn, "BEGIN; DECLARE c CURSOR FOR SELECT 1 / (id - 4) FROM STAFF; FETCH 1 FROM c")
			return func() {
				_, err := conn.Exec(t.Context(), "FETCH ALL FROM c")
				wantError(t, err, "22012", "")
				m.mustExec(t, conn, "ROLLBACK")
			}
		}},
		{"a statement is cancelled", m.running("pg_cancel_backend", "57014")},
		{"a session is terminated", m.running("pg_terminate_backend", "57P01")},
		{"a client goes away", func(t *testing.T, conn *pgx.Conn) func() {
			cursor(t, conn)
			return func() { _ = conn.PgConn().Conn().Close() }
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn := m.Login(t, world.Eve)
			end := test.occupy(t, conn)
			_, err := m.query(t, third, countTable)
			wantError(t, err, "53300", m.said())
			wantError(t, err, "53300", "ask steward@example.com")
			end()
			if err := world.Until(t.Context(), 5*time.Second, func() (bool, error) {
				_, err := m.query(t, third, countTable)
				return err == nil, err
			}); err != nil {
				t.Errorf("not given back: %v", err)
			}
		})
	}
	endFirst()
	t.Run("in one session, tables counted once", func(t *testing.T) {
		m.wantCount(t, second, "SELECT count(*) FROM (SELECT id FROM STAFF UNION ALL SELECT id FROM STAFF UNION ALL SELECT id FROM STAFF) x", 3*salesRows)
		m.mustExec(t, second, "BEGIN; DECLARE a CURSOR FOR SELECT id FROM STAFF; DECLARE b CURSOR FOR SELECT id FROM STAFF; SAVEPOINT s")
		_, err := m.query(t, second, countTable)
		wantError(t, err, "53300", "At most 2")
		m.mustExec(t, second, "ROLLBACK TO s; CLOSE a")
		m.wantCount(t, second, countTable, salesRows)
		m.mustExec(t, second, "COMMIT")
	})
	t.Run("each person for themselves", func(t *testing.T) {
		endFirst, endSecond := cursor(t, first), cursor(t, second)
		hera := m.Login(t, world.Hera)
		m.wantCount(t, hera, countTable, rows)
		m.mustExec(t, hera, "BEGIN; DECLARE c CURSOR FOR SELECT id FROM STAFF")
		_, err := m.query(t, hera, countTable)
		wantError(t, err, "53300", "At most 1")
		m.mustExec(t, hera, "ROLLBACK")
		endFirst()
		endSecond()
	})
}

// A killed process cannot give back; the instance restarts with counters at zero.
func TestCrashResetsStatements(t *testing.T) {
	w := world.Start(t, world.Options{})
	n := &node{World: w, admin: w.Login(t, w.User)}
	metered{n, n.Sources[0]}.limit(t, &service.Limits{Statements: number(1)})
	holds, waits := n.Login(t, world.Max), n.Login(t, world.Max)
	mustExec(t, holds, "BEGIN; DECLARE c CURSOR FOR SELECT id FROM immuta.staff_pg")
	_, err := query(t, waits, countStaff)
	wantError(t, err, "53300", "At most 1")
	if err := syscall.Kill(int(holds.PgConn().PID()), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := world.Until(t.Context(), 30*time.Second, func() (bool, error) {
		conn, err := pgx.Connect(t.Context(), n.As(world.Max))
		if err != nil {
			return false, err
		}
		defer conn.Close(context.WithoutCancel(t.Context()))
		_, err = query(t, conn, countStaff)
		return err == nil, err
	}); err != nil {
		t.Error(err)
	}
}

// running runs a long statement that the function ends from outside.
func (m metered) running(function, state string) occupy {
	return func(t *testing.T, conn *pgx.Conn) func() {
		pid := conn.PgConn().PID()
		failed := make(chan error, 1)
		go func() {
			_, err := conn.Exec(t.Context(), m.sql("SELECT count(*) FROM STAFF WHERE pg_sleep(0.01) IS NOT NULL"))
			failed <- err
		}()
		if err := world.Until(t.Context(), 5*time.Second, func() (sleeps bool, err error) {
			err = m.admin.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep')", pid).Scan(&sleeps)
			return sleeps, err
		}); err != nil {
			t.Fatal(err)
		}
		return func() {
			m.exec(t, "SELECT "+function+"($1)", pid)
			wantError(t, <-failed, state, "")
		}
	}
}
