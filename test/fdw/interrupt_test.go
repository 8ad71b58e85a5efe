package fdw_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// served is how soon an interrupt must be answered, whatever the session waits for.
const served = 250 * time.Millisecond

// silentServer makes a server whose host accepts connections and never answers.
func silentServer(t *testing.T) (accepted <-chan struct{}) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	came := make(chan struct{}, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		var held []net.Conn
		for {
			conn, err := listener.Accept()
			if err != nil {
				for _, c := range held {
					_ = c.Close()
				}
				return
			}
			held = append(held, conn)
			came <- struct{}{}
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	port := listener.Addr().(*net.TCPAddr).Port
	if err := shared.local.Exec(t.Context(), "postgres", fmt.Sprintf(`
		DROP SERVER IF EXISTS silent CASCADE;
		CREATE SERVER silent FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'PostgreSQL Unicode', host '127.0.0.1', port '%d', database 'x');
		CREATE USER MAPPING FOR PUBLIC SERVER silent OPTIONS (username 'u', password 'p');
		CREATE FOREIGN TABLE silent_t (n int) SERVER silent OPTIONS (schema_name 'public');`, port)); err != nil {
		t.Fatal(describe(err))
	}
	return came
}

// A place where a session can be stuck: what it runs, and a way to know that it is there.
type place struct {
	name  string
	sql   string
	there func(t *testing.T, pid uint32)
}

func places(t *testing.T) []place {
	accepted := silentServer(t)
	connected := func(t *testing.T, _ uint32) {
		select {
		case <-accepted:
		case <-time.After(10 * time.Second):
			t.Fatal("nobody connects")
		}
	}
	return []place{
		{"connecting to a silent peer", "SELECT * FROM silent_t", connected},
		{"connecting under EXPLAIN ANALYZE", "EXPLAIN ANALYZE SELECT * FROM silent_t", connected},
		{"while the remote query runs", "SELECT * FROM slow", remoteSleeps},
		{"under EXPLAIN ANALYZE", "EXPLAIN ANALYZE SELECT * FROM slow", remoteSleeps},
		{"in mid-fetch", "SELECT count(n), max(filler) FROM trickle", remoteSleeps},
		{"counting", "SELECT immutasys.analyze('slow')", remoteSleeps},
	}
}

// remoteSleeps waits until some statement at the source is inside pg_sleep.
func remoteSleeps(t *testing.T, _ uint32) {
	t.Helper()
	waitFor(t, "a sleeping remote statement", func(ctx context.Context) (bool, error) {
		conn, err := shared.remote.Connect(ctx, "postgres")
		if err != nil {
			return false, err
		}
		defer conn.Close(ctx)
		var n int
		err = conn.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'").Scan(&n)
		return n > 0, err
	})
}

// waitFor asks until the answer is yes.
func waitFor(t testing.TB, what string, ask func(ctx context.Context) (bool, error)) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		yes, err := ask(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if yes {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// nobodySleeps waits until cancelled statements are gone at the source.
func nobodySleeps(t *testing.T) {
	t.Helper()
	waitFor(t, "the end of the remote statement", func(ctx context.Context) (bool, error) {
		conn, err := shared.remote.Connect(ctx, "postgres")
		if err != nil {
			return false, err
		}
		defer conn.Close(ctx)
		var n int
		err = conn.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'").Scan(&n)
		return n == 0, err
	})
}

// backendGone waits until a backend has ended.
func backendGone(t *testing.T, pid uint32) {
	t.Helper()
	conn := session(t)
	waitFor(t, "the end of the session", func(ctx context.Context) (bool, error) {
		var n int
		err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE pid = $1", int32(pid)).Scan(&n)
		return n == 0, err
	})
}

func TestInterrupts(t *testing.T) {
	where := places(t)
	for _, p := range where {
		t.Run("cancel "+p.name, func(t *testing.T) { testCancel(t, p) })
		t.Run("terminate "+p.name, func(t *testing.T) { testTerminate(t, p) })
		t.Run("disconnect "+p.name, func(t *testing.T) { testDisconnect(t, p) })
		t.Run("timeout "+p.name, func(t *testing.T) { testTimeout(t, p) })
		nobodySleeps(t)
	}
}

// run executes sql in the background and tells when and how it ended.
func run(conn *pgx.Conn, sql string) <-chan error {
	ended := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), sql)
		ended <- err
	}()
	return ended
}

func wantState(t *testing.T, err error, state string) {
	t.Helper()
	var answer *pgconn.PgError
	if !errors.As(err, &answer) || answer.Code != state {
		t.Errorf("want %s, got %v", state, err)
	}
}

func wantSoon(t *testing.T, began time.Time) {
	t.Helper()
	if took := time.Since(began); took > served {
		t.Errorf("served after %v", took)
	}
}

func testCancel(t *testing.T, p place) {
	conn, killer := session(t), session(t)
	pid := conn.PgConn().PID()
	ended := run(conn, p.sql)
	p.there(t, pid)
	began := time.Now()
	do(t, killer, "SELECT pg_cancel_backend($1)", int32(pid))
	err := <-ended
	wantSoon(t, began)
	wantState(t, err, "57014")
	if got := value[int64](t, conn, "SELECT count(*) FROM numbers"); got != 20000 {
		t.Errorf("the session reads %d rows afterwards", got)
	}
	nobodySleeps(t)
}

func testTerminate(t *testing.T, p place) {
	conn, killer := session(t), session(t)
	pid := conn.PgConn().PID()
	ended := run(conn, p.sql)
	p.there(t, pid)
	began := time.Now()
	do(t, killer, "SELECT pg_terminate_backend($1)", int32(pid))
	err := <-ended
	wantSoon(t, began)
	wantState(t, err, "57P01")
	backendGone(t, pid)
	nobodySleeps(t)
}

func testDisconnect(t *testing.T, p place) {
	conn := dialsOnce(t)
	pid := conn.PgConn().PID()
	ended := run(conn, p.sql)
	p.there(t, pid)
	watcher := session(t)
	began := time.Now()
	_ = conn.PgConn().Conn().Close()
	<-ended
	waitFor(t, "the end of the session", func(ctx context.Context) (bool, error) {
		var n int
		err := watcher.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE pid = $1", int32(pid)).Scan(&n)
		return n == 0, err
	})
	wantSoon(t, began)
	nobodySleeps(t)
}

func testTimeout(t *testing.T, p place) {
	const timeout = time.Second
	conn := session(t)
	pid := conn.PgConn().PID()
	do(t, conn, fmt.Sprintf("SET statement_timeout = %d", timeout.Milliseconds()))
	began := time.Now()
	ended := run(conn, p.sql)
	p.there(t, pid)
	err := <-ended
	wantSoon(t, began.Add(timeout))
	wantState(t, err, "57014")
	nobodySleeps(t)
}

// A statement that was given up leaves a file of SQLite to its writers, also while its
// transaction waits to be rolled back; behind a savepoint the transaction goes on, and so does what it sees.
func TestATimeoutLeavesTheFileToWriters(t *testing.T) {
	file, err := shared.env.SQLiteFile(t.Context(), "written.db", `CREATE TABLE w (id int);
		CREATE VIEW endless AS WITH RECURSIVE s(i) AS (SELECT count(*) FROM w UNION ALL SELECT i + 1 FROM s) SELECT i AS id FROM s WHERE i < 0;`)
	if err != nil {
		t.Fatal(err)
	}
	conn := session(t)
	cleanup(t, "DROP SERVER written CASCADE")
	do(t, conn, fmt.Sprintf("CREATE SERVER written FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'SQLite3', database '%s')", file.Path))
	do(t, conn, "CREATE FOREIGN TABLE endless (id int) SERVER written")
	for _, test := range []struct{ begin, end, locked string }{
		{"SELECT 1", "SELECT 1", ""},
		{"BEGIN", "ROLLBACK", ""},
		{"BEGIN; SAVEPOINT a", "ROLLBACK TO a; COMMIT", "locked"},
	} {
		do(t, conn, test.begin)
		do(t, conn, "SET statement_timeout = 100")
		if e := refused(t, conn, "SELECT * FROM endless"); e.Code != "57014" {
			t.Error(describe(e))
		}
		patience := ".timeout 5000\n"
		if test.locked != "" {
			patience = ""
		}
		if err := file.Exec(t.Context(), patience+"INSERT INTO w VALUES (1);"); (err != nil) != (test.locked != "") || err != nil && !strings.Contains(err.Error(), test.locked) {
			t.Errorf("%s: %v", test.begin, err)
		}
		do(t, conn, test.end)
	}
	if err := file.Exec(t.Context(), ".timeout 5000\nINSERT INTO w VALUES (1);"); err != nil {
		t.Error(err)
	}
}
