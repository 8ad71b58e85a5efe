package govern

import (
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/test/world"
)

// Governed rows are read, not kept; nothing of the plan or the definitions shows.
func testRefusals(t *testing.T, n *node) {
	n.exec(t, "CREATE SCHEMA eves AUTHORIZATION "+world.Eve)
	n.exec(t, "CREATE SERVER other FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'SQLite3', database '"+n.SQLite.Path+"')")
	n.exec(t, "GRANT USAGE ON FOREIGN SERVER other TO "+world.Eve)
	n.exec(t, "CREATE FOREIGN TABLE immuta.unregistered (id int) SERVER other OPTIONS (table_name 'staff')")
	n.exec(t, "GRANT SELECT ON immuta.unregistered TO "+world.Eve)
	n.exec(t, "CREATE TABLE eves.parted (LIKE immuta.staff_pg) PARTITION BY RANGE (id)")
	n.exec(t, "CREATE FOREIGN TABLE eves.part PARTITION OF eves.parted DEFAULT SERVER src_pg OPTIONS ("+n.Sources[0].Remote+", data_source '"+n.Sources[0].ID+"')")
	n.exec(t, "GRANT ALL ON eves.parted, eves.part TO "+world.Eve)
	defer n.exec(t, "DROP TABLE eves.parted") // the service wants one table a data source
	conn := n.Login(t, world.Eve)
	mustExec(t, conn, "CREATE TABLE eves.kept (id int); CREATE TEMP TABLE mine (id int)")
	mustExec(t, conn, `CREATE FUNCTION eves.far() RETURNS bigint LANGUAGE sql PARALLEL SAFE AS 'SELECT count(*) FROM immuta.staff_pg'`)
	for _, test := range []struct{ name, sql, state, part string }{
		{"create table as", "CREATE TABLE eves.t AS SELECT id FROM immuta.staff_pg", "42501", "permanent table"},
		{"create unlogged table as", "CREATE UNLOGGED TABLE eves.t AS SELECT id FROM immuta.staff_pg", "42501", "permanent table"},
		{"select into", "SELECT id INTO eves.t FROM immuta.staff_pg", "42501", "permanent table"},
		{"create table as execute", "PREPARE p1 AS SELECT id FROM immuta.staff_pg; CREATE TABLE eves.t AS EXECUTE p1", "42501", "permanent table"},
		{"materialized view", "CREATE MATERIALIZED VIEW eves.v AS SELECT id FROM immuta.staff_pg", "42501", "materialized view"},
		{"refresh", "CREATE MATERIALIZED VIEW eves.late AS SELECT id FROM immuta.staff_pg WITH NO DATA; REFRESH MATERIALIZED VIEW eves.late", "42501", "materialized view"},
		{"insert select", "INSERT INTO eves.kept SELECT id FROM immuta.staff_pg", "42501", "permanent table"},
		{"modifying CTE", "WITH w AS (INSERT INTO eves.kept SELECT id FROM immuta.staff_pg RETURNING 1) SELECT count(*) FROM w", "42501", "permanent table"},
		{"update from", "UPDATE eves.kept SET id = s.id FROM immuta.staff_pg s", "42501", "permanent table"},
		{"in a function", "DO $$ BEGIN CREATE TABLE eves.t AS SELECT id FROM immuta.staff_pg; END $$", "42501", "permanent table"},
		{"merge", "MERGE INTO immuta.staff_pg USING (SELECT 1) s ON false WHEN NOT MATCHED THEN DO NOTHING", "0A000", "Write to the remote database itself"},
		{"merge into a parent", "MERGE INTO eves.parted USING (SELECT 1 AS a) s ON id = a WHEN MATCHED THEN DELETE", "0A000", "read-only"},
		{"a row for a partition", "INSERT INTO eves.parted (id) VALUES (1)", "0A000", "read-only"},
		{"no data source", "SELECT * FROM immuta.unregistered", "42501", "is not a data source"},
		{"own server", "CREATE SERVER mine FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'SQLite3')", "42501", "may not define"},
		{"own foreign table", "CREATE FOREIGN TABLE eves.f (id int) SERVER other OPTIONS (table_name 'staff')", "42501", "may not define"},
		{"own mapping", "CREATE USER MAPPING FOR eve SERVER other OPTIONS (username 'x')", "42501", "may not define"},
		{"import", "IMPORT FOREIGN SCHEMA main FROM SERVER other INTO eves", "42501", "may not define"},
		{"alter foreign table", "ALTER FOREIGN TABLE immuta.staff_pg OPTIONS (SET table_name 'x')", "42501", "may not define"},
		{"administration", "SELECT * FROM immutasys.status()", "42501", "permission denied"},
		{"parallel worker", "SELECT set_config(name, 'on', false) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query'); SELECT eves.far()", "0A000", "parallel worker"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := conn.Exec(t.Context(), test.sql)
			wantError(t, err, test.state, test.part)
			mustExec(t, conn, "RESET ALL")
		})
	}
	t.Run("temporary tables are allowed", func(t *testing.T) {
		mustExec(t, conn, "CREATE TEMP TABLE t2 AS SELECT id FROM immuta.staff_pg; INSERT INTO mine SELECT id FROM immuta.staff_pg; DROP TABLE t2")
		wantCount(t, conn, "SELECT count(*) FROM mine", rows/2)
	})
	t.Run("hold cursors by the setting", func(t *testing.T) {
		n.exec(t, "ALTER ROLE eve IN DATABASE immuta SET portcullis.allow_hold_cursors = off")
		defer n.exec(t, "ALTER ROLE eve IN DATABASE immuta RESET portcullis.allow_hold_cursors")
		conn := n.Login(t, world.Eve)
		_, err := conn.Exec(t.Context(), "DECLARE c CURSOR WITH HOLD FOR SELECT id FROM immuta.staff_pg")
		wantError(t, err, "42501", "WITH HOLD")
	})
	t.Run("explain", func(t *testing.T) { wantNoPlan(t, conn) })
	if log, err := os.ReadFile(n.Log); err != nil || strings.Contains(string(log), "terminated by signal") {
		t.Errorf("a process crashed, or %v", err)
	}
}

func wantNoPlan(t *testing.T, conn *pgx.Conn) {
	mustExec(t, conn, "PREPARE p AS SELECT id FROM immuta.staff_pg; CREATE TEMP SEQUENCE calls")
	for _, sql := range []string{
		"EXPLAIN SELECT * FROM immuta.staff_pg", "EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM immuta.staff_pg",
		"EXPLAIN EXECUTE p", "EXPLAIN ANALYZE SELECT nextval('calls')", "EXPLAIN (FORMAT json) SELECT * FROM immuta.staff_pg",
		"EXPLAIN (FORMAT xml) SELECT 1", "EXPLAIN (FORMAT yaml) SELECT 1", "EXPLAIN ANALYZE CREATE TABLE eves.e AS SELECT id FROM immuta.staff_pg",
		"EXPLAIN ANALYZE DECLARE c CURSOR FOR SELECT 1",
	} {
		lines, err := texts(t, conn, sql)
		if err != nil || len(lines) != 1 || !strings.Contains(lines[0], "Plans are not shown in governed sessions") {
			t.Errorf("%s: %q, %v", sql, lines, err)
		}
	}
	var plan string
	mustExec(t, conn, `CREATE FUNCTION pg_temp.plan() RETURNS text LANGUAGE plpgsql AS $$
		DECLARE line text; BEGIN EXECUTE 'EXPLAIN SELECT * FROM immuta.staff_pg' INTO line; RETURN line; END $$`)
	if err := conn.QueryRow(t.Context(), "SELECT pg_temp.plan()").Scan(&plan); err != nil || plan != "Plans are not shown in governed sessions" {
		t.Errorf("in a function: %q, %v", plan, err)
	}
	var called bool
	if err := conn.QueryRow(t.Context(), "SELECT is_called FROM calls").Scan(&called); err != nil || called {
		t.Errorf("EXPLAIN ANALYZE ran the statement (%v, %v)", called, err)
	}
}

// testLogin: who is let in, and who is told why not.
func testLogin(t *testing.T, n *node) {
	n.exec(t, "CREATE ROLE powerful LOGIN PASSWORD 'p' CREATEROLE IN ROLE bodata_user")
	n.exec(t, "CREATE ROLE reads_files LOGIN PASSWORD 'p' IN ROLE bodata_user, pg_read_server_files")
	n.exec(t, "CREATE ROLE boss NOLOGIN SUPERUSER; CREATE ROLE near_boss LOGIN PASSWORD 'p' IN ROLE boss")
	n.exec(t, "CREATE ROLE plain LOGIN PASSWORD 'p'")
	for _, test := range []struct{ role, part string }{
		{"powerful", "CREATEROLE"}, {"reads_files", "pg_read_server_files"}, {"near_boss", "SUPERUSER"}, {"plain", "belongs to no person"},
	} {
		t.Run(test.role, func(t *testing.T) {
			_, err := pgx.Connect(t.Context(), n.DSNAs(test.role, "p", "immuta"))
			wantError(t, err, "28000", test.part)
		})
	}
	t.Run("a mapped person", func(t *testing.T) { wantCount(t, n.Login(t, world.Eve), "SELECT 1", 1) })
	t.Run("an exempt role", func(t *testing.T) { wantCount(t, n.Login(t, world.Exempt), countStaff, rows) })
	t.Run("a bodata_user without a person", func(t *testing.T) {
		_, err := pgx.Connect(t.Context(), n.As(world.Nobody))
		wantError(t, err, "28000", "belongs to no person")
	})
	t.Run("startup options", func(t *testing.T) {
		_, err := pgx.Connect(t.Context(), n.As(world.Eve)+"?options=-c%20immuta.impersonation_userid%3Dmax")
		if strings.Contains(n.As(world.Eve), "?") {
			_, err = pgx.Connect(t.Context(), n.As(world.Eve)+"&options=-c%20immuta.impersonation_userid%3Dmax")
		}
		wantError(t, err, "42501", "only be set by the statement SET")
	})
}

// testRoles: what a role comes to hold counts from its next statement.
func testRoles(t *testing.T, n *node) {
	conn := n.Login(t, world.Eve)
	wantCount(t, conn, countStaff, rows/2)
	n.exec(t, "GRANT pg_read_all_data TO eve")
	_, err := query(t, conn, countStaff)
	wantError(t, err, "42501", "pg_read_all_data")
	n.exec(t, "REVOKE pg_read_all_data FROM eve")
	wantCount(t, conn, countStaff, rows/2)
	mustExec(t, conn, "SET ROLE "+world.Friend)
	wantCount(t, conn, countStaff, rows/2)
	mustExec(t, conn, "RESET ROLE")

	exempt := n.Login(t, world.Exempt)
	wantCount(t, exempt, countStaff, rows)
	n.exec(t, "REVOKE portcullis_exempt FROM "+world.Exempt)
	defer n.exec(t, "GRANT portcullis_exempt TO "+world.Exempt)
	_, err = query(t, exempt, countStaff)
	wantError(t, err, "42501", "")

	super := n.Login(t, n.User)
	mustExec(t, super, "SET SESSION AUTHORIZATION eve")
	wantCount(t, super, countStaff, rows/2)
	mustExec(t, super, "BEGIN; DECLARE c CURSOR FOR SELECT id FROM immuta.staff_pg; FETCH 1 FROM c")
	mustExec(t, super, "RESET SESSION AUTHORIZATION")
	_, err = super.Exec(t.Context(), "FETCH 1 FROM c")
	wantError(t, err, "42501", "access changed")
}

// texts are the values of the first column, as sent.
func texts(t *testing.T, conn *pgx.Conn, sql string) ([]string, error) {
	t.Helper()
	var values []string
	results, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
	for _, result := range results {
		for _, row := range result.Rows {
			values = append(values, string(row[0]))
		}
	}
	return values, err
}
