package fdw_test

import (
	"slices"
	"testing"
)

// A column that is computed where it is read (PostgreSQL 18) is not asked of
// the source.
func TestVirtualGeneratedColumns(t *testing.T) {
	conn := session(t)
	if value[int](t, conn, "SELECT current_setting('server_version_num')::int") < 180000 {
		return // there are none before
	}
	do(t, conn, `CREATE FOREIGN TABLE doubled (n int, twice int GENERATED ALWAYS AS (n * 2) VIRTUAL, word text)
		SERVER remote OPTIONS (schema_name 'public', table_name 'numbers')`)
	cleanup(t, "DROP FOREIGN TABLE doubled")
	do(t, conn, "CREATE TEMP TABLE mine AS SELECT 5 AS n")
	for sql, want := range map[string]string{
		"SELECT twice::text FROM doubled WHERE n = 5":                                     "10",
		"SELECT word FROM doubled WHERE twice = 10":                                       "word 5",
		"SELECT d::text FROM doubled d WHERE n = 5":                                       "(5,10,\"word 5\")",
		"SELECT d.twice::text FROM mine JOIN doubled d USING (n) FOR UPDATE OF mine":      "10",
		"SELECT (SELECT d FROM doubled d WHERE d.n = mine.n)::text FROM mine":             "(5,10,\"word 5\")",
		"SELECT max(twice)::text FROM (SELECT twice FROM doubled WHERE n < 6 OFFSET 0) x": "10",
	} {
		if got := lines(t, conn, sql); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
	}
	do(t, conn, "SELECT immutasys.analyze('doubled')")
}
