package interrupt

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/test/world"
)

// place is where a session can be stuck: what it runs, and what shows that it is there.
type place struct {
	kind  string // of the source
	name  string
	sql   string
	there func(t *testing.T, victim *victim)
}

// victim is a session and the statement that it runs.
type victim struct {
	conn  *pgx.Conn
	pid   uint32
	ended chan outcome
	first chan struct{} // closed when a row has come
}

// outcome is how a statement ended, and when.
type outcome struct {
	err error
	at  time.Time
}

// start runs sql in a session, and reads what it brings.
func start(conn *pgx.Conn, sql string) *victim {
	v := &victim{conn: conn, pid: conn.PgConn().PID(), ended: make(chan outcome, 1), first: make(chan struct{})}
	go func() {
		results := conn.PgConn().ExecParams(context.Background(), sql, nil, nil, nil, nil)
		for n := 0; results.NextRow(); n++ {
			if n == 0 {
				close(v.first)
			}
		}
		_, err := results.Close()
		v.ended <- outcome{err, time.Now()}
	}()
	return v
}

// hasRow waits until the client has a row.
func (v *victim) hasRow(t *testing.T) {
	t.Helper()
	select {
	case <-v.first:
	case end := <-v.ended:
		t.Fatalf("no row came: %s", describe(end.err))
	case <-time.After(15 * time.Second):
		t.Fatal("no row comes")
	}
}

// reaches waits until the session is where it is wanted.
func (v *victim) reaches(t *testing.T, where string, there func(ctx context.Context) (bool, error)) {
	t.Helper()
	until(t, where, func(ctx context.Context) (bool, error) {
		select {
		case end := <-v.ended:
			t.Fatalf("it ended before %s: %s", where, describe(end.err))
		default:
		}
		return there(ctx)
	})
}

// places are those of one kind of source. A silent peer does not exist for a
// file. EXPLAIN ANALYZE runs nothing in a governed session: it answers one fixed line.
func (s *site) places(actor, kind string) []place {
	both := func(p, explained place) []place {
		if actor == world.Eve {
			return []place{p}
		}
		explained.name, explained.sql = p.name+" under EXPLAIN ANALYZE", "EXPLAIN ANALYZE "+p.sql
		return []place{p, explained}
	}
	runs := place{kind, "while the remote statement runs", "SELECT * FROM immuta.slow_" + kind, func(t *testing.T, v *victim) { s.works(t, kind, v) }}
	// What EXPLAIN ANALYZE reads is not sent to the client.
	fetches := place{kind, "in mid-fetch", "SELECT n, filler FROM immuta.trickle_" + kind, func(t *testing.T, v *victim) { s.works(t, kind, v) }}
	fetching := fetches
	if kind != "my" { // whose driver hands on nothing before it has all
		fetching.there = func(t *testing.T, v *victim) {
			v.hasRow(t)
			s.works(t, kind, v)
		}
	}
	all := append(both(runs, runs), both(fetching, fetches)...)
	if actor != world.Eve {
		all = append(all, place{kind, "while rows are counted", "SELECT immutasys.analyze('immuta.slow_" + kind + "')", runs.there})
	}
	if kind == "lite" {
		return all
	}
	connects := place{kind, "connecting to a silent peer", "SELECT n FROM immuta.deaf_" + kind, nil}
	connects.there = func(t *testing.T, v *victim) {
		v.reaches(t, "the connect", func(ctx context.Context) (bool, error) { return s.connecting(ctx, kind, v) })
	}
	return append(all, both(connects, connects)...)
}

// works waits until the source is at work for the victim.
func (s *site) works(t *testing.T, kind string, v *victim) {
	t.Helper()
	v.reaches(t, "the source works", func(ctx context.Context) (bool, error) {
		if kind == "lite" {
			return s.insideSQLite(ctx, v)
		}
		n, err := s.sleeping(ctx, kind)
		return n > 0, err
	})
}

// sleeping counts the statements that sleep at a server.
func (s *site) sleeping(ctx context.Context, kind string) (int, error) {
	return s.countAt(ctx, kind, "FROM information_schema.processlist WHERE state = 'User sleep'", "FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
}

// countAt counts rows at a server, in the words of each kind.
func (s *site) countAt(ctx context.Context, kind, atMariaDB, atPostgres string) (n int, err error) {
	if kind == "my" {
		out, err := s.MariaDB.Query(ctx, "", "SELECT count(*) "+atMariaDB)
		if err != nil {
			return 0, err
		}
		_, err = fmt.Sscan(out, &n)
		return n, err
	}
	conn, err := pgx.Connect(ctx, s.Postgres.DSN("postgres"))
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return n, conn.QueryRow(ctx, "SELECT count(*) "+atPostgres).Scan(&n)
}

// waits tells whether a session waits for what is outside of PostgreSQL.
func (s *site) waits(ctx context.Context, v *victim) (waits bool, err error) {
	err = s.admin.QueryRow(ctx, "SELECT coalesce(bool_or(wait_event_type = 'Extension'), false) FROM pg_stat_activity WHERE pid = $1", int32(v.pid)).Scan(&waits)
	return waits, err
}

// insideSQLite: the session has the file open, and waits for what is read from it.
func (s *site) insideSQLite(ctx context.Context, v *victim) (bool, error) {
	open, err := opened(v.pid, s.SQLite.Path)
	if err != nil || !open {
		return false, err
	}
	return s.waits(ctx, v)
}

// connecting: somebody is held by the deaf server, and the session waits.
func (s *site) connecting(ctx context.Context, kind string, v *victim) (bool, error) {
	waits, err := s.waits(ctx, v)
	if err != nil || !waits {
		return false, err
	}
	sockets, err := descriptors(v.pid, fmt.Sprintf(":%04X", s.deaf[kind].Port))
	return sockets > 0, err
}

// opened tells whether a process has a file open.
func opened(pid uint32, path string) (bool, error) {
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return false, err
	}
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && to == path { // one may have been closed meanwhile
			return true, nil
		}
	}
	return false, nil
}

// descriptors counts a process's TCP sockets to a port of loopback, as the kernel writes it.
func descriptors(pid uint32, port string) (n int, err error) {
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", pid))
	if err != nil {
		return 0, err
	}
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return 0, err
	}
	for _, link := range links {
		to, err := os.Readlink(link)
		inode, socket := strings.CutPrefix(to, "socket:[")
		if err != nil || !socket {
			continue
		}
		for line := range strings.Lines(string(table)) {
			f := strings.Fields(line)
			if len(f) > 9 && strings.HasSuffix(f[2], port) && f[9] == strings.TrimSuffix(inode, "]") {
				n++
			}
		}
	}
	return n, nil
}
