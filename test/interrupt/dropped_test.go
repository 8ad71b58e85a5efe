package interrupt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/test/world"
)

// testDropped: a connection that goes away under a statement is an error that
// says so, soon, and the session reads on with a new one.
func testDropped(t *testing.T, s *site) {
	cut := func(kind string) func(*testing.T) { return func(*testing.T) { s.ways[kind].Cut() } }
	for _, actor := range []string{s.User, world.Eve} {
		for _, test := range []struct {
			kind, name string
			drop       func(t *testing.T)
		}{
			{"pg", "cut", cut("pg")}, {"pg", "ended by the server", s.endAtPostgres},
			{"my", "cut", cut("my")}, {"my", "ended by the server", s.endAtMariaDB},
		} {
			for _, p := range s.places(world.Eve, test.kind)[:2] {
				t.Run(fmt.Sprintf("%s %s %s %s", actor, test.kind, p.name, test.name), func(t *testing.T) {
					v := start(s.login(t, actor), p.sql)
					p.there(t, v)
					began := time.Now()
					test.drop(t)
					select {
					case end := <-v.ended:
						if took := end.at.Sub(began); took > time.Second {
							t.Errorf("told after %v", took)
						}
						wantLost(t, end.err, "way_"+test.kind)
					case <-time.After(5 * time.Second):
						t.Fatal("not told")
					}
					reads(t, v.conn, test.kind)
					s.quietAfterCut(t, test.kind)
				})
			}
		}
	}
}

func wantLost(t *testing.T, err error, server string) {
	t.Helper()
	var answer *pgconn.PgError
	if !errors.As(err, &answer) || answer.Code != "08006" || !strings.Contains(answer.Message, server) || !strings.Contains(answer.Message, "lost") || answer.Hint == "" {
		t.Errorf("got %s", describe(err))
	}
}

func (s *site) endAtPostgres(t *testing.T) {
	t.Helper()
	if err := s.Postgres.Exec(t.Context(), "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'reader'"); err != nil {
		t.Fatal(err)
	}
}

func (s *site) endAtMariaDB(t *testing.T) {
	t.Helper()
	if err := s.MariaDB.Exec(t.Context(), "", "KILL CONNECTION USER reader@'127.0.0.1'"); err != nil {
		t.Fatal(err)
	}
}

// quietAfterCut ends what a server goes on with because it cannot know that nobody listens.
func (s *site) quietAfterCut(t *testing.T, kind string) {
	t.Helper()
	if kind == "pg" {
		s.endAtPostgres(t)
	} else {
		s.endAtMariaDB(t)
	}
	s.quiet(t, kind)
}

// testLockedFile: another process keeps the file to itself.
func testLockedFile(t *testing.T, s *site) {
	p := place{kind: "lite", name: "waiting for the lock", sql: "SELECT count(n) FROM immuta.bulk_spare"}
	p.there = func(t *testing.T, v *victim) {
		v.reaches(t, "the wait for the lock", func(ctx context.Context) (bool, error) {
			open, err := opened(v.pid, s.spare.Path)
			if err != nil || !open {
				return false, err
			}
			return s.waits(ctx, v)
		})
	}
	for _, actor := range []string{s.User, world.Eve} {
		fresh, used := s.login(t, actor), s.login(t, actor) // without a connection to the file, and with one
		wantRows(t, used, 20000)
		unlock := s.spare.Lock(t)
		t.Run(actor+" cancel", func(t *testing.T) { s.cancel(t, actor, p) })
		t.Run(actor+" terminate", func(t *testing.T) { s.ends(t, actor, p, s.terminated) })
		t.Run(actor+" disconnect", func(t *testing.T) { s.ends(t, actor, p, s.disconnected) })
		t.Run(actor+" timeout", func(t *testing.T) { s.timeouts(t, actor, []place{p}) })
		t.Run(actor+" unlock", func(t *testing.T) {
			waiting := []*victim{start(fresh, p.sql), start(used, p.sql)}
			for _, v := range waiting {
				p.there(t, v)
			}
			unlock()
			for _, v := range waiting {
				if end := <-v.ended; end.err != nil {
					t.Error(describe(end.err))
				}
			}
		})
	}
}

func wantRows(t *testing.T, conn *pgx.Conn, want int) {
	t.Helper()
	var n int
	if err := conn.QueryRow(t.Context(), "SELECT count(n) FROM immuta.bulk_spare").Scan(&n); err != nil || n != want {
		t.Errorf("%d rows, want %d: %s", n, want, describe(err))
	}
}

// testChangedFile: a file that is replaced is read anew, one that is cut under
// a scan never gives fewer rows without an error.
func testChangedFile(t *testing.T, s *site) {
	for _, actor := range []string{s.User, world.Eve} {
		conn := s.login(t, actor)
		t.Run(actor+" replaced", func(t *testing.T) {
			s.replaceSpare(t, 20000)
			wantRows(t, conn, 20000)
			s.replaceSpare(t, 300)
			wantRows(t, conn, 300)
		})
		t.Run(actor+" replaced in mid-fetch", func(t *testing.T) {
			s.replaceSpare(t, 20000)
			v := begun(t, conn)
			s.replaceSpare(t, 300)
			if n, err := v.rest(); n != 20000 || err != nil {
				t.Errorf("%d rows: %s", n, describe(err))
			}
			wantRows(t, conn, 300)
		})
		t.Run(actor+" cut in mid-fetch", func(t *testing.T) {
			s.replaceSpare(t, 20000)
			v := begun(t, conn)
			if err := os.Truncate(s.spare.Path, 1<<20); err != nil {
				t.Fatal(err)
			}
			_, err := v.rest()
			wantState(t, err, "HV000")
			s.replaceSpare(t, 300)
			wantRows(t, conn, 300)
		})
	}
}

// replaceSpare puts another file in the place of the spare one.
func (s *site) replaceSpare(t *testing.T, rows int) {
	t.Helper()
	if err := os.Rename(s.file(t, "other.db", bulk(rows)).Path, s.spare.Path); err != nil {
		t.Fatal(err)
	}
}

// reader is a client in the middle of reading bulk.
type reader struct {
	rows *pgconn.ResultReader
	n    int
}

// begun reads the first row; so much follows that the source is far from its last one.
func begun(t *testing.T, conn *pgx.Conn) *reader {
	t.Helper()
	r := &reader{rows: conn.PgConn().ExecParams(context.Background(), "SELECT n, filler FROM immuta.bulk_spare", nil, nil, nil, nil)}
	if !r.rows.NextRow() {
		_, err := r.rows.Close()
		t.Fatalf("no row: %s", describe(err))
	}
	r.n = 1
	return r
}

func (r *reader) rest() (int, error) {
	for r.rows.NextRow() {
		r.n++
	}
	_, err := r.rows.Close()
	return r.n, err
}
