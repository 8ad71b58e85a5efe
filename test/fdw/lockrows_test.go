package fdw_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// A statement that locks local rows and finds one changed meanwhile tests
// this row again (EvalPlanQual), with the foreign row that it was joined to.
func TestRowsChangedWhileLockedAreTestedAgain(t *testing.T) {
	admin, writer, reader := session(t), session(t), session(t)
	do(t, admin, "CREATE TABLE todo (id int PRIMARY KEY, n int, word text, note text)")
	cleanup(t, "DROP TABLE todo")
	const join = "SELECT t.note || ' ' || f.word FROM todo t JOIN numbers f ON f.n = t.n WHERE f.n < 100"
	const flat = "SET enable_nestloop = off"
	for _, tt := range []struct {
		name, settings, sql string
		plan                string // what EXPLAIN must show
		change              string
		want                []string
	}{
		{"still joined", flat, join, "Hash Join", "note = 'new'", []string{"new word 5"}},
		{"joined to another row", flat, join, "Hash Join", "n = 6", nil},
		{"parameters: still joined", "", join, ") AND (", "note = 'new'", []string{"new word 5"}},
		{"parameters: joined to another row", "", join, ") AND (", "n = 6", nil},
		{"condition of both: still true", "", join + " AND md5(f.word) <> md5(t.word)", "md5", "word = 'word 6'", []string{"old word 5"}},
		{"condition of both: no longer true", "", join + " AND md5(f.word) <> md5(t.word)", "md5", "word = 'word 5'", nil},
		{"outer join: still joined", "", "SELECT t.note || ' ' || coalesce(f.word, 'none') FROM todo t LEFT JOIN numbers f ON f.n = t.n AND f.n < 100", "Left Join", "note = 'new'", []string{"new word 5"}},
		{"outer join: joined to another row", "", "SELECT t.note || ' ' || coalesce(f.word, 'none') FROM todo t LEFT JOIN numbers f ON f.n = t.n AND f.n < 100", "Left Join", "n = 6", []string{"old none"}},
		// A sub-select is read anew, with what the row holds now.
		{"sub-select finds another row", "", "SELECT note FROM todo t WHERE id = 2 OR EXISTS (SELECT FROM numbers f WHERE f.n = t.n)", "SubPlan", "n = 7, note = 'new'", []string{"new"}},
		{"sub-select finds none", "", "SELECT note FROM todo t WHERE id = 2 OR EXISTS (SELECT FROM numbers f WHERE f.n = t.n)", "SubPlan", "n = 0", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			do(t, admin, "TRUNCATE todo; INSERT INTO todo VALUES (1, 5, 'word 4', 'old'); ANALYZE todo")
			do(t, reader, "RESET ALL;"+tt.settings)
			sql := tt.sql + " FOR UPDATE OF t"
			if plan := strings.Join(lines(t, reader, "EXPLAIN (VERBOSE, COSTS OFF) "+sql), "\n"); !strings.Contains(plan, tt.plan) {
				t.Fatalf("%q is not in\n%s", tt.plan, plan)
			}
			if got := changedMeanwhile(t, writer, reader, "UPDATE todo SET "+tt.change, sql); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// changedMeanwhile runs sql, which waits for the rows that change has not
// committed yet, and returns what it brings then.
func changedMeanwhile(t *testing.T, writer, reader *pgx.Conn, change, sql string) []string {
	t.Helper()
	do(t, writer, "BEGIN")
	do(t, writer, change)
	type answer struct {
		rows []string
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		rows, err := reader.Query(t.Context(), sql)
		if err == nil {
			var a answer
			a.rows, a.err = pgx.CollectRows(rows, pgx.RowTo[string])
			answered <- a
			return
		}
		answered <- answer{err: err}
	}()
	pid := reader.PgConn().PID()
	waitFor(t, "the wait for the row", func(ctx context.Context) (bool, error) {
		var waits bool
		err := writer.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)", int32(pid)).Scan(&waits)
		return waits, err
	})
	do(t, writer, "COMMIT")
	a := <-answered
	if a.err != nil {
		t.Fatal(describe(a.err))
	}
	return a.rows
}

func TestForeignRowsCannotBeLocked(t *testing.T) {
	conn := session(t)
	do(t, conn, "CREATE TABLE mine (n int)")
	cleanup(t, "DROP TABLE mine")
	for _, sql := range []string{
		"SELECT n FROM numbers WHERE n = 1 FOR UPDATE",
		"SELECT n FROM numbers LIMIT 1 FOR KEY SHARE",
		"SELECT count(*) FROM (SELECT n FROM numbers FOR SHARE) x",
		"SELECT numbers.n FROM numbers JOIN mine USING (n) FOR UPDATE",
		"SELECT numbers.n FROM numbers JOIN mine USING (n) FOR UPDATE OF mine, numbers",
		"EXPLAIN SELECT n FROM numbers FOR NO KEY UPDATE",
	} {
		if e := refused(t, conn, sql); e.Code != "0A000" || !strings.Contains(e.Message, `cannot lock rows of table "numbers"`) || !strings.Contains(e.Hint, "after OF") {
			t.Errorf("%s: %s", sql, describe(e))
		}
	}
	do(t, conn, "SELECT numbers.n FROM numbers JOIN mine USING (n) FOR UPDATE OF mine")
}
