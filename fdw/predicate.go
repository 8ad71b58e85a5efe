package fdw

import (
	"strings"

	"portcullis.dev/portcullis/policy"
)

// dictionaryColumn is a column as the decision's dictionary types it.
func dictionaryColumn(c policy.Column, local *TableColumn) *TableColumn {
	t := &TableColumn{Name: c.Name, RemoteName: c.Name, TypeName: c.Type, BaseType: typeFromName(c.Type), CollationKind: 'c'}
	if local != nil {
		t.Attnum, t.Name = local.Attnum, local.Name
	}
	if t.BaseType == "bpchar" || t.BaseType == "varchar" {
		t.BaseType = "text" // row filters compare bytes, blanks included
	}
	t.TypeOID = baseOID(t.BaseType)
	return t
}

// typeFromName is the base type of what format_type prints: without length or precision.
func typeFromName(printed string) string {
	name := printed
	if open := strings.IndexByte(name, '('); open >= 0 {
		if end := strings.IndexByte(name[open:], ')'); end >= 0 {
			name = strings.TrimSpace(name[:open]) + name[open+end+1:]
		}
	}
	short := map[string]string{"character varying": "varchar", "character": "bpchar", "integer": "int4", "bigint": "int8",
		"smallint": "int2", "real": "float4", "double precision": "float8", "boolean": "bool",
		"timestamp without time zone": "timestamp", "timestamp with time zone": "timestamptz",
		"time without time zone": "time", "time with time zone": "timetz", "decimal": "numeric"}
	if s, ok := short[name]; ok {
		return s
	}
	return name
}

// filterExpr turns a row filter into an expression over the dictionary's
// columns. It declines what has no built-in operator of PostgreSQL; the
// engine then evaluates it.
func filterExpr(p *policy.Predicate, column func(name string) *TableColumn) (Expr, error) {
	switch p.Op {
	case policy.OpTrue, policy.OpFalse:
		return &Const{Type: oidBool, Text: map[bool]string{true: "t", false: "f"}[p.Op == policy.OpTrue]}, nil
	case policy.OpAnd, policy.OpOr, policy.OpNot:
		return filterConnective(p, column)
	}
	of := column(p.Column)
	if of == nil {
		return nil, decline("the row filter names an unknown column")
	}
	left := &Column{Type: of.TypeOID, Collation: oidC, Of: of}
	switch p.Op {
	case policy.OpIsNull, policy.OpNotNull:
		return &NullTest{Arg: left, Not: p.Op == policy.OpNotNull}, nil
	case policy.OpIn:
		return filterIn(left, p.Values)
	case policy.OpEq, policy.OpNe, policy.OpLt, policy.OpLe, policy.OpGt, policy.OpGe:
		right, err := filterOperand(left, p, column)
		if err != nil {
			return nil, err
		}
		return filterCompare(string(p.Op), left, right), nil
	}
	return nil, decline("the row filter has an operator that only the engine knows")
}

func filterConnective(p *policy.Predicate, column func(string) *TableColumn) (Expr, error) {
	b := &Bool{Kind: map[policy.Op]BoolKind{policy.OpAnd: And, policy.OpOr: Or, policy.OpNot: Not}[p.Op]}
	for _, a := range p.Args {
		e, err := filterExpr(a, column)
		if err != nil {
			return nil, err
		}
		b.Args = append(b.Args, e)
	}
	if len(b.Args) == 0 || b.Kind == Not && len(b.Args) != 1 {
		return nil, decline("the row filter has a connective without arguments")
	}
	return b, nil
}

func filterOperand(left *Column, p *policy.Predicate, column func(string) *TableColumn) (Expr, error) {
	if p.Other != "" {
		of := column(p.Other)
		if of == nil {
			return nil, decline("the row filter names an unknown column")
		}
		return &Column{Type: of.TypeOID, Collation: oidC, Of: of}, nil
	}
	if len(p.Values) != 1 {
		return nil, decline("the row filter compares with %d values", len(p.Values))
	}
	return filterConst(left, p.Values[0])
}

// filterConst gives a value the column's type where both are of one class, or
// where a number widens; anything else is for the engine.
func filterConst(left *Column, v policy.Value) (*Const, error) {
	typ := baseOID(typeFromName(v.Type))
	if typ == oidVarchar || typ == oidBpchar {
		typ = oidText
	}
	want := classOf(left.Type)
	switch {
	case want == classNone:
		return nil, decline("the row filter compares a type that only the engine compares")
	case v.Null || classOf(typ) == want:
	case want == classNumeric && classOf(typ) == classInt:
		typ = oidNumeric
	case want == classEnum && typ == oidText:
		typ = oidAnyEnum
	case want == classDate && classOf(typ) == classTimestamp, want == classTimestamp && classOf(typ) == classDate:
	default:
		return nil, decline("the row filter compares %s with %s", left.Of.TypeName, v.Type)
	}
	if v.Null {
		typ = left.Type
	}
	return &Const{Type: typ, Collation: oidC, Text: v.Text, Null: v.Null}, nil
}

// filterCompare is the built-in comparison of the two types.
func filterCompare(op string, left, right Expr) *Op {
	return &Op{Operator: builtinComparison(op, typeOf(left), typeOf(right)), Args: []Expr{left, right}, Collation: oidC}
}

func builtinComparison(op string, left, right uint32) Fact {
	return Fact{Schema: "pg_catalog", Name: op, Left: left, Right: right, Result: oidBool, Volatility: 'i', Strict: true, Leakproof: true}
}

// filterIn is a disjunction; no values at all is false even for NULL.
func filterIn(left *Column, values []policy.Value) (Expr, error) {
	if len(values) > maxInList {
		return nil, decline("the row filter lists more than %d values", maxInList)
	}
	or := &Bool{Kind: Or}
	for _, v := range values {
		c, err := filterConst(left, v)
		if err != nil {
			return nil, err
		}
		or.Args = append(or.Args, filterCompare("=", left, c))
	}
	if len(or.Args) == 0 {
		return &Const{Type: oidBool, Text: "f"}, nil
	}
	return or, nil
}

// conjuncts splits a filter at its top AND.
func conjuncts(p *policy.Predicate) []*policy.Predicate {
	if p == nil {
		return nil
	}
	if p.Op != policy.OpAnd {
		return []*policy.Predicate{p}
	}
	var out []*policy.Predicate
	for _, a := range p.Args {
		out = append(out, conjuncts(a)...)
	}
	return out
}

// filterColumns are the columns that a predicate reads.
func filterColumns(p *policy.Predicate, add func(name string)) {
	if p.Column != "" {
		add(p.Column)
	}
	if p.Other != "" {
		add(p.Other)
	}
	for _, a := range p.Args {
		filterColumns(a, add)
	}
}
