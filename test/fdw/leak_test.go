package fdw_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/internal/testenv"
)

func holds(t *testing.T, pid int) testenv.Held {
	t.Helper()
	h, err := testenv.Holds(pid)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// remoteSessions counts the sessions of the extension at the source.
func remoteSessions(ctx context.Context) (int, error) {
	conn, err := shared.remote.Connect(ctx, "postgres")
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx)
	var n int
	err = conn.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()").Scan(&n)
	return n, err
}

func TestManyScansLeaveNothing(t *testing.T) {
	const warm, scans = 1000, 10000
	conn, pid := loaded(t)
	batch := func(n int) {
		for i := range n {
			switch i % 10 {
			case 7:
				refused(t, conn, "SELECT 1 / (n - 2) FROM numbers WHERE n < 5")
			case 8:
				do(t, conn, "SELECT n FROM numbers LIMIT 3")
			case 9:
				do(t, conn, "SELECT a.n FROM numbers a JOIN numbers b USING (n) WHERE a.n < 3 LIMIT 1")
			default:
				do(t, conn, "SELECT word FROM numbers WHERE n = $1", i)
			}
		}
	}
	batch(warm)
	before := holds(t, pid)
	batch(scans)
	after := holds(t, pid)
	// What is free but not given back yet does not count: that happens at rest.
	_ = testenv.Until(t.Context(), 15*time.Second, func() (bool, error) { // what it holds then is judged below
		after = holds(t, pid)
		return after.PrivateKB-before.PrivateKB <= 4096, nil
	})
	t.Logf("before %+v, after %+v", before, after)
	if after.Threads > before.Threads+2 || after.Descriptors > before.Descriptors+2 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if grown := after.PrivateKB - before.PrivateKB; grown > 4096 {
		t.Errorf("%d kB more after %d scans: before %+v, after %+v", grown, scans, before, after)
	}
}

func TestManySessionsLeaveNothing(t *testing.T) {
	const sessions = 1000
	watcher := session(t)
	postmaster := holds(t, shared.local.PID())
	for i := range sessions {
		conn, err := shared.local.Connect(t.Context(), "postgres")
		if err != nil {
			t.Fatal(err)
		}
		touch(t, conn)
		if i%2 == 0 { // leaves in the middle of a fetch
			rows, err := conn.Query(t.Context(), "SELECT n, word FROM numbers")
			if err != nil || !rows.Next() {
				t.Fatalf("no first row: %v", err)
			}
			_ = conn.PgConn().Conn().Close()
			rows.Close()
			continue
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "the end of all sessions", func(ctx context.Context) (bool, error) {
		return onlyOne(ctx, watcher)
	})
	waitFor(t, "the end of all remote sessions", func(ctx context.Context) (bool, error) {
		n, err := remoteSessions(ctx)
		return n == 0, err
	})
	now := holds(t, shared.local.PID())
	if now.Descriptors > postmaster.Descriptors || now.PrivateKB > postmaster.PrivateKB+2048 {
		t.Errorf("the postmaster held %+v, now %+v", postmaster, now)
	}
}

func onlyOne(ctx context.Context, conn *pgx.Conn) (bool, error) {
	var n int
	err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'").Scan(&n)
	return n == 1, err
}
