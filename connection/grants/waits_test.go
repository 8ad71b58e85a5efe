package grants_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/grants"
)

const heldTables = 40

// manyHeld: a revoke does not wait for the many other things that somebody holds.
func manyHeld(t *testing.T, a *adverse) {
	want := a.want()
	var lock []string
	for i := range heldTables {
		name := fmt.Sprintf("m%02d", i)
		a.sql(a.db, "CREATE TABLE app.%s (a int)", name)
		lock = append(lock, "ALTER TABLE app."+name+" ADD b int")
	}
	a.manage(a.db, "app")
	for i := range heldTables {
		table := a.ref(a.db, "app", fmt.Sprintf("m%02d", i))
		want.Managed = append(want.Managed, table)
		want.Sets = append(want.Sets, set("m"+table.Name, connection.Read, []connection.ObjectRef{table}, a.p))
	}
	a.settled(want)

	holder := a.login(a.pg.User, a.pg.Password, a.db)
	if err := try(holder, "SET application_name = 'migration'; BEGIN; "+strings.Join(lock, ";")); err != nil {
		t.Fatal(err)
	}
	var becomes []string
	made, _ := a.ledger.Roles(context.Background())
	for _, m := range made {
		if strings.HasPrefix(m.For, "m") && a.major < 16 {
			becomes = append(becomes, fmt.Sprintf("SET ROLE %[1]s; ALTER ROLE %[1]s SET search_path = x; RESET ROLE", ident(m.Name)))
		}
	}
	person := a.login(a.p, "pw", a.db)
	if err := try(person, "BEGIN; "+strings.Join(becomes, ";")); err != nil {
		t.Fatal(err)
	}

	// Every table that is held leaves its set and every such set goes, and so does q.
	want.Managed = want.Managed[:2]
	want.Sets = want.Sets[:2]
	want.Sets[1].Members = nil
	start := time.Now()
	r := a.round(want)
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("it took %v", took)
	}
	a.must(a.q, a.db, false, "SELECT * FROM app.u")
	told := 0
	for _, p := range r.Pending {
		if strings.Contains(p.Statement, "ON TABLE") && strings.Contains(p.Blocker, fmt.Sprintf("pid %d, role postgres, application migration", holder.PgConn().PID())) {
			told++
		}
	}
	if told != heldTables {
		t.Errorf("%d of %d are pending and tell who is in the way: %+v", told, heldTables, r.Pending)
	}
	if err := try(holder, "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	a.must(a.p, a.db, false, "SELECT * FROM app.m07") // the membership was not held up
	if err := try(person, "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	a.sql("postgres", "SELECT pg_terminate_backend(%d, 10000)", person.PgConn().PID())
	a.settled(want)
}

// hurried: a round that waits for a lock ends when something else is wanted.
func hurried(t *testing.T, a *adverse) {
	a.settled(a.want())
	holder := a.login(a.pg.User, a.pg.Password, a.db)
	if err := try(holder, "BEGIN; ALTER TABLE app.t ADD COLUMN b int"); err != nil {
		t.Fatal(err)
	}
	hurry := make(chan struct{})
	o := a.options()
	o.LockTimeout, o.Hurry = time.Minute, hurry
	e, err := grants.New(o)
	if err != nil {
		t.Fatal(err)
	}
	want := a.want()
	want.Sets[0].Tables = nil
	done := make(chan connection.Report, 1)
	go func() {
		r, err := e.Round(context.Background(), want)
		if err != nil {
			t.Error(err)
		}
		done <- r
	}()
	for a.value("postgres", `SELECT count(*)::text FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = $1 AND state_change < now() - interval '0.3 s'`, a.target.Username) != "1" {
		select {
		case r := <-done:
			t.Fatalf("it did not wait: %+v", r)
		default:
		}
	}
	close(hurry)
	select {
	case r := <-done:
		if len(r.Pending) != 2 || r.Pending[0].Error.Code != "locked" { // and the set is not dropped
			t.Errorf("%+v", r.Pending)
		}
	case <-time.After(20 * time.Second):
		t.Error("it went on waiting")
	}
	if err := try(holder, "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	a.settled(want)
}
