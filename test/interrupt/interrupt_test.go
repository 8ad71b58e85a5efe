package interrupt

import (
	"context"
	"testing"
	"time"

	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/test/world"
)

// served is how soon an interrupt must be answered, whatever the session waits for.
const served = 250 * time.Millisecond

// testInterrupts: the administrator uses the wrapper alone, the person is
// governed. Cancel, termination and a client that goes away, one after
// the other at each place; then timeouts, at all places of a source at once.
func testInterrupts(t *testing.T, s *site) {
	for _, actor := range []string{s.User, world.Eve} {
		for _, kind := range []string{"pg", "my", "lite"} {
			t.Run(actor+" "+kind, func(t *testing.T) {
				places := s.places(actor, kind)
				for _, p := range places {
					t.Run("cancel "+p.name, func(t *testing.T) { s.cancel(t, actor, p) })
					t.Run("terminate "+p.name, func(t *testing.T) { s.ends(t, actor, p, s.terminated) })
					t.Run("disconnect "+p.name, func(t *testing.T) { s.ends(t, actor, p, s.disconnected) })
				}
				t.Run("timeout", func(t *testing.T) { s.timeouts(t, actor, places) })
			})
		}
	}
}

// wantServed checks that a statement ended in time, and how.
func (v *victim) wantServed(t *testing.T, began time.Time, state string) {
	t.Helper()
	select {
	case end := <-v.ended:
		if took := end.at.Sub(began); took > served {
			t.Errorf("served after %v", took)
		}
		wantState(t, end.err, state)
	case <-time.After(15 * time.Second):
		t.Fatal("not served")
	}
}

func (s *site) cancel(t *testing.T, actor string, p place) {
	v := start(s.login(t, actor), p.sql)
	p.there(t, v)
	s.cancelled(t, v)
	reads(t, v.conn, p.kind)
	s.quiet(t, p.kind)
}

func (s *site) cancelled(t *testing.T, v *victim) {
	t.Helper()
	began := time.Now()
	s.do(t, "SELECT pg_cancel_backend($1)", int32(v.pid))
	v.wantServed(t, began, "57014")
}

// ends has a session end in one way or another.
func (s *site) ends(t *testing.T, actor string, p place, how func(*testing.T, *victim)) {
	v := start(s.login(t, actor), p.sql)
	p.there(t, v)
	how(t, v)
	s.quietAfterExit(t, p.kind)
}

func (s *site) terminated(t *testing.T, v *victim) {
	t.Helper()
	began := time.Now()
	s.do(t, "SELECT pg_terminate_backend($1)", int32(v.pid))
	v.wantServed(t, began, "57P01")
	s.gone(t, v.pid)
}

func (s *site) disconnected(t *testing.T, v *victim) {
	t.Helper()
	began := time.Now()
	_ = v.conn.PgConn().Conn().Close()
	<-v.ended
	s.gone(t, v.pid)
	if took := time.Since(began); took > served {
		t.Errorf("served after %v", took)
	}
}

// gone waits until a backend has ended.
func (s *site) gone(t *testing.T, pid uint32) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for s.number(t, "SELECT count(*) FROM pg_stat_activity WHERE pid = $1", int32(pid)) > 0 {
		if time.Now().After(deadline) {
			t.Fatal("the session does not end")
		}
	}
}

const timeout = time.Second

// timeouts lets the places' sessions run into their timeouts together.
func (s *site) timeouts(t *testing.T, actor string, places []place) {
	victims, began := make([]*victim, len(places)), make([]time.Time, len(places))
	for i, p := range places {
		conn := s.login(t, actor)
		if _, err := conn.Exec(t.Context(), "SET statement_timeout = '1s'"); err != nil {
			t.Fatal(err)
		}
		began[i] = time.Now()
		victims[i] = start(conn, p.sql)
	}
	for i, p := range places {
		p.there(t, victims[i])
	}
	for i := range places {
		victims[i].wantServed(t, began[i].Add(timeout), "57014")
	}
	for i, p := range places {
		if _, err := victims[i].conn.Exec(t.Context(), "RESET statement_timeout"); err != nil {
			t.Fatal(err)
		}
		reads(t, victims[i].conn, p.kind)
	}
	s.quiet(t, places[0].kind)
}

// quietAfterExit: a session that ends has a tenth of a second to cancel what
// runs for it. On a busy machine a connect for that takes longer: MariaDB
// then goes on until it writes, and that must not disturb the next test.
func (s *site) quietAfterExit(t *testing.T, kind string) {
	t.Helper()
	if kind != "my" { // PostgreSQL looks once a second whether its client is there
		s.quiet(t, kind)
		return
	}
	if err := testenv.Until(t.Context(), time.Second, func() (bool, error) {
		n, err := s.sleeping(t.Context(), kind)
		return n == 0, err
	}); err != nil {
		t.Log("the remote statement outlived its session")
		s.quietAfterCut(t, kind)
	}
}

// quiet waits until nothing runs at the source any more. What a session runs
// in SQLite ends with it.
func (s *site) quiet(t *testing.T, kind string) {
	t.Helper()
	if kind == "lite" {
		return
	}
	until(t, "the end of the remote statement", func(ctx context.Context) (bool, error) {
		n, err := s.sleeping(ctx, kind)
		return n == 0, err
	})
}
