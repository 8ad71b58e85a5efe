package govern

import (
	"fmt"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/test/world"
)

// Sessions of a node share decisions: one asks the service for many, and
// nobody gets what was decided for somebody else.
func TestSharedDecisions(t *testing.T) {
	n := startSmall(t, map[string]string{"portcullis.login_check_timeout": "5s"})
	t.Run("many sessions, one question", func(t *testing.T) { oneQuestion(t, n) })
	t.Run("other inputs, other questions", func(t *testing.T) { otherInputs(t, n) })
	t.Run("a leader that hangs", func(t *testing.T) { leaderHangs(t, n, false) })
	t.Run("a leader that is ended", func(t *testing.T) { leaderHangs(t, n, true) })
}

// Whatever is stored or evicted, everybody gets their own answer.
func TestStoreOfDecisionsThatIsFull(t *testing.T) {
	for _, size := range []string{"0", "4kB", "8kB"} {
		t.Run(size, func(t *testing.T) {
			n := startSmall(t, map[string]string{"portcullis.decision_cache": size})
			for range 4 {
				for person, want := range map[string]int64{world.Hera: 3, world.Eve: 2, world.Max: 1} {
					conn, err := pgx.Connect(t.Context(), n.As(person))
					if err != nil {
						t.Fatal(err)
					}
					for _, s := range n.Sources {
						wantCount(t, conn, "SELECT count(*) FROM "+s.Local(), want)
					}
					_ = conn.Close(t.Context())
				}
			}
			stored := n.number(t, "cache.decisions")
			if size == "0" && stored != 0 || size == "8kB" && (stored == 0 || stored >= 9) {
				t.Errorf("%d decisions are stored", stored)
			}
		})
	}
}

// startSmall is a world with three rows, two of them eve's, one max's.
func startSmall(t *testing.T, settings map[string]string) *node {
	w := world.Start(t, world.Options{Settings: settings})
	n := &node{World: w, admin: w.Login(t, w.User)}
	for _, s := range n.Sources {
		if err := s.Exec(t.Context(), "INSERT INTO "+s.Table+` VALUES (1, 'a', 'sales', 1, 's', 'p', '2000-01-02', 'x'),
			(2, 'b', 'sales', 1, 's', 'p', '2000-01-02', 'x'), (3, 'c', 'board', 1, 's', 'p', '2000-01-02', 'x')`); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func (n *node) number(t *testing.T, name string) int64 {
	t.Helper()
	v, err := strconv.ParseInt(n.status(t, name), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (n *node) asked(t *testing.T) int64 { t.Helper(); return n.number(t, "count.decisions_asked") }

// sessions are logged in and have run a statement: nothing is left to set up.
func (n *node) sessions(t *testing.T, role string, count int) []*pgx.Conn {
	t.Helper()
	conns := make([]*pgx.Conn, count)
	for i := range conns {
		conns[i] = n.Login(t, role)
		if _, err := query(t, conns[i], countStaff); err != nil {
			t.Fatal(err)
		}
	}
	return conns
}

func oneQuestion(t *testing.T, n *node) {
	conns := n.sessions(t, world.Eve, 20)
	n.exec(t, "SELECT immutasys.flush_caches()")
	before := n.asked(t)
	var group sync.WaitGroup
	start := make(chan struct{})
	for _, conn := range conns {
		group.Go(func() {
			<-start
			if got, err := query(t, conn, countStaff); err != nil || got != 2 {
				t.Errorf("got %d, %v", got, err)
			}
		})
	}
	close(start)
	group.Wait()
	if asked := n.asked(t) - before; asked != 1 {
		t.Errorf("the service was asked %d times", asked)
	}
	if got, err := query(t, n.Login(t, world.Eve), countStaff); err != nil || got != 2 || n.asked(t)-before != 1 {
		t.Errorf("a new session got %d, %v and asked", got, err)
	}
}

func otherInputs(t *testing.T, n *node) {
	eve, max, hera := n.sessions(t, world.Eve, 2), n.sessions(t, world.Max, 2), n.sessions(t, world.Hera, 1)
	n.exec(t, "SELECT immutasys.flush_caches()")
	before := n.asked(t)
	for _, step := range []struct {
		conn      *pgx.Conn
		sql       string
		want, ask int64
	}{
		{eve[0], countStaff, 2, 1}, {eve[1], countStaff, 2, 1}, {max[0], countStaff, 1, 2}, {max[1], countStaff, 1, 2}, {hera[0], countStaff, 3, 3},
		{eve[0], "SELECT count(*) FROM immuta.staff_my", 2, 4}, {eve[1], "SELECT count(*) FROM immuta.staff_my, immuta.staff_pg", 4, 4},
		{max[0], "SELECT count(*) FROM immuta.staff_pg, immuta.staff_lite", 1, 5}, {max[1], "SELECT count(*) FROM immuta.staff_lite", 1, 5},
	} {
		wantCount(t, step.conn, step.sql, step.want)
		if asked := n.asked(t) - before; asked != step.ask {
			t.Errorf("%s: asked %d times, want %d", step.sql, asked, step.ask)
		}
	}
	n.exec(t, "SELECT immutasys.flush_caches()")
	wantCount(t, eve[0], countStaff, 2)
	if stored := n.number(t, "cache.decisions"); stored != 1 {
		t.Errorf("%d decisions are left of another epoch", stored-1)
	}
}

// The one that asks gets no answer; the other one waits for it, but not long.
func leaderHangs(t *testing.T, n *node, end bool) {
	conns := n.sessions(t, world.Eve, 2)
	n.exec(t, "SELECT immutasys.flush_caches()")
	before := n.asked(t)
	stop, resume := syscall.SIGSTOP, syscall.SIGCONT
	if err := syscall.Kill(n.Service.PID(), stop); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(n.Service.PID(), resume) }()
	answers := make(chan error, 2)
	ask := func(conn *pgx.Conn) {
		got, err := query(t, conn, countStaff)
		if err == nil && got != 2 {
			err = fmt.Errorf("%d rows", got)
		}
		answers <- err
	}
	wait := func(count int64) {
		t.Helper()
		if err := world.Until(t.Context(), 3*time.Second, func() (bool, error) {
			asked := n.asked(t) - before
			return asked == count, fmt.Errorf("asked %d times, want %d", asked, count)
		}); err != nil {
			t.Error(err)
		}
	}
	go ask(conns[0])
	wait(1)
	go ask(conns[1])
	if end {
		n.exec(t, "SELECT pg_terminate_backend($1)", int32(conns[0].PgConn().PID()))
		wantError(t, <-answers, "57P01", "")
	}
	wait(2)
	if err := syscall.Kill(n.Service.PID(), resume); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if end {
			end = false
			continue
		}
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
}
