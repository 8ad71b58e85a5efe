package fdw

import (
	"errors"
	"fmt"
)

// rules is what a dialect adds to the common printer. A method that returns a
// reason refuses; everything it prints must mean exactly what PostgreSQL
// means by it.
type rules interface {
	Dialect

	// reference names a column in a statement over one table.
	reference(c *TableColumn) (string, error)

	// column is the expression whose value, as class cl, is that of the
	// column as it is fetched.
	column(c *TableColumn, cl class) (sql, why string, err error)

	// bound says how a value of a type is written and sent. text is that of a
	// constant, nil for a parameter.
	bound(typ uint32, cl class, text *string) (b binding, why string)

	// wideBound is bound for the values of the weaker form.
	wideBound(b binding) binding

	// compare refuses the comparisons of a class that the source does not
	// make in the same way. ordered: one of < <= > >=.
	compare(cl class, ordered bool) (why string)

	// wider is a second, weaker form of equality on a column: true wherever
	// the exact form is true, NULL only where that is NULL, and open to an
	// index. It is printed as before = value after; "" if there is none.
	// ascii: all values are constants of ASCII characters.
	wider(c *TableColumn, cl class, ascii bool) (before, after string)

	// distinct joins two values by IS DISTINCT FROM.
	distinct(left, right func() error, w *SQLWriter) error

	// null tests a column's expression for NULL.
	null(sql string, cl class, not bool) string

	// like writes a LIKE or NOT LIKE with a constant pattern.
	like(p *printer, value Expr, cl class, pattern *string, patternExpr Expr, not bool) error

	// anyOf writes an IN; it may decline (false) and leave it to the common form.
	anyOf(p *printer, e *ScalarArray, cl class) (done bool, err error)

	// call writes arithmetic or a function; see printer.call.
	call(p *printer, f Fact, args []Expr, cl class) error

	// truth turns an expression of class boolean into a condition and back.
	truth(sql string) string
}

// binding is how a value is written around its ? mark, and sent.
type binding struct {
	before, after string
	bind          Bind
	code          encoder
}

// declined is the error of an expression that stays local; its text says why.
type declined struct{ why string }

func (d declined) Error() string { return d.why }

func decline(format string, args ...any) error { return declined{fmt.Sprintf(format, args...)} }

// printer decides and prints in one walk, so that the two cannot disagree.
type printer struct {
	r        rules
	t        *Table
	f        *Facts
	w        *SQLWriter
	exact    Exactness
	wide     bool                       // printing the values of a weaker form
	mayFetch func(c *TableColumn) error // refuses columns, nil: all may be used
}

// exactOf runs the printer and returns only its answer.
func exactOf(r rules, e Expr, t *Table, f *Facts) (Exactness, string) {
	p := &printer{r: r, t: t, f: f, w: &SQLWriter{}, exact: Total}
	if err := p.cond(e); err != nil {
		return No, err.Error()
	}
	return p.exact, ""
}

// printTo prints a condition that exactOf accepted.
func printTo(r rules, e Expr, t *Table, f *Facts, w *SQLWriter) error {
	p := &printer{r: r, t: t, f: f, w: w, exact: Total}
	err := p.cond(e)
	var d declined
	if errors.As(err, &d) {
		return &Error{State: stateInternal, Message: "condition cannot be sent: " + d.why}
	}
	return err
}

// guarded notes that what is being printed may fail on some row.
func (p *printer) guarded() { p.exact = min(p.exact, Guarded) }

// cond prints a boolean expression in parentheses or as one term.
func (p *printer) cond(e Expr) error {
	switch e := e.(type) {
	case *Bool:
		return p.connective(e)
	case *Op:
		return p.operator(e)
	case *Distinct:
		return p.distinctFrom(e)
	case *NullTest:
		return p.nullTest(e)
	case *BooleanTest:
		return p.booleanTest(e)
	case *ScalarArray:
		return p.scalarArray(e)
	case *Const:
		if e.Type == oidBool && !e.Null {
			p.w.Raw(map[bool]string{true: "(1 = 1)", false: "(1 = 0)"}[e.Text == "t" || e.Text == "true"])
			return nil
		}
	case *Column, *Param, *Relabel:
		return p.truthOf(e)
	case *Unknown:
		return decline("%s is not known to the remote source", e.Tag)
	}
	return decline("this form of condition is computed here")
}

func (p *printer) connective(e *Bool) error {
	if e.Kind == Not {
		p.w.Raw("(NOT ")
		if err := p.cond(e.Args[0]); err != nil {
			return err
		}
		p.w.Raw(")")
		return nil
	}
	sep := map[BoolKind]string{And: " AND ", Or: " OR "}[e.Kind]
	p.w.Raw("(")
	for i, a := range e.Args {
		if i > 0 {
			p.w.Raw(sep)
		}
		if err := p.cond(a); err != nil {
			return err
		}
	}
	p.w.Raw(")")
	return nil
}

// truthOf prints a value of type boolean as a condition.
func (p *printer) truthOf(e Expr) error {
	inner := &printer{r: p.r, t: p.t, f: p.f, w: &SQLWriter{}, exact: p.exact}
	if err := inner.scalar(e, classBool); err != nil {
		return err
	}
	p.exact = inner.exact
	p.w.Raw(p.r.truth(inner.w.SQL()))
	p.w.args = append(p.w.args, inner.w.args...)
	return nil
}

// comparisons are the names of the comparison operators; ordered or not.
var comparisons = map[string]bool{"=": false, "<>": false, "<": true, "<=": true, ">": true, ">=": true}

func (p *printer) operator(e *Op) error {
	op := e.Operator
	if !op.BuiltIn() {
		return decline("operator %s.%s is not built in and immutable", op.Schema, op.Name)
	}
	if len(e.Args) != 2 {
		return decline("operator %s is computed here", op.Name)
	}
	if op.Name == "~~" || op.Name == "!~~" {
		return p.like(e)
	}
	ordered, ok := comparisons[op.Name]
	if !ok {
		return decline("operator %s is computed here", op.Name)
	}
	cl, err := p.comparison(op, e.Collation, ordered)
	if err != nil {
		return err
	}
	return p.compare(op.Name, cl, e.Args[0], e.Args[1])
}

// compare prints left op right, both of class cl. Equality of a text column
// gets a weaker twin in front that an index can serve.
func (p *printer) compare(op string, cl class, left, right Expr) error {
	p.w.Raw("(")
	if op == "=" {
		if err := p.widerEqual(cl, left, right); err != nil {
			return err
		}
	}
	if err := p.scalar(left, cl); err != nil {
		return err
	}
	p.w.Raw(" ", op, " ")
	if err := p.scalar(right, cl); err != nil {
		return err
	}
	p.w.Raw(")")
	return nil
}

// widerEqual prints "weak AND " where one side is a column and the other a value.
func (p *printer) widerEqual(cl class, left, right Expr) error {
	c, value := p.columnOf(left), right
	if c == nil || !isValue(right) {
		c, value = p.columnOf(right), left
	}
	if c == nil || !isValue(value) {
		return nil
	}
	constant, ok := value.(*Const)
	before, after := p.r.wider(c, cl, ok && isASCII(constant.Text))
	if before == "" {
		return nil
	}
	p.w.Raw(before, " = ")
	if err := p.widely(func() error { return p.scalar(value, cl) }); err != nil {
		return err
	}
	p.w.Raw(after, " AND ")
	return nil
}

// widely prints values for the weaker form.
func (p *printer) widely(values func() error) error {
	p.wide = true
	defer func() { p.wide = false }()
	return values()
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// columnOf is the column that e is, seen through relabels; else nil.
func (p *printer) columnOf(e Expr) *TableColumn {
	switch e := e.(type) {
	case *Column:
		if e.Of != nil {
			return e.Of
		}
		return p.t.ByAttnum(e.Attnum)
	case *Relabel:
		return p.columnOf(e.Arg)
	}
	return nil
}

// isValue reports a constant or parameter, seen through relabels.
func isValue(e Expr) bool {
	switch e := e.(type) {
	case *Const, *Param:
		return true
	case *Relabel:
		return isValue(e.Arg)
	}
	return false
}

// comparison finds the class in which a built-in comparison works and asks
// whether the source compares so.
func (p *printer) comparison(op Fact, collation uint32, ordered bool) (class, error) {
	cl, ok := joined(classOf(op.Left), classOf(op.Right))
	if !ok {
		return classNone, decline("values of type %s are compared here", p.typeName(op.Left))
	}
	if why := p.r.compare(cl, ordered); why != "" {
		return classNone, declined{why}
	}
	return cl, p.collation(cl, collation, ordered)
}

// joined is the class in which two classes compare by built-in operators.
func joined(l, r class) (class, bool) {
	switch {
	case l == classNone || r == classNone:
		return classNone, false
	case l == r:
		return l, true
	case l == classDate && r == classTimestamp, l == classTimestamp && r == classDate:
		return classTimestamp, true // date_lt_timestamp and its kin: midnight of the date
	}
	return classNone, false
}

// collation refuses comparisons of text that depend on more than the bytes.
func (p *printer) collation(cl class, collation uint32, ordered bool) error {
	if cl != classText && cl != classBpchar {
		return nil
	}
	switch p.collationKind(collation) {
	case 'c':
		return nil
	case 'd':
		if !ordered {
			return nil // deterministic collations call only identical strings equal
		}
		return decline("the order of text depends on the collation; only \"C\" is the same at the source")
	}
	return decline("the collation is not deterministic")
}

func (p *printer) collationKind(oid uint32) byte {
	if oid == oidC || oid == oidPosix {
		return 'c'
	}
	if p.f == nil {
		return 'n'
	}
	return p.f.collations[oid]
}

func (p *printer) typeName(oid uint32) string {
	if p.f != nil {
		if f, ok := p.f.types[oid]; ok && f.Name != "" {
			return f.Name
		}
	}
	if cl := classOf(oid); cl != classNone {
		return cl.String()
	}
	return fmt.Sprintf("%d", oid)
}

func (p *printer) distinctFrom(e *Distinct) error {
	if !e.Operator.BuiltIn() || e.Operator.Name != "=" || len(e.Args) != 2 {
		return decline("IS DISTINCT FROM by operator %s is computed here", e.Operator.Name)
	}
	cl, err := p.comparison(e.Operator, e.Collation, false)
	if err != nil {
		return err
	}
	return p.r.distinct(
		func() error { return p.scalar(e.Args[0], cl) },
		func() error { return p.scalar(e.Args[1], cl) }, p.w)
}

func (p *printer) nullTest(e *NullTest) error {
	if e.Row {
		return decline("IS NULL of a composite value is computed here")
	}
	if c := p.columnOf(e.Arg); c != nil {
		if err := p.usable(c); err != nil {
			return err
		}
		name, err := p.r.reference(c)
		if err != nil {
			return err
		}
		p.w.Raw(p.r.null(name, classOf(baseOID(c.BaseType)), e.Not))
		return nil
	}
	cl := classOf(typeOf(e.Arg))
	if cl == classNone || cl == classBool {
		return decline("IS NULL of this expression is computed here")
	}
	p.w.Raw("(")
	if err := p.scalar(e.Arg, cl); err != nil {
		return err
	}
	p.w.Raw(map[bool]string{false: " IS NULL)", true: " IS NOT NULL)"}[e.Not])
	return nil
}

func (p *printer) booleanTest(e *BooleanTest) error {
	// All three sources have IS [NOT] TRUE and FALSE on conditions: PostgreSQL
	// 9.2, MariaDB "IS", SQLite 3.23 "The IS TRUE operator". UNKNOWN is IS NULL.
	suffix := map[BooleanTestKind]string{IsTrue: " IS TRUE)", IsNotTrue: " IS NOT TRUE)", IsFalse: " IS FALSE)",
		IsNotFalse: " IS NOT FALSE)", IsUnknown: " IS NULL)", IsNotUnknown: " IS NOT NULL)"}[e.What]
	p.w.Raw("(")
	if err := p.cond(e.Arg); err != nil {
		return err
	}
	p.w.Raw(suffix)
	return nil
}

// maxInList bounds the marks of one IN; SQLite allows 32,766 a statement.
const maxInList = 1000

func (p *printer) scalarArray(e *ScalarArray) error {
	op := e.Operator
	equal := op.Name == "=" && e.Any
	unequal := op.Name == "<>" && !e.Any
	if !op.BuiltIn() || !equal && !unequal {
		return decline("only = ANY and <> ALL are computed remotely")
	}
	cl, err := p.comparison(op, e.Collation, false)
	if err != nil {
		return err
	}
	done, err := p.r.anyOf(p, e, cl)
	if done || err != nil {
		return err
	}
	return p.inList(e, cl)
}

// inList prints value IN (?, …). PostgreSQL's NULL rules for = ANY and <> ALL
// are those of IN and NOT IN; an empty array decides even for NULL.
func (p *printer) inList(e *ScalarArray, cl class) error {
	array, ok := e.Array.(*Const)
	if !ok || array.Null {
		return decline("the list of values is computed here")
	}
	items, ok := arrayElements(array.Text)
	if !ok || len(items) > maxInList {
		return decline("the list holds more than %d values", maxInList)
	}
	if len(items) == 0 {
		p.w.Raw(map[bool]string{true: "(1 = 0)", false: "(1 = 1)"}[e.Any])
		return nil
	}
	element := elementOf(array.Type)
	if cl == classEnum {
		element = oidAnyEnum
	}
	if classOf(element) == classNone {
		element = e.Operator.Right
	}
	if classOf(element) != cl {
		return decline("the list of values is computed here")
	}
	list := func() error {
		p.w.Raw("(")
		for i, item := range items {
			if i > 0 {
				p.w.Raw(", ")
			}
			if err := p.constant(&Const{Type: element, Text: deref(item), Null: item == nil}, cl); err != nil {
				return err
			}
		}
		p.w.Raw(")")
		return nil
	}
	p.w.Raw("(")
	if !e.Any {
		p.w.Raw("NOT (")
	}
	if c := p.columnOf(e.Value); c != nil {
		if before, after := p.r.wider(c, cl, isASCII(array.Text)); before != "" {
			p.w.Raw(before, " IN ")
			if err := p.widely(list); err != nil {
				return err
			}
			p.w.Raw(after, " AND ")
		}
	}
	if err := p.scalar(e.Value, cl); err != nil {
		return err
	}
	p.w.Raw(" IN ")
	if err := list(); err != nil {
		return err
	}
	if !e.Any {
		p.w.Raw(")")
	}
	p.w.Raw(")")
	return nil
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// like prints value LIKE pattern.
func (p *printer) like(e *Op) error {
	cl, ok := joined(classOf(e.Operator.Left), classOf(e.Operator.Right))
	if !ok || cl != classText {
		return decline("LIKE on this type is computed here")
	}
	if err := p.collation(cl, e.Collation, false); err != nil {
		return err
	}
	var pattern *string
	if c, ok := e.Args[1].(*Const); ok && !c.Null {
		pattern = &c.Text
	}
	p.guarded()
	return p.r.like(p, e.Args[0], cl, pattern, e.Args[1], e.Operator.Name == "!~~")
}
