package grants_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"portcullis.dev/portcullis/connection"
)

var errBroken = errors.New("the line broke")

// breakAfter makes sessions that all break for good at a message of theirs:
// before it is sent, or right after, so that its answer is lost.
func breakAfter(messages int, sent bool) func(*pgx.ConnConfig) {
	left := new(atomic.Int64)
	left.Store(int64(messages))
	return func(c *pgx.ConnConfig) {
		c.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			if left.Load() <= 0 {
				return nil, errBroken
			}
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &fragile{Conn: conn, left: left, sent: sent}, nil
		}
	}
}

type fragile struct {
	net.Conn
	left *atomic.Int64
	sent bool
}

func (f *fragile) Write(b []byte) (int, error) {
	if f.left.Add(-1) >= 0 {
		return f.Conn.Write(b)
	}
	if f.sent {
		_, _ = f.Conn.Write(b)
	}
	_ = f.Conn.Close()
	return 0, errBroken
}

// crash breaks the line at every message of a round between two states, with
// that message sent and not. In between nobody reaches what neither state gives,
// and the next round always arrives.
func crash(t *testing.T, w *world) {
	db := "crash_" + string(w.target.Mode)
	w.sql("postgres", "CREATE DATABASE %s", db)
	w.sql(db, "CREATE TABLE a (i int); CREATE TABLE b (i int); CREATE TABLE c (i int); CREATE SCHEMA two; CREATE TABLE two.d (i int)")
	w.manage(db, "public", "two")
	mode := w.target.Prefix[10:11]
	x, y := "x"+mode, "y"+mode
	w.sql("postgres", "CREATE ROLE %s LOGIN; CREATE ROLE %s LOGIN", x, y)
	a, b, c, d := w.ref(db, "public", "a"), w.ref(db, "public", "b"), w.ref(db, "public", "c"), w.ref(db, "two", "d")
	states := []connection.Want{
		{Accounts: people(x, y), Managed: []connection.ObjectRef{a, b, c, d}, Sets: []connection.AccessSet{
			set("1", connection.Read, []connection.ObjectRef{a, b}, x, y), set("2", connection.Write, []connection.ObjectRef{b, d}, x)}},
		{Accounts: people(x, y), Managed: []connection.ObjectRef{a, b, c, d}, Sets: []connection.AccessSet{
			set("1", connection.Read, []connection.ObjectRef{a, c}, y), set("3", connection.Write, []connection.ObjectRef{c}, x)}},
	}
	step := 9 // every message in two of the worlds, some in the others
	if w.major == 15 && w.target.Mode == connection.ModeGrantor || w.major == 17 && w.target.Mode == connection.ModeBroker {
		step = 1
	}
	now := 0
	w.settled(states[now])
	for k := 12; ; k += step {
		next := states[1-now]
		w.dial, w.engine = breakAfter(k, k%2 == 0), nil
		_, err := w.tryRound(next)
		w.dial, w.engine = nil, nil
		for _, p := range []string{x, y} {
			for _, o := range []connection.ObjectRef{a, b, c, d} {
				for _, privilege := range []string{"SELECT", "INSERT"} {
					has := w.value(db, `SELECT has_table_privilege($1::name, $2::oid, $3)::text`, p, o.OID, privilege) == "true"
					if has && !gives(states[0], p, o, privilege) && !gives(states[1], p, o, privilege) {
						t.Fatalf("broken after %d messages (%v): %s may %s %s", k, err, p, privilege, o.Name)
					}
				}
			}
		}
		if r := w.settled(next); r.Exceeds+r.Lacks > 0 {
			t.Fatalf("broken after %d messages: then %+v", k, r)
		}
		now = 1 - now
		if err == nil && k > 60 {
			break
		}
	}
}

func gives(want connection.Want, person string, o connection.ObjectRef, privilege string) bool {
	for _, s := range want.Sets {
		for _, m := range s.Members {
			for _, t := range s.Tables {
				if m == person && t == o && (privilege == "SELECT" || s.Access == connection.Write) {
					return true
				}
			}
		}
	}
	return false
}
