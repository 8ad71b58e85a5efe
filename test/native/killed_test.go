package native

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/internal/testenv"
)

// moment is a place at which the service is killed: others hold something, in
// order, each queued for once the service waits for the one before, which is let go then.
type moment struct {
	name   string
	after  bool // what the policies want after: the team reads
	holds  []hold
	waited string // what is seen at the instance at the last; waitsAtInstance
}

// hold is a lock that the service comes upon.
type hold struct {
	atStore bool
	sql     string
}

const (
	// A session of the account waits for a lock.
	waitsAtInstance = `SELECT 'waits' FROM pg_stat_activity WHERE usename = 'gatekeeper' AND wait_event_type = 'Lock'`
	// It made all statements of a transaction, and is about to ask for the lease.
	beforeCommit = `SELECT 'waits' FROM pg_stat_activity WHERE usename = 'gatekeeper' AND state = 'idle in transaction' AND backend_xid IS NOT NULL`
	// All is done, and nothing of it stored.
	beforeReport = `SELECT 'waits' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname ~ '^portcullis_[rwsd]_')`
)

var (
	ofRoles       = hold{sql: "LOCK TABLE pg_authid IN SHARE MODE"}
	ofMemberships = hold{sql: "LOCK TABLE pg_auth_members IN SHARE MODE"}
	ofTable       = hold{sql: "GRANT SELECT ON sales.orders TO CURRENT_USER"}
	ofLeases      = hold{true, "LOCK TABLE portcullis.connection_leases IN ACCESS EXCLUSIVE MODE"}
	ofReports     = hold{true, "LOCK TABLE portcullis.connection_status IN EXCLUSIVE MODE"}
)

// TestKilled kills the service while it works on an instance. What people reach
// then is never more than what was given before or is after, and the service
// that is started again arrives.
func TestKilled(t *testing.T) {
	w := newWorldOn(t, testenv.StartEngine(t, testenv.EngineOptions{}), testenv.StartServer(t, testenv.ServerOptions{Major: 14}), "shop", "ana", "ben")
	w.apply(crew + nobodySubscribed)
	w.add("--mode", "broker", "--user", "gatekeeper", "--tags", "Sales")
	w.inStep()
	for _, m := range []moment{
		{"making roles", true, []hold{ofRoles}, ""},
		{"revoking memberships", false, []hold{ofMemberships}, ""},
		{"granting on a table", true, []hold{ofTable}, ""},
		{"dropping roles", false, []hold{ofRoles}, ""},
		{"granting memberships", true, []hold{ofMemberships}, ""},
		{"revoking on a table", false, []hold{ofTable}, ""},
		{"before a commit", true, []hold{ofTable, ofLeases}, beforeCommit},
		{"before the report", false, []hold{ofReports}, beforeReport},
	} {
		t.Run(m.name, func(t *testing.T) {
			w.t = t
			w.isKilled(m)
		})
	}
}

func (w *world) isKilled(m moment) {
	var held []lock
	for i, h := range m.holds {
		held = append(held, w.take(h))
		if i == 0 {
			w.apply(map[bool]string{true: crewReads, false: nobodySubscribed}[m.after])
		} else {
			w.letGo(held[i-1])
		}
		seen := waitsAtInstance
		if i == len(m.holds)-1 && m.waited != "" {
			seen = m.waited
		}
		w.isSeen(w.remote, "shop", seen)
	}
	if err := syscall.Kill(w.service.PID(), syscall.SIGKILL); err != nil {
		w.t.Fatal(err)
	}
	if err := w.service.Stop(w.t.Context()); err != nil { // it is gone then
		w.t.Fatal(err)
	}
	w.reaches(true)
	w.letGo(held[len(held)-1])
	w.reaches(true)

	// Else the next one waits for the lease to run out.
	if err := w.store.Exec(w.t.Context(), "portcullis", "UPDATE portcullis.connection_leases SET expires = clock_timestamp()"); err != nil {
		w.t.Fatal(err)
	}
	if err := w.service.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.cli("connection", "sync", w.name)
	w.reaches(m.after)
	if out := w.cli("connection", "dry-run", w.name); strings.Contains(out, "portcullis_broker.") {
		w.t.Errorf("there is something left to do:\n%s", out)
	}
	if ours := list(w.t, w.remote, "shop", `SELECT rolname FROM pg_roles WHERE rolname ~ '^portcullis_[rwsd]_' ORDER BY 1`); !slices.Equal(ours, w.ledger()) || m.after != (len(ours) > 0) {
		w.t.Errorf("roles %q, the ledger %q", ours, w.ledger())
	}
	if st := w.status(); st.Drifts != 0 || len(st.Pending) != 0 {
		w.t.Errorf("%+v", st)
	}
}

// isSeen waits until a query returns something. The service is not asked: it
// may be held up.
func (w *world) isSeen(pg *testenv.Postgres, database, query string) {
	w.t.Helper()
	for end := time.Now().Add(patience); len(list(w.t, pg, database, query)) == 0; {
		if time.Now().After(end) {
			w.t.Fatalf("not seen after %s: %s", patience, query)
		}
	}
}

// lock is one that is held, or that comes next.
type lock struct {
	conn  *pgx.Conn
	taken chan error
}

// take takes a lock, or queues for it, until letGo or the end of the test.
func (w *world) take(h hold) lock {
	w.t.Helper()
	pg, database := w.remote, "shop"
	if h.atStore {
		pg, database = w.store, "portcullis"
	}
	conn, err := pg.Connect(w.t.Context(), database)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(w.t.Context())) })
	l := lock{conn, make(chan error, 1)}
	go func() {
		_, err := conn.PgConn().Exec(w.t.Context(), "BEGIN; "+h.sql).ReadAll()
		l.taken <- err
	}()
	w.isSeen(pg, database, fmt.Sprintf("SELECT 'held' FROM pg_stat_activity WHERE pid = %d AND (wait_event_type = 'Lock' OR state = 'idle in transaction')", conn.PgConn().PID()))
	return l
}

func (w *world) letGo(l lock) {
	w.t.Helper()
	if err := <-l.taken; err != nil {
		w.t.Fatal(err)
	}
	if _, err := l.conn.Exec(w.t.Context(), "ROLLBACK"); err != nil {
		w.t.Fatal(err)
	}
	if err := l.conn.Close(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// reaches tries what people reach by logging in: the team reads, or may and
// may not, and nobody does more.
func (w *world) reaches(teamReads bool) {
	w.t.Helper()
	for _, sql := range []string{readOrders, "SELECT * FROM sales.notes"} {
		if reads := w.can("ana", sql); reads && !teamReads {
			w.t.Errorf("ana: %s", sql)
		}
		if w.can("ben", sql) {
			w.t.Errorf("ben: %s", sql)
		}
	}
	if w.can("ana", writeOrders) || w.can("ben", writeOrders) {
		w.t.Error("somebody writes")
	}
}
