package fdw_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestWritesAreRefused(t *testing.T) {
	conn := session(t)
	for _, sql := range []string{
		"INSERT INTO numbers (n) VALUES (0)",
		"INSERT INTO numbers (n) SELECT 1 FROM numbers WHERE false",
		"UPDATE numbers SET word = 'x'",
		"DELETE FROM numbers WHERE n = 1",
		"TRUNCATE numbers",
		"COPY numbers FROM STDIN",
		"MERGE INTO numbers USING (SELECT 1 AS a) s ON n = s.a WHEN MATCHED THEN DELETE",
		"WITH gone AS (DELETE FROM numbers RETURNING n) SELECT * FROM gone",
		"EXPLAIN DELETE FROM numbers",
	} {
		t.Run(sql, func(t *testing.T) {
			e := refused(t, conn, sql)
			if e.Code != "0A000" {
				t.Errorf("want 0A000, got %s", describe(e))
			}
			// MERGE is refused by PostgreSQL's parser, in its words.
			said := strings.HasPrefix(sql, "MERGE") || strings.Contains(e.Message, "read-only")
			if !said || !strings.Contains(e.Hint, "remote database itself") {
				t.Errorf("the message does not say what to do: %s", describe(e))
			}
		})
	}
}

// Rows that a parent's statement brings to a data source are refused as if the
// statement named it; others of the parent are written.
func TestWritesThroughAParentAreRefused(t *testing.T) {
	conn := session(t)
	cleanup(t, "DROP TABLE IF EXISTS parted, parent CASCADE")
	do(t, conn, `CREATE TABLE parted (n int, word text) PARTITION BY RANGE (n);
		CREATE TABLE parted_here PARTITION OF parted FOR VALUES FROM (0) TO (10);
		CREATE FOREIGN TABLE parted_there PARTITION OF parted FOR VALUES FROM (10) TO (30000) SERVER remote OPTIONS (schema_name 'public', table_name 'numbers');
		CREATE TABLE parent (n int, word text);
		CREATE FOREIGN TABLE child () INHERITS (parent) SERVER remote OPTIONS (schema_name 'public', table_name 'numbers')`)
	for _, sql := range []string{
		"INSERT INTO parted VALUES (1, 'here'), (10, 'there')",
		"INSERT INTO parted SELECT n, word FROM numbers WHERE n = 12",
		"WITH w AS (INSERT INTO parted VALUES (10, 'there') RETURNING n) SELECT * FROM w",
		"DO $$ BEGIN INSERT INTO parted VALUES (10, 'there'); END $$",
		"UPDATE parted SET n = 10 WHERE n < 10 AND n = (SELECT 2)",
		"UPDATE parted SET word = 'x' WHERE n > 11",
		"DELETE FROM parted",
		"TRUNCATE parted",
		"MERGE INTO parted USING (SELECT 12 AS a) s ON n = s.a WHEN MATCHED THEN DELETE",
		"MERGE INTO parted USING (SELECT 12 AS a) s ON n = s.a WHEN NOT MATCHED THEN INSERT VALUES (a)",
		"MERGE INTO parent USING (SELECT 12 AS a) s ON n = s.a WHEN MATCHED THEN UPDATE SET word = 'x'",
		"UPDATE parent SET word = 'x'",
	} {
		t.Run(sql, func(t *testing.T) {
			do(t, conn, "BEGIN; INSERT INTO parted VALUES (2, 'here')")
			defer do(t, conn, "ROLLBACK")
			if e := refused(t, conn, sql); e.Code != "0A000" || !strings.Contains(e.Message, "read-only") || e.Hint == "" {
				t.Errorf("got %s", describe(e))
			}
		})
	}
	t.Run("COPY", func(t *testing.T) {
		_, err := conn.PgConn().CopyFrom(t.Context(), strings.NewReader("1\there\n10\tthere\n"), "COPY parted FROM STDIN")
		if !strings.Contains(describe(err), "read-only") || !strings.HasPrefix(describe(err), "0A000") {
			t.Errorf("got %v", describe(err))
		}
	})
	t.Run("rows that stay here", func(t *testing.T) {
		do(t, conn, "INSERT INTO parted VALUES (1, 'a'), (2, 'b'); UPDATE parted SET n = 3 WHERE n = 1; INSERT INTO parent VALUES (1)")
		if _, err := conn.PgConn().CopyFrom(t.Context(), strings.NewReader("4\tc\n"), "COPY parted FROM STDIN"); err != nil {
			t.Error(describe(err))
		}
		do(t, conn, "MERGE INTO parted USING (SELECT 4 AS a) s ON n = s.a AND n < 10 WHEN MATCHED THEN DELETE")
		if got := lines(t, conn, "SELECT n || word FROM ONLY parted_here ORDER BY 1"); strings.Join(got, ",") != "2b,3a" {
			t.Errorf("here are %v", got)
		}
	})
	t.Run("catalogs", func(t *testing.T) {
		got := lines(t, conn, "SELECT is_insertable_into FROM information_schema.tables WHERE table_name IN ('numbers', 'parted_there')")
		if strings.Join(got, ",") != "NO,NO" {
			t.Errorf("information_schema says insertable: %v", got)
		}
	})
}

func TestAnalyzeKeepsNoRemoteValue(t *testing.T) {
	conn := session(t)
	do(t, conn, "ANALYZE numbers")
	if n := value[int64](t, conn, "SELECT count(*) FROM pg_statistic WHERE starelid = 'numbers'::regclass"); n != 0 {
		t.Errorf("%d rows in pg_statistic", n)
	}
	if n := value[float32](t, conn, "SELECT reltuples FROM pg_class WHERE oid = 'numbers'::regclass"); n != -1 {
		t.Errorf("reltuples is %v", n)
	}
	if n := value[int64](t, conn, "SELECT immutasys.analyze('numbers')"); n != 20000 {
		t.Errorf("counted %d rows", n)
	}
	cleanup(t, "DELETE FROM immutasys.table_statistics")
	if n := value[float64](t, conn, "SELECT n_distinct FROM immutasys.table_statistics s JOIN pg_attribute a ON attrelid = relid AND a.attnum = s.attnum WHERE attname = 'day'"); n != 365 {
		t.Errorf("counted %v distinct days", n)
	}
	if plan := lines(t, conn, "EXPLAIN SELECT * FROM numbers")[0]; !strings.Contains(plan, "rows=20000 ") {
		t.Errorf("the planner does not know: %s", plan)
	}
	if plan := lines(t, conn, "EXPLAIN SELECT * FROM numbers WHERE day = '2020-02-02'")[0]; !strings.Contains(plan, "rows=55 ") { // 20000 / 365
		t.Errorf("the planner does not know how many days there are: %s", plan)
	}
}

func TestUseRemoteEstimate(t *testing.T) {
	conn := session(t)
	do(t, conn, "CREATE FOREIGN TABLE counted (n int) SERVER remote OPTIONS (schema_name 'public', table_name 'numbers', use_remote_estimate 'true')")
	cleanup(t, "DROP FOREIGN TABLE counted")
	if plan := lines(t, conn, "EXPLAIN SELECT * FROM counted")[0]; !strings.Contains(plan, "rows=20000 ") {
		t.Errorf("the planner does not know: %s", plan)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	conn := session(t)
	tests := []struct{ sql, code, hint string }{
		{"CREATE SERVER x FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'PostgreSQL Unicode', hots 'a')", "HV00D", "host"},
		{"CREATE SERVER x FOREIGN DATA WRAPPER portcullis OPTIONS (driver '/tmp/evil.so')", "HV", ""},
		{"CREATE SERVER x FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'PostgreSQL Unicode', password 'x')", "HV00D", ""},
		{"CREATE USER MAPPING FOR postgres SERVER remote OPTIONS (uesrname 'x')", "HV00D", "username"},
		{"ALTER FOREIGN TABLE numbers OPTIONS (ADD tabel_name 'x')", "HV00D", "table_name"},
		{"ALTER FOREIGN TABLE numbers ALTER n OPTIONS (ADD name 'x')", "HV00D", "column_name"},
		{"ALTER FOREIGN DATA WRAPPER portcullis OPTIONS (ADD x 'x')", "HV00D", ""},
	}
	for _, tt := range tests {
		t.Run(tt.sql, func(t *testing.T) {
			e := refused(t, conn, tt.sql)
			if !strings.HasPrefix(e.Code, tt.code) || !strings.Contains(e.Hint, tt.hint) {
				t.Errorf("got %s", describe(e))
			}
		})
	}
}

// A driver that is not registered is refused where it is named. A restore
// keeps the server, whose scans say what is missing.
func TestDriverIsRegistered(t *testing.T) {
	conn := session(t)
	const server = "SERVER unregistered FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'MariaDB', host '127.0.0.1', database 'd')"
	wanted := func(message, hint string) bool {
		return strings.Contains(message, `driver "MariaDB" is not registered with unixODBC`) && strings.Contains(hint, "MariaDB Unicode, PostgreSQL ANSI, PostgreSQL Unicode, SQLite3.") &&
			strings.Contains(hint, "odbc-mariadb") && strings.Contains(hint, "[MariaDB]")
	}
	for _, sql := range []string{"CREATE " + server, "ALTER SERVER remote OPTIONS (SET driver 'MariaDB', DROP port)"} {
		if e := refused(t, conn, sql); e.Code != "HV024" || !wanted(e.Message, e.Hint) {
			t.Errorf("%s: got %s", sql, describe(e))
		}
	}
	if e := refused(t, conn, "ALTER SERVER remote OPTIONS (SET driver 'postgresql unicode')"); e.Code != "HV024" || !strings.Contains(e.Message, "not registered") {
		t.Errorf("another case: got %s", describe(e))
	}

	restore := shared.local.Command(t.Context(), "postgres", "psql", "-X", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose")
	restore.Stdin = strings.NewReader("SET check_function_bodies = false;\nCREATE " + server + ";\nCREATE FOREIGN TABLE unregistered (n int) SERVER unregistered;")
	said, err := restore.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	cleanup(t, "DROP SERVER unregistered CASCADE")
	if text := string(said); !strings.Contains(text, "WARNING:  HV024") || !wanted(text, text) {
		t.Errorf("the restore is told %s", said)
	}
	if e := refused(t, conn, "SELECT * FROM unregistered"); e.Code != "HV00N" || !wanted(e.Message, e.Hint) || strings.Contains(e.Detail, `""`) {
		t.Errorf("got %s", describe(e))
	}
}

// What an administrator can act on is said, not only that it failed.
func TestSourcesSayWhatToDo(t *testing.T) {
	conn := session(t)
	file, err := shared.env.SQLiteFile(t.Context(), "wal.db", "PRAGMA journal_mode = WAL; CREATE TABLE t (n integer)")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{file.Path, file.Path + "-wal", file.Path + "-shm"} {
		if err := os.Chmod(f, 0o444); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	for _, test := range []struct{ name, options, sql, code, message, hint string }{
		{"TLS", fmt.Sprintf("driver 'PostgreSQL Unicode', host '%s', port '%d', sslmode 'require'", shared.remote.Host, shared.remote.Port), "SELECT * FROM of_told",
			"08001", "offers no TLS", "sslmode to disable"},
		{"WAL", fmt.Sprintf("driver 'SQLite3', database '%s'", file.Path), "SELECT * FROM of_told", "HV00N", "WAL mode", "journal_mode = DELETE"},
		{"EXCEPT", fmt.Sprintf("driver 'PostgreSQL Unicode', host '%s', port '%d', database 'postgres'", shared.remote.Host, shared.remote.Port),
			"IMPORT FOREIGN SCHEMA public EXCEPT (numbers, wide, slow, trickle) FROM SERVER told INTO public", "HV00R", "EXCEPT leaves nothing to import", "fewer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			do(t, conn, fmt.Sprintf(`CREATE SERVER told FOREIGN DATA WRAPPER portcullis OPTIONS (%s);
				CREATE USER MAPPING FOR PUBLIC SERVER told OPTIONS (username '%s', password '%s');
				CREATE FOREIGN TABLE of_told (n bigint) SERVER told OPTIONS (table_name 't')`, test.options, shared.remote.User, shared.remote.Password))
			defer do(t, conn, "DROP SERVER told CASCADE")
			if e := refused(t, conn, test.sql); e.Code != test.code || !strings.Contains(e.Message, test.message) || !strings.Contains(e.Hint, test.hint) {
				t.Errorf("got %s", describe(e))
			}
		})
	}
}

func TestConversionsRefuseWhatDoesNotFit(t *testing.T) {
	conn := session(t)
	tests := []struct{ column, option, code string }{
		{"x smallint", "large", "22003"},
		{"x varchar(5)", "word", "22001"},
		{"x char(5)", "word", "22001"},
		{"x numeric(6,1)", "amount", "22003"},
		{"x numeric(3,2)", "amount", "22003"},
		{"x date", "at", "22"},
		{"x int", "word", "22P02"},
		{"x name", "word", ""},
	}
	for _, tt := range tests {
		t.Run(tt.column, func(t *testing.T) {
			do(t, conn, fmt.Sprintf("CREATE FOREIGN TABLE odd (%s OPTIONS (column_name '%s')) SERVER remote OPTIONS (schema_name 'public', table_name 'wide')", tt.column, tt.option))
			defer do(t, conn, "DROP FOREIGN TABLE odd")
			if tt.code == "" {
				do(t, conn, "SELECT x FROM odd")
				return
			}
			e := refused(t, conn, "SELECT x FROM odd")
			if !strings.HasPrefix(e.Code, tt.code) || !strings.Contains(e.Where, `column "x" of foreign table "odd"`) {
				// a source that refuses to convert says so itself
				t.Errorf("want %s and where, got %s", tt.code, describe(e))
			}
		})
	}
}

func TestSystemColumns(t *testing.T) {
	conn := session(t)
	if got := value[string](t, conn, "SELECT tableoid::regclass::text FROM numbers LIMIT 1"); got != "numbers" {
		t.Errorf("tableoid is %s", got)
	}
	if e := refused(t, conn, "SELECT xmin FROM numbers LIMIT 1"); e.Code != "0A000" {
		t.Error(describe(e))
	}
}

func TestImport(t *testing.T) {
	conn := session(t)
	do(t, conn, "CREATE SCHEMA imported")
	cleanup(t, "DROP SCHEMA imported CASCADE")
	do(t, conn, "IMPORT FOREIGN SCHEMA public LIMIT TO (numbers) FROM SERVER remote INTO imported")
	if got := value[int64](t, conn, "SELECT count(*) FROM imported.numbers"); got != 20000 {
		t.Errorf("got %d rows", got)
	}
	do(t, conn, "IMPORT FOREIGN SCHEMA public EXCEPT (numbers) FROM SERVER remote INTO imported")
	rows, err := conn.Query(t.Context(), "SELECT relname::text FROM pg_class WHERE relnamespace = 'imported'::regnamespace ORDER BY 1")
	if err != nil {
		t.Fatal(err)
	}
	if names, err := pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || strings.Join(names, ",") != "numbers,slow,trickle,wide" {
		t.Errorf("got %v, %v", names, err)
	}
	if e := refused(t, conn, "IMPORT FOREIGN SCHEMA nothing_here FROM SERVER remote INTO imported"); e.Hint == "" {
		t.Errorf("no hint: %s", describe(e))
	}
}

func TestEncoding(t *testing.T) {
	conn := session(t)
	do(t, conn, "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
	other, err := shared.local.Connect(t.Context(), "latin")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(t.Context())
	if e := refused(t, other, "CREATE EXTENSION portcullis"); e.Code != "0A000" || !strings.Contains(e.Hint, "UTF8") {
		t.Error(describe(e))
	}
}

func TestEverythingHasAComment(t *testing.T) {
	conn := session(t)
	rest := lines(t, conn, `SELECT pg_describe_object(classid, objid, 0) FROM pg_depend d
	  WHERE refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'portcullis') AND deptype = 'e'
	    AND classid NOT IN ('pg_type'::regclass) AND obj_description(objid, classid::regclass::name) IS NULL ORDER BY 1`)
	if len(rest) > 0 {
		t.Errorf("without a comment: %s", strings.Join(rest, "; "))
	}
}

func TestPublicMayExecuteLittle(t *testing.T) {
	conn := session(t)
	got := lines(t, conn, `SELECT p.proname::text FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid
	  WHERE d.classid = 'pg_proc'::regclass AND refclassid = 'pg_extension'::regclass AND deptype = 'e'
	    AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'portcullis')
	    AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) WHERE grantee = 0 AND privilege_type = 'EXECUTE') ORDER BY 1`)
	for _, name := range got {
		if name != "portcullis_version" {
			t.Errorf("PUBLIC may execute %s", name)
		}
	}
}
