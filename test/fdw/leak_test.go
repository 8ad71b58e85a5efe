package fdw_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/internal/testenv"
)

// held is what a process holds of things that may leak.
type held struct {
	threads     int
	descriptors int
	privateKB   int
}

func holds(t *testing.T, pid int) held {
	t.Helper()
	var h held
	h.threads = entries(t, fmt.Sprintf("/proc/%d/task", pid))
	h.descriptors = entries(t, fmt.Sprintf("/proc/%d/fd", pid))
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(rollup) {
		f := strings.Fields(string(line))
		if len(f) > 1 && strings.HasPrefix(f[0], "Private_") && strings.HasSuffix(f[0], ":") {
			kb, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			h.privateKB += kb
		}
	}
	return h
}

func entries(t *testing.T, dir string) int {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
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
		return after.privateKB-before.privateKB <= 4096, nil
	})
	t.Logf("before %+v, after %+v", before, after)
	if after.threads > before.threads+2 || after.descriptors > before.descriptors+2 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if grown := after.privateKB - before.privateKB; grown > 4096 {
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
	if now.descriptors > postmaster.descriptors || now.privateKB > postmaster.privateKB+2048 {
		t.Errorf("the postmaster held %+v, now %+v", postmaster, now)
	}
}

func onlyOne(ctx context.Context, conn *pgx.Conn) (bool, error) {
	var n int
	err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'").Scan(&n)
	return n == 1, err
}
