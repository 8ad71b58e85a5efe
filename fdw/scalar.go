package fdw

import "math/big"

// scalar prints a value so that the source sees it as class cl.
func (p *printer) scalar(e Expr, cl class) error {
	switch e := e.(type) {
	case *Column:
		return p.column(e, cl)
	case *Const:
		return p.constant(e, cl)
	case *Param:
		return p.param(e, cl)
	case *Relabel:
		return p.relabel(e, cl)
	case *Coalesce:
		return p.coalesce(e, cl)
	case *Case:
		return p.caseOf(e, cl)
	case *NullIf:
		return p.nullIf(e, cl)
	case *Op:
		if !e.Operator.BuiltIn() || classOf(e.Operator.Result) != cl || cl == classBool {
			return decline("operator %s is computed here", e.Operator.Name)
		}
		if !readsColumn(e) {
			return decline("operator %s reads no column", e.Operator.Name)
		}
		p.guarded()
		return p.r.call(p, e.Operator, e.Args, cl)
	case *Func:
		return p.function(e, cl)
	case *Unknown:
		return decline("%s is not known to the remote source", e.Tag)
	}
	return decline("this expression is computed here")
}

// readsColumn tells whether the value depends on the row. What does not is left
// out: the planner of a source computes it ahead, in arms of CASE that no row
// takes too (PostgreSQL 15, 9.18.1 "CASE", the note on early evaluation), and
// what it then fails on PostgreSQL here would never have computed.
func readsColumn(e Expr) bool {
	found := false
	walk(e, func(x Expr) {
		_, is := x.(*Column)
		found = found || is
	})
	return found
}

func (p *printer) usable(c *TableColumn) error {
	if p.mayFetch != nil {
		return p.mayFetch(c)
	}
	return nil
}

func (p *printer) column(e *Column, cl class) error {
	c := p.columnOf(e)
	if c == nil {
		return decline("a whole row or system column is computed here")
	}
	if err := p.usable(c); err != nil {
		return err
	}
	have := classOf(baseOID(c.BaseType))
	if have != cl && !(have == classDate && cl == classTimestamp) {
		return decline("column %s of type %s is computed here", c.Name, c.TypeName)
	}
	sql, why, err := p.r.column(c, cl)
	if err != nil {
		return err
	}
	if why != "" {
		return declined{why}
	}
	p.w.Raw(sql)
	return nil
}

func (p *printer) constant(e *Const, cl class) error {
	if e.Null {
		// A typed NULL decides nothing by its type; a bare one is the same in all sources.
		p.w.Raw("NULL")
		return nil
	}
	have := classOf(e.Type)
	if have == classNone && cl == classEnum {
		have = classEnum // an enum's own OID is not known here
	}
	if have != cl && !(have == classDate && cl == classTimestamp) {
		return decline("a constant of type %s is computed here", p.typeName(e.Type))
	}
	b, why := p.r.bound(e.Type, have, &e.Text)
	if why != "" {
		return declined{why}
	}
	if _, err := b.code(e.Text); err != nil {
		return decline("the source has no value for the constant %s", e.Text)
	}
	if p.wide {
		b = p.r.wideBound(b)
	}
	text := e.Text
	p.w.Raw(b.before)
	p.w.Bind(Arg{Param: -1, Type: e.Type, text: &text, bind: b.bind, code: b.code})
	p.w.Raw(b.after)
	return nil
}

func (p *printer) param(e *Param, cl class) error {
	have := classOf(e.Type)
	if have != cl && !(have == classDate && cl == classTimestamp) {
		return decline("a parameter of type %s is computed here", p.typeName(e.Type))
	}
	b, why := p.r.bound(e.Type, have, nil)
	if why != "" {
		return declined{why}
	}
	if p.wide {
		b = p.r.wideBound(b)
	}
	p.w.Raw(b.before)
	p.w.Bind(Arg{Param: e.Index, Type: e.Type, bind: b.bind, code: b.code})
	p.w.Raw(b.after)
	return nil
}

// relabel looks through: varchar to text, a domain to its base type, and
// changes of collation; the comparison above has judged the collation.
func (p *printer) relabel(e *Relabel, cl class) error {
	if classOf(e.Result) != cl && !(classOf(e.Result) == classDate && cl == classTimestamp) && cl != classEnum {
		return decline("a value of type %s is computed here", p.typeName(e.Result))
	}
	return p.scalar(e.Arg, cl)
}

// coalesce: the first argument that is not NULL, in all three sources; the
// arguments are already of one class.
func (p *printer) coalesce(e *Coalesce, cl class) error {
	if classOf(e.Result) != cl || cl == classBool || len(e.Args) < 2 {
		return decline("COALESCE of this type is computed here")
	}
	if err := p.sameType(e.Result, e.Args); err != nil {
		return err
	}
	p.w.Raw("COALESCE(")
	for i, a := range e.Args {
		if i > 0 {
			p.w.Raw(", ")
		}
		if err := p.scalar(a, cl); err != nil {
			return err
		}
	}
	p.w.Raw(")")
	return nil
}

// sameType refuses a mixture whose common type the source might choose otherwise.
func (p *printer) sameType(result uint32, args []Expr) error {
	for _, a := range args {
		if classOf(typeOf(a)) != classOf(result) {
			return decline("arguments of different types are computed here")
		}
	}
	return nil
}

func (p *printer) caseOf(e *Case, cl class) error {
	if e.Arg != nil || classOf(e.Result) != cl || cl == classBool || len(e.Whens) == 0 {
		return decline("this form of CASE is computed here")
	}
	p.guarded()
	p.w.Raw("CASE")
	for _, a := range e.Whens {
		p.w.Raw(" WHEN ")
		if err := p.cond(a.Cond); err != nil {
			return err
		}
		p.w.Raw(" THEN ")
		if err := p.scalar(a.Result, cl); err != nil {
			return err
		}
	}
	p.w.Raw(" ELSE ")
	if e.Else == nil {
		p.w.Raw("NULL")
	} else if err := p.scalar(e.Else, cl); err != nil {
		return err
	}
	p.w.Raw(" END")
	return nil
}

func (p *printer) nullIf(e *NullIf, cl class) error {
	if len(e.Args) != 2 || !e.Operator.BuiltIn() || classOf(e.Result) != cl {
		return decline("NULLIF of this type is computed here")
	}
	have, err := p.comparison(e.Operator, e.Collation, false)
	if err != nil {
		return err
	}
	if have != cl {
		return decline("NULLIF of different types is computed here")
	}
	p.guarded()
	p.w.Raw("NULLIF(")
	if err := p.scalar(e.Args[0], cl); err != nil {
		return err
	}
	p.w.Raw(", ")
	if err := p.scalar(e.Args[1], cl); err != nil {
		return err
	}
	p.w.Raw(")")
	return nil
}

// function prints a built-in function, casts among them under the name of the
// target type.
func (p *printer) function(e *Func, cl class) error {
	if !e.Function.BuiltIn() || classOf(e.Result) != cl {
		return decline("function %s is computed here", e.Function.Name)
	}
	if !readsColumn(e) {
		return decline("function %s reads no column", e.Function.Name)
	}
	p.guarded()
	return p.r.call(p, e.Function, e.Args, cl)
}

// widens reports casts within a class that never change the value.
func widens(from, to uint32) bool {
	switch {
	case from == oidInt2 && (to == oidInt4 || to == oidInt8),
		from == oidInt4 && to == oidInt8,
		from == oidFloat4 && to == oidFloat8:
		return true
	}
	return false
}

// intRange bounds an integer expression, as PostgreSQL computes it.
func (p *printer) intRange(e Expr) (lo, hi *big.Int, ok bool) {
	switch e := e.(type) {
	case *Const:
		v, good := new(big.Int).SetString(e.Text, 10)
		return v, v, good && !e.Null && classOf(e.Type) == classInt
	case *Column, *Param:
		return typeRange(typeOf(e))
	case *Relabel:
		return p.intRange(e.Arg)
	case *Func:
		if len(e.Args) == 1 && widens(typeOf(e.Args[0]), e.Result) {
			return p.intRange(e.Args[0])
		}
	case *Op:
		return p.opRange(e)
	}
	return nil, nil, false
}

func typeRange(oid uint32) (lo, hi *big.Int, ok bool) {
	bits := map[uint32]uint{oidInt2: 15, oidInt4: 31, oidInt8: 63}[oid]
	if bits == 0 {
		return nil, nil, false
	}
	end := new(big.Int).Lsh(big.NewInt(1), bits)
	return new(big.Int).Neg(end), new(big.Int).Sub(end, big.NewInt(1)), true
}

// opRange bounds a + b, a - b and a * b, and is not ok where the result may
// leave the operator's result type, which is where PostgreSQL fails.
func (p *printer) opRange(e *Op) (lo, hi *big.Int, ok bool) {
	if len(e.Args) != 2 || !e.Operator.BuiltIn() {
		return nil, nil, false
	}
	a, b, ok1 := p.intRange(e.Args[0])
	c, d, ok2 := p.intRange(e.Args[1])
	min, max, ok3 := typeRange(e.Operator.Result)
	if !ok1 || !ok2 || !ok3 {
		return nil, nil, false
	}
	var ends []*big.Int
	for _, x := range []*big.Int{a, b} {
		for _, y := range []*big.Int{c, d} {
			switch e.Operator.Name {
			case "+":
				ends = append(ends, new(big.Int).Add(x, y))
			case "-":
				ends = append(ends, new(big.Int).Sub(x, y))
			case "*":
				ends = append(ends, new(big.Int).Mul(x, y))
			default:
				return nil, nil, false
			}
		}
	}
	lo, hi = ends[0], ends[0]
	for _, v := range ends[1:] {
		if v.Cmp(lo) < 0 {
			lo = v
		}
		if v.Cmp(hi) > 0 {
			hi = v
		}
	}
	return lo, hi, lo.Cmp(min) >= 0 && hi.Cmp(max) <= 0
}

// safeArithmetic prints + - * of integers that cannot leave PostgreSQL's
// result type, for sources that compute in 64 bits; open and end go around operands.
func (p *printer) safeArithmetic(f Fact, args []Expr, cl class, open, end string) error {
	if len(args) == 1 && widens(f.Left, f.Result) {
		return p.scalar(args[0], cl) // the source computes in the wider type anyhow
	}
	if cl != classInt || len(args) != 2 {
		return decline("%s on %s is computed here", f.Name, cl)
	}
	if _, _, ok := p.opRange(&Op{Operator: f, Args: args}); !ok {
		return decline("operator %s could overflow, where PostgreSQL fails and the source may not", f.Name)
	}
	p.w.Raw("(", open)
	if err := p.scalar(args[0], cl); err != nil {
		return err
	}
	p.w.Raw(end, " ", f.Name, " ", open)
	if err := p.scalar(args[1], cl); err != nil {
		return err
	}
	p.w.Raw(end, ")")
	return nil
}
