package odbc_test

import (
	"context"
	"errors"
	"os"
	"runtime/debug"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"portcullis.dev/portcullis/odbc"
)

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// resident is what the process holds in kB, without what Go keeps to reuse.
func resident(t *testing.T) int {
	t.Helper()
	debug.FreeOSMemory()
	return statusField(t, "VmRSS:")
}

func mappings(t *testing.T) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(maps), "portcullis-rows")
}

// 10,000 queries, some failing, some cancelled, some left in the middle, leave
// no goroutine, descriptor, mapping or memory.
func TestLeavesNothingBehind(t *testing.T) {
	existing := goleak.IgnoreCurrent()
	for _, s := range sources() {
		t.Run(s.name, func(t *testing.T) {
			c, err := odbc.Connect(t.Context(), s.spec)
			if err != nil {
				t.Fatal(err)
			}
			many(t, s, c, 500)
			fds, maps, rss := descriptors(t), mappings(t), resident(t)
			many(t, s, c, 10000)
			if got := descriptors(t); got != fds {
				t.Errorf("%d descriptors, %d before", got, fds)
			}
			if got := mappings(t); got > maps {
				t.Errorf("%d mappings, %d before", got, maps)
			}
			if grown := resident(t) - rss; memoryCounts && grown > 4<<10 {
				t.Errorf("10,000 queries took %d kB", grown)
			} else {
				t.Logf("10,000 queries took %d kB", grown)
			}
			c.Close()
			if got := mappings(t); got != 0 {
				t.Errorf("%d mappings after Close", got)
			}
		})
	}
	goleak.VerifyNone(t, existing)
}

func many(t *testing.T, s source, c *odbc.Conn, n int) {
	t.Helper()
	kinds := cols(odbc.KindInt64, odbc.KindText)
	for i := range n {
		ctx, cancel := context.WithCancel(t.Context())
		sql := "SELECT 1, 'x'"
		switch i % 50 {
		case 1:
			sql = "SELECT * FROM no_such_table"
		case 2:
			sql = series(s, 3000, "i, 'row'")
		}
		var params []odbc.Param
		if i%2 == 1 && sql[7] == '1' {
			sql, params = "SELECT 1, "+asText(s), []odbc.Param{text(beyond)}
		}
		cur, err := c.Query(ctx, sql, params, kinds, odbc.QueryOptions{})
		switch {
		case i%50 == 1:
			if err == nil {
				t.Fatal("no error")
			}
		case err != nil:
			t.Fatal(err)
		case i%50 == 2: // left in the middle, the block given back late
			b, err := cur.Next()
			if err != nil {
				t.Fatal(err)
			}
			cur.Close()
			b.Release()
		case i%50 == 3:
			cancel()
			if _, err := cur.Next(); !errors.Is(err, odbc.ErrCancelled) {
				t.Fatal(err)
			}
		default:
			if n, err := all(cur, nil); n != 1 || err != nil {
				t.Fatalf("%d rows, %v", n, err)
			}
		}
		if cur != nil {
			cur.Close()
		}
		cancel()
	}
}

// Connecting and closing 300 times leaves nothing either, on either side.
func TestConnectionsLeaveNothing(t *testing.T) {
	existing := goleak.IgnoreCurrent()
	for _, s := range sources() {
		t.Run(s.name, func(t *testing.T) {
			open := func() {
				c, err := odbc.Connect(t.Context(), s.spec)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := c.QueryStrings(t.Context(), "SELECT 1", nil); err != nil {
					t.Fatal(err)
				}
				c.Close()
			}
			for range 20 {
				open()
			}
			fds, rss := descriptors(t), resident(t)
			for range 300 {
				open()
			}
			if got := descriptors(t); got != fds {
				t.Errorf("%d descriptors, %d before", got, fds)
			}
			if grown := resident(t) - rss; memoryCounts && grown > 8<<10 {
				t.Errorf("300 connections took %d kB", grown)
			}
		})
	}
	goleak.VerifyNone(t, existing)
}
