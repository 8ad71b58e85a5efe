package difftest

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/fdw"
)

// field is one column of the table that all sources hold.
type field struct {
	name   string
	pgType string // here
	base   string
	oid    uint32
	remote map[string]string // type at each source
	values []string          // in all sources
	more   []string          // only as constants
	pgOnly []string          // values that only PostgreSQL holds
}

// rowsOf are enough for every value to meet every other.
const rowsOf = 90

var fields = []field{
	{name: "i2", pgType: "int2", base: "int2", oid: 21, remote: map[string]string{"postgres": "int2", "mariadb": "smallint", "sqlite": "INTEGER"},
		values: []string{"-32768", "-1", "0", "1", "7", "32767"}},
	{name: "i4", pgType: "int4", base: "int4", oid: 23, remote: map[string]string{"postgres": "int4", "mariadb": "int", "sqlite": "INTEGER"},
		values: []string{"-2147483648", "-1", "0", "1", "7", "2147483647"}},
	{name: "i8", pgType: "int8", base: "int8", oid: 20, remote: map[string]string{"postgres": "int8", "mariadb": "bigint", "sqlite": "INTEGER"},
		values: []string{"-9223372036854775808", "-1", "0", "1", "9007199254740993", "9223372036854775807"}},
	{name: "u4", pgType: "int8", base: "int8", oid: 20, remote: map[string]string{"postgres": "int8", "mariadb": "int unsigned", "sqlite": "INT"},
		values: []string{"0", "1", "7", "4294967295"}, more: []string{"-1"}},
	{name: "n", pgType: "numeric", base: "numeric", oid: 1700, remote: map[string]string{"postgres": "numeric", "mariadb": "decimal(60,25)", "sqlite": "TEXT"},
		values: []string{"0", "-1.5", "1.5", "100", "0.0000000000000000000000001", "12345678901234567890123456789012345.1234567890123456789012345"},
		more:   []string{"1.50000", "1e3", "0.1", strings.Repeat("9", 70)}, pgOnly: []string{"NaN", "Infinity"}},
	{name: "f8", pgType: "float8", base: "float8", oid: 701, remote: map[string]string{"postgres": "float8", "mariadb": "double", "sqlite": "REAL"},
		values: []string{"0", "1.5", "0.1", "-1e+300", "1.7976931348623157e+308", "0.30000000000000004", "9007199254740992"},
		more:   []string{"-0", "2.5e-310"}, pgOnly: []string{"NaN", "Infinity", "-Infinity", "5e-324"}},
	{name: "f4", pgType: "float4", base: "float4", oid: 700, remote: map[string]string{"postgres": "float4", "mariadb": "float", "sqlite": "REAL"},
		values: []string{"0", "1.5", "16777216", "-0.25"}, more: []string{"0.1"}, pgOnly: []string{"0.1", "3.4028235e+38"}},
	{name: "s", pgType: `text`, base: "text", oid: 25, remote: map[string]string{"postgres": `text COLLATE "nocase"`, "mariadb": "varchar(60) COLLATE utf8mb4_general_ci", "sqlite": "TEXT COLLATE NOCASE"},
		values: []string{"", "a", "A", "á", "a ", "b", "ab%c", "a_b", "[x]", "*", "?", "日本", "😀", "ß", "ss", "it's", `back\slash`, "1", "01", `"q"`, "{fn x}"},
		more:   []string{"zz", "a\tb", "1.0"}},
	{name: "l", pgType: `text`, base: "text", oid: 25, remote: map[string]string{"postgres": "varchar(60)", "mariadb": "varchar(60) CHARACTER SET latin1", "sqlite": ""},
		values: []string{"", "a", "A", "é", "e", "a ", "12"}, more: []string{"日本", "ﬁ"}},
	{name: "c", pgType: "char(6)", base: "bpchar", oid: 1042, remote: map[string]string{"postgres": "char(6)", "mariadb": "char(6)", "sqlite": "TEXT"},
		values: []string{"", "a", "A", "ab", "a b", "é"}},
	{name: "k", pgType: "bool", base: "bool", oid: 16, remote: map[string]string{"postgres": "bool", "mariadb": "tinyint(1)", "sqlite": "BOOLEAN"},
		values: []string{"true", "false"}},
	{name: "d", pgType: "date", base: "date", oid: 1082, remote: map[string]string{"postgres": "date", "mariadb": "date", "sqlite": "DATE"},
		values: []string{"1000-01-01", "1970-01-01", "2020-02-29", "9999-12-31"}, pgOnly: []string{"infinity", "-infinity", "0044-03-15 BC", "20000-01-01"}},
	{name: "ts", pgType: "timestamp", base: "timestamp", oid: 1114, remote: map[string]string{"postgres": "timestamp", "mariadb": "datetime(6)", "sqlite": "DATETIME"},
		values: []string{"1970-01-01 00:00:00", "2020-02-29 12:34:56.123456", "9999-12-31 23:59:59.999999"}, pgOnly: []string{"infinity", "0044-03-15 10:00:00 BC"}},
	{name: "tz", pgType: "timestamptz", base: "timestamptz", oid: 1184, remote: map[string]string{"postgres": "timestamptz", "mariadb": "timestamp(6) NULL", "sqlite": "TEXT"},
		values: []string{"1970-01-02 00:00:00+00", "2020-02-29 12:34:56.123456+00", "2037-12-31 23:59:59+00"},
		more:   []string{"2020-02-29 14:34:56.123456+02", "1900-01-01 00:00:00+00", "2500-01-01 00:00:00+00"}, pgOnly: []string{"infinity", "-infinity"}},
	{name: "tm", pgType: "time", base: "time", oid: 1083, remote: map[string]string{"postgres": "time", "mariadb": "time(6)", "sqlite": "TIME"},
		values: []string{"00:00:00", "12:00:00", "23:59:59.999999", "24:00:00"}},
	{name: "y", pgType: "bytea", base: "bytea", oid: 17, remote: map[string]string{"postgres": "bytea", "mariadb": "varbinary(30)", "sqlite": "BLOB"},
		values: []string{`\x00`, `\x0000`, `\xff20`, `\xff`, `\x61`, `\x`}},
	{name: "u", pgType: "uuid", base: "uuid", oid: 2950, remote: map[string]string{"postgres": "uuid", "mariadb": "uuid", "sqlite": "TEXT"},
		values: []string{"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"}},
	{name: "iv", pgType: "interval", base: "interval", oid: 1186, remote: map[string]string{"postgres": "interval", "mariadb": "time", "sqlite": "TEXT"},
		values: []string{"00:00:01", "838:59:59", "24:00:00"}, pgOnly: []string{"1 mon", "30 days", "-1 years +2 days"}},
}

func fieldNamed(name string) *field {
	for i := range fields {
		if fields[i].name == name {
			return &fields[i]
		}
	}
	return nil
}

// dataset is the rows of the table; nil is NULL.
func dataset(s string) [][]*string {
	rng := rand.New(rand.NewPCG(7, 11))
	var out [][]*string
	for i := range rowsOf {
		row := make([]*string, len(fields))
		for j := range fields {
			values := fields[j].values
			if s == "postgres" {
				values = append(append([]string{}, values...), fields[j].pgOnly...)
			}
			if i%13 == 12 && rng.IntN(3) > 0 {
				continue
			}
			v := values[rng.IntN(len(values))]
			if i < len(values) {
				v = values[i]
			}
			row[j] = &v
		}
		out = append(out, row)
	}
	return out
}

// load fills the table here (reference_NAME) and at the source.
func load(t *testing.T, s *source, here *pgx.Conn) *fdw.Table {
	t.Helper()
	ctx := t.Context()
	if s.name == "postgres" {
		if err := s.exec(`CREATE COLLATION IF NOT EXISTS "nocase" (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`); err != nil {
			t.Fatal(err)
		}
	}
	table := &fdw.Table{LocalName: "t", RemoteName: "t", RemoteSchema: s.schema}
	var mine, theirs []string
	for i, f := range fields {
		mine = append(mine, f.name+" "+f.pgType)
		theirs = append(theirs, f.name+" "+f.remote[s.name])
		table.Columns = append(table.Columns, fdw.TableColumn{Attnum: int32(i + 2), TypeOID: f.oid, Typmod: -1, Name: f.name, RemoteName: f.name,
			TypeName: f.pgType, BaseType: f.base, CollationKind: 'd'})
	}
	table.Columns = append([]fdw.TableColumn{{Attnum: 1, TypeOID: 23, Typmod: -1, Name: "id", RemoteName: "id", TypeName: "int4", BaseType: "int4"}}, table.Columns...)
	if _, err := here.Exec(ctx, "CREATE TEMP TABLE reference (id int4, "+strings.Join(mine, ", ")+")"); err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	fmt.Fprintf(&script, "DROP TABLE IF EXISTS t;\nCREATE TABLE t (id int, %s);\n", strings.Join(theirs, ", "))
	for i, row := range dataset(s.name) {
		mine, theirs := []string{fmt.Sprint(i)}, []string{fmt.Sprint(i)}
		for j := range fields {
			if row[j] == nil {
				mine, theirs = append(mine, "NULL"), append(theirs, "NULL")
				continue
			}
			mine = append(mine, pgLiteral(*row[j], fields[j].pgType))
			theirs = append(theirs, remoteLiteral(s.name, &fields[j], *row[j]))
		}
		if _, err := here.Exec(ctx, "INSERT INTO reference VALUES ("+strings.Join(mine, ", ")+")"); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&script, "INSERT INTO t VALUES (%s);\n", strings.Join(theirs, ", "))
	}
	if s.name == "mariadb" {
		script.WriteString("CREATE INDEX t_s ON t (s); CREATE INDEX t_l ON t (l); CREATE INDEX t_i4 ON t (i4);")
	}
	if err := s.exec("" + prologue(s.name) + script.String()); err != nil {
		t.Fatal(err)
	}
	return table
}

func prologue(name string) string {
	if name == "mariadb" {
		return "SET time_zone = '+00:00'; SET sql_mode = 'STRICT_ALL_TABLES';\n"
	}
	return ""
}

func pgLiteral(v, typ string) string {
	return "CAST(E'" + strings.ReplaceAll(strings.ReplaceAll(v, `\`, `\\`), "'", "''") + "' AS " + typ + ")"
}

func remoteLiteral(source string, f *field, v string) string {
	switch {
	case source == "postgres":
		return pgLiteral(v, f.remote[source][:cut(f.remote[source])])
	case f.base == "bytea":
		return "x'" + v[2:] + "'"
	case f.base == "bool":
		return map[string]string{"true": "1", "false": "0"}[v]
	case strings.HasPrefix(f.base, "int") && f.base != "interval", strings.HasPrefix(f.base, "float"):
		return v
	case source == "mariadb" && f.base == "timestamptz":
		return "'" + strings.TrimSuffix(v, "+00") + "'"
	case source == "mariadb":
		return "CONVERT(x'" + hex.EncodeToString([]byte(v)) + "' USING utf8mb4)"
	case f.name == "l" && v == "12":
		return v // an integer in a column without affinity
	}
	return "CAST(x'" + hex.EncodeToString([]byte(v)) + "' AS TEXT)"
}

// cut ends the type before its collation.
func cut(typ string) int {
	if i := strings.Index(typ, " COLLATE"); i >= 0 {
		return i
	}
	return len(typ)
}
