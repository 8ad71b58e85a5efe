// Package parse reads row conditions as administrators write them. It is
// apart from policy because it links PostgreSQL's parser, which engines that
// only apply decisions do not need.
package parse

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	pg "github.com/pganalyze/pg_query_go/v5"
	"github.com/pganalyze/pg_query_go/v5/parser"
	"google.golang.org/protobuf/proto"

	"portcullis.dev/portcullis/policy"
)

// Bounds on what is given to the parser.
const (
	maxText  = 16 << 10 // bytes
	maxParen = 100
	maxNodes = 5000
)

const prefix = "SELECT WHERE "

// Condition parses a row condition: columns, constants, = <> < <= > >=, IN,
// BETWEEN, IS [NOT] NULL, IS [NOT] TRUE, AND, OR, NOT and the @functions.
// Everything else is a *policy.ConditionError that says where and what.
func Condition(text string) (*policy.Condition, error) {
	if err := checkText(text); err != nil {
		return nil, err
	}
	where, err := parseWhere(text)
	if err != nil {
		return nil, err
	}
	r := &reader{text: text}
	return r.condition(where)
}

func checkText(text string) error {
	switch {
	case strings.TrimSpace(text) == "":
		return fail(0, "condition is empty")
	case len(text) > maxText:
		return fail(0, "condition is longer than %d bytes", maxText)
	case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
		return fail(0, "condition is not valid UTF-8 without NUL")
	case strings.Count(text, "(") > maxParen*10:
		return fail(0, "condition has too many parentheses")
	}
	depth := 0
	for i, c := range text {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth > maxParen {
			return fail(position(text, i), "condition is nested deeper than %d", maxParen)
		}
	}
	return nil
}

// parseWhere returns the expression if text is one expression and nothing more.
func parseWhere(text string) (*pg.Node, error) {
	tree, err := pg.Parse(prefix + text + "\n")
	if err != nil {
		return nil, syntaxError(text, err)
	}
	if len(tree.Stmts) != 1 {
		return nil, fail(0, "condition must be one expression")
	}
	sel := tree.Stmts[0].Stmt.GetSelectStmt()
	if sel == nil || sel.WhereClause == nil {
		return nil, fail(0, "condition must be one expression")
	}
	where := sel.WhereClause
	sel.WhereClause = nil
	plain := &pg.SelectStmt{LimitOption: pg.LimitOption_LIMIT_OPTION_DEFAULT, Op: pg.SetOperation_SETOP_NONE}
	if !proto.Equal(sel, plain) {
		return nil, fail(0, "condition must be one expression, without further clauses")
	}
	return where, nil
}

func syntaxError(text string, err error) error {
	var pe *parser.Error
	if !errors.As(err, &pe) {
		return fail(0, "%v", err)
	}
	at := pe.Cursorpos - len(prefix)
	return fail(max(0, min(at, utf8.RuneCountInString(text)+1)), "%s", pe.Message)
}

func fail(at int, format string, args ...any) error {
	return &policy.ConditionError{At: at, Message: fmt.Sprintf(format, args...)}
}

// position turns a byte offset into a position in characters from 1.
func position(text string, offset int) int {
	if offset < 0 || offset > len(text) {
		return 0
	}
	return utf8.RuneCountInString(text[:offset]) + 1
}

// reader walks the parser's tree.
type reader struct {
	text  string
	nodes int
}

// at turns the parser's location into a position in the text.
func (r *reader) at(location int32) int {
	return position(r.text, int(location)-len(prefix))
}

func (r *reader) condition(n *pg.Node) (*policy.Condition, error) {
	if r.nodes++; r.nodes > maxNodes {
		return nil, fail(0, "condition has more than %d parts", maxNodes)
	}
	switch v := n.GetNode().(type) {
	case *pg.Node_BoolExpr:
		return r.boolExpr(v.BoolExpr)
	case *pg.Node_NullTest:
		return r.nullTest(v.NullTest)
	case *pg.Node_BooleanTest:
		return r.booleanTest(v.BooleanTest)
	case *pg.Node_AConst:
		return r.booleanConstant(v.AConst)
	case *pg.Node_ColumnRef:
		left, err := r.operand(n)
		if err != nil {
			return nil, err
		}
		return &policy.Condition{Op: policy.OpIsTrue, Left: left, At: left.At}, nil
	case *pg.Node_AExpr:
		return r.expression(n, v.AExpr)
	}
	return nil, r.unsupported(n)
}

func (r *reader) boolExpr(b *pg.BoolExpr) (*policy.Condition, error) {
	ops := map[pg.BoolExprType]policy.Op{
		pg.BoolExprType_AND_EXPR: policy.OpAnd,
		pg.BoolExprType_OR_EXPR:  policy.OpOr,
		pg.BoolExprType_NOT_EXPR: policy.OpNot,
	}
	op, ok := ops[b.Boolop]
	if !ok {
		return nil, fail(r.at(b.Location), "unknown boolean operator")
	}
	c := &policy.Condition{Op: op, At: r.at(b.Location)}
	for _, a := range b.Args {
		sub, err := r.condition(a)
		if err != nil {
			return nil, err
		}
		c.Args = append(c.Args, sub)
	}
	return c, nil
}

func (r *reader) nullTest(t *pg.NullTest) (*policy.Condition, error) {
	left, err := r.operand(t.Arg)
	if err != nil {
		return nil, err
	}
	op := policy.OpIsNull
	if t.Nulltesttype == pg.NullTestType_IS_NOT_NULL {
		op = policy.OpNotNull
	}
	return &policy.Condition{Op: op, Left: left, At: left.At}, nil
}

// booleanTest reads column IS [NOT] TRUE and FALSE. IS NOT TRUE includes NULL.
func (r *reader) booleanTest(t *pg.BooleanTest) (*policy.Condition, error) {
	left, err := r.operand(t.Arg)
	if err != nil {
		return nil, err
	}
	is := &policy.Condition{Op: policy.OpIsTrue, Left: left, At: left.At}
	null := &policy.Condition{Op: policy.OpIsNull, Left: left, At: left.At}
	known := &policy.Condition{Op: policy.OpNotNull, Left: left, At: left.At}
	not := func(c *policy.Condition) *policy.Condition {
		return &policy.Condition{Op: policy.OpNot, Args: []*policy.Condition{c}, At: left.At}
	}
	both := func(op policy.Op, a, b *policy.Condition) *policy.Condition {
		return &policy.Condition{Op: op, Args: []*policy.Condition{a, b}, At: left.At}
	}
	switch t.Booltesttype {
	case pg.BoolTestType_IS_TRUE:
		return both(policy.OpAnd, is, known), nil
	case pg.BoolTestType_IS_FALSE:
		return both(policy.OpAnd, not(is), known), nil
	case pg.BoolTestType_IS_NOT_TRUE:
		return both(policy.OpOr, not(is), null), nil
	case pg.BoolTestType_IS_NOT_FALSE:
		return both(policy.OpOr, is, null), nil
	}
	return nil, fail(left.At, "use IS NULL instead of IS UNKNOWN")
}

func (r *reader) booleanConstant(c *pg.A_Const) (*policy.Condition, error) {
	b, ok := c.Val.(*pg.A_Const_Boolval)
	if !ok {
		return nil, fail(r.at(c.Location), "a condition is needed here, not a constant")
	}
	op := policy.OpFalse
	if b.Boolval.GetBoolval() {
		op = policy.OpTrue
	}
	return &policy.Condition{Op: op, At: r.at(c.Location)}, nil
}

func (r *reader) unsupported(n *pg.Node) error {
	at, what := r.describe(n)
	return fail(at, "%s is not allowed in a row condition", what)
}

// describe names what stands at a node.
func (r *reader) describe(n *pg.Node) (int, string) {
	switch v := n.GetNode().(type) {
	case *pg.Node_FuncCall:
		return r.at(v.FuncCall.Location), "function " + lastName(v.FuncCall.Funcname)
	case *pg.Node_SubLink:
		return r.at(v.SubLink.Location), "a sub-select"
	case *pg.Node_TypeCast:
		return r.at(v.TypeCast.Location), "a cast of anything but a constant"
	case *pg.Node_CaseExpr:
		return r.at(v.CaseExpr.Location), "CASE"
	case *pg.Node_CoalesceExpr:
		return r.at(v.CoalesceExpr.Location), "COALESCE"
	case *pg.Node_ParamRef:
		return r.at(v.ParamRef.Location), "a parameter"
	case *pg.Node_AArrayExpr:
		return r.at(v.AArrayExpr.Location), "ARRAY"
	case *pg.Node_RowExpr:
		return r.at(v.RowExpr.Location), "a row"
	case *pg.Node_CollateClause:
		return r.at(v.CollateClause.Location), "COLLATE"
	case *pg.Node_SqlvalueFunction:
		return r.at(v.SqlvalueFunction.Location), "a function of the session"
	case *pg.Node_AIndirection:
		return 0, "a subscript or field"
	case *pg.Node_AExpr:
		return r.at(v.AExpr.Location), "operator " + lastName(v.AExpr.Name)
	}
	return 0, fmt.Sprintf("%T", n.GetNode())[len("*pg_query.Node_"):]
}

func lastName(names []*pg.Node) string {
	if len(names) == 0 {
		return ""
	}
	return names[len(names)-1].GetString_().GetSval()
}
