package odbc_test

import (
	"bytes"
	"math"
	"os"
	osexec "os/exec"
	"strconv"
	"strings"
	"testing"

	"portcullis.dev/portcullis/odbc"
)

const beyond = "aé漢😀z'\"\\?{}"

// literal quotes text for SQL; MariaDB also reads backslashes.
func literal(s source, v string) string {
	if s.name == "mariadb" {
		v = strings.ReplaceAll(v, `\`, `\\`)
	}
	return "'" + strings.ReplaceAll(v, "'", "''") + "'"
}

func asText(s source) string {
	return map[string]string{"postgres": "CAST(? AS text)", "mariadb": "CAST(? AS CHAR)", "sqlite": "?"}[s.name]
}

func TestText(t *testing.T) {
	values := []string{"", " ", "a", beyond, strings.Repeat("é", 63), strings.Repeat("x", 64), strings.Repeat("x", 65),
		strings.Repeat("😀", 2000), strings.Repeat("y", 8001), strings.Repeat("漢字", 1<<20/6), "line\r\nbreak\ttab"}
	each(t, func(t *testing.T, s source, c *odbc.Conn) {
		for _, v := range values {
			sql := "SELECT " + asText(s) + ", " + literal(s, v) + ", NULL"
			rows, err := c.QueryStrings(t.Context(), sql, []odbc.Param{text(v)})
			if err != nil {
				t.Fatalf("%d bytes: %v", len(v), err)
			}
			for col, name := range []string{"parameter", "literal"} {
				if got := rows[0][col]; got == nil || *got != v {
					t.Errorf("%s of %d bytes arrived as %s", name, len(v), show(got))
				}
			}
			if rows[0][2] != nil {
				t.Errorf("NULL arrived as %s", show(rows[0][2]))
			}
		}
	})
}

func show(s *string) string {
	if s == nil {
		return "NULL"
	}
	return strconv.Quote((*s)[:min(len(*s), 80)]) + " of " + strconv.Itoa(len(*s)) + " bytes"
}

// The process locale must not matter: the same test runs under LC_ALL=C with
// the locale in force, as in a backend of a C database, by way of a subprocess.
func TestTextUnderLocaleC(t *testing.T) {
	for _, locale := range []string{"C", "C.UTF-8"} {
		cmd := osexec.Command(os.Args[0], "-test.run=^TestText$")
		cmd.Env = append(os.Environ(), "LC_ALL="+locale)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("LC_ALL=%s: %v\n%s", locale, err, out)
		}
	}
}

func TestBytes(t *testing.T) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	values := [][]byte{{}, {0}, every, bytes.Repeat(every, 32), bytes.Repeat(every, 4096)}
	sql := map[string]string{"postgres": "SELECT CAST(? AS bytea)", "mariadb": "SELECT CAST(? AS BINARY)", "sqlite": "SELECT ?"}
	each(t, func(t *testing.T, s source, c *odbc.Conn) {
		for _, v := range values {
			cur := query(t, c, sql[s.name], []odbc.Param{{Type: odbc.ParamBytes, Bytes: v}}, cols(odbc.KindBytes), odbc.QueryOptions{})
			n, err := all(cur, func(b *odbc.Block, row int) {
				if got := b.Bytes(0, row); !bytes.Equal(got, v) || b.IsNull(0, row) {
					t.Errorf("%d bytes arrived as %d: %.40x", len(v), len(got), got)
				}
			})
			if n != 1 || err != nil {
				t.Errorf("%d rows, %v", n, err)
			}
			cur.Close()
		}
	})
}

func TestIntegers(t *testing.T) {
	each(t, func(t *testing.T, s source, c *odbc.Conn) {
		cast := map[string]string{"postgres": "CAST(? AS bigint)", "mariadb": "CAST(? AS SIGNED)", "sqlite": "?"}[s.name]
		for _, v := range []int64{math.MinInt64, -1, 0, 1, math.MaxInt64} {
			cur := query(t, c, "SELECT "+cast+", "+cast, []odbc.Param{{Type: odbc.ParamInt, Int: v}, {Type: odbc.ParamInt, Null: true}},
				cols(odbc.KindInt64, odbc.KindInt64), odbc.QueryOptions{})
			_, err := all(cur, func(b *odbc.Block, row int) {
				if got := b.Int64(0, row); got != v || b.IsNull(0, row) || !b.IsNull(1, row) {
					t.Errorf("%d arrived as %d, NULL as %v", v, got, b.IsNull(1, row))
				}
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
}

func TestUnsigned(t *testing.T) {
	c := mariadb().connect(t)
	const sql = "SELECT CAST(18446744073709551615 AS UNSIGNED)"
	cur := query(t, c, sql, nil, cols(odbc.KindUint64), odbc.QueryOptions{})
	if _, err := all(cur, func(b *odbc.Block, row int) {
		if got := b.Uint64(0, row); got != math.MaxUint64 {
			t.Errorf("got %d", got)
		}
	}); err != nil {
		t.Error(err)
	}
	if _, err := c.Query(t.Context(), sql, nil, cols(odbc.KindInt64), odbc.QueryOptions{}); state(err) != "22003" {
		t.Errorf("reading it as signed: %v", err)
	}
}

func TestFloats(t *testing.T) {
	values := []float64{0, 0.30000000000000004, -1 / 3.0, 5e-324, math.SmallestNonzeroFloat64, 2.2250738585072014e-308, math.MaxFloat64, 1e23, math.Inf(1), math.Inf(-1), math.NaN()}
	each(t, func(t *testing.T, s source, c *odbc.Conn) {
		for _, v := range values {
			param := []odbc.Param{{Type: odbc.ParamFloat, Float: v}}
			if s.name != "postgres" && (math.IsNaN(v) || math.IsInf(v, 0) && s.name == "mariadb") {
				if _, err := c.Query(t.Context(), "SELECT ?", param, nil, odbc.QueryOptions{}); state(err) != "22003" {
					t.Errorf("%v was taken: %v", v, err)
				}
				continue
			}
			if got := readFloat(t, s, c, param); got != v && !(math.IsNaN(v) && math.IsNaN(got)) {
				t.Errorf("%v arrived as %v", v, got)
			}
		}
	})
}

// readFloat reads back a parameter.
func readFloat(t *testing.T, s source, c *odbc.Conn, param []odbc.Param) (out float64) {
	t.Helper()
	read := map[string]string{"postgres": "SELECT CAST(? AS float8)", "mariadb": "SELECT CAST(? AS DOUBLE)", "sqlite": "SELECT portcullis_double(?, 'double')"}[s.name]
	kind := odbc.KindFloat64
	if s.name == "sqlite" {
		kind = odbc.KindFloat64Bits
	}
	cur := query(t, c, read, param, cols(kind), odbc.QueryOptions{})
	defer cur.Close()
	if _, err := all(cur, func(b *odbc.Block, row int) { out = b.Float64(0, row) }); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestBool(t *testing.T) {
	c := postgres().connect(t)
	cur := query(t, c, "SELECT true, false, NULL::bool, CAST(? AS bool)", []odbc.Param{{Type: odbc.ParamBool, Int: 1}},
		cols(odbc.KindBool, odbc.KindBool, odbc.KindBool, odbc.KindBool), odbc.QueryOptions{})
	if _, err := all(cur, func(b *odbc.Block, row int) {
		if !b.Bool(0, row) || b.Bool(1, row) || !b.IsNull(2, row) || !b.Bool(3, row) {
			t.Error("booleans arrived wrong")
		}
	}); err != nil {
		t.Error(err)
	}
}

// Numbers and times travel as text; each source gets the casts its dialect would write.
func TestAsText(t *testing.T) {
	const digits60 = "123456789012345678901234567890.123456789012345678901234567891"
	numeric := func(v string) odbc.Param { return odbc.Param{Type: odbc.ParamNumeric, Text: v} }
	stamp := func(v string) odbc.Param { return odbc.Param{Type: odbc.ParamTimestamp, Text: v} }
	cases := []struct {
		source, sql string
		param       odbc.Param
		want        string
	}{
		{"postgres", "SELECT CAST(? AS numeric)", numeric(digits60), digits60},
		{"postgres", "SELECT CAST(? AS numeric)", numeric("NaN"), "NaN"},
		{"postgres", "SELECT CAST(? AS timestamp)::text", stamp("infinity"), "infinity"},
		{"postgres", "SELECT CAST(? AS date)::text", odbc.Param{Type: odbc.ParamDate, Text: "0044-03-15 BC"}, "0044-03-15 BC"},
		{"postgres", "SELECT CAST(? AS timestamp)::text", stamp("294276-12-31 23:59:59.999999"), "294276-12-31 23:59:59.999999"},
		{"postgres", "SELECT CAST(? AS time)::text", odbc.Param{Type: odbc.ParamTime, Text: "23:59:59.999999"}, "23:59:59.999999"},
		{"mariadb", "SELECT CAST(? AS DECIMAL(65,30))", numeric(digits60), digits60},
		{"mariadb", "SELECT CAST(? AS DATETIME(6))", stamp("2020-02-29 01:02:03.123456"), "2020-02-29 01:02:03.123456"},
		{"mariadb", "SELECT CAST(? AS TIME(6))", odbc.Param{Type: odbc.ParamTime, Text: "-838:59:59.999999"}, "-838:59:59.999999"},
		{"mariadb", "SELECT CAST(? AS DATE)", odbc.Param{Type: odbc.ParamDate, Text: "9999-12-31"}, "9999-12-31"},
		{"sqlite", "SELECT ?", stamp("2020-02-29 01:02:03.123456"), "2020-02-29 01:02:03.123456"},
	}
	each(t, func(t *testing.T, s source, c *odbc.Conn) {
		for _, tc := range cases {
			if tc.source != s.name {
				continue
			}
			rows, err := c.QueryStrings(t.Context(), tc.sql, []odbc.Param{tc.param})
			if err != nil {
				t.Errorf("%s of %s: %v", tc.sql, tc.param.Text, err)
			} else if got := rows[0][0]; got == nil || *got != tc.want {
				t.Errorf("%s of %s gave %s", tc.sql, tc.param.Text, show(got))
			}
		}
	})
}

func TestHostileParameters(t *testing.T) {
	c := postgres().connect(t)
	for name, p := range map[string]odbc.Param{
		"NUL": text("a\x00b"), "invalid UTF-8": text("\xff"), "unknown type": {Type: 99},
	} {
		if _, err := c.QueryStrings(t.Context(), "SELECT CAST(? AS text)", []odbc.Param{p}); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if err := c.Exec(t.Context(), "SELECT '\x00'"); state(err) != "22021" {
		t.Errorf("NUL in a statement: %v", err)
	}
}

// The "PostgreSQL ANSI" driver stands for those whose native binds are not
// trusted: numbers, booleans and dates come as text and are converted here.
func TestThroughText(t *testing.T) {
	s := postgres()
	s.spec.Driver = "PostgreSQL ANSI"
	c := s.connect(t)
	kinds := cols(odbc.KindInt64, odbc.KindFloat64, odbc.KindBool, odbc.KindDate, odbc.KindTimestamp, odbc.KindUint64, odbc.KindInt64)
	const sql = "SELECT (-9223372036854775808)::int8, 0.1::float8 + 0.2::float8, true, date '2020-02-29', timestamp '2020-02-29 01:02:03.000004', 18446744073709551615::numeric, NULL::int8"
	cur := query(t, c, sql, nil, kinds, odbc.QueryOptions{})
	n, err := all(cur, func(b *odbc.Block, row int) {
		if b.Int64(0, row) != math.MinInt64 || b.Float64(1, row) != 0.30000000000000004 || !b.Bool(2, row) || b.Uint64(5, row) != math.MaxUint64 || !b.IsNull(6, row) {
			t.Errorf("%d %v %v %d", b.Int64(0, row), b.Float64(1, row), b.Bool(2, row), b.Uint64(5, row))
		}
		if y, m, d := b.Date(3, row); y != 2020 || m != 2 || d != 29 {
			t.Errorf("date %d-%d-%d", y, m, d)
		}
		if got := b.Timestamp(4, row); got != "2020-02-29 01:02:03.000004000" {
			t.Errorf("timestamp %s", got)
		}
	})
	if n != 1 || err != nil {
		t.Fatalf("%d rows, %v", n, err)
	}
	for _, bad := range []string{"SELECT 'x'", "SELECT 1.5", "SELECT 9223372036854775808", "SELECT ''", "SELECT repeat('1', 100)"} {
		cur := query(t, c, bad, nil, cols(odbc.KindInt64), odbc.QueryOptions{})
		if n, err := all(cur, nil); err == nil {
			t.Errorf("%s read as an integer: %d rows", bad, n)
		}
		cur.Close()
	}
}

func TestNativeDates(t *testing.T) {
	c := mariadb().connect(t)
	cur := query(t, c, "SELECT DATE '9999-12-31', TIMESTAMP '2020-02-29 01:02:03.123456', NULL", nil,
		cols(odbc.KindDate, odbc.KindTimestamp, odbc.KindTimestamp), odbc.QueryOptions{})
	if _, err := all(cur, func(b *odbc.Block, row int) {
		y, m, d := b.Date(0, row)
		if got := b.Timestamp(1, row); y != 9999 || m != 12 || d != 31 || got != "2020-02-29 01:02:03.123456000" || !b.IsNull(2, row) {
			t.Errorf("%d-%d-%d, %s", y, m, d, got)
		}
	}); err != nil {
		t.Error(err)
	}
}

// What is read as a number but is none arrives as the text it is, for the
// reader above to refuse: the drivers would have said 0, 1 and true.
func TestOtherTypesAreNoNumbers(t *testing.T) {
	each(t, func(t *testing.T, s source, c *odbc.Conn) {
		if s.name == "sqlite" { // types go with values there, which its dialect asks for
			return
		}
		for sql, want := range map[string]string{"SELECT 'x'": "x", "SELECT CAST(1.9 AS DECIMAL(3,1))": "1.9"} {
			for _, kind := range []odbc.Kind{odbc.KindInt64, odbc.KindUint64, odbc.KindFloat64, odbc.KindBool} {
				cur := query(t, c, sql, nil, cols(kind), odbc.QueryOptions{})
				n, err := all(cur, func(b *odbc.Block, row int) {
					if got := string(b.Bytes(0, row)); got != want {
						t.Errorf("%s as kind %d: %q", sql, kind, got)
					}
				})
				if n != 1 || err != nil {
					t.Errorf("%s as kind %d: %d rows, %v", sql, kind, n, err)
				}
			}
		}
	})
}
