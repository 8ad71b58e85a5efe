package govern

import (
	"context"
	"net/http"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/service"
	"portcullis.dev/portcullis/test/world"
)

// salesRows is what eve sees of staff_pg.
const salesRows = rows / 2

func number(n int64) *int64 { return &n }

// limit puts limits on the source of staff_pg and waits until they hold.
func (n *node) limit(t *testing.T, all *service.Limits, of ...service.LimitsFor) {
	t.Helper()
	var s service.Source
	if err := n.Call(t.Context(), http.MethodGet, "/v1/sources/src_pg", nil, &s); err != nil {
		t.Fatal(err)
	}
	s.Limits, s.LimitsFor, s.HasPassword = all, of, false
	if err := n.Call(t.Context(), http.MethodPut, "/v1/sources/src_pg", s, nil); err != nil {
		t.Fatal(err)
	}
	var st service.Status
	if err := n.Call(t.Context(), http.MethodGet, "/v1/status", nil, &st); err != nil {
		t.Fatal(err)
	}
	if err := world.Until(t.Context(), 10*time.Second, func() (bool, error) {
		version, err := strconv.ParseInt(n.status(t, "policy.version"), 10, 64)
		return version >= st.Version, err
	}); err != nil {
		t.Fatal(err)
	}
}

// Limits hold for a person and a source, and are never met by fewer rows.
func testLimits(t *testing.T, n *node) {
	n.subscribe(t, true)
	defer n.limit(t, nil)
	t.Run("rows", func(t *testing.T) { limitedRows(t, n) })
	t.Run("bytes", func(t *testing.T) { limitedBytes(t, n) })
	t.Run("seconds", func(t *testing.T) { limitedSeconds(t, n) })
	t.Run("statements", func(t *testing.T) { limitedStatements(t, n) })
}

func limitedRows(t *testing.T, n *node) {
	const twice = "SELECT count(*) FROM (SELECT id FROM immuta.staff_pg UNION ALL SELECT id FROM immuta.staff_pg) x"
	conn := n.Login(t, world.Eve)
	eve := func(most int64) service.LimitsFor { return service.LimitsFor{UserID: world.Eve, Rows: number(most)} }
	sales := service.LimitsFor{Group: "sales", Rows: number(10)}
	for _, test := range []struct {
		name    string
		all     int64
		of      []service.LimitsFor
		sql     string
		refused bool
	}{
		{"as many as there are", salesRows, nil, countStaff, false},
		{"one fewer", salesRows - 1, nil, countStaff, true},
		{"few of many are wanted", 10, nil, "SELECT count(*) FROM (SELECT id, note FROM immuta.staff_pg WHERE length(note) > 0 LIMIT 10) x", false},
		{"one more is wanted", 10, nil, "SELECT count(*) FROM (SELECT id, note FROM immuta.staff_pg WHERE length(note) > 0 LIMIT 11) x", true},
		{"two scans are one statement", 2*salesRows - 1, nil, twice, true},
		{"two scans fit", 2 * salesRows, nil, twice, false},
		{"a group's is tighter", salesRows, []service.LimitsFor{sales}, countStaff, true},
		{"the person's own is wider", 10, []service.LimitsFor{sales, eve(salesRows)}, countStaff, false},
		{"the person's own is tighter", salesRows, []service.LimitsFor{eve(10)}, countStaff, true},
		{"lifted for the person", 10, []service.LimitsFor{sales, eve(0)}, countStaff, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			n.limit(t, &service.Limits{Rows: number(test.all)}, test.of...)
			_, err := query(t, conn, test.sql)
			switch {
			case test.refused:
				wantError(t, err, "53400", `rows from source "src_pg"`)
				wantError(t, err, "53400", "ask steward@example.com")
			case err != nil:
				t.Error(err)
			}
		})
	}
	// Nobody is led to believe that there are fewer: rows come until the limit, then an error.
	n.limit(t, &service.Limits{Rows: number(10)})
	found, err := conn.Query(t.Context(), "SELECT id FROM immuta.staff_pg")
	if err != nil {
		t.Fatal(err)
	}
	ids, err := pgx.CollectRows(found, pgx.RowTo[int])
	wantError(t, err, "53400", "at most 10 rows")
	if err == nil {
		t.Errorf("%d rows and no error", len(ids))
	}
}

func limitedBytes(t *testing.T, n *node) {
	conn := n.Login(t, world.Eve)
	n.limit(t, &service.Limits{Bytes: number(1 << 20)})
	_, err := query(t, conn, "SELECT count(note) FROM immuta.staff_pg")
	wantError(t, err, "53400", `bytes from source "src_pg"`)
	wantCount(t, conn, "SELECT count(id) FROM immuta.staff_pg", salesRows)
	wantCount(t, conn, "SELECT count(note) FROM (SELECT note FROM immuta.staff_pg LIMIT 100) x", 100)
	n.limit(t, &service.Limits{Bytes: number(100 << 20)})
	wantCount(t, conn, "SELECT count(note) FROM immuta.staff_pg", salesRows)
}

// remoteStatements counts what runs at the source for us.
func (n *node) remoteStatements(t *testing.T) (count int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), n.Postgres.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader' AND state <> 'idle'").Scan(&count); err != nil {
		t.Fatal(err)
	}
	return count
}

// whileBlocked runs f while nobody can read the remote table.
func (n *node) whileBlocked(t *testing.T, f func()) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), n.Postgres.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	mustExec(t, conn, "BEGIN; LOCK TABLE hr.staff")
	f()
	mustExec(t, conn, "ROLLBACK")
}

func (n *node) wantNoRemoteStatement(t *testing.T) {
	t.Helper()
	if err := world.Until(t.Context(), 5*time.Second, func() (bool, error) { return n.remoteStatements(t) == 0, nil }); err != nil {
		t.Errorf("a remote statement runs on: %v", err)
	}
}

func limitedSeconds(t *testing.T, n *node) {
	conn := n.Login(t, world.Eve)
	n.limit(t, &service.Limits{Seconds: number(1)})
	wantCount(t, conn, countStaff, salesRows)
	t.Run("the source is slow", func(t *testing.T) {
		n.whileBlocked(t, func() {
			start := time.Now()
			_, err := query(t, conn, countStaff)
			wantError(t, err, "57014", `source "src_pg" busy for at most 1 seconds`)
			if took := time.Since(start); took < time.Second || took > 2*time.Second {
				t.Errorf("took %v", took)
			}
			n.wantNoRemoteStatement(t)
		})
		wantCount(t, conn, countStaff, salesRows)
	})
	t.Run("the reader is slow", func(t *testing.T) {
		mustExec(t, conn, "BEGIN; DECLARE c CURSOR FOR SELECT id, note FROM immuta.staff_pg; FETCH 1 FROM c")
		n.wantNoRemoteStatement(t)
		_, err := conn.Exec(t.Context(), "FETCH ALL FROM c")
		wantError(t, err, "57014", `source "src_pg" busy`)
		mustExec(t, conn, "ROLLBACK")
		wantCount(t, conn, countStaff, salesRows)
	})
	t.Run("only the source's time counts", func(t *testing.T) {
		wantCount(t, conn, "SELECT count(*) FROM (SELECT id FROM immuta.staff_pg ORDER BY 1 LIMIT 3) x, pg_sleep(1.2)", 3)
	})
}

// occupy opens a statement that reads on until the function is called.
type occupy func(t *testing.T, n *node, conn *pgx.Conn) (end func())

func limitedStatements(t *testing.T, n *node) {
	n.limit(t, &service.Limits{Statements: number(2)}, service.LimitsFor{UserID: world.Hera, Statements: number(1)})
	cursor := func(t *testing.T, _ *node, conn *pgx.Conn) func() {
		mustExec(t, conn, "BEGIN; DECLARE c CURSOR FOR SELECT id, note FROM immuta.staff_pg; FETCH 1 FROM c")
		return func() { mustExec(t, conn, "CLOSE c; COMMIT") }
	}
	first, second, third := n.Login(t, world.Eve), n.Login(t, world.Eve), n.Login(t, world.Eve)
	endFirst := cursor(t, n, first)
	for _, test := range []struct {
		name   string
		occupy occupy
	}{
		{"a cursor is closed", cursor},
		{"a transaction is rolled back", func(t *testing.T, n *node, conn *pgx.Conn) func() {
			cursor(t, n, conn)
			return func() { mustExec(t, conn, "ROLLBACK") }
		}},
		{"a cursor fails", func(t *testing.T, _ *node, conn *pgx.Conn) func() {
			mustExec(t, conn, "BEGIN; DECLARE c CURSOR FOR SELECT 1 / (id - 4) FROM immuta.staff_pg; FETCH 1 FROM c")
			return func() {
				_, err := conn.Exec(t.Context(), "FETCH ALL FROM c")
				wantError(t, err, "22012", "")
				mustExec(t, conn, "ROLLBACK")
			}
		}},
		{"a statement is cancelled", running("pg_cancel_backend", "57014")},
		{"a session is terminated", running("pg_terminate_backend", "57P01")},
		{"a client goes away", func(t *testing.T, n *node, conn *pgx.Conn) func() {
			cursor(t, n, conn)
			return func() { _ = conn.PgConn().Conn().Close() }
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn := n.Login(t, world.Eve)
			end := test.occupy(t, n, conn)
			_, err := query(t, third, countStaff)
			wantError(t, err, "53300", `source "src_pg"`)
			wantError(t, err, "53300", "ask steward@example.com")
			end()
			if err := world.Until(t.Context(), 5*time.Second, func() (bool, error) {
				_, err := query(t, third, countStaff)
				return err == nil, err
			}); err != nil {
				t.Errorf("not given back: %v", err)
			}
		})
	}
	endFirst()
	t.Run("in one session, tables counted once", func(t *testing.T) {
		wantCount(t, second, "SELECT count(*) FROM (SELECT id FROM immuta.staff_pg UNION ALL SELECT id FROM immuta.staff_pg UNION ALL SELECT id FROM immuta.staff_pg) x", 3*salesRows)
		mustExec(t, second, "BEGIN; DECLARE a CURSOR FOR SELECT id FROM immuta.staff_pg; DECLARE b CURSOR FOR SELECT id FROM immuta.staff_pg; SAVEPOINT s")
		_, err := query(t, second, countStaff)
		wantError(t, err, "53300", "At most 2")
		mustExec(t, second, "ROLLBACK TO s; CLOSE a")
		wantCount(t, second, countStaff, salesRows)
		mustExec(t, second, "COMMIT")
	})
	t.Run("each person for themselves", func(t *testing.T) {
		endFirst, endSecond := cursor(t, n, first), cursor(t, n, second)
		hera := n.Login(t, world.Hera)
		wantCount(t, hera, countStaff, rows)
		mustExec(t, hera, "BEGIN; DECLARE c CURSOR FOR SELECT id FROM immuta.staff_pg")
		_, err := query(t, hera, countStaff)
		wantError(t, err, "53300", "At most 1")
		mustExec(t, hera, "ROLLBACK")
		endFirst()
		endSecond()
	})
}

// A killed process cannot give back; the instance restarts with counters at zero.
func TestCrashResetsStatements(t *testing.T) {
	w := world.Start(t, world.Options{})
	n := &node{World: w, admin: w.Login(t, w.User)}
	n.limit(t, &service.Limits{Statements: number(1)})
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
func running(function, state string) occupy {
	return func(t *testing.T, n *node, conn *pgx.Conn) func() {
		pid := conn.PgConn().PID()
		failed := make(chan error, 1)
		go func() {
			_, err := conn.Exec(t.Context(), "SELECT count(*) FROM immuta.staff_pg WHERE pg_sleep(0.01) IS NOT NULL")
			failed <- err
		}()
		if err := world.Until(t.Context(), 5*time.Second, func() (sleeps bool, err error) {
			err = n.admin.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep')", pid).Scan(&sleeps)
			return sleeps, err
		}); err != nil {
			t.Fatal(err)
		}
		return func() {
			n.exec(t, "SELECT "+function+"($1)", pid)
			wantError(t, <-failed, state, "")
		}
	}
}
