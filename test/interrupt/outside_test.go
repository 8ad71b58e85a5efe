package interrupt

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/test/world"
)

const readNumbers = "SELECT count(n) FROM immuta.numbers_pg"

// The four interrupts, for sessions that are logged in already.
var interrupts = []struct {
	name  string
	serve func(t *testing.T, s *site, v *victim, began time.Time)
}{
	{"cancel", func(t *testing.T, s *site, v *victim, _ time.Time) { s.cancelled(t, v) }},
	{"terminate", func(t *testing.T, s *site, v *victim, _ time.Time) { s.terminated(t, v) }},
	{"disconnect", func(t *testing.T, s *site, v *victim, _ time.Time) { s.disconnected(t, v) }},
	{"timeout", func(t *testing.T, _ *site, v *victim, began time.Time) {
		v.wantServed(t, began.Add(shortTimeout), "57014")
	}},
}

// shortTimeout suits sessions whose statement has nothing to set up.
const shortTimeout = 400 * time.Millisecond

// ready are sessions of a person, one for each interrupt, that have connections
// and all else that a statement needs; the last has the timeout.
func (s *site) ready(t *testing.T) []*pgx.Conn {
	t.Helper()
	conns := make([]*pgx.Conn, len(interrupts))
	for i := range conns {
		conns[i] = s.login(t, world.Eve)
		reads(t, conns[i], "pg")
	}
	if _, err := conns[len(conns)-1].Exec(t.Context(), "SET statement_timeout = '400ms'"); err != nil {
		t.Fatal(err)
	}
	return conns
}

func (s *site) asked(t testing.TB) int64 {
	t.Helper()
	return s.number(t, "SELECT value::bigint FROM immutasys.status() WHERE name = 'count.decisions_asked'")
}

// asking starts a statement and waits until the service is asked for its decision.
func (s *site) asking(t *testing.T, conn *pgx.Conn, sql string) (*victim, time.Time) {
	t.Helper()
	before := s.asked(t)
	began := time.Now()
	v := start(conn, sql)
	v.reaches(t, "the question", func(ctx context.Context) (bool, error) {
		if s.asked(t) == before {
			return false, nil
		}
		return s.waits(ctx, v)
	})
	return v, began
}

// testNoDecision: the service takes the question and does not answer. One
// session asks, others that want the same wait for it.
func testNoDecision(t *testing.T, s *site) {
	ask, leaders, followers := s.ready(t), s.ready(t), s.ready(t)
	s.do(t, "SELECT immutasys.flush_caches()")
	if err := syscall.Kill(s.Service.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume := func() {
		if err := syscall.Kill(s.Service.PID(), syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	}
	defer resume()
	for i, test := range interrupts {
		t.Run(test.name, func(t *testing.T) {
			v, began := s.asking(t, ask[i], readNumbers)
			test.serve(t, s, v, began)
		})
		t.Run(test.name+" of who waits for another's answer", func(t *testing.T) {
			if _, err := leaders[i].Exec(t.Context(), "SET statement_timeout = 0"); err != nil {
				t.Fatal(err)
			}
			leader, _ := s.asking(t, leaders[i], readNumbers)
			before := s.asked(t)
			began := time.Now()
			v := start(followers[i], readNumbers)
			v.reaches(t, "the wait", func(ctx context.Context) (bool, error) { return s.waits(ctx, v) })
			test.serve(t, s, v, began)
			if s.asked(t) != before {
				t.Error("it did not wait for the other's answer")
			}
			s.do(t, "SELECT pg_cancel_backend($1)", int32(leader.pid))
			<-leader.ended
		})
	}
	resume()
	reads(t, ask[0], "pg")
}

// testNoAudit: the disk takes the record of the statement and does not finish.
func testNoAudit(t *testing.T, s *site) {
	conns := s.ready(t)
	for i, interrupt := range interrupts {
		t.Run(interrupt.name, func(t *testing.T) {
			s.faults.Hang()
			defer s.faults.Clear()
			began := time.Now()
			v := start(conns[i], readNumbers)
			v.reaches(t, "the sync", func(ctx context.Context) (bool, error) {
				if !s.faults.Hanging() {
					return false, nil
				}
				return s.waits(ctx, v)
			})
			interrupt.serve(t, s, v, began)
		})
	}
	reads(t, conns[0], "pg")
}
