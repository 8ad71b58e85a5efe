package fdw_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Nothing is asked of a source before its rows are needed.
func TestPlanningAsksNobody(t *testing.T) {
	conn := session(t)
	do(t, conn, "CREATE SERVER nowhere FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'PostgreSQL Unicode', host '127.0.0.1', port '1', database 'x')")
	cleanup(t, "DROP SERVER nowhere CASCADE")
	do(t, conn, "CREATE USER MAPPING FOR CURRENT_USER SERVER nowhere OPTIONS (username 'x', password 'y')")
	do(t, conn, "CREATE FOREIGN TABLE nowhere_t (n int, word text) SERVER nowhere")
	do(t, conn, "CREATE TEMP TABLE empty (n int)")
	do(t, conn, "SET plan_cache_mode = force_generic_plan")
	do(t, conn, "PREPARE p(int, bool) AS SELECT word FROM nowhere_t WHERE n = $1 AND $2")
	for _, sql := range []string{
		"EXPLAIN SELECT * FROM nowhere_t WHERE n = 1",
		"EXPLAIN (VERBOSE, FORMAT JSON) SELECT * FROM nowhere_t WHERE n = 1 AND md5(word) = 'x'",
		"EXPLAIN VERBOSE SELECT count(*) FROM nowhere_t",
		"EXPLAIN VERBOSE EXECUTE p(1, true)",
		"EXPLAIN VERBOSE SELECT a.n FROM nowhere_t a JOIN nowhere_t b USING (n) ORDER BY 1 LIMIT 3",
		// Executed, but no row is wanted.
		"EXPLAIN ANALYZE SELECT * FROM nowhere_t LIMIT 0",
		"EXPLAIN ANALYZE SELECT * FROM nowhere_t WHERE false",
		"EXPLAIN ANALYZE EXECUTE p(1, false)",
		"EXPLAIN ANALYZE SELECT * FROM empty CROSS JOIN LATERAL (SELECT * FROM nowhere_t f WHERE f.n = empty.n OFFSET 0) x",
		"CREATE TEMP TABLE none AS SELECT * FROM nowhere_t WITH NO DATA",
		"CREATE TEMP VIEW v AS SELECT * FROM nowhere_t",
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Errorf("%s: %s", sql, describe(err))
		}
	}
	for _, sql := range []string{"SELECT * FROM nowhere_t", "EXECUTE p(1, true)", "EXPLAIN ANALYZE SELECT FROM nowhere_t LIMIT 1", "SELECT count(*) FROM v"} {
		if e := refused(t, conn, sql); !strings.HasPrefix(e.Code, "08") {
			t.Errorf("%s: got %s, want a connection error", sql, describe(e))
		}
	}
	do(t, conn, "ALTER SERVER nowhere OPTIONS (ADD use_remote_estimate 'true')")
	if e := refused(t, conn, "EXPLAIN SELECT * FROM nowhere_t"); !strings.HasPrefix(e.Code, "08") {
		t.Errorf("got %s, want a connection error", describe(e))
	}
	do(t, conn, "ALTER FOREIGN TABLE nowhere_t OPTIONS (ADD use_remote_estimate 'false')")
	do(t, conn, "EXPLAIN SELECT * FROM nowhere_t")
}

// Statements that want rows and none of their columns.
func TestRowsOfNothing(t *testing.T) {
	conn := session(t)
	wantRowsOfNothing(t, conn)
	do(t, conn, "CREATE FOREIGN TABLE bare () SERVER remote OPTIONS (schema_name 'public', table_name 'numbers')")
	cleanup(t, "DROP FOREIGN TABLE bare")
	if n := value[int64](t, conn, "SELECT count(*) FROM bare"); n != 20000 {
		t.Errorf("%d rows of a table without columns", n)
	}
	do(t, conn, "ALTER FOREIGN TABLE bare ADD COLUMN n int, ADD COLUMN gone int; ALTER FOREIGN TABLE bare DROP COLUMN gone")
	if n := value[int64](t, conn, "SELECT count(b) FROM bare b WHERE n < 4"); n != 3 {
		t.Errorf("%d rows of a table with a dropped column", n)
	}
}

// wantRowsOfNothing asks the table numbers of the session's search path.
func wantRowsOfNothing(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	for sql, want := range map[string]int64{
		"SELECT count(*) FROM (SELECT FROM numbers) x":                                                  20000,
		"SELECT count(*) FROM (SELECT 1 FROM numbers LIMIT 7) x":                                        7,
		"SELECT count(*) FROM (SELECT NULL::text FROM numbers OFFSET 19999) x":                          1,
		"SELECT (EXISTS (SELECT FROM numbers))::int::int8":                                              1,
		"SELECT count(DISTINCT tableoid) FROM numbers":                                                  1,
		"SELECT count(*) FROM numbers WHERE tableoid = 'numbers'::regclass":                             20000,
		"SELECT count(*) FROM numbers WHERE random() < 2":                                               20000,
		"SELECT count(*) FROM (SELECT FROM numbers UNION ALL SELECT FROM numbers) x":                    40000,
		"SELECT count(*) FROM generate_series(1, 2) g LEFT JOIN numbers ON false":                       2,
		"SELECT count(*) FROM generate_series(1, 3) g WHERE EXISTS (SELECT FROM numbers WHERE n > g.g)": 3,
	} {
		if n := value[int64](t, conn, sql); n != want {
			t.Errorf("%s: %d, want %d", sql, n, want)
		}
	}
}
