package govern

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/test/world"
)

// A governed person's plan is made without a word to the source, also where
// an administrator has the source counted for estimates: what it counts is
// more than the person sees.
func testPlanning(t *testing.T, n *node) {
	n.subscribe(t, true)
	n.exec(t, "ALTER FOREIGN TABLE immuta.staff_pg OPTIONS (ADD use_remote_estimate 'true')")
	defer n.exec(t, "ALTER FOREIGN TABLE immuta.staff_pg OPTIONS (DROP use_remote_estimate)")
	n.exec(t, "GRANT EXECUTE ON FUNCTION portcullis_connections() TO "+world.Eve+", "+world.Exempt)
	defer n.exec(t, "REVOKE EXECUTE ON FUNCTION portcullis_connections() FROM "+world.Eve+", "+world.Exempt)

	eve := n.Login(t, world.Eve)
	mustExec(t, eve, "CREATE TEMP TABLE empty (id int); SET plan_cache_mode = force_generic_plan")
	mustExec(t, eve, "PREPARE p(int, bool) AS SELECT name FROM immuta.staff_pg WHERE id = $1 AND $2")
	for _, sql := range []string{
		"EXPLAIN SELECT * FROM immuta.staff_pg WHERE id = 1",
		"EXPLAIN (VERBOSE, FORMAT JSON) SELECT * FROM immuta.staff_pg WHERE length(name) = 1",
		"EXPLAIN VERBOSE EXECUTE p(1, true)",
		"SELECT * FROM immuta.staff_pg LIMIT 0",
		"SELECT * FROM immuta.staff_pg WHERE false",
		"EXECUTE p(1, false)",
		"SELECT * FROM empty CROSS JOIN LATERAL (SELECT * FROM immuta.staff_pg f WHERE f.id = empty.id OFFSET 0) x",
	} {
		mustExec(t, eve, sql)
		if servers := connected(t, eve); servers != "" {
			t.Fatalf("%s: connected to %s", sql, servers)
		}
	}
	// Rows of which no column is wanted are those that the person sees.
	for sql, want := range map[string]int64{
		"SELECT count(*) FROM (SELECT FROM immuta.staff_pg) x":                                                   salesRows,
		"SELECT count(*) FROM (SELECT 1 FROM immuta.staff_pg LIMIT 7) x":                                         7,
		"SELECT count(*) FROM immuta.staff_pg WHERE tableoid = 'immuta.staff_pg'::regclass":                      salesRows,
		"SELECT count(*) FROM immuta.staff_pg WHERE random() < 2":                                                salesRows,
		"SELECT count(*) FROM generate_series(1, 4) g WHERE EXISTS (SELECT FROM immuta.staff_pg WHERE id = g.g)": 2,
	} {
		wantCount(t, eve, sql, want)
	}
	if servers := connected(t, eve); servers != "src_pg" {
		t.Errorf("connected to %q", servers)
	}
	// Her mask shows NULL where the source holds none.
	n.exec(t, "ALTER FOREIGN TABLE immuta.staff_pg ALTER ssn SET NOT NULL")
	wantCount(t, eve, "SELECT count(*) FROM immuta.staff_pg WHERE ssn IS NULL", salesRows)
	wantCount(t, eve, "SELECT count(*) FROM immuta.staff_pg WHERE ssn IS NOT NULL", 0)
	n.exec(t, "ALTER FOREIGN TABLE immuta.staff_pg ALTER ssn DROP NOT NULL")

	exempt := n.Login(t, world.Exempt)
	var plan string
	if err := exempt.QueryRow(t.Context(), "EXPLAIN SELECT * FROM immuta.staff_pg").Scan(&plan); err != nil || !strings.Contains(plan, "rows=20000 ") {
		t.Errorf("an exempt person's estimate: %s, %v", plan, err)
	}
	if servers := connected(t, exempt); servers != "src_pg" {
		t.Errorf("an exempt person's estimate connected to %q", servers)
	}
}

// connected lists the servers that a session has connections to.
func connected(t *testing.T, conn *pgx.Conn) (servers string) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), "SELECT coalesce(string_agg(DISTINCT server, ' '), '') FROM portcullis_connections()").Scan(&servers); err != nil {
		t.Fatal(err)
	}
	return servers
}
