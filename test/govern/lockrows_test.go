package govern

import (
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/test/world"
)

// A person's statement that locks rows of their own and finds one changed
// meanwhile tests this row again (EvalPlanQual): against what the person sees
// of the data source, not against what is there.
func testLockedRows(t *testing.T, n *node) {
	n.subscribe(t, true)
	n.exec(t, "CREATE TABLE todo (id int PRIMARY KEY, ref int, amount int, note text); GRANT SELECT, UPDATE ON todo TO "+world.Eve)
	defer n.exec(t, "DROP TABLE todo")
	eve, writer := n.Login(t, world.Eve), n.Login(t, n.User)
	// Of 2 eve sees masked values (salary 100 for 2), of 3 nothing.
	const (
		join     = "SELECT concat_ws(' ', t.note, f.id, f.salary, f.ssn, f.name = 'name 2') FROM todo t JOIN immuta.staff_pg f ON f.id = t.ref AND f.salary = t.amount"
		selected = "SELECT note FROM todo t WHERE id = 2 OR EXISTS (SELECT FROM immuta.staff_pg f WHERE f.id = t.ref AND f.salary = t.amount)"
		nested   = "SET enable_hashjoin = off; SET enable_mergejoin = off"
		hashed   = "SET enable_nestloop = off; SET enable_mergejoin = off"
	)
	for _, test := range []struct {
		name, settings, sql, change string
		want                        []string
	}{
		{"nested: still joined", nested, join, "note = 'new'", []string{"new 2 100 f"}},
		{"nested: joined to another row", nested, join, "ref = 4", nil},
		{"nested: joined to a hidden row", nested, join, "ref = 3", nil},
		{"nested: the value behind the mask", nested, join, "amount = 2", nil},
		{"hashed: still joined", hashed, join, "note = 'new'", []string{"new 2 100 f"}},
		{"hashed: joined to another row", hashed, join, "ref = 4", nil},
		{"hashed: joined to a hidden row", hashed, join, "ref = 3", nil},
		{"hashed: the value behind the mask", hashed, join, "amount = 2", nil},
		// A sub-select is read anew.
		{"sub-select finds another row", "", selected, "ref = 4, note = 'new'", []string{"new"}},
		{"sub-select does not find a hidden row", "", selected, "ref = 3", nil},
		{"sub-select does not find the value behind the mask", "", selected, "amount = 2", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			mustExec(t, eve, "RESET ALL;"+test.settings)
			commit := n.changeTodo(t, writer, test.change)
			answered := ask(t, eve, test.sql+" FOR UPDATE OF t")
			n.waitsForLock(t, eve)
			commit()
			if got := <-answered; got.err != nil || !slices.Equal(got.rows, test.want) {
				t.Errorf("got %q, %v, want %q", got.rows, got.err, test.want)
			}
		})
	}
	t.Run("revoked while it waits", func(t *testing.T) {
		commit := n.changeTodo(t, writer, "ref = 4")
		answered := ask(t, eve, selected+" FOR UPDATE OF t")
		n.waitsForLock(t, eve)
		other := n.Login(t, world.Eve)
		n.subscribe(t, false)
		wantRefusedSoon(t, func() error { _, err := query(t, other, countStaff); return err })
		commit()
		got := <-answered
		wantError(t, got.err, "42501", "")
		n.subscribe(t, true)
	})
}

// wantRefusedSoon repeats a step until it is refused, within a second.
func wantRefusedSoon(t *testing.T, step func() error) {
	t.Helper()
	start := time.Now()
	var err error
	for err == nil && time.Since(start) < waitLimit {
		err = step()
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("the revoke held after %v", took)
	}
	wantError(t, err, "42501", "")
}

// changeTodo changes the one row of todo and returns the commit of that.
func (n *node) changeTodo(t *testing.T, writer *pgx.Conn, change string) (commit func()) {
	t.Helper()
	n.exec(t, "TRUNCATE todo; INSERT INTO todo VALUES (1, 2, 100, 'old'); ANALYZE todo")
	mustExec(t, writer, "BEGIN")
	mustExec(t, writer, "UPDATE todo SET "+change)
	return func() { mustExec(t, writer, "COMMIT") }
}

type answer struct {
	rows []string
	err  error
}

// ask runs a statement in the background.
func ask(t *testing.T, conn *pgx.Conn, sql string) <-chan answer {
	answered := make(chan answer, 1)
	go func() {
		var a answer
		var rows pgx.Rows
		if rows, a.err = conn.Query(t.Context(), sql); a.err == nil {
			a.rows, a.err = pgx.CollectRows(rows, pgx.RowTo[string])
		}
		answered <- a
	}()
	return answered
}
