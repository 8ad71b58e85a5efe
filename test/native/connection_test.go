package native

import (
	"strings"
	"syscall"
	"testing"
)

const (
	people = `
groups: [{name: team}]
people:
  - {userid: ana, groups: [team]}
  - {userid: ben}
`
	teamReads = `
policies:
  - {name: team reads, kind: subscription, on: {tags: [Sales]}, who: {group: team}}
`
	readOrders = "SELECT * FROM sales.orders"
)

func TestAnAdministratorsDay(t *testing.T) {
	w := newWorld(t, "ana", "ben")
	w.apply(people)
	if out := w.add(); !strings.Contains(out, "2 tables") || strings.Contains(out, w.remote.Password) {
		t.Errorf("add: %s", out)
	}
	w.apply(teamReads)
	w.cli("connection", "tag", "shop.shop.sales", "Sales")
	w.soonCan("ana", readOrders, true)
	if w.can("ben", readOrders) {
		t.Error("ben reads without a subscription")
	}
	w.inStep()
	if out := w.cli("connection", "dry-run", "shop"); strings.Contains(out, "GRANT") || strings.Contains(out, "REVOKE") {
		t.Errorf("in step, but there is something to do:\n%s", out)
	}

	// What others gave is told, with the statement against it.
	w.run("GRANT SELECT ON sales.notes TO ben; GRANT USAGE ON SCHEMA sales TO ben")
	w.cli("connection", "sync", w.name)
	found := w.cli("connection", "findings", "shop")
	if !strings.Contains(found, "local/ben (ben) has SELECT on shop.sales.notes") || !strings.Contains(found, "a DBA runs: REVOKE") {
		t.Errorf("findings: %s", found)
	}
	if _, err := w.service.CLI(t.Context(), "connection", "status", "shop", "--check"); exitCode(err) != 3 {
		t.Errorf("status --check: %v", err)
	}
	for line := range strings.Lines(found) {
		if sql, is := strings.CutPrefix(strings.TrimSpace(line), "a DBA runs: "); is {
			w.run(sql)
		}
	}
	w.cli("connection", "sync", w.name)
	w.cli("connection", "status", "shop", "--check")

	w.cli("connection", "disable", "shop.shop.sales.orders")
	w.soonCan("ana", readOrders, false)
	if !w.can("ana", "SELECT * FROM sales.notes") {
		t.Error("disabling a table took another one")
	}
	w.cli("connection", "inherit", "shop.shop.sales.orders")
	w.soonCan("ana", readOrders, true)

	w.cli("connection", "map", "shop", "--user", "ana", "--none")
	w.soonCan("ana", readOrders, false)
	w.cli("connection", "sync", w.name) // who is who is written down at the end of a round
	if out := w.cli("connection", "accounts", "shop"); !strings.Contains(out, "local/ana\t-") {
		t.Errorf("accounts: %s", out)
	}
	w.cli("connection", "unmap", "shop", "--user", "ana")
	w.soonCan("ana", readOrders, true)

	w.cli("connection", "delete", "shop")
	if w.can("ana", readOrders) {
		t.Error("deleting the connection left access")
	}
}

// TestADBARunsTheScript registers without setup credentials.
func TestADBARunsTheScript(t *testing.T) {
	w := newWorld(t, "ana")
	w.apply(people)
	script := w.cli("connection", "print-script", "shop", "--host", w.remote.Host, "--port", "1", "--database", "shop", "--tls", "disable")
	script = strings.ReplaceAll(script, `\password "portcullis"`, `ALTER ROLE "portcullis" PASSWORD 'made-by-the-dba';`)
	w.psql(script)
	t.Setenv("PORTCULLIS_CONNECTION_PASSWORD", "made-by-the-dba")
	w.add("--setup-user", "")
	w.apply("policies:\n  - {name: all, kind: subscription, on: {all: true}, who: {group: team}}\n")
	w.soonCan("ana", readOrders, true)
}

// TestAServiceThatIsKilledInMidRound ends the service while one of its
// statements waits for a lock. What is there afterwards is whole, and the next
// service does the rest when the lease has run out.
func TestAServiceThatIsKilledInMidRound(t *testing.T) {
	w := newWorld(t, "ana", "ben")
	w.apply(people)
	w.add()
	w.inStep()
	conn := w.connect()
	if _, err := conn.Exec(t.Context(), "BEGIN; GRANT SELECT ON sales.orders TO pg_monitor"); err != nil {
		t.Fatal(err)
	}
	w.apply(teamReads)
	w.cli("connection", "tag", "shop.shop.sales", "Sales")
	w.soon("a statement waits", func() bool {
		var waits bool
		if err := conn.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)").Scan(&waits); err != nil {
			t.Fatal(err)
		}
		return waits
	})
	if err := syscall.Kill(w.service.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := w.service.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := w.service.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.soonCan("ana", readOrders, true)
	w.inStep()
	if w.can("ben", readOrders) {
		t.Error("ben reads without a subscription")
	}
	if st := w.status(); st.Drifts != 0 || st.Exceeds != 0 {
		t.Errorf("what the first service left was taken for somebody else's: %+v", st)
	}
}
