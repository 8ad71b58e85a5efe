package odbc_test

import (
	"context"
	"errors"
	"net"
	"strconv"
	"testing"
	"time"

	"portcullis.dev/portcullis/odbc"
)

const atOnce = 250 * time.Millisecond

// slow is a statement that works for minutes before its first row.
func slow(s source) string {
	switch s.name {
	case "postgres":
		return "SELECT pg_sleep(600)"
	case "mariadb":
		return "SELECT SLEEP(600)"
	}
	return "SELECT count(*) FROM (WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM g WHERE i < 100000000000) SELECT i FROM g)"
}

// running waits until the source works on the statement, as the source itself tells.
func running(t *testing.T, s source) {
	t.Helper()
	ask := map[string]string{
		"postgres": "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() AND (query LIKE '%pg_sleep(600)%' OR query LIKE '%fetch 1000 in %')",
		"mariadb":  "SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP%' AND id <> CONNECTION_ID()",
	}[s.name]
	if ask == "" {
		return // a cancel that comes too early is repeated
	}
	c := s.connect(t)
	defer c.Close()
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		rows, err := c.QueryStrings(t.Context(), ask, nil)
		if err != nil {
			t.Fatal(err)
		}
		if *rows[0][0] != "0" {
			return
		}
	}
	t.Fatal("the statement does not run")
}

func TestCancelExecute(t *testing.T) {
	each(t, func(t *testing.T, s source, c *odbc.Conn) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() {
			_, err := c.QueryStrings(ctx, slow(s), nil)
			done <- err
		}()
		running(t, s)
		expectCancelled(t, done, cancel)
		if tainted := s.name != "sqlite"; c.Tainted() != tainted || c.Alive(t.Context()) == tainted {
			t.Errorf("after the cancel: tainted %v, alive %v", c.Tainted(), c.Alive(t.Context()))
		}
	})
}

// Conn.Cancel and Cursor contexts reach the same statement.
func TestCancelConn(t *testing.T) {
	each(t, func(t *testing.T, s source, c *odbc.Conn) {
		done := make(chan error, 1)
		go func() {
			_, err := c.QueryStrings(t.Context(), slow(s), nil)
			done <- err
		}()
		running(t, s)
		expectCancelled(t, done, func() { cancelUntil(c, done) })
	})
}

// cancelUntil cancels until something arrives, and leaves it there: nothing tells when SQLite begins.
func cancelUntil(c *odbc.Conn, done <-chan error) {
	for len(done) == 0 {
		c.Cancel()
		time.Sleep(time.Millisecond) // lets the other goroutine get into the driver
	}
}

func expectCancelled(t *testing.T, done <-chan error, cancel func()) {
	t.Helper()
	start := time.Now()
	cancel()
	err := <-done
	if d := time.Since(start); d > atOnce {
		t.Errorf("the cancel took %v", d)
	}
	if !errors.Is(err, odbc.ErrCancelled) || state(err) != "57014" {
		t.Errorf("the cancelled call gave %v", err)
	}
}

// slowRows is a statement whose rows come slowly, many a second apart from the next block.
func slowRows(s source) string {
	switch s.name {
	case "postgres":
		return "SELECT i FROM generate_series(1, 100000) AS g(i) WHERE i <= 1500 OR pg_sleep(600) IS NULL"
	case "sqlite":
		return "SELECT i FROM (WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM g WHERE i < 100000000000) SELECT i FROM g) WHERE i <= 1000 OR i < 0"
	}
	return ""
}

// MariaDB's driver has read the whole result before the first fetch, so there is no fetch to cancel.
func TestCancelFetch(t *testing.T) {
	for _, s := range []source{postgres(), sqlite()} {
		t.Run(s.name, func(t *testing.T) {
			c := s.connect(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			cur, err := c.Query(ctx, slowRows(s), nil, cols(odbc.KindInt64), odbc.QueryOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer cur.Close()
			b, err := cur.Next()
			if err != nil {
				t.Fatal(err)
			}
			if b.Rows() != 1000 {
				t.Fatalf("the first block has %d rows", b.Rows())
			}
			b.Release()
			done := make(chan error, 1)
			go func() {
				_, err := cur.Next()
				done <- err
			}()
			running(t, s)
			expectCancelled(t, done, cancel)
			if _, err := cur.Next(); !errors.Is(err, odbc.ErrCancelled) {
				t.Errorf("a fetch after the cancel gave %v", err)
			}
		})
	}
}

// Close must not wait for a statement that is in the driver.
func TestCloseWhileExecuting(t *testing.T) {
	each(t, func(t *testing.T, s source, c *odbc.Conn) {
		done := make(chan error, 1)
		go func() {
			_, err := c.QueryStrings(t.Context(), slow(s), nil)
			done <- err
		}()
		running(t, s)
		start := time.Now()
		c.Close()
		if d := time.Since(start); d > 50*time.Millisecond {
			t.Errorf("Close took %v", d)
		}
		if err := <-done; err == nil {
			t.Error("the statement succeeded")
		}
		if d := time.Since(start); d > atOnce {
			t.Errorf("the statement ended after %v", d)
		}
		if _, err := c.QueryStrings(t.Context(), "SELECT 1", nil); state(err) != "08003" {
			t.Errorf("a closed connection gave %v", err)
		}
	})
}

// A held ring makes Next wait; a cancel ends that too.
func TestCancelWhileWaitingForBlock(t *testing.T) {
	c := postgres().connect(t)
	ctx, cancel := context.WithCancel(t.Context())
	cur, err := c.Query(ctx, series(postgres(), 5000, "i"), nil, cols(odbc.KindInt64), odbc.QueryOptions{Blocks: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer cur.Close()
	b, err := cur.Next()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	done := make(chan error, 1)
	go func() {
		_, err := cur.Next()
		done <- err
	}()
	expectCancelled(t, done, cancel)
}

// silent accepts connections and never answers.
func silent(t *testing.T) (port int, accepted <-chan struct{}, hangUp func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns := make(chan net.Conn, 16)
	seen := make(chan struct{}, 16)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				close(conns)
				return
			}
			conns <- c
			seen <- struct{}{}
		}
	}()
	return l.Addr().(*net.TCPAddr).Port, seen, func() {
		l.Close()
		for c := range conns {
			c.Close()
		}
	}
}

func TestConnectToSilentPeer(t *testing.T) {
	for _, s := range []source{postgres(), mariadb()} {
		t.Run(s.name, func(t *testing.T) {
			port, accepted, hangUp := silent(t)
			a := odbc.Begin(s.with("Port", strconv.Itoa(port)).spec)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				_, err := a.Wait(ctx)
				done <- err
			}()
			<-accepted
			expectCancelled(t, done, cancel)
			select {
			case <-a.Done():
				t.Error("the driver returned by itself")
			default:
			}
			// Others connect meanwhile.
			if _, err := s.connect(t).QueryStrings(t.Context(), "SELECT 1", nil); err != nil {
				t.Error(err)
			}
			hangUp()
			select {
			case <-a.Done():
			case <-time.After(10 * time.Second):
				t.Fatal("the abandoned connect never came back")
			}
			if c, err := a.Result(); c != nil || !errors.Is(err, odbc.ErrCancelled) {
				t.Errorf("an abandoned attempt gave %v, %v", c, err)
			}
		})
	}
}

// MariaDB's driver bounds only the TCP connect by it, not the wait for a greeting.
func TestLoginTimeout(t *testing.T) {
	port, _, hangUp := silent(t)
	defer hangUp()
	spec := postgres().with("Port", strconv.Itoa(port)).spec
	spec.LoginTimeout = 2 * time.Second
	start := time.Now()
	_, err := odbc.Connect(t.Context(), spec)
	if d := time.Since(start); err == nil || d > 8*time.Second {
		t.Errorf("after %v: %v", d, err)
	}
}
