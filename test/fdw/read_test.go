package fdw_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestRead(t *testing.T) {
	conn := session(t)
	tests := []struct {
		name string
		sql  string
		args []any
		want string
	}{
		{"all rows", "SELECT count(*)::text FROM numbers", nil, "20000"},
		{"every column", "SELECT concat_ws('|', n, word, amount, day, at) FROM numbers WHERE n = 366", nil, "366|word 366|366.25|2020-01-02|2020-01-01 00:06:06"},
		{"doubles to the last bit", "SELECT (ratio = 7 / 3.0::float8)::text FROM numbers WHERE n = 7", nil, "true"},
		{"whole row", "SELECT (x).word FROM (SELECT numbers AS x FROM numbers WHERE n = 2) s", nil, "word 2"},
		{"parameter", "SELECT word FROM numbers WHERE n = $1", []any{17}, "word 17"},
		{"NULL parameter", "SELECT count(*)::text FROM numbers WHERE n = $1", []any{nil}, "0"},
		{"array parameter", "SELECT string_agg(word, ',' ORDER BY n) FROM numbers WHERE n = ANY($1)", []any{[]int32{3, 1, 2}}, "word 1,word 2,word 3"},
		{"condition that stays", "SELECT word FROM numbers WHERE md5(word) = md5('word 9')", nil, "word 9"},
		{"join", "SELECT string_agg(l.a || ':' || word, ',' ORDER BY l.a) FROM (VALUES (5), (6)) l(a) JOIN numbers ON n = l.a", nil, "5:word 5,6:word 6"},
		{"lateral", "SELECT string_agg(x.word, ',' ORDER BY l.a) FROM (VALUES (5), (6)) l(a), LATERAL (SELECT word FROM numbers WHERE n = l.a OFFSET 0) x", nil, "word 5,word 6"},
		{"correlated", "SELECT string_agg((SELECT word FROM numbers WHERE n = l.a), ',' ORDER BY l.a) FROM (VALUES (5), (NULL), (6)) l(a)", nil, "word 5,word 6"},
		{"initplan", "SELECT word FROM numbers WHERE n = (SELECT 4)", nil, "word 4"},
		{"offset", "SELECT count(*)::text FROM (SELECT n FROM numbers LIMIT 10 OFFSET 19995) s", nil, "5"},
		{"no column", "SELECT count(*)::text FROM (SELECT 1 FROM numbers WHERE n <= 5) s", nil, "5"},
		{"self join on one source", "SELECT count(*)::text FROM numbers a JOIN numbers b USING (n)", nil, "20000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := value[string](t, conn, tt.sql, tt.args...); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestNestedLoopSendsParameters(t *testing.T) {
	conn := session(t)
	do(t, conn, "CREATE TEMP TABLE few AS SELECT g AS a FROM generate_series(1, 3) g; ANALYZE few")
	do(t, conn, "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off")
	sql := "SELECT word FROM few JOIN numbers ON n = few.a ORDER BY n"
	plan := strings.Join(lines(t, conn, "EXPLAIN VERBOSE "+sql), "\n")
	if !strings.Contains(plan, "Remote SQL") || strings.Contains(plan, "Join Filter") {
		t.Errorf("the join condition did not go remote:\n%s", plan)
	}
	if got := lines(t, conn, sql); !slices.Equal(got, []string{"word 1", "word 2", "word 3"}) {
		t.Errorf("got %q", got)
	}
}

func TestExplain(t *testing.T) {
	conn := session(t)
	tests := []struct {
		name string
		sql  string
		want []string
		not  []string
	}{
		{"pushed", "SELECT word FROM numbers WHERE n > 5", []string{"Remote SQL: "}, []string{"Filter:", "Local because", "amount"}},
		{"kept", "SELECT n FROM numbers WHERE md5(word) = 'x'", []string{"Remote SQL: ", "Local because: ", "md5(word)"}, nil},
		{"volatile", "SELECT n FROM numbers WHERE ratio < random()", []string{"Local because: ", "volatile"}, nil},
		{"limit", "SELECT n FROM numbers LIMIT 3 OFFSET 2", []string{"LIMIT 5"}, nil},
		{"no limit below a sort", "SELECT n FROM numbers ORDER BY n LIMIT 3", nil, []string{"LIMIT 3"}},
		{"no limit above a filter", "SELECT n FROM numbers WHERE md5(word) > '' LIMIT 3", nil, []string{"LIMIT 3"}},
		{"no limit below an aggregate", "SELECT count(*) FROM numbers LIMIT 3", nil, []string{"LIMIT 3"}},
		{"no limit below a series", "SELECT generate_series(1, 0), n FROM numbers LIMIT 3", nil, []string{"LIMIT 3"}},
		{"no limit below DISTINCT", "SELECT DISTINCT day FROM numbers LIMIT 3", nil, []string{"LIMIT 3"}},
		{"no limit with ties", "SELECT n FROM numbers ORDER BY n FETCH FIRST 3 ROWS WITH TIES", nil, []string{"LIMIT 3"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			plan := strings.Join(lines(t, conn, "EXPLAIN (VERBOSE, COSTS OFF) "+tt.sql), "\n")
			for _, s := range tt.want {
				if !strings.Contains(plan, s) {
					t.Errorf("%q is missing in\n%s", s, plan)
				}
			}
			for _, s := range tt.not {
				if strings.Contains(plan, s) {
					t.Errorf("%q should not be in\n%s", s, plan)
				}
			}
		})
	}
}

func TestExplainWithoutVerboseTellsNothing(t *testing.T) {
	plan := strings.Join(lines(t, session(t), "EXPLAIN SELECT n FROM numbers WHERE md5(word) = 'x'"), "\n")
	if strings.Contains(plan, "Remote SQL") || strings.Contains(plan, "Local because") {
		t.Error(plan)
	}
}

func TestRescan(t *testing.T) {
	conn := session(t)
	do(t, conn, "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off")
	got := value[int64](t, conn, "SELECT count(*) FROM (VALUES (1), (2), (3)) l(a) JOIN numbers ON n > 10 AND n <= 20 AND md5(n::text || l.a) > ''")
	if got != 30 {
		t.Errorf("got %d rows, want 30", got)
	}
}

func TestCursors(t *testing.T) {
	conn := session(t)
	do(t, conn, "BEGIN")
	do(t, conn, "DECLARE c SCROLL CURSOR FOR SELECT n FROM numbers WHERE n <= 5")
	do(t, conn, "MOVE FORWARD ALL IN c")
	if got := value[int32](t, conn, "FETCH FIRST FROM c"); got != 1 {
		t.Errorf("got %d, want 1", got)
	}
	do(t, conn, "DECLARE a CURSOR FOR SELECT n FROM numbers; DECLARE b CURSOR FOR SELECT n FROM numbers")
	for range 3 {
		if a, b := value[int32](t, conn, "FETCH a"), value[int32](t, conn, "FETCH b"); a != b {
			t.Errorf("two scans at once differ: %d, %d", a, b)
		}
	}
	do(t, conn, "COMMIT")
}

func TestErrorInMidFetchLeavesNothing(t *testing.T) {
	conn := session(t)
	for range 5 {
		if e := refused(t, conn, "SELECT 1 / (n - 3000) FROM numbers"); e.Code != "22012" {
			t.Fatal(describe(e))
		}
		do(t, conn, "DO $$ BEGIN PERFORM 1 / (n - 3000) FROM numbers; EXCEPTION WHEN division_by_zero THEN NULL; END $$")
	}
	if got := value[int64](t, conn, "SELECT count(*) FROM numbers"); got != 20000 {
		t.Errorf("got %d rows", got)
	}
	waitFor(t, "idle connections", func(ctx context.Context) (bool, error) {
		var idle bool
		err := conn.QueryRow(ctx, "SELECT bool_and(state = 'idle') FROM portcullis_connections()").Scan(&idle)
		return idle, err
	})
}

func TestPreparedStatements(t *testing.T) {
	conn := session(t)
	do(t, conn, "SET plan_cache_mode = force_generic_plan")
	do(t, conn, "PREPARE p(int, text) AS SELECT word FROM numbers WHERE n = $1 OR word = $2 ORDER BY n")
	for _, tt := range []struct{ args, want string }{{"1, 'word 2'", "word 1,word 2"}, {"5, NULL", "word 5"}, {"NULL, NULL", ""}} {
		if got := strings.Join(lines(t, conn, "EXECUTE p("+tt.args+")"), ","); got != tt.want {
			t.Errorf("p(%s): got %q, want %q", tt.args, got, tt.want)
		}
	}
}

func TestConditionalPartsAreNotComputedAhead(t *testing.T) {
	conn := session(t)
	do(t, conn, "SET plan_cache_mode = force_generic_plan")
	do(t, conn, "PREPARE p(int) AS SELECT n FROM numbers WHERE n < 3 AND CASE WHEN n > 100 THEN 1 / $1 ELSE 1 END = 1 ORDER BY n")
	rows, err := conn.Query(t.Context(), "EXECUTE p(0)")
	if err != nil {
		t.Fatal(describe(err))
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[int32])
	if err != nil || !slices.Equal(got, []int32{1, 2}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestStableFunctionsMeanWhatTheyMeanHere(t *testing.T) {
	conn := session(t)
	do(t, conn, "SET timezone = 'Pacific/Kiritimati'")
	got := value[bool](t, conn, "SELECT count(*) = 20000 FROM numbers WHERE day < current_date AND current_user = session_user AND at < localtimestamp")
	if !got {
		t.Error("conditions on now and the user lost rows")
	}
}
