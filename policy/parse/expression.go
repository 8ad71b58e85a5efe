package parse

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v5"

	"portcullis.dev/portcullis/policy"
)

// expression reads operators: comparisons, IN, BETWEEN and boolean @functions.
func (r *reader) expression(n *pg.Node, e *pg.A_Expr) (*policy.Condition, error) {
	switch e.Kind {
	case pg.A_Expr_Kind_AEXPR_OP:
		if call, at, ok := r.atCall(n); ok {
			return r.functionCondition(call, at)
		}
		return r.comparison(n, e)
	case pg.A_Expr_Kind_AEXPR_IN:
		return r.in(e)
	case pg.A_Expr_Kind_AEXPR_BETWEEN, pg.A_Expr_Kind_AEXPR_NOT_BETWEEN:
		return r.between(e)
	}
	return nil, r.unsupported(n)
}

// call is an @function with its arguments.
type call struct {
	name string
	args []*pg.Node
}

// atCall recognises @f(x) and @f, which the grammar reads as the prefix
// operator @ on a call or a column.
func (r *reader) atCall(n *pg.Node) (call, int, bool) {
	e := n.GetAExpr()
	if e == nil || e.Kind != pg.A_Expr_Kind_AEXPR_OP || e.Lexpr != nil || len(e.Name) != 1 || lastName(e.Name) != "@" {
		return call{}, 0, false
	}
	at := r.at(e.Location)
	if f := e.Rexpr.GetFuncCall(); f != nil && plainCall(f) {
		return call{name: lastName(f.Funcname), args: f.Args}, at, true
	}
	if c := e.Rexpr.GetColumnRef(); c != nil && len(c.Fields) == 1 {
		return call{name: lastName(c.Fields)}, at, true
	}
	return call{}, 0, false
}

// plainCall excludes DISTINCT, FILTER, OVER, VARIADIC, ORDER BY and schemas.
func plainCall(f *pg.FuncCall) bool {
	return len(f.Funcname) == 1 && f.AggOrder == nil && f.AggFilter == nil && f.Over == nil &&
		!f.AggWithinGroup && !f.AggStar && !f.AggDistinct && !f.FuncVariadic
}

// arguments says what the @functions that are conditions by themselves take.
var arguments = map[string]struct {
	least, most int // 0: any number
	about       string
}{
	"isingroups":              {1, 0, "@isInGroups needs names of groups"},
	"hasattribute":            {2, 2, "@hasAttribute needs two arguments: name and value"},
	"groupscontains":          {1, 1, "@groupsContains needs one argument: a column"},
	"attributevaluescontains": {2, 2, "@attributeValuesContains needs two arguments: the attribute's name and a column"},
}

// functionCondition reads the @functions that are conditions by themselves.
func (r *reader) functionCondition(f call, at int) (*policy.Condition, error) {
	if takes, ok := arguments[f.name]; ok && (len(f.args) < takes.least || takes.most > 0 && len(f.args) > takes.most) {
		return nil, fail(at, "%s", takes.about)
	}
	switch f.name {
	case "isingroups":
		return r.withStrings(&policy.Condition{Op: policy.OpIsInGroups, At: at}, f.args)
	case "hasattribute":
		return r.withStrings(&policy.Condition{Op: policy.OpHasAttribute, At: at}, f.args)
	case "groupscontains":
		return r.withColumn(&policy.Condition{Op: policy.OpGroupsContains, At: at}, f.args[0])
	case "attributevaluescontains":
		c, err := r.withStrings(&policy.Condition{Op: policy.OpAttributeValuesContains, At: at}, f.args[:1])
		if err != nil {
			return nil, err
		}
		return r.withColumn(c, f.args[1])
	case "columnreference", "columntagged":
		left, err := r.columnFunction(f, at)
		if err != nil {
			return nil, err
		}
		return &policy.Condition{Op: policy.OpIsTrue, Left: left, At: at}, nil
	case "username", "iam":
		return nil, fail(at, "@%s is a value: compare it with a column", f.name)
	}
	return nil, unknownFunction(f.name, at)
}

// unknownFunction tells the documented functions that are not there yet from
// those that never will be.
func unknownFunction(name string, at int) error {
	switch name {
	case "isusingpurpose", "purposescontains":
		return &policy.ConditionError{At: at, Unsupported: true, Message: "purposes are not supported yet: @isUsingPurpose and @purposesContains cannot be used"}
	case "interpolatedcomparison":
		return &policy.ConditionError{At: at, Unsupported: true, Message: "@interpolatedComparison is not supported yet"}
	}
	return fail(at, "unknown function @%s: use @username, @iam, @isInGroups, @groupsContains, @hasAttribute, @attributeValuesContains, @columnReference or @columnTagged", name)
}

func (r *reader) withStrings(c *policy.Condition, nodes []*pg.Node) (*policy.Condition, error) {
	for _, n := range nodes {
		o, err := r.stringArgument(n)
		if err != nil {
			return nil, err
		}
		c.List = append(c.List, o)
	}
	return c, nil
}

func (r *reader) withColumn(c *policy.Condition, n *pg.Node) (*policy.Condition, error) {
	o, err := r.operand(n)
	if err != nil {
		return nil, err
	}
	if o.Kind != policy.OperandColumn && o.Kind != policy.OperandTagged {
		return nil, fail(o.At, "a column is needed here")
	}
	c.Left = o
	return c, nil
}

func (r *reader) stringArgument(n *pg.Node) (*policy.Operand, error) {
	o, err := r.operand(n)
	if err != nil {
		return nil, err
	}
	if o.Kind != policy.OperandString || o.Type != "" {
		return nil, fail(o.At, "a string constant is needed here")
	}
	return o, nil
}

var comparisons = map[string]policy.Op{
	"=": policy.OpEq, "<>": policy.OpNe, "!=": policy.OpNe,
	"<": policy.OpLt, "<=": policy.OpLe, ">": policy.OpGt, ">=": policy.OpGe,
}

var flipped = map[policy.Op]policy.Op{
	policy.OpEq: policy.OpEq, policy.OpNe: policy.OpNe,
	policy.OpLt: policy.OpGt, policy.OpLe: policy.OpGe, policy.OpGt: policy.OpLt, policy.OpGe: policy.OpLe,
}

func (r *reader) comparison(n *pg.Node, e *pg.A_Expr) (*policy.Condition, error) {
	name := lastName(e.Name)
	op, ok := comparisons[name]
	if !ok || len(e.Name) != 1 || e.Lexpr == nil || e.Rexpr == nil {
		if strings.Contains(name, "@") && name != "@" {
			return nil, fail(r.at(e.Location), "operator %s is not allowed: write a blank before @", name)
		}
		return nil, r.unsupported(n)
	}
	left, err := r.operand(e.Lexpr)
	if err != nil {
		return nil, err
	}
	right, err := r.operand(e.Rexpr)
	if err != nil {
		return nil, err
	}
	if rank(right) > rank(left) {
		left, right, op = right, left, flipped[op]
	}
	if rank(left) == 0 {
		return nil, fail(left.At, "a comparison needs a column")
	}
	return &policy.Condition{Op: op, Left: left, List: []*policy.Operand{right}, At: r.at(e.Location)}, nil
}

// rank says which operand stands left: a column, else the person's name.
func rank(o *policy.Operand) int {
	switch o.Kind {
	case policy.OperandColumn, policy.OperandTagged:
		return 2
	case policy.OperandUsername, policy.OperandIAM:
		return 1
	}
	return 0
}

func (r *reader) in(e *pg.A_Expr) (*policy.Condition, error) {
	left, err := r.operand(e.Lexpr)
	if err != nil {
		return nil, err
	}
	if rank(left) == 0 {
		return nil, fail(left.At, "IN needs a column on its left")
	}
	c := &policy.Condition{Op: policy.OpIn, Left: left, At: r.at(e.Location)}
	if c.List, err = r.listed(e); err != nil {
		return nil, err
	}
	for _, o := range c.List {
		if rank(o) == 2 {
			return nil, fail(o.At, "IN takes constants only")
		}
	}
	if len(c.List) == 0 {
		return nil, fail(c.At, "IN needs a list of constants")
	}
	return negatedIf(lastName(e.Name) == "<>", c), nil
}

// listed reads the right side of IN and BETWEEN.
func (r *reader) listed(e *pg.A_Expr) ([]*policy.Operand, error) {
	var list []*policy.Operand
	for _, item := range e.Rexpr.GetList().GetItems() {
		o, err := r.operand(item)
		if err != nil {
			return nil, err
		}
		list = append(list, o)
	}
	return list, nil
}

func negatedIf(negated bool, c *policy.Condition) *policy.Condition {
	if !negated {
		return c
	}
	return &policy.Condition{Op: policy.OpNot, Args: []*policy.Condition{c}, At: c.At}
}

func (r *reader) between(e *pg.A_Expr) (*policy.Condition, error) {
	left, err := r.operand(e.Lexpr)
	if err != nil {
		return nil, err
	}
	if rank(left) != 2 {
		return nil, fail(left.At, "BETWEEN needs a column on its left")
	}
	c := &policy.Condition{Op: policy.OpBetween, Left: left, At: r.at(e.Location)}
	if c.List, err = r.listed(e); err != nil {
		return nil, err
	}
	return negatedIf(e.Kind == pg.A_Expr_Kind_AEXPR_NOT_BETWEEN, c), nil
}
