package fdw

import "fmt"

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
