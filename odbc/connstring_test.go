package odbc

import (
	"strings"
	"testing"
)

// managerPairs reads a connection string as unixODBC 2.3.11 does (__get_attr).
func managerPairs(s string) map[string]string {
	out := map[string]string{}
	for s = strings.TrimLeft(s, "; \t\r\n\v\f"); s != ""; s = strings.TrimLeft(s, "; \t\r\n\v\f") {
		name, rest, ok := strings.Cut(s, "=")
		if !ok {
			return out
		}
		var value string
		value, s = managerValue(rest)
		out[strings.ToLower(name)] = value
	}
	return out
}

func managerValue(s string) (value, rest string) {
	if !strings.HasPrefix(s, "{") {
		value, rest, _ = strings.Cut(s, ";")
		return value, rest
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] == '}' {
			if i+1 == len(s) || s[i+1] != '}' {
				return b.String(), s[i+1:]
			}
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

// sqlitePairs reads one as sqliteodbc does (getdsnattr).
func sqlitePairs(s string) map[string]string {
	out := map[string]string{}
	for pair := range strings.SplitSeq(s, ";") {
		if name, value, ok := strings.Cut(pair, "="); ok {
			out[strings.ToLower(name)] = value
		}
	}
	return out
}

var hostile = []string{
	"", "plain", "a;Driver=/tmp/evil.so", "a};Driver={/tmp/evil.so", "}", "}}", "{", "{}", "{a}", "a}b;c", ";", "=", "a=b",
	" lead", "trail ", "a\nb", "ü😀", "%41+", "/tmp/x.db;LoadExt=/tmp/evil.so", "x}};LoadExt=y", "'\"", strings.Repeat("x", 300),
}

func allTraits() map[string]traits {
	return map[string]traits{"psql": psqlTraits(), "maria": mariaTraits(), "sqlite": sqliteTraits(), "unknown": unknownTraits()}
}

// Whatever a value holds, the string reads as exactly that value or is refused.
func checkQuoting(t *testing.T, name, value string) {
	t.Helper()
	for driver, tr := range allTraits() {
		s, err := connectionString(ConnSpec{Driver: "D", Attrs: []Attr{{name, value}, {"Last", "1"}}}, tr)
		if err != nil {
			continue
		}
		got := managerPairs(s)
		if len(got) != 3 || got["driver"] != "D" || got[strings.ToLower(name)] != value || got["last"] != "1" {
			t.Errorf("%s: %q = %q reads as %q from %s", driver, name, value, got, s)
		}
		if driver == "sqlite" {
			if got := sqlitePairs(s); len(got) != 3 || got[strings.ToLower(name)] != value {
				t.Errorf("sqlite reads %q as %q", s, got)
			}
		}
	}
}

func TestQuoting(t *testing.T) {
	for _, value := range hostile {
		checkQuoting(t, "PWD", value)
		checkQuoting(t, "Database", value)
	}
}

func FuzzQuoting(f *testing.F) {
	for _, value := range hostile {
		f.Add("PWD", value)
		f.Add("Server", value)
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		if !strings.EqualFold(name, "last") { // checkQuoting's own
			checkQuoting(t, name, value)
		}
	})
}

func TestQuotingRefuses(t *testing.T) {
	cases := []struct {
		why string
		tr  traits
		at  []Attr
	}{
		{"NUL", mariaTraits(), []Attr{{"PWD", "a\x00b"}}},
		{"invalid UTF-8", mariaTraits(), []Attr{{"PWD", "\xff"}}},
		{"reserved", mariaTraits(), []Attr{{"driver", "x"}}},
		{"reserved in odd case", mariaTraits(), []Attr{{"DSN", "x"}}},
		{"reserved with a blank", mariaTraits(), []Attr{{" FileDSN", "x"}}},
		{"manager's own", mariaTraits(), []Attr{{"DMEnvAttr", "x"}}},
		{"twice", mariaTraits(), []Attr{{"UID", "x"}, {"uid", "y"}}},
		{"name with =", mariaTraits(), []Attr{{"a=b;Driver", "x"}}},
		{"empty name", mariaTraits(), []Attr{{"", "x"}}},
		{"blank ends are lost", mariaTraits(), []Attr{{"PWD", "x "}}},
		{"SQLite splits at ;", sqliteTraits(), []Attr{{"Database", "{a;LoadExt=x}"}}},
		{"psqlODBC keeps the braces", psqlTraits(), []Attr{{"Server", "a;b"}}},
		{"psqlODBC cuts", psqlTraits(), []Attr{{"Database", strings.Repeat("x", 256)}}},
	}
	for _, c := range cases {
		if s, err := connectionString(ConnSpec{Driver: "D", Attrs: c.at}, c.tr); err == nil {
			t.Errorf("%s: built %s", c.why, s)
		} else if v := c.at[len(c.at)-1].Value; len(v) > 3 && strings.Contains(err.Error(), v) {
			t.Errorf("%s: the error shows the value: %v", c.why, err)
		}
	}
}
