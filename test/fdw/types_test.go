package fdw_test

import (
	"fmt"
	"strings"
	"testing"
)

// Values at the ends of their types: what the source holds is what arrives.
var extremes = []struct {
	typ    string
	values []string // SQL literals
}{
	{"smallint", []string{"'-32768'", "32767", "0"}},
	{"int", []string{"'-2147483648'", "2147483647"}},
	{"bigint", []string{"'-9223372036854775808'", "9223372036854775807", "-1"}},
	{"oid", []string{"0", "4294967295"}},
	{"real", []string{"3.4028235e38", "1.1754944e-38", "-0.1", "'NaN'", "'Infinity'", "'-Infinity'", "'-0'"}},
	{"double precision", []string{"1.7976931348623157e308", "2.2250738585072014e-308", "0.1", "0.30000000000000004", "'NaN'", "'Infinity'", "'-Infinity'", "5e-324"}},
	{"numeric", []string{"123456789012345678901234567890.123456789012345678901234567890", "-0.000000000000000000000000000001", "'NaN'", "'Infinity'", "1e100", "0.00", "1.50", "-999999999999999999", "9999999999999999999"}},
	{"numeric(20,5)", []string{"123456789012345.12345", "-0.00001", "1", "'NaN'"}},
	{"boolean", []string{"true", "false"}},
	{"date", []string{"'4713-01-01 BC'", "'5874897-12-31'", "'infinity'", "'-infinity'", "'2024-02-29'", "'0001-01-01'", "'0044-03-15 BC'", "'9999-12-31'"}},
	{"timestamp", []string{"'4713-01-01 00:00:00 BC'", "'294276-12-31 23:59:59.999999'", "'infinity'", "'-infinity'", "'2024-02-29 12:34:56.000001'", "'1969-12-31 23:59:59.999999'", "'0001-01-01 BC'"}},
	{"timestamp(3)", []string{"'2024-02-29 12:34:56.123'"}},
	{"timestamptz", []string{"'2024-03-31 02:30:00+01:30'", "'infinity'", "'-infinity'", "'0044-03-15 12:00:00+00 BC'", "'294276-12-31 23:59:59.999999+00'", "'2024-10-27 00:30:00.5 Europe/Berlin'", "'1883-11-18 12:00:00 America/New_York'"}},
	{"time", []string{"'00:00:00'", "'24:00:00'", "'23:59:59.999999'"}},
	{"timetz", []string{"'23:59:59.999999-15:59'", "'00:00:00+15:59'"}},
	{"interval", []string{"'178000000 years'", "'-178000000 years'", "'1 mon -1 day 00:00:00.000001'", "'-2562047788:00:54.775807'"}},
	{"text", []string{"''", "' '", "'a''b\\c\"'", "'\U0001F600 \u4E2D\u6587 \u00E4'", "E'line\\nfeed\\r\\n\\ttab'", "repeat('x', 1048576)", "repeat('\U0001F600', 100000)", "'null'"}},
	{"varchar(10)", []string{"''", "'0123456789'", "repeat('\U0001F600', 10)", "'a   '"}},
	{"char(5)", []string{"'a'", "''", "'abcde'", "'\u00E4'"}},
	{"bytea", []string{"''", "'\\x00ff00'", "decode(repeat('00ff10', 350000), 'hex')"}},
	{"uuid", []string{"'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"}},
	{"json", []string{"'{\"b\": 1, \"a\": [null, \"\u00E4\"], \"b\": 2}'", "'1'"}},
	{"jsonb", []string{"'{\"b\": 1, \"a\": [null, \"\U0001F600\"]}'", "'1e400'"}},
	{"xml", []string{"'<a>\u00E4</a>'"}},
	{"int[]", []string{"'{}'", "'{1,NULL,-2147483648}'", "'[0:1]={1,2}'", "'{{1,2},{3,4}}'"}},
	{"text[]", []string{"'{\"a,b\",\"\\\\\\\\\",NULL,\"NULL\",\"\"}'"}},
	{"inet", []string{"'::1/64'", "'192.168.0.1/24'"}},
	{"cidr", []string{"'10.0.0.0/8'"}},
	{"macaddr", []string{"'08:00:2b:01:02:03'"}},
	{"bit(3)", []string{"B'101'"}},
	{"varbit", []string{"B''", "B'10110'"}},
	{"money", []string{"'-92233720368547758.08'", "'12.34'"}},
	{"point", []string{"'(1.5,-2.25)'"}},
	{"int4range", []string{"'[1,10)'", "'empty'"}},
	{"name", []string{"'a_name'"}},
	{"tsvector", []string{"'''a'':1A ''b'''"}},
}

func TestTypesRoundTrip(t *testing.T) {
	conn := session(t)
	// Nothing may depend on how this session prints or reads.
	const odd = "SET datestyle = 'SQL, DMY'; SET intervalstyle = 'sql_standard'; SET timezone = 'Asia/Kathmandu'; SET extra_float_digits = 0; SET bytea_output = 'escape'"
	for i, x := range extremes {
		t.Run(x.typ, func(t *testing.T) {
			table := fmt.Sprintf("ext%d", i)
			rows := "(0, NULL)"
			for n, v := range x.values {
				rows += fmt.Sprintf(", (%d, %s::%s)", n+1, v, x.typ)
			}
			data := fmt.Sprintf("CREATE TABLE %s (i int, v %s); INSERT INTO %[1]s VALUES %[3]s", table, x.typ, rows)
			if err := shared.remote.Exec(t.Context(), "postgres", data); err != nil {
				t.Fatal(err)
			}
			do(t, conn, "RESET ALL")
			do(t, conn, strings.Replace(data, "TABLE "+table, "TEMP TABLE "+table, 1))
			do(t, conn, fmt.Sprintf("CREATE FOREIGN TABLE remote_%s (i int, v %s) SERVER remote OPTIONS (schema_name 'public', table_name '%[1]s')", table, x.typ))
			cleanup(t, "DROP FOREIGN TABLE remote_"+table)
			do(t, conn, odd)

			// Bit by bit: send functions see what = and text output may hide.
			const same = `SELECT l.i || ': ' || coalesce(left(l.v::text, 60), 'NULL') || ' arrived as ' || coalesce(left(r.v::text, 60), 'NULL')
			  FROM %[1]s l FULL JOIN remote_%[1]s r USING (i) WHERE record_send(row(l.v)) IS DISTINCT FROM record_send(row(r.v))`
			if bad := lines(t, conn, fmt.Sprintf(same, table)); len(bad) > 0 {
				t.Error(strings.Join(bad, "\n"))
			}
			// A condition on each value finds it, wherever it is computed.
			if hasEquality(x.typ) {
				const found = `SELECT count(*) FROM %[1]s l WHERE v IS NOT NULL AND NOT EXISTS (SELECT FROM remote_%[1]s r WHERE r.i = l.i AND r.v = l.v)`
				if n := value[int64](t, conn, fmt.Sprintf(found, table)); n != 0 {
					t.Errorf("%d values are not found by =", n)
				}
				for n, v := range x.values {
					sql := fmt.Sprintf("SELECT count(*) FROM remote_%s WHERE i = %d AND v = %s::%s", table, n+1, v, x.typ)
					if value[int64](t, conn, sql) != 1 {
						t.Errorf("%s is not found as a constant", v)
					}
				}
			}
		})
	}
}

func hasEquality(typ string) bool {
	switch typ {
	case "json", "xml", "point":
		return false
	}
	return true
}

func TestEnumsAndDomains(t *testing.T) {
	conn := session(t)
	const types = "CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s'); CREATE DOMAIN positive AS int CHECK (value > 0)"
	if err := shared.remote.Exec(t.Context(), "postgres", types+"; CREATE TABLE moods (m mood, p int); INSERT INTO moods VALUES ('sad', 1), ('it''s', 2), (NULL, NULL)"); err != nil {
		t.Fatal(err)
	}
	do(t, conn, types)
	cleanup(t, "DROP TYPE mood CASCADE; DROP DOMAIN positive CASCADE")
	do(t, conn, "CREATE FOREIGN TABLE moods (m mood, p positive) SERVER remote OPTIONS (schema_name 'public')")
	if got := value[string](t, conn, "SELECT string_agg(m::text, ',' ORDER BY m) FROM moods WHERE p > 0"); got != "sad,it's" {
		t.Errorf("got %q", got)
	}
	if got := value[int64](t, conn, "SELECT count(*) FROM moods WHERE m = 'it''s'"); got != 1 {
		t.Errorf("got %d", got)
	}
	if err := shared.remote.Exec(t.Context(), "postgres", "INSERT INTO moods VALUES (NULL, -5)"); err != nil {
		t.Fatal(err)
	}
	if e := refused(t, conn, "SELECT p FROM moods"); e.Code != "23514" {
		t.Errorf("a value outside the domain: %s", describe(e))
	}
	do(t, conn, "DROP FOREIGN TABLE moods")
}

// A source that does not look after its texts (SQL_ASCII, SQLite) may hold
// bytes that are no UTF-8: they are refused, in values and under conditions.
func TestNotUTF8IsRefused(t *testing.T) {
	conn := session(t)
	file, err := shared.env.SQLiteFile(t.Context(), "raw.db", `CREATE TABLE raw (n int, b text);
		INSERT INTO raw VALUES (1, CAST(x'ff41' AS text)), (2, CAST(x'c3a4' AS text)), (3, CAST(x'eda080' AS text))`)
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{"CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0"} {
		if err := shared.remote.Exec(t.Context(), "postgres", sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := shared.remote.Exec(t.Context(), "ascii", `SET client_encoding = 'SQL_ASCII'; CREATE TABLE raw (n int, b text);
		INSERT INTO raw VALUES (1, E'\xff\x41'), (2, E'\xc3\xa4'), (3, E'\xed\xa0\x80')`); err != nil {
		t.Fatal(err)
	}
	for server, options := range map[string]string{
		"raw_lite": fmt.Sprintf("driver 'SQLite3', database '%s'", file.Path),
		"raw_pg":   fmt.Sprintf("driver 'PostgreSQL Unicode', host '%s', port '%d', database 'ascii'", shared.remote.Host, shared.remote.Port),
	} {
		t.Run(server, func(t *testing.T) {
			do(t, conn, fmt.Sprintf("CREATE SERVER %s FOREIGN DATA WRAPPER portcullis OPTIONS (%s)", server, options))
			cleanup(t, "DROP SERVER "+server+" CASCADE")
			table := "OPTIONS (table_name 'raw')"
			if server == "raw_pg" {
				do(t, conn, fmt.Sprintf("CREATE USER MAPPING FOR PUBLIC SERVER %s OPTIONS (username '%s', password '%s')", server, shared.remote.User, shared.remote.Password))
				table = "OPTIONS (schema_name 'public', table_name 'raw')"
			}
			do(t, conn, fmt.Sprintf("CREATE FOREIGN TABLE %s (n int, b text) SERVER %[1]s %s", server, table))
			for _, n := range []int{1, 3} {
				if e := refused(t, conn, fmt.Sprintf("SELECT b FROM %s WHERE n = %d", server, n)); !strings.HasPrefix(e.Code, "22") && !strings.HasPrefix(e.Code, "HV") {
					t.Errorf("row %d: %s", n, describe(e))
				}
			}
		})
	}
}
