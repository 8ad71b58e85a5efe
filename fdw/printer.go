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

// guarded notes that what is being printed is for visible rows only.
func (p *printer) guarded() { p.exact = min(p.exact, Guarded) }

// fallible notes that what is being printed fails on some rows.
func (p *printer) fallible() { p.exact = min(p.exact, Fallible) }

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
