package fdw_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/internal/testenv"
)

// The same rows in the other two kinds of source, and a view that never ends.
const (
	mariadbSchema = `
CREATE TABLE shop.numbers (n int PRIMARY KEY, word varchar(40) CHARACTER SET utf8mb4, amount decimal(12,2), big bigint unsigned, day date, bytes blob);
INSERT INTO shop.numbers SELECT seq, concat('word ', seq), seq + 0.25, 18446744073709551615 - seq, date '2020-01-01' + INTERVAL seq DAY, NULL FROM seq_1_to_20000;
CREATE TABLE shop.large (n int PRIMARY KEY, filler varchar(1000));
INSERT INTO shop.large SELECT seq, repeat('x', 1000) FROM seq_1_to_200000;
CREATE TABLE shop.odd (id int, d date, at datetime, tm time, stamp timestamp NULL);
SET sql_mode = 'ALLOW_INVALID_DATES';
INSERT INTO shop.odd VALUES (1, '2020-02-29', '2020-02-29 23:59:59', '24:00:00', '2020-02-29 00:00:00'), (2, '0000-00-00', '0000-00-00', '-00:00:01', '0000-00-00'),
  (3, '2019-00-10', '2021-02-31', '24:00:01', NULL), (4, '2021-02-29', '2020-01-00', '838:59:59', NULL), (5, NULL, NULL, NULL, NULL);
CREATE VIEW shop.slow AS SELECT 1 AS n, sleep(60) AS filler;
`
	sqliteSchema = `
CREATE TABLE numbers (n integer PRIMARY KEY, word text, amount decimal(12,2), big bigint, day date, bytes blob);
WITH RECURSIVE s(g) AS (SELECT 1 UNION ALL SELECT g + 1 FROM s WHERE g < 20000)
INSERT INTO numbers SELECT g, 'word ' || g, g + 0.25, 9223372036854775807 - g, date('2020-01-01', '+' || g || ' days'), NULL FROM s;
CREATE TABLE odd (id integer, i integer, f real, bo boolean, b blob);
INSERT INTO odd VALUES (1, 1, 1, 1, x'01'), (2, 'x', 'x', 7, 'x'), (3, 1.5, x'01', 'true', 3), (4, NULL, NULL, NULL, NULL);
CREATE VIEW slow AS WITH RECURSIVE s(g) AS (SELECT 1 UNION ALL SELECT g + 1 FROM s) SELECT max(g) AS n, '' AS filler FROM s;
`
)

func TestOtherSources(t *testing.T) {
	sources := []struct {
		name   string
		server func(t *testing.T) (options, mapping, schema string)
		big    string           // of row 1
		odd    []string         // conditions that only values meet that PostgreSQL does not have
		even   map[string]int64 // others
	}{
		{"mariadb", mariadbSource, "18446744073709551614", []string{"d < '2000-01-01'", "d > '2021-01-01'", "at < '2000-01-01'", "at > '2021-01-01'", "tm < '01:00'",
			"tm > '24:00'", "stamp < '2000-01-01'", "d IS NOT NULL", "NOT (d > '2019-12-31' AND d < '2021-01-01')"},
			map[string]int64{"d = '2020-02-29'": 1, "d IS NULL": 1, "at = '2020-02-29 23:59:59'": 1, "tm = '24:00'": 1, "tm IS NULL": 1, "stamp > '2000-01-01'": 1, "stamp IS NULL": 3}},
		{"sqlite", sqliteSource, "9223372036854775806", []string{"i > 1", "f > 1", "bo AND id > 1", "i IS NOT NULL", "b <> '\\x01'", "NOT (i = 1)", "NOT bo"},
			map[string]int64{"i = 1": 1, "i IS NULL": 1, "f = 1": 1, "b = '\\x01'": 1, "bo AND id = 1": 1}},
	}
	for _, s := range sources {
		t.Run(s.name, func(t *testing.T) {
			options, mapping, schema := s.server(t)
			conn := session(t)
			do(t, conn, fmt.Sprintf("CREATE SERVER %s FOREIGN DATA WRAPPER portcullis OPTIONS (%s)", s.name, options))
			do(t, conn, fmt.Sprintf("CREATE SCHEMA in_%s", s.name))
			cleanup(t, fmt.Sprintf("DROP SCHEMA in_%s CASCADE; DROP SERVER %[1]s CASCADE", s.name))
			if mapping != "" {
				do(t, conn, fmt.Sprintf("CREATE USER MAPPING FOR PUBLIC SERVER %s OPTIONS (%s)", s.name, mapping))
			}
			do(t, conn, fmt.Sprintf("IMPORT FOREIGN SCHEMA %s FROM SERVER %s INTO in_%[2]s", schema, s.name))
			do(t, conn, fmt.Sprintf("SET search_path = in_%s, public", s.name))

			if got := value[int64](t, conn, "SELECT count(*) FROM numbers"); got != 20000 {
				t.Errorf("got %d rows", got)
			}
			if got := value[int64](t, conn, "SELECT count(*) FROM numbers WHERE word = repeat('x', 20000000) OR n = 1"); got != 1 {
				t.Errorf("a long constant: %d rows", got)
			}
			if got, want := value[string](t, conn, "SELECT concat_ws('|', n, word, amount, big, day) FROM numbers WHERE n = $1", 1), "1|word 1|1.25|"+s.big+"|2020-01-02"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if got := value[int64](t, conn, "SELECT count(*) FROM (VALUES (1), (2)) l(a) JOIN numbers ON n = l.a JOIN numbers m USING (n)"); got != 2 {
				t.Errorf("joined %d rows", got)
			}
			wantLongParameters(t, conn, s.name == "mariadb")
			wantRowsOfNothing(t, conn)
			for _, condition := range s.odd {
				for _, columns := range []string{"count(*)", "count(id)"} {
					if e := refused(t, conn, "SELECT "+columns+" FROM odd o WHERE "+condition); !strings.HasPrefix(e.Code, "22") {
						t.Error(condition, describe(e))
					}
				}
			}
			for condition, want := range s.even {
				if got := value[int64](t, conn, "SELECT count(*) FROM odd WHERE "+condition); got != want {
					t.Errorf("%s: %d rows", condition, got)
				}
			}
			if e := refused(t, conn, "SELECT 1 / (n - 3000) FROM numbers"); e.Code != "22012" {
				t.Error(describe(e))
			}
			if got := value[int64](t, conn, "SELECT immutasys.analyze('numbers')"); got != 20000 {
				t.Errorf("counted %d rows", got)
			}
			if s.name == "mariadb" {
				if e := refused(t, conn, "SELECT d FROM odd WHERE id = 3"); e.Code != "22008" || !strings.HasPrefix(e.Hint, "The source holds") {
					t.Error(describe(e))
				}
				wantLittleMemory(t)
			}
			interruptSlow(t, s.name)
		})
	}
}

// wantLittleMemory holds a scan of a large table to 24 MB, though its driver keeps whole
// results, 200 MB here: each way through the table, and in the middle of it.
func wantLittleMemory(t *testing.T) {
	const most = 24 << 10
	conn, pid := loaded(t)
	do(t, conn, "SELECT id FROM in_mariadb.odd") // its driver and Go are loaded
	before := holds(t, pid).PrivateKB
	do(t, conn, "BEGIN; DECLARE c CURSOR FOR SELECT n, filler FROM in_mariadb.large")
	for range 4 {
		do(t, conn, "MOVE 49000 FROM c")
		if grown := holds(t, pid).PrivateKB - before; grown > most {
			t.Errorf("%d kB more in the middle of a scan", grown)
		}
	}
	do(t, conn, "COMMIT")
	if got := value[int64](t, conn, "SELECT sum(length(filler)) FROM in_mariadb.large"); got != 1000*200000 {
		t.Errorf("%d bytes", got)
	}
	if grown := holds(t, pid).PrivateKB - before; grown > most {
		t.Errorf("%d kB more after a scan", grown)
	}
	plan := strings.Join(lines(t, conn, "EXPLAIN (VERBOSE, COSTS OFF) SELECT filler FROM in_mariadb.large"), "\n")
	if !strings.Contains(plan, "in pages") {
		t.Error(plan)
	}
}

// wantLongParameters compares with values that are known at execution only: a
// server may take none as long, and must not hang up on the session then.
func wantLongParameters(t *testing.T, conn *pgx.Conn, limited bool) {
	t.Helper()
	do(t, conn, "SET plan_cache_mode = force_generic_plan")
	defer do(t, conn, "RESET plan_cache_mode")
	connections := func() string {
		return value[string](t, conn, "SELECT coalesce(string_agg(opened::text, ' '), '') FROM portcullis_connections()")
	}
	before := connections()
	for _, c := range []struct {
		column string
		value  func(size int) any
	}{
		{"word", func(size int) any { return strings.Repeat("x", size) }},
		{"bytes", func(size int) any { return bytes.Repeat([]byte{0xff}, size) }},
	} {
		for _, megabytes := range []int{1, 15, 17, 100} {
			sql := fmt.Sprintf("SELECT count(*) FROM numbers WHERE %s = $1 OR n = 1", c.column)
			var n int64
			err := conn.QueryRow(t.Context(), sql, c.value(megabytes<<20)).Scan(&n)
			switch {
			case limited && megabytes > 16:
				wantState(t, err, "54000")
				if err != nil && !strings.Contains(describe(err), "max_allowed_packet") {
					t.Errorf("no hint: %s", describe(err))
				}
			case err != nil || n != 1:
				t.Errorf("%s of %d MB: %d rows, %v", c.column, megabytes, n, err)
			}
			if got := value[int64](t, conn, "SELECT count(*) FROM numbers WHERE n < $1", 3); got != 2 {
				t.Errorf("afterwards %d rows", got)
			}
		}
	}
	// Twice as long where the driver writes it into the statement.
	var n int64
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM numbers WHERE word = $1 OR n = 1", strings.Repeat("'", 9<<20)).Scan(&n); err == nil && n != 1 {
		t.Errorf("quotes: %d rows", n)
	} else if err != nil {
		wantState(t, err, "54000")
	}
	if after := connections(); after != before {
		t.Errorf("connected anew: %q, before %q", after, before)
	}
}

// interruptSlow cancels and ends sessions that are inside the driver.
func interruptSlow(t *testing.T, name string) {
	t.Helper()
	for _, end := range []struct{ call, state string }{{"pg_cancel_backend", "57014"}, {"pg_terminate_backend", "57P01"}} {
		conn, killer := session(t), session(t)
		pid := conn.PgConn().PID()
		ended := run(conn, fmt.Sprintf("SELECT * FROM in_%s.slow", name))
		waitFor(t, "the wait for the source", func(ctx context.Context) (bool, error) {
			var waits bool
			err := killer.QueryRow(ctx, "SELECT coalesce(wait_event_type = 'Extension', false) FROM pg_stat_activity WHERE pid = $1", int32(pid)).Scan(&waits)
			return waits, err
		})
		began := time.Now()
		do(t, killer, fmt.Sprintf("SELECT %s($1)", end.call), int32(pid))
		err := <-ended
		wantSoon(t, began)
		wantState(t, err, end.state)
		if end.state == "57014" {
			if got := value[int64](t, conn, fmt.Sprintf("SELECT count(*) FROM in_%s.numbers", name)); got != 20000 {
				t.Errorf("the session reads %d rows afterwards", got)
			}
			continue
		}
		backendGone(t, pid)
	}
}

func mariadbSource(t *testing.T) (options, mapping, schema string) {
	m := testenv.StartMariaDB(t, testenv.MariaDBOptions{})
	if err := m.Exec(t.Context(), "", "CREATE DATABASE shop"); err != nil {
		t.Fatal(err)
	}
	if err := m.Exec(t.Context(), "shop", mariadbSchema); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("driver 'MariaDB Unicode', host '%s', port '%d', database 'shop'", m.Host, m.Port),
		fmt.Sprintf("username '%s', password '%s'", m.User, m.Password), "shop"
}

func sqliteSource(t *testing.T) (options, mapping, schema string) {
	file, err := shared.env.SQLiteFile(t.Context(), "numbers.db", sqliteSchema)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("driver 'SQLite3', database '%s'", file.Path), "", "main"
}
