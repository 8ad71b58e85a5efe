package grants_test

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"portcullis.dev/portcullis/connection"
)

// late holds back the first COMMIT that is sent and breaks all lines then, as it
// is with a network: the other side may yet hear what was sent.
type late struct {
	mu   sync.Mutex
	line net.Conn
	held []byte
}

func (l *late) dial(c *pgx.ConnConfig) {
	c.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return &lateConn{Conn: conn, late: l}, err
	}
}

// deliver sends what was held back, and hangs up.
func (l *late) deliver(t *testing.T) {
	t.Helper()
	if _, err := l.line.Write(l.held); err != nil {
		t.Fatal(err)
	}
	_ = l.line.Close()
}

type lateConn struct {
	net.Conn
	late *late
}

func (c *lateConn) Write(b []byte) (int, error) {
	c.late.mu.Lock()
	defer c.late.mu.Unlock()
	if c.late.line == nil && bytes.Contains(b, []byte("COMMIT\x00")) {
		c.late.line, c.late.held = c.Conn, bytes.Clone(b)
	}
	if c.late.line != nil {
		return 0, errBroken
	}
	return c.Conn.Write(b)
}

func (c *lateConn) Close() error {
	c.late.mu.Lock()
	defer c.late.mu.Unlock()
	if c.late.line == c.Conn {
		return nil
	}
	return c.Conn.Close()
}

// lateCommit: a round finds what the one before it sent and heard nothing of,
// however late that comes.
func lateCommit(t *testing.T, a *adverse) {
	l := &late{}
	a.dial = l.dial
	if _, err := a.tryRound(a.want()); err == nil || l.line == nil {
		t.Fatalf("nothing was held back: %v", err)
	}
	a.dial, a.engine = nil, nil
	type outcome struct {
		connection.Report
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		r, err := a.tryRound(connection.Want{Accounts: people(a.p, a.q), Managed: a.want().Managed})
		done <- outcome{r, err}
	}()
	var o outcome
	waits := "false"
	for waits == "false" && o.err == nil && o.Report.Equal == 0 {
		select {
		case o = <-done: // it did not wait
		default:
			waits = a.value("postgres", `SELECT (count(*) > 0)::text FROM pg_stat_activity WHERE usename = $1 AND starts_with(query, 'SELECT a.pid FROM pg_locks')`, a.target.Username)
		}
	}
	l.deliver(t)
	if waits == "true" {
		o = <-done
	}
	if o.err != nil || len(o.Pending) > 0 {
		t.Errorf("%v %+v", o.err, o.Pending)
	}
	a.settled(a.want())
}
