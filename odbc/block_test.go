package odbc_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"portcullis.dev/portcullis/odbc"
)

// series is a query of n rows of an integer i from 1, and expressions over it.
func series(s source, n int, exprs string) string {
	switch s.name {
	case "postgres":
		return fmt.Sprintf("SELECT %s FROM generate_series(1, %d) AS g(i)", exprs, n)
	case "mariadb":
		return fmt.Sprintf("SELECT %s FROM (SELECT CAST(seq AS SIGNED) AS i FROM seq_1_to_%d) AS g WHERE i <= %d", exprs, max(n, 1), n)
	}
	return fmt.Sprintf("SELECT %s FROM (WITH RECURSIVE g(i) AS (SELECT 1 WHERE %d > 0 UNION ALL SELECT i + 1 FROM g WHERE i < %d) SELECT i FROM g)", exprs, n, n)
}

func repeated(s source, what, times string) string {
	if s.name == "sqlite" {
		return fmt.Sprintf("replace(hex(zeroblob(%s)), '00', %s)", times, what)
	}
	return fmt.Sprintf("repeat(%s, %s)", what, times)
}

func TestBlockBoundaries(t *testing.T) {
	each(t, func(t *testing.T, s source, c *odbc.Conn) {
		for _, n := range []int{0, 1, 999, 1000, 1001, 2000, 3001} {
			for _, kinds := range [][]odbc.Column{cols(odbc.KindInt64), cols(odbc.KindInt64, odbc.KindText)} {
				exprs := "i"
				if len(kinds) == 2 {
					exprs = "i, 'row'"
				}
				cur := query(t, c, series(s, n, exprs), nil, kinds, odbc.QueryOptions{})
				next := int64(1)
				got, err := all(cur, func(b *odbc.Block, row int) {
					if v := b.Int64(0, row); v != next {
						t.Fatalf("row %d holds %d", next, v)
					}
					next++
				})
				if got != n || err != nil {
					t.Errorf("%d rows of %d, %v", got, n, err)
				}
				cur.Close()
			}
		}
	})
}

// Short and long values mixed: every length around the room, some far longer, NULLs between.
func TestMixedLengths(t *testing.T) {
	lengths := []int{0, 1, 15, 16, 63, 64, 71, 72, 73, 200, 4096, 70000, 300000}
	each(t, func(t *testing.T, s source, c *odbc.Conn) {
		var b strings.Builder
		b.WriteString("CASE i % 14")
		for k, n := range lengths {
			fmt.Fprintf(&b, " WHEN %d THEN %s", k, repeated(s, "'é'", fmt.Sprint(n)))
		}
		b.WriteString(" END")
		exprs := "i, " + b.String() + ", i * 2, " + b.String()
		kinds := cols(odbc.KindInt64, odbc.KindText, odbc.KindInt64, odbc.KindText)
		for _, o := range []odbc.QueryOptions{{}, {BlockRows: 7}, {BlockRows: 100, Blocks: 1}, {BlockBytes: 4 << 20, TextRoom: 1000}} {
			cur := query(t, c, series(s, 700, exprs), nil, kinds, o)
			i := 0
			n, err := all(cur, func(b *odbc.Block, row int) {
				i++
				checkMixed(t, b, row, i, lengths)
			})
			if n != 700 || err != nil {
				t.Errorf("%+v: %d rows, %v", o, n, err)
			}
			cur.Close()
		}
	})
}

func checkMixed(t *testing.T, b *odbc.Block, row, i int, lengths []int) {
	t.Helper()
	if b.Int64(0, row) != int64(i) || b.Int64(2, row) != int64(2*i) {
		t.Fatalf("row %d holds %d and %d", i, b.Int64(0, row), b.Int64(2, row))
	}
	for _, col := range []int{1, 3} {
		if i%14 == 13 {
			if !b.IsNull(col, row) {
				t.Fatalf("row %d: NULL arrived as %d bytes", i, len(b.Bytes(col, row)))
			}
			continue
		}
		want := bytes.Repeat([]byte("é"), lengths[i%14])
		if got := b.Bytes(col, row); !bytes.Equal(got, want) || b.IsNull(col, row) {
			t.Fatalf("row %d, column %d: %d bytes arrived as %d", i, col, len(want), len(got))
		}
	}
}

// A wide row makes blocks shorter, never larger.
func TestManyColumns(t *testing.T) {
	each(t, func(t *testing.T, s source, c *odbc.Conn) {
		n := map[string]int{"postgres": 1600, "mariadb": 1600, "sqlite": 1600}[s.name]
		exprs := strings.Repeat("i, 'abcdefghijklmnop', ", n/2-1) + "i, 'z'"
		kinds := make([]odbc.Column, n)
		for i := range kinds {
			kinds[i].Kind = odbc.KindInt64
			if i%2 == 1 {
				kinds[i].Kind = odbc.KindText
			}
		}
		cur := query(t, c, series(s, 300, exprs), nil, kinds, odbc.QueryOptions{BlockBytes: 256 << 10})
		rows, err := all(cur, func(b *odbc.Block, row int) {
			if string(b.Bytes(1, row)) != "abcdefghijklmnop" || string(b.Bytes(n-1, row)) != "z" || b.Int64(n-2, row) == 0 {
				t.Fatal("a value is wrong")
			}
		})
		if rows != 300 || err != nil {
			t.Errorf("%d rows, %v", rows, err)
		}
	})
}

// Blocks stay as they were until released, also after the cursor is closed.
func TestHeldBlocks(t *testing.T) {
	each(t, func(t *testing.T, s source, c *odbc.Conn) {
		cur := query(t, c, series(s, 30, "i"), nil, cols(odbc.KindInt64), odbc.QueryOptions{BlockRows: 10})
		var held []*odbc.Block
		for range 3 {
			b, err := cur.Next()
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, b)
		}
		cur.Close()
		other := query(t, c, series(s, 10, "i + 100"), nil, cols(odbc.KindInt64), odbc.QueryOptions{BlockRows: 10})
		if _, err := all(other, nil); err != nil {
			t.Fatal(err)
		}
		for i, b := range held {
			if got := b.Int64(0, 0); got != int64(10*i+1) {
				t.Errorf("block %d now begins with %d", i, got)
			}
			b.Release()
			b.Release()
		}
	})
}

// Memory of this process must not grow with the rows, nor with what they hold.
func TestStreaming(t *testing.T) {
	for _, s := range []source{postgres(), sqlite()} {
		t.Run(s.name, func(t *testing.T) {
			c := s.connect(t)
			if s.name == "sqlite" {
				exec(t, c, "CREATE TABLE million AS "+series(s, 1000, "i"))
			}
			if s.name == "postgres" {
				if err := c.SetAutoCommit(false); err != nil {
					t.Fatal(err)
				}
			}
			kinds := cols(odbc.KindInt64, odbc.KindText)
			param := []odbc.Param{{Type: odbc.ParamInt, Int: 0}}
			cur := query(t, c, series(s, 1000, "i, 'warm'")+" WHERE i > ?", param, kinds, odbc.QueryOptions{})
			if _, err := all(cur, nil); err != nil {
				t.Fatal(err)
			}
			cur.Close()
			resetPeak(t)
			before := peak(t)
			sql := series(s, 1000000, "i, 'a text of some length for row ' || i") + " WHERE i > ?"
			if s.name == "sqlite" { // which would keep the recursive rows itself
				sql = "SELECT a.i, 'a text of some length for row ' || b.i FROM million AS a, million AS b WHERE a.i > ?"
			}
			cur = query(t, c, sql, param, kinds, odbc.QueryOptions{})
			n, err := all(cur, nil)
			if n != 1000000 || err != nil {
				t.Fatalf("%d rows, %v", n, err)
			}
			if grown := peak(t) - before; grown > 16<<10 {
				t.Errorf("the scan took %d kB", grown)
			} else {
				t.Logf("the scan took %d kB", grown)
			}
		})
	}
}

// 300 rows of 1 MB go through blocks that hold a few of them.
func TestLongValuesStream(t *testing.T) {
	s := sqlite()
	c := s.connect(t)
	resetPeak(t)
	before := peak(t)
	cur := query(t, c, series(s, 300, repeated(s, "'x'", "1000000")), nil, cols(odbc.KindText), odbc.QueryOptions{})
	n, err := all(cur, func(b *odbc.Block, row int) {
		if len(b.Bytes(0, row)) != 1000000 {
			t.Fatal("a value was cut")
		}
	})
	if n != 300 || err != nil {
		t.Fatalf("%d rows, %v", n, err)
	}
	grown := peak(t) - before
	t.Logf("the scan took %d kB", grown)
	if grown > 32<<10 {
		t.Errorf("300 values of 1 MB took %d kB", grown)
	}
}

func resetPeak(t *testing.T) {
	t.Helper()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}

// peak is the process's largest resident size in kB since resetPeak.
func peak(t *testing.T) int {
	t.Helper()
	return statusField(t, "VmHWM:")
}

func statusField(t *testing.T, field string) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, field) {
			n := 0
			if _, err := fmt.Sscan(strings.TrimPrefix(line, field), &n); err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no %s", field)
	return 0
}

// Two cursors of one connection, read from two goroutines, do not disturb each other.
func TestTwoCursors(t *testing.T) {
	each(t, func(t *testing.T, s source, c *odbc.Conn) {
		if s.name != "sqlite" { // streams one statement at a time, and only outside transactions
			if err := c.SetAutoCommit(false); err != nil {
				t.Fatal(err)
			}
		}
		done := make(chan error, 2)
		for k := range 2 {
			cur := query(t, c, series(s, 20000, fmt.Sprintf("i * %d, 'x'", k+1)), nil, cols(odbc.KindInt64, odbc.KindText), odbc.QueryOptions{BlockRows: 100})
			go func() {
				i := int64(0)
				n, err := all(cur, func(b *odbc.Block, row int) {
					if i++; b.Int64(0, row) != i*int64(k+1) {
						t.Errorf("cursor %d, row %d holds %d", k, i, b.Int64(0, row))
					}
				})
				if err == nil && n != 20000 {
					err = fmt.Errorf("cursor %d ended after %d rows", k, n)
				}
				done <- err
			}()
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}
