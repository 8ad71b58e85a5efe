package interrupt

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/test/world"
)

var kinds = []string{"pg", "my", "lite"}

// held is what a process holds of things that may leak. Memory that the
// instance's processes share is none; row blocks are mapped, and counted.
type held struct{ threads, descriptors, blocks, memoryKB int }

func holds(t *testing.T, pid int) held {
	t.Helper()
	h, err := testenv.Holds(pid)
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	return held{h.Threads, h.Descriptors, bytes.Count(maps, []byte("portcullis-rows")), h.AnonymousKB}
}

// grown compares the second half of a run with the first: what is kept for
// ever grows in both, what is kept to be used again in the first only. What is
// free but not given back yet does not count: that happens at rest.
func grown(t *testing.T, what string, pid int, half held, most held) {
	t.Helper()
	var now held
	err := testenv.Until(t.Context(), 15*time.Second, func() (bool, error) {
		now = holds(t, pid)
		return now.threads-half.threads <= most.threads && now.descriptors-half.descriptors <= most.descriptors &&
			now.blocks-half.blocks <= most.blocks && now.memoryKB-half.memoryKB <= most.memoryKB, nil
	})
	t.Logf("%s: %+v after one half, %+v after both", what, half, now)
	if err != nil {
		t.Errorf("%s grows: %+v after one half, %+v after both", what, half, now)
	}
}

// testManyScans: sessions that go on for long, governed or not, at all sources.
func testManyScans(t *testing.T, s *site) {
	const half = 1000
	for _, actor := range []string{s.User, world.Eve} {
		t.Run(actor, func(t *testing.T) {
			conn := s.login(t, actor)
			pid := int(conn.PgConn().PID())
			scans(t, conn, half)
			before := holds(t, pid)
			scans(t, conn, half)
			grown(t, "the session", pid, before, held{1, 1, 1, 512})
		})
	}
}

// scans reads in every way: by a key, in part, twice at once, with an error.
func scans(t *testing.T, conn *pgx.Conn, n int) {
	t.Helper()
	for i := range n {
		table := "immuta.numbers_" + kinds[i%3]
		sql, fails := "SELECT filler FROM "+table+" WHERE n = "+strconv.Itoa(i), false
		switch i % 10 {
		case 7:
			sql, fails = "SELECT 1 / (n - 2) FROM "+table+" WHERE n < 5", true
		case 8:
			sql = "SELECT n FROM " + table + " LIMIT 3"
		case 9:
			sql = "SELECT a.n FROM " + table + " a JOIN " + table + " b USING (n) WHERE a.n < 3 LIMIT 1"
		}
		if _, err := conn.Exec(t.Context(), sql); (err != nil) != fails {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// testManySessions: those that end well and those that end in mid-fetch.
func testManySessions(t *testing.T, s *site) {
	const half = 75
	processes := map[string]int{"the postmaster": s.PID(), "the service": s.Service.PID()}
	for name, setting := range map[string]string{"the worker": "worker.pid", "the daemon": "daemon.pid"} {
		processes[name] = int(s.number(t, "SELECT value::bigint FROM immutasys.status() WHERE name = $1", setting))
	}
	s.sessions(t, half)
	before := map[string]held{}
	for name, pid := range processes {
		before[name] = holds(t, pid)
	}
	s.sessions(t, half)
	for name, pid := range processes {
		most := held{0, 0, 0, 128}
		if name == "the service" || name == "the daemon" { // Go's heap breathes, and connections to the store are kept
			most = held{2, 4, 0, 4096}
		}
		grown(t, name, pid, before[name], most)
	}
}

func (s *site) sessions(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		role := world.Eve
		if i%5 == 0 {
			role = s.User
		}
		conn := s.login(t, role)
		kind := kinds[i%3]
		if i%2 == 0 {
			reads(t, conn, kind)
			if err := conn.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			continue
		}
		results := conn.PgConn().ExecParams(t.Context(), fmt.Sprintf("SELECT a.filler FROM immuta.numbers_%s a, immuta.numbers_%[1]s b", kind), nil, nil, nil, nil)
		if !results.NextRow() {
			_, err := results.Close()
			t.Fatalf("no row: %v", err)
		}
		_ = conn.PgConn().Conn().Close()
		_, _ = results.Close()
	}
	until(t, "the end of all sessions", func(context.Context) (bool, error) {
		return s.number(t, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = 'immuta' AND usename = 'eve'") == 0, nil
	})
	for _, kind := range []string{"pg", "my"} {
		until(t, "the end of the sessions at "+kind, func(ctx context.Context) (bool, error) {
			n, err := s.remoteSessions(ctx, kind)
			return n == 0, err
		})
	}
}

// remoteSessions counts the engine's sessions at a server.
func (s *site) remoteSessions(ctx context.Context, kind string) (int, error) {
	return s.countAt(ctx, kind, "FROM information_schema.processlist WHERE user = 'reader'", "FROM pg_stat_activity WHERE usename = 'reader'")
}
