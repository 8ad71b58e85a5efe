package grants_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/testenv"
)

// TestManySets: four times as many sets cost the instance about four times as
// much, to make and to take back. From PostgreSQL 16 on each change of a role
// looks at all roles of who makes it, so one maker would take in squares.
func TestManySets(t *testing.T) {
	t.Parallel()
	const few, many = 300, 1200
	pg := testenv.StartServer(t, testenv.ServerOptions{Major: 16})
	w := newWorld(t, pg, 16, connection.ModeBroker, 0)
	w.sql("postgres", `CREATE SCHEMA m; DO $$ BEGIN FOR i IN 1..%d LOOP EXECUTE format('CREATE TABLE m.t%%s ()', i); END LOOP;
		FOR i IN 1..20 LOOP EXECUTE format('CREATE ROLE p%%s LOGIN', i); END LOOP; END $$`, many)
	w.manage("postgres", "m")
	var want connection.Want
	for i := range many {
		p := fmt.Sprintf("p%d", i%20+1)
		if i < 20 {
			want.Accounts = append(want.Accounts, people(p)...)
		}
		table := w.ref("postgres", "m", fmt.Sprintf("t%d", i+1))
		want.Managed = append(want.Managed, table)
		want.Sets = append(want.Sets, set(fmt.Sprint("table:", i), connection.Read, []connection.ObjectRef{table}, p))
	}
	measure := func(sets int) int {
		before := spent(t, pg)
		part := want
		part.Sets = want.Sets[:sets]
		if r := w.round(part); len(r.Pending) > 0 || r.Lacks > 0 {
			t.Fatalf("%d sets: %+v", sets, r)
		}
		w.empty()
		w.engine = nil
		return spent(t, pg) - before
	}
	cheap, dear := measure(few), measure(many)
	t.Logf("%d sets: %d ticks, %d sets: %d ticks", few, cheap, many, dear)
	if dear > 8*cheap {
		t.Errorf("%d sets cost %d ticks, and %d sets %d", few, cheap, many, dear)
	}
}

// spent is the processor time, in ticks, of the server's sessions that ended.
func spent(t *testing.T, pg *testenv.Postgres) int {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pg.PID()))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest) // from the third on, proc(5)
	sum := 0
	for _, f := range fields[13:15] { // cutime, cstime
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}
