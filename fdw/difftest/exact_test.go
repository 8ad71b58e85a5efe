package difftest

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/fdw"
)

// condition is one condition, as SQL for PostgreSQL and as the tree that the
// shim would send.
type condition struct {
	sql    string
	expr   fdw.Expr
	params []*string
	kind   string // for counting what was pushed
}

type generator struct {
	rng    *rand.Rand
	source string
	params []*string
}

// TestConditionsAreExact compares, for random conditions that a dialect
// accepts, the rows for which it is true and those for which it is false.
func TestConditionsAreExact(t *testing.T) {
	for _, name := range []string{"postgres", "mariadb", "sqlite"} {
		t.Run(name, func(t *testing.T) {
			s, here := open(t, name), local(t)
			table := load(t, s, here)
			g := &generator{rng: rand.New(rand.NewPCG(1, 2)), source: name}
			pushed := map[string]int{}
			for range 1500 {
				g.params = nil
				c := g.condition(2)
				c.params = g.params
				exact, why := s.dialect.Exact(c.expr, table, facts())
				if exact == fdw.No {
					if why == "" {
						t.Fatalf("%s: refused without a reason", c.sql)
					}
					continue
				}
				pushed[c.kind]++
				compare(t, s, here, table, c)
			}
			t.Log(pushed)
			for _, kind := range []string{"compare", "in", "null", "distinct", "like", "and", "or", "not", "coalesce", "arithmetic", "truth"} {
				if pushed[kind] < 5 {
					t.Errorf("%s was pushed %d times only", kind, pushed[kind])
				}
			}
		})
	}
}

func facts() *fdw.Facts {
	c, err := fdw.ReadQuals(fdw.Tree{Facts: []fdw.ObjectFact{{Kind: 'c', Fact: fdw.Fact{OID: 100, Result: 'd'}}}})
	if err != nil {
		panic(err)
	}
	return c.Facts
}

func compare(t *testing.T, s *source, here *pgx.Conn, table *fdw.Table, c condition) {
	t.Helper()
	for _, want := range []string{"", "NOT "} {
		right, err := ids(t, here, "SELECT id::text FROM reference WHERE "+want+"("+c.sql+")")
		if err != nil {
			if s.name != "postgres" { // which fails likewise; the others would not
				t.Errorf("%s was pushed, but fails here: %v", c.sql, err)
			}
			continue
		}
		e := c.expr
		if want != "" {
			e = &fdw.Bool{Kind: fdw.Not, Args: []fdw.Expr{e}}
		}
		st, err := fdw.Compose(s.dialect, fdw.ScanRequest{Table: table, Wanted: []int32{1}, Limit: -1,
			Conditions: fdw.Conditions{List: []fdw.Expr{e}, Facts: facts()}})
		if err != nil {
			t.Fatalf("%s: %v", c.sql, err)
		}
		rows, err := s.rows(t.Context(), st, c.params)
		if err != nil {
			if strings.Contains(err.Error(), "no value for") {
				return // a parameter that the source has not: refused, not wrong
			}
			t.Errorf("%s\n%s\n%v", c.sql, st.SQL, err)
			return
		}
		var got []string
		for _, r := range rows {
			got = append(got, *r[0])
		}
		sort.Strings(got)
		if strings.Join(got, " ") != strings.Join(right, " ") {
			t.Errorf("%s%s\n%s\ngives %v, want %v", want, c.sql, st.SQL, got, right)
		}
	}
}

func ids(t *testing.T, here *pgx.Conn, sql string) ([]string, error) {
	rows, err := here.Query(t.Context(), sql)
	if err != nil {
		return nil, err
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	sort.Strings(out)
	return out, err
}

func (g *generator) pick(n int) int { return g.rng.IntN(n) }

func (g *generator) condition(depth int) condition {
	if depth > 0 {
		switch g.pick(5) {
		case 0:
			return g.connective(fdw.And, " AND ", "and", depth)
		case 1:
			return g.connective(fdw.Or, " OR ", "or", depth)
		case 2:
			c := g.condition(depth - 1)
			return condition{sql: "NOT (" + c.sql + ")", expr: &fdw.Bool{Kind: fdw.Not, Args: []fdw.Expr{c.expr}}, kind: "not"}
		}
	}
	switch g.pick(9) {
	case 0:
		return g.in()
	case 1:
		return g.nullTest()
	case 2:
		return g.distinct()
	case 3:
		return g.like()
	case 4:
		return g.coalesce()
	case 5:
		return g.arithmetic()
	case 6:
		return g.truth()
	}
	return g.compare()
}

func (g *generator) connective(k fdw.BoolKind, sep, kind string, depth int) condition {
	a, b := g.condition(depth-1), g.condition(depth-1)
	return condition{sql: "(" + a.sql + ")" + sep + "(" + b.sql + ")", expr: &fdw.Bool{Kind: k, Args: []fdw.Expr{a.expr, b.expr}}, kind: kind}
}

func (g *generator) field() *field { return &fields[g.pick(len(fields))] }

func (g *generator) constant(f *field) string {
	all := append(append(append([]string{}, f.values...), f.more...), f.pgOnly...)
	return all[g.pick(len(all))]
}

// col is a column in SQL and in the tree. varchar and text are one here.
func col(f *field) (string, fdw.Expr) {
	for i := range fields {
		if fields[i].name == f.name {
			return f.name, &fdw.Column{Relation: 1, Attnum: int32(i + 2), Type: f.oid, Collation: 100}
		}
	}
	return "", nil
}

// value is a constant, or a parameter that holds it.
func (g *generator) value(f *field) (string, fdw.Expr) {
	text := g.constant(f)
	sql := pgLiteral(text, f.pgType)
	if f.base == "numeric" && strings.ContainsAny(text, "e") {
		text = "1000" // as the output function prints it
	}
	if g.pick(4) == 0 {
		g.params = append(g.params, &text)
		return sql, &fdw.Param{Index: len(g.params) - 1, Type: f.oid, Collation: 100}
	}
	return sql, &fdw.Const{Type: f.oid, Collation: 100, Text: text}
}

func builtin(name string, l, r, result uint32) fdw.Fact {
	return fdw.Fact{OID: 1, Schema: "pg_catalog", Name: name, Left: l, Right: r, Result: result, Volatility: 'i', Strict: true}
}

var operators = []string{"=", "<>", "<", "<=", ">", ">="}

// collate makes the order of text that of "C", as a user would have to.
func (g *generator) collate(f *field) (string, uint32) {
	if f.base == "text" || f.base == "bpchar" {
		return ` COLLATE "C"`, 950
	}
	return "", 0
}

func (g *generator) compare() condition {
	f := g.field()
	op := operators[g.pick(len(operators))]
	left, l := col(f)
	right, r := g.value(f)
	if g.pick(6) == 0 {
		right, r = col(f)
	}
	collate, collation := g.collate(f)
	if collation != 0 && (op == "=" || op == "<>") && g.pick(2) == 0 {
		collate, collation = "", 100
	}
	return condition{sql: left + " " + op + " " + right + collate, kind: "compare",
		expr: &fdw.Op{Operator: builtin(op, f.oid, f.oid, 16), Args: []fdw.Expr{l, r}, Collation: collation}}
}

var arrays = map[uint32]uint32{21: 1005, 23: 1007, 20: 1016, 25: 1009, 1042: 1014, 16: 1000, 1082: 1182, 1114: 1115, 1184: 1185, 1083: 1183,
	17: 1001, 2950: 2951, 1186: 1187, 1700: 1231, 701: 1022, 700: 1021}

func (g *generator) in() condition {
	f := g.field()
	left, l := col(f)
	var items, quoted []string
	for range g.pick(4) {
		v := g.constant(f)
		if f.base == "numeric" && strings.Contains(v, "e") {
			v = "1000"
		}
		items = append(items, pgLiteral(v, f.pgType))
		quoted = append(quoted, `"`+strings.ReplaceAll(strings.ReplaceAll(v, `\`, `\\`), `"`, `\"`)+`"`)
	}
	if g.pick(5) == 0 {
		items, quoted = append(items, "NULL"), append(quoted, "NULL")
	}
	array := &fdw.Const{Type: arrays[f.oid], Text: "{" + strings.Join(quoted, ",") + "}"}
	name, sql, any := "=", " = ANY (ARRAY[", true
	if g.pick(2) == 0 {
		name, sql, any = "<>", " <> ALL (ARRAY[", false
	}
	return condition{sql: left + sql + strings.Join(items, ", ") + "]::" + strings.Replace(f.pgType, "char(6)", "bpchar", 1) + "[])", kind: "in",
		expr: &fdw.ScalarArray{Operator: builtin(name, f.oid, f.oid, 16), Any: any, Value: l, Array: array, Collation: 100}}
}

func (g *generator) nullTest() condition {
	f := g.field()
	left, l := col(f)
	if g.pick(2) == 0 {
		return condition{sql: left + " IS NULL", expr: &fdw.NullTest{Arg: l}, kind: "null"}
	}
	return condition{sql: left + " IS NOT NULL", expr: &fdw.NullTest{Arg: l, Not: true}, kind: "null"}
}

func (g *generator) distinct() condition {
	f := g.field()
	left, l := col(f)
	right, r := g.value(f)
	return condition{sql: left + " IS DISTINCT FROM " + right, kind: "distinct",
		expr: &fdw.Distinct{Operator: builtin("=", f.oid, f.oid, 16), Args: []fdw.Expr{l, r}, Collation: 100}}
}

var patterns = []string{"%", "a%", "%a", "_", "__", "", "a_b", `a\_b`, `ab\%c`, "%%", "[x]", "*", "?", "%'%", `back\\%`, "日_", "_😀", "😀", "A", "%|%", "a ", "%\"%"}

func (g *generator) like() condition {
	f := fieldNamed([]string{"s", "l"}[g.pick(2)])
	left, l := col(f)
	p := patterns[g.pick(len(patterns))]
	name, sql := "~~", " LIKE "
	if g.pick(2) == 0 {
		name, sql = "!~~", " NOT LIKE "
	}
	return condition{sql: left + sql + pgLiteral(p, "text"), kind: "like", expr: &fdw.Op{Operator: builtin(name, 25, 25, 16),
		Args: []fdw.Expr{l, &fdw.Const{Type: 25, Text: p}}, Collation: 100}}
}

func (g *generator) coalesce() condition {
	f := g.field()
	left, l := col(f)
	a, av := g.value(f)
	b, bv := g.value(f)
	return condition{sql: "COALESCE(" + left + ", " + a + ") = " + b, kind: "coalesce", expr: &fdw.Op{Operator: builtin("=", f.oid, f.oid, 16),
		Args: []fdw.Expr{&fdw.Coalesce{Args: []fdw.Expr{l, av}, Result: f.oid, Collation: 100}, bv}, Collation: 100}}
}

// arithmetic: int4 with an int8 constant, which gives int8 and may or may not
// be able to overflow.
func (g *generator) arithmetic() condition {
	left, l := col(fieldNamed("i4"))
	op := []string{"+", "-", "*"}[g.pick(3)]
	n := []int64{0, 1, -7, 1 << 30, 1 << 62}[g.pick(5)]
	m := []int64{0, 1, -7, 1<<31 - 1}[g.pick(4)]
	cmp := operators[g.pick(len(operators))]
	sum := &fdw.Op{Operator: builtin(op, 23, 20, 20), Args: []fdw.Expr{l, &fdw.Const{Type: 20, Text: fmt.Sprint(n)}}}
	return condition{sql: fmt.Sprintf("%s %s %d::int8 %s %d::int8", left, op, n, cmp, m), kind: "arithmetic",
		expr: &fdw.Op{Operator: builtin(cmp, 20, 20, 16), Args: []fdw.Expr{sum, &fdw.Const{Type: 20, Text: fmt.Sprint(m)}}}}
}

var truths = []string{"IS TRUE", "IS NOT TRUE", "IS FALSE", "IS NOT FALSE", "IS UNKNOWN", "IS NOT UNKNOWN"}

func (g *generator) truth() condition {
	left, l := col(fieldNamed("k"))
	if g.pick(3) == 0 {
		return condition{sql: left, expr: l, kind: "truth"}
	}
	n := g.pick(len(truths))
	return condition{sql: left + " " + truths[n], expr: &fdw.BooleanTest{Arg: l, What: fdw.BooleanTestKind(n)}, kind: "truth"}
}
