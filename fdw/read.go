package fdw

import (
	"fmt"
	"strconv"
)

// Tree is an expression, or list of them, as the shim sends it (engine.h,
// pc_tree).
type Tree struct {
	Text   string
	Consts []*string // text of the constants, nil = SQL NULL
	Facts  []ObjectFact
}

// ObjectFact is what the shim says of one OID that the tree mentions.
type ObjectFact struct {
	Kind byte // 'o' operator, 'f' function, 't' type, 'c' collation
	Fact
}

// Facts are the facts by kind and OID.
type Facts struct {
	operators, functions, types map[uint32]Fact
	collations                  map[uint32]byte // 'c', 'd', 'n'
}

func newFacts(list []ObjectFact) *Facts {
	f := &Facts{map[uint32]Fact{}, map[uint32]Fact{}, map[uint32]Fact{}, map[uint32]byte{}}
	for _, o := range list {
		switch o.Kind {
		case 'o':
			f.operators[o.OID] = o.Fact
		case 'f':
			f.functions[o.OID] = o.Fact
		case 't':
			f.types[o.OID] = o.Fact
		case 'c':
			f.collations[o.OID] = byte(o.Result)
		}
	}
	return f
}

// Conditions are the conjuncts of a scan, with what is known of their OIDs.
type Conditions struct {
	List  []Expr
	Facts *Facts
}

// ReadQuals reads a list of conditions. A node that is not known becomes an
// Unknown expression, which no dialect accepts; an error means that the text
// is not a tree at all.
func ReadQuals(t Tree) (Conditions, error) {
	r := reader{consts: t.Consts, facts: newFacts(t.Facts)}
	c := Conditions{Facts: r.facts}
	if t.Text == "" {
		return c, nil
	}
	n, err := parseNode(t.Text)
	if err != nil {
		return c, err
	}
	if n.kind == nodeNull {
		return c, nil
	}
	if n.kind != nodeList {
		n = node{kind: nodeList, items: []node{n}}
	}
	c.List, err = r.list(&n)
	return c, err
}

type reader struct {
	consts []*string
	facts  *Facts
}

func (r *reader) list(n *node) ([]Expr, error) {
	if n.kind == nodeNull {
		return nil, nil
	}
	if n.kind != nodeList {
		return nil, fmt.Errorf("expression tree: list expected")
	}
	out := make([]Expr, 0, len(n.items))
	for i := range n.items {
		e, err := r.expr(&n.items[i])
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// optional reads a field that may be absent.
func (r *reader) optional(n *node) (Expr, error) {
	if n.kind == nodeNull {
		return nil, nil
	}
	return r.expr(n)
}

func (r *reader) expr(n *node) (Expr, error) {
	if n.kind != nodeTagged {
		return nil, fmt.Errorf("expression tree: node expected")
	}
	switch canonicalTag(n.tag) {
	case "VAR":
		return r.column(n)
	case "CONST":
		return r.constant(n)
	case "PARAM":
		return r.param(n)
	case "OPEXPR", "DISTINCTEXPR", "NULLIFEXPR":
		return r.operator(n)
	case "FUNCEXPR":
		return r.function(n)
	case "BOOLEXPR":
		return r.boolean(n)
	case "NULLTEST":
		return r.nullTest(n)
	case "BOOLEANTEST":
		return r.booleanTest(n)
	case "SCALARARRAYOPEXPR":
		return r.scalarArray(n)
	case "RELABELTYPE", "COLLATEEXPR":
		return r.relabel(n)
	case "COERCEVIAIO", "COERCETODOMAIN":
		return r.cast(n)
	case "CASEEXPR":
		return r.caseOf(n)
	case "CASETESTEXPR":
		v := &CaseValue{}
		return v, oids(n, "typeId", &v.Type, "collation", &v.Collation)
	case "COALESCEEXPR":
		e := &Coalesce{}
		var err error
		if e.Args, err = r.list(n.get("args")); err != nil {
			return nil, err
		}
		return e, oids(n, "coalescetype", &e.Result, "coalescecollid", &e.Collation)
	case "MINMAXEXPR":
		return r.minMax(n)
	}
	return &Unknown{Tag: n.tag}, nil
}

func (r *reader) column(n *node) (Expr, error) {
	e := &Column{}
	var relation, attnum, levels int64
	if err := ints(n, "varno", &relation, "varattno", &attnum, "varlevelsup", &levels); err != nil {
		return nil, err
	}
	if levels != 0 {
		return &Unknown{Tag: "outer VAR"}, nil
	}
	e.Relation, e.Attnum = int(relation), int32(attnum)
	return e, oids(n, "vartype", &e.Type, "varcollid", &e.Collation)
}

// constant finds the constant's text by its index, which the shim has put
// into location.
func (r *reader) constant(n *node) (Expr, error) {
	e := &Const{}
	if err := oids(n, "consttype", &e.Type, "constcollid", &e.Collation); err != nil {
		return nil, err
	}
	var at int64
	if err := ints(n, "location", &at); err != nil {
		return nil, err
	}
	if at < 0 || at >= int64(len(r.consts)) {
		return nil, fmt.Errorf("expression tree: constant %d of %d", at, len(r.consts))
	}
	if text := r.consts[at]; text == nil {
		e.Null = true
	} else {
		e.Text = *text
	}
	return e, nil
}

func (r *reader) param(n *node) (Expr, error) {
	e := &Param{}
	var kind, id int64
	if err := ints(n, "paramkind", &kind, "paramid", &id); err != nil {
		return nil, err
	}
	if kind != 0 || id < 1 { // PARAM_EXTERN is 0
		return &Unknown{Tag: "internal PARAM"}, nil
	}
	e.Index = int(id - 1)
	return e, oids(n, "paramtype", &e.Type, "paramcollid", &e.Collation)
}

func (r *reader) operator(n *node) (Expr, error) {
	var opno, result, collation, resultCollation uint32
	if err := oids(n, "opno", &opno, "opresulttype", &result, "opcollid", &resultCollation, "inputcollid", &collation); err != nil {
		return nil, err
	}
	args, err := r.list(n.get("args"))
	if err != nil {
		return nil, err
	}
	fact := r.facts.operators[opno]
	fact.OID, fact.Result = opno, result
	switch n.tag {
	case "DISTINCTEXPR":
		return &Distinct{Operator: fact, Args: args, Collation: collation}, nil
	case "NULLIFEXPR":
		return &NullIf{Operator: fact, Args: args, Result: result, Collation: collation}, nil
	}
	return &Op{Operator: fact, Args: args, Collation: collation}, nil
}

func (r *reader) function(n *node) (Expr, error) {
	var funcid, result, collation uint32
	if err := oids(n, "funcid", &funcid, "funcresulttype", &result, "inputcollid", &collation); err != nil {
		return nil, err
	}
	args, err := r.list(n.get("args"))
	if err != nil {
		return nil, err
	}
	var format int64
	if err := ints(n, "funcformat", &format); err != nil {
		return nil, err
	}
	fact := r.facts.functions[funcid]
	fact.OID, fact.Result = funcid, result
	// COERCE_EXPLICIT_CAST is 1, COERCE_IMPLICIT_CAST 2.
	return &Func{Function: fact, Args: args, Result: result, Collation: collation, Cast: format == 1 || format == 2}, nil
}

func (r *reader) boolean(n *node) (Expr, error) {
	args, err := r.list(n.get("args"))
	if err != nil {
		return nil, err
	}
	e := &Bool{Args: args}
	switch n.get("boolop").atom {
	case "and":
		e.Kind = And
	case "or":
		e.Kind = Or
	case "not":
		e.Kind = Not
		if len(args) != 1 {
			return nil, fmt.Errorf("expression tree: NOT of %d arguments", len(args))
		}
	default:
		return nil, fmt.Errorf("expression tree: unknown connective")
	}
	if len(args) == 0 {
		return nil, fmt.Errorf("expression tree: connective without arguments")
	}
	return e, nil
}

func (r *reader) nullTest(n *node) (Expr, error) {
	arg, err := r.expr(n.get("arg"))
	if err != nil {
		return nil, err
	}
	var what int64
	if err := ints(n, "nulltesttype", &what); err != nil {
		return nil, err
	}
	return &NullTest{Arg: arg, Not: what == 1, Row: n.get("argisrow").atom == "true"}, nil
}

func (r *reader) booleanTest(n *node) (Expr, error) {
	arg, err := r.expr(n.get("arg"))
	if err != nil {
		return nil, err
	}
	var what int64
	if err := ints(n, "booltesttype", &what); err != nil {
		return nil, err
	}
	if what < int64(IsTrue) || what > int64(IsNotUnknown) {
		return &Unknown{Tag: n.tag}, nil
	}
	return &BooleanTest{Arg: arg, What: BooleanTestKind(what)}, nil
}

func (r *reader) scalarArray(n *node) (Expr, error) {
	e := &ScalarArray{Any: n.get("useOr").atom == "true"}
	var opno uint32
	if err := oids(n, "opno", &opno, "inputcollid", &e.Collation); err != nil {
		return nil, err
	}
	args, err := r.list(n.get("args"))
	if err != nil {
		return nil, err
	}
	if len(args) != 2 {
		return nil, fmt.Errorf("expression tree: array comparison of %d arguments", len(args))
	}
	e.Operator = r.facts.operators[opno]
	e.Operator.OID = opno
	e.Value, e.Array = args[0], args[1]
	return e, nil
}

func (r *reader) relabel(n *node) (Expr, error) {
	arg, err := r.expr(n.get("arg"))
	if err != nil {
		return nil, err
	}
	if canonicalTag(n.tag) == "COLLATEEXPR" {
		e := &Relabel{Arg: arg, Result: typeOf(arg), Typmod: -1}
		return e, oids(n, "collOid", &e.Collation)
	}
	e := &Relabel{Arg: arg}
	var typmod int64
	if err := ints(n, "resulttypmod", &typmod); err != nil {
		return nil, err
	}
	e.Typmod = int32(typmod)
	return e, oids(n, "resulttype", &e.Result, "resultcollid", &e.Collation)
}

func (r *reader) cast(n *node) (Expr, error) {
	arg, err := r.expr(n.get("arg"))
	if err != nil {
		return nil, err
	}
	e := &Cast{Arg: arg, Domain: n.tag == "COERCETODOMAIN"}
	return e, oids(n, "resulttype", &e.Result, "resultcollid", &e.Collation)
}

func (r *reader) caseOf(n *node) (Expr, error) {
	e := &Case{}
	var err error
	if e.Arg, err = r.optional(n.get("arg")); err != nil {
		return nil, err
	}
	if e.Else, err = r.optional(n.get("defresult")); err != nil {
		return nil, err
	}
	arms := n.get("args")
	for i := range arms.items {
		arm := &arms.items[i]
		if canonicalTag(arm.tag) != "CASEWHEN" {
			return nil, fmt.Errorf("expression tree: arm of CASE expected")
		}
		cond, err := r.expr(arm.get("expr"))
		if err != nil {
			return nil, err
		}
		result, err := r.expr(arm.get("result"))
		if err != nil {
			return nil, err
		}
		e.Whens = append(e.Whens, When{cond, result})
	}
	return e, oids(n, "casetype", &e.Result)
}

func (r *reader) minMax(n *node) (Expr, error) {
	e := &MinMax{}
	var err error
	if e.Args, err = r.list(n.get("args")); err != nil {
		return nil, err
	}
	var op int64 // IS_GREATEST is 0
	if err := ints(n, "op", &op); err != nil {
		return nil, err
	}
	e.Least = op == 1
	return e, oids(n, "minmaxtype", &e.Result, "inputcollid", &e.Collation)
}

// oids reads OID fields: pairs of a name and where to put it.
func oids(n *node, pairs ...any) error {
	for i := 0; i < len(pairs); i += 2 {
		name, to := pairs[i].(string), pairs[i+1].(*uint32)
		v, err := strconv.ParseUint(n.get(name).atom, 10, 32)
		if err != nil {
			return fmt.Errorf("expression tree: %s: bad %s", n.tag, name)
		}
		*to = uint32(v)
	}
	return nil
}

// ints reads integer fields: pairs of a name and where to put it.
func ints(n *node, pairs ...any) error {
	for i := 0; i < len(pairs); i += 2 {
		name, to := pairs[i].(string), pairs[i+1].(*int64)
		v, err := strconv.ParseInt(n.get(name).atom, 10, 64)
		if err != nil {
			return fmt.Errorf("expression tree: %s: bad %s", n.tag, name)
		}
		*to = v
	}
	return nil
}

// typeOf is the result type of an expression.
func typeOf(e Expr) uint32 {
	switch e := e.(type) {
	case *Column:
		return e.Type
	case *Const:
		return e.Type
	case *Param:
		return e.Type
	case *Op:
		return e.Operator.Result
	case *Func:
		return e.Result
	case *Case:
		return e.Result
	case *CaseValue:
		return e.Type
	case *Coalesce:
		return e.Result
	case *NullIf:
		return e.Result
	case *MinMax:
		return e.Result
	case *Relabel:
		return e.Result
	case *Cast:
		return e.Result
	case *Bool, *NullTest, *BooleanTest, *ScalarArray, *Distinct:
		return oidBool
	}
	return 0
}
