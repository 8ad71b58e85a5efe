package odbc_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"portcullis.dev/portcullis/odbc"
)

// TestSQLiteDoubles reads doubles by their bits, each exactly as it went in.
func TestSQLiteDoubles(t *testing.T) {
	c := sqlite().connect(t)
	values := []float64{0, 1, -1, 0.1, 0.30000000000000004, 1 / 3.0, 5e-324, -5e-324, 2.2250738585072009e-308, 2.2250738585072014e-308,
		math.MaxFloat64, -math.MaxFloat64, 1e23, 9007199254740993, math.Inf(1), math.Inf(-1), math.Pi}
	rng := rand.New(rand.NewPCG(1, 2))
	for len(values) < 500 {
		if f := math.Float64frombits(rng.Uint64()); !math.IsNaN(f) {
			values = append(values, f)
		}
	}
	for _, v := range values {
		if got := readFloat(t, sqlite(), c, []odbc.Param{{Type: odbc.ParamFloat, Float: v}}); math.Float64bits(got) != math.Float64bits(v) {
			t.Errorf("%v arrived as %v", v, got)
		}
	}
}

// TestSQLiteNumerics: fifteen digits where they give the same double, else as
// many as that takes.
func TestSQLiteNumerics(t *testing.T) {
	c := sqlite().connect(t)
	rng := rand.New(rand.NewPCG(3, 4))
	values := []float64{0, 5, -5, 0.1, 0.30000000000000004, 1e15, 999999999.999999, 1e9, 1234567.1234567, 1e-6, 1e-7, 5e-324, 1e300, 123456789012345680}
	for range 300 {
		values = append(values, float64(rng.IntN(1e9))/100, float64(rng.IntN(1e9))/1e6, rng.Float64(), rng.NormFloat64()*1e12, math.Float64frombits(rng.Uint64()>>2))
	}
	for _, v := range values {
		rows, err := c.QueryStrings(t.Context(), "SELECT portcullis_numeric(?, 'numeric')", []odbc.Param{{Type: odbc.ParamFloat, Float: v}})
		if err != nil {
			t.Fatal(err)
		}
		got := *rows[0][0]
		if back, err := strconv.ParseFloat(got, 64); err != nil || back != v {
			t.Errorf("%v arrived as %s", v, got)
		}
		fifteen := strconv.FormatFloat(v, 'g', 15, 64)
		if back, _ := strconv.ParseFloat(fifteen, 64); back == v && digitsOf(got) != digitsOf(fifteen) {
			t.Errorf("%v arrived as %s, want the digits of %s", v, got, fifteen)
		}
	}
}

// digitsOf is the significant digits of a decimal.
func digitsOf(s string) string {
	s, _, _ = strings.Cut(s, "e")
	return strings.Trim(strings.Trim(strings.Replace(s, ".", "", 1), "-"), "0")
}

// TestSQLiteValues: every function passes on what is of its type and refuses
// the rest, naming the type that was declared.
func TestSQLiteValues(t *testing.T) {
	c := sqlite().connect(t)
	const (
		blob, nul = "x'00ff'", "'a' || char(0) || 'b'"
		another   = "another type of value"
	)
	long := strings.Repeat("é", 5000)
	for _, tc := range []struct{ function, value, want, refused string }{
		{"integer", "-9223372036854775807 - 1", "-9223372036854775808", ""},
		{"integer", "1.0", "", another}, {"integer", "'1'", "", another}, {"integer", blob, "", another},
		{"boolean", "0", "0", ""}, {"boolean", "1", "1", ""},
		{"boolean", "2", "", "something else than 0 and 1"}, {"boolean", "-1", "", "something else than 0 and 1"}, {"boolean", "'1'", "", "something else than 0 and 1"},
		{"double", "1.5", fmt.Sprint(math.Float64bits(1.5)), ""}, {"double", "9007199254740992", fmt.Sprint(math.Float64bits(1 << 53)), ""},
		{"double", "-1e-200 * 1e-200", "-9223372036854775808", ""}, // -0
		{"double", "-9007199254740993", "", "an integer above 2^53"}, {"double", "9223372036854775807", "", "an integer above 2^53"},
		{"double", "'1.5'", "", another}, {"double", blob, "", another},
		{"numeric", "9223372036854775807", "9223372036854775807", ""}, {"numeric", "12.50", "12.5", ""}, {"numeric", "12345678901234567168.0", "12345678901234567168.0", ""},
		{"numeric", "0.30000000000000004", "0.30000000000000004", ""}, {"numeric", "-1e25", "-1.0e+25", ""}, {"numeric", "9007199254740993e5", "900719925474099331072.0", ""}, {"numeric", "5.0", "5.0", ""},
		{"numeric", "'1." + strings.Repeat("1", 100) + "'", "1." + strings.Repeat("1", 100), ""}, {"numeric", blob, "", another}, {"numeric", nul, "", "a NUL character"},
		{"bytes", "'x'", "", another}, {"bytes", "1", "", another},
		{"string", "'2020-02-29'", "2020-02-29", ""}, {"string", "''", "", ""}, {"string", "1", "", another}, {"string", blob, "", another}, {"string", nul, "", "a NUL character"},
		{"text", "'" + long + "'", long, ""}, {"text", "''", "", ""}, {"text", "12", "12", ""}, {"text", "1.5", "1.5", ""}, {"text", blob, "", "a blob"}, {"text", nul, "", "a NUL character"},
	} {
		rows, err := c.QueryStrings(t.Context(), "SELECT portcullis_"+tc.function+"("+tc.value+", 'such'), portcullis_"+tc.function+"(NULL, 'such')", nil)
		if tc.refused != "" {
			if err == nil || !strings.Contains(err.Error(), "'portcullis: "+tc.refused+" in a column declared as such'") {
				t.Errorf("%s of %.40s: %v, want %q", tc.function, tc.value, err, tc.refused)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s of %.40s: %v", tc.function, tc.value, err)
		} else if got := rows[0]; got[0] == nil || *got[0] != tc.want || got[1] != nil {
			t.Errorf("%s of %.40s arrived as %s, NULL as %s", tc.function, tc.value, show(got[0]), show(got[1]))
		}
	}
}

// TestSQLiteBytes: a blob passes with every byte.
func TestSQLiteBytes(t *testing.T) {
	c := sqlite().connect(t)
	cur := query(t, c, "SELECT portcullis_bytes(x'00ff27', 'bytea'), portcullis_bytes(x'', 'bytea')", nil, cols(odbc.KindBytes, odbc.KindBytes), odbc.QueryOptions{})
	defer cur.Close()
	if _, err := all(cur, func(b *odbc.Block, row int) {
		if got := b.Bytes(0, row); string(got) != "\x00\xff'" || len(b.Bytes(1, row)) != 0 || b.IsNull(1, row) {
			t.Errorf("arrived as %x and %x", got, b.Bytes(1, row))
		}
	}); err != nil {
		t.Error(err)
	}
}

// A view of a file that somebody else wrote cannot call our functions.
func TestSQLiteFunctionsAreForStatements(t *testing.T) {
	c := sqlite().connect(t)
	exec(t, c, "CREATE VIEW calls AS SELECT portcullis_integer(i, 'x') AS v FROM t")
	defer exec(t, c, "DROP VIEW calls")
	if rows, err := c.QueryStrings(t.Context(), "SELECT v FROM calls", nil); err == nil {
		t.Errorf("a view calls one: %v", rows)
	}
}
