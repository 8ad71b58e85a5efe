package policyview

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"portcullis.dev/portcullis/test/world"
)

// class says what may be asked of a column; its type differs between sources.
type class int

const (
	whole class = iota
	decimal
	double
	text
	truth
	date
	moment
)

// column is one column of the table things.
type column struct {
	name   string
	class  class
	remote map[string]string // type at each source
	values []string          // as text
}

var texts = map[string]string{"pg": "varchar(80)", "my": "varchar(80) COLLATE utf8mb4_general_ci", "lite": "varchar(80) COLLATE NOCASE"}

// columns: after the key, which no policy masks and every query orders by.
var columns = []column{
	{"region", text, texts, []string{"north", "North", "south", "south ", "", "öst", "東", "it's", "a_b", "a%b"}},
	{"contact", text, texts, []string{"ann@example.com", "+49 30 555", "none", "", "Ümit@example.org", "42", "x"}},
	{"qty", whole, map[string]string{"pg": "bigint", "my": "bigint", "lite": "bigint"},
		[]string{"-9223372036854775808", "9223372036854775807", "-7", "-1", "0", "1", "5", "12", "99", "100"}},
	{"small", whole, map[string]string{"pg": "int", "my": "int", "lite": "int"}, []string{"-100", "-1", "0", "1", "2", "3", "10", "1000"}},
	{"price", decimal, map[string]string{"pg": "numeric(20,4)", "my": "decimal(20,4)", "lite": "numeric"},
		[]string{"-12.5", "0", "0.0001", "9.99", "10", "99999999.5", "1234.5678"}},
	{"ratio", double, map[string]string{"pg": "double precision", "my": "double", "lite": "real"}, []string{"-1.5", "0", "0.1", "0.30000000000000004", "1e300", "2"}},
	{"open", truth, map[string]string{"pg": "boolean", "my": "tinyint(1)", "lite": "boolean"}, []string{"1", "0"}},
	{"day", date, map[string]string{"pg": "date", "my": "date", "lite": "date"}, []string{"1000-01-01", "1969-12-31", "2020-02-29", "2020-03-01", "2024-12-30", "9999-12-31"}},
	{"since", moment, map[string]string{"pg": "timestamp(6)", "my": "datetime(6)", "lite": "timestamp"},
		[]string{"1969-12-31 23:59:59.999999", "2020-02-29 12:34:56.5", "2020-02-29 12:34:57", "2024-01-01 00:00:00"}},
}

func byName(name string) *column {
	for i := range columns {
		if columns[i].name == name {
			return &columns[i]
		}
	}
	panic(name)
}

const rows = 60

// script makes and fills the table things at a source.
func script(s *world.Source, rng *rand.Rand) string {
	var b strings.Builder
	table := strings.Replace(s.Table, "staff", "things", 1)
	fmt.Fprintf(&b, "CREATE TABLE %s (id int PRIMARY KEY", table)
	for _, c := range columns {
		fmt.Fprintf(&b, ", %s %s", c.name, c.remote[s.Kind])
	}
	b.WriteString(");\n")
	for id := range rows {
		fmt.Fprintf(&b, "INSERT INTO %s VALUES (%d", table, id+1)
		for _, c := range columns {
			b.WriteString(", " + literal(s, c, rng))
		}
		b.WriteString(");\n")
	}
	if s.Kind == "pg" {
		b.WriteString("GRANT SELECT ON " + table + " TO reader;\n")
	}
	return b.String()
}

func literal(s *world.Source, c column, rng *rand.Rand) string {
	if rng.IntN(8) == 0 {
		return "NULL"
	}
	v := c.values[rng.IntN(len(c.values))]
	switch {
	case c.class == text || c.class == date || c.class == moment:
		return quote(v)
	case c.class == truth && s.Kind == "pg":
		return "bool '" + v + "'"
	}
	return v
}

// quote quotes a constant; none of ours has a backslash.
func quote(v string) string { return "'" + strings.ReplaceAll(v, "'", "''") + "'" }
