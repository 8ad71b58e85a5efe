// Package govern shows what governs a session: decisions while statements
// run, refusals, impersonation, audit, and the node's workers.
package govern

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/service"
	"portcullis.dev/portcullis/test/world"
)

const (
	rows       = 20000
	countStaff = "SELECT count(*) FROM immuta.staff_pg"
)

// waitLimit is how long a test waits for what takes no time.
const waitLimit = 5 * time.Second

// node is the installation that the tests of this package share.
type node struct {
	*world.World
	admin  *pgx.Conn
	faults *testenv.DiskFaults // of the audit spool
}

// TestNode runs the tests one after the other: several change the whole node.
func TestNode(t *testing.T) {
	faults := testenv.NewDiskFaults(t)
	// Modules that are loaded after ours see a statement first.
	w := world.Start(t, world.Options{Settings: map[string]string{"log_statement": "all", "portcullis.login_check_timeout": "3s",
		"shared_preload_libraries": "portcullis,pg_stat_statements,auto_explain", "pg_stat_statements.track": "all"}, Wrap: faults.Wrap()})
	n := &node{World: w, admin: w.Login(t, w.User), faults: faults}
	for _, s := range n.Sources {
		if s.Kind != "pg" {
			continue
		}
		if err := s.Exec(t.Context(), fmt.Sprintf(`INSERT INTO hr.staff SELECT i, 'name ' || i, CASE WHEN i %% 2 = 0 THEN 'sales' ELSE 'board' END,
			i, 'ssn', '555-01', '2000-01-02', repeat('x', 500) FROM generate_series(1, %d) i`, rows)); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name string
		run  func(t *testing.T, n *node)
	}{
		{"locked rows", testLockedRows},
		{"planning", testPlanning},
		{"refusals", testRefusals},
		{"login", testLogin},
		{"login checks", testLoginChecks},
		{"roles", testRoles},
		{"impersonation", testImpersonation},
		{"limits", testLimits},
		{"audit", testAudit},
		{"statements", testStatements},
		{"chain", testChain},
		{"verified", testVerified},
		{"spool", testSpoolFailure},
		{"disk faults", testDiskFaults},
		{"spool limits", testSpoolLimits},
		{"mappings", testMappings},
		{"passwords", testPasswords},
		{"admin", testAdmin},
		{"bad input", testBadInput},
		{"dump", testDump},
		{"functions are not public", testFunctionsAreNotPublic},
		{"workers", testWorkers},
		{"lease", testLease},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, n) })
	}
}

// exec runs statements as an administrator.
func (n *node) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := n.admin.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// status is a value of immutasys.status().
func (n *node) status(t *testing.T, name string) string {
	t.Helper()
	var value string
	if err := n.admin.QueryRow(t.Context(), "SELECT coalesce(value, '') FROM immutasys.status() WHERE name = $1", name).Scan(&value); err != nil {
		t.Fatalf("status %s: %v", name, err)
	}
	return value
}

func evesPerson(subscribed bool) service.Person {
	p := service.Person{UserID: world.Eve, Attributes: map[string][]string{"dept": {"sales"}}}
	if subscribed {
		p.Groups = []string{"sales"}
	}
	return p
}

// subscribe lets eve in or not.
func (n *node) subscribe(t *testing.T, in bool) {
	t.Helper()
	if err := n.PutPerson(t.Context(), evesPerson(in)); err != nil {
		t.Fatal(err)
	}
}

// wantError checks SQLSTATE (one of them, where PostgreSQL's versions differ)
// and a part of the message, detail or hint.
func wantError(t *testing.T, err error, state, part string) {
	t.Helper()
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		t.Errorf("got %v, want SQLSTATE %s", err, state)
		return
	}
	if text := e.Message + "\n" + e.Detail + "\n" + e.Hint; !slices.Contains(strings.Fields(state), e.Code) || !strings.Contains(text, part) {
		t.Errorf("got %s %q, want %s with %q", e.Code, text, state, part)
	}
}

func mustExec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func query(t *testing.T, conn *pgx.Conn, sql string) (n int64, err error) {
	t.Helper()
	err = conn.QueryRow(t.Context(), sql).Scan(&n)
	return n, err
}

func wantCount(t *testing.T, conn *pgx.Conn, sql string, want int64) {
	t.Helper()
	if got, err := query(t, conn, sql); err != nil || got != want {
		t.Errorf("%s: got %d, %v, want %d", sql, got, err, want)
	}
}
