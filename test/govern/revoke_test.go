package govern

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/test/world"
)

const countStaff = "SELECT count(*) FROM immuta.staff_pg"

// revokeLimit is what is promised; asking for it takes some time too.
const revokeLimit = time.Second + 200*time.Millisecond

// wantRefusedSoon repeats a step until it is refused, at most within the promise.
func wantRefusedSoon(t *testing.T, step func() error) {
	t.Helper()
	start := time.Now()
	var err error
	for time.Since(start) < 5*time.Second {
		if err = step(); err != nil {
			break
		}
	}
	if took := time.Since(start); took > revokeLimit {
		t.Errorf("the revoke held after %v", took)
	}
	wantError(t, err, "42501", "")
}

// A revoke reaches sessions in whatever state they are.
func testRevoke(t *testing.T, n *node) {
	count := func(conn *pgx.Conn, sql string) func() error {
		return func() error { _, err := query(t, conn, sql); return err }
	}
	for _, test := range []struct {
		name string
		// open prepares the session and returns the step to repeat.
		open func(conn *pgx.Conn) func() error
	}{
		{"autocommit", func(conn *pgx.Conn) func() error { return count(conn, countStaff) }},
		{"prepared statement in an open transaction", func(conn *pgx.Conn) func() error {
			mustExec(t, conn, "BEGIN")
			mustExec(t, conn, "SET plan_cache_mode = force_generic_plan")
			mustExec(t, conn, "PREPARE c AS "+countStaff)
			return func() error { _, err := conn.Exec(t.Context(), "EXECUTE c"); return err }
		}},
		{"cursor", func(conn *pgx.Conn) func() error {
			mustExec(t, conn, "BEGIN")
			mustExec(t, conn, "DECLARE c CURSOR FOR SELECT id, note FROM immuta.staff_pg")
			return func() error { _, err := conn.Exec(t.Context(), "FETCH 1 FROM c"); return err }
		}},
		{"cursor WITH HOLD in its transaction", func(conn *pgx.Conn) func() error {
			mustExec(t, conn, "BEGIN")
			mustExec(t, conn, "DECLARE c CURSOR WITH HOLD FOR SELECT id, note FROM immuta.staff_pg")
			return func() error { _, err := conn.Exec(t.Context(), "FETCH 1 FROM c"); return err }
		}},
		{"PL/pgSQL loop", func(conn *pgx.Conn) func() error {
			return func() error {
				_, err := conn.Exec(t.Context(), `DO $$ BEGIN LOOP PERFORM count(*) FROM immuta.staff_pg WHERE id < 10; END LOOP; END $$`)
				return err
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			n.subscribe(t, true)
			conn := n.Login(t, world.Eve)
			if err := world.Until(t.Context(), 5*time.Second, func() (bool, error) {
				_, err := query(t, conn, countStaff)
				return err == nil, err
			}); err != nil {
				t.Fatal(err)
			}
			step := test.open(conn)
			n.subscribe(t, false)
			wantRefusedSoon(t, step)
		})
	}
	t.Run("running fetch", func(t *testing.T) { testRevokeWhileRunning(t, n) })
	n.subscribe(t, true)
	conn := n.Login(t, world.Eve)
	if err := world.Until(t.Context(), 5*time.Second, func() (bool, error) {
		_, err := query(t, conn, countStaff)
		return err == nil, err
	}); err != nil {
		t.Fatal(fmt.Errorf("granted again: %w", err))
	}
}

func mustExec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// A statement that is reading when the revoke comes ends at its next row.
func testRevokeWhileRunning(t *testing.T, n *node) {
	n.subscribe(t, true)
	conn := n.Login(t, world.Eve)
	if err := world.Until(t.Context(), 5*time.Second, func() (bool, error) {
		_, err := query(t, conn, countStaff)
		return err == nil, err
	}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		// About 1 ms a row, 10 s in all: a block alone takes longer than the promise.
		_, err := conn.Exec(t.Context(), "SELECT count(*) FROM immuta.staff_pg WHERE length(note) > 0 AND pg_sleep(0.001) IS NOT NULL")
		ended <- err
	}()
	if err := world.Until(t.Context(), 5*time.Second, func() (bool, error) {
		var event string
		err := n.admin.QueryRow(t.Context(), "SELECT coalesce(wait_event, '') FROM pg_stat_activity WHERE pid = $1", int32(conn.PgConn().PID())).Scan(&event)
		return event == "PgSleep", err
	}); err != nil {
		t.Fatal(err)
	}
	n.subscribe(t, false)
	start := time.Now()
	err := <-ended
	wantError(t, err, "42501", "access changed")
	if took := time.Since(start); took > revokeLimit {
		t.Errorf("the statement ran on for %v", took)
	}
}
