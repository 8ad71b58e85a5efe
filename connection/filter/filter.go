// Package filter takes row filters apart into an expression, which is the same
// for everybody whose filter has that form, and lists of values, which are a
// person's own. Barrier views and policies of tables show people the same rows, since
// both print what Compile makes.
package filter

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"portcullis.dev/portcullis/policy"
)

// Expr is a condition on a row. There are no other operators than these, and no
// functions: true, false, null, and, or, not, is null, is not null, the six
// comparisons, any (left is one of a list) and known (unless left is NULL, the argument).
type Expr struct {
	Op    string   `json:"op"`
	Args  []*Expr  `json:"args,omitempty"`
	Left  *Operand `json:"left,omitempty"`
	Right *Operand `json:"right,omitempty"`
}

// Operand is a column, or a list of values of which a comparison takes the first.
type Operand struct {
	Column string `json:"column,omitempty"`
	Slot   int    `json:"slot,omitempty"` // number of the list, from 1
	As     string `json:"as,omitempty"`   // type that it is compared as, text by bytes; "": the column's own
}

const (
	null    = "null"
	isNull  = "is null"
	notNull = "is not null"
	anyOf   = "any"
	known   = "known"
)

// Compile makes of a filter an expression that is true for exactly the rows for
// which policy.Predicate.Compile is: PostgreSQL's own three-valued logic and
// comparisons, text by bytes. keep takes a list of values and returns its number.
func Compile(columns []policy.Column, p *policy.Predicate, keep func(values ...string) int) (*Expr, error) {
	c := &compiler{columns: columns, keep: keep}
	return c.predicate(p, 0)
}

type compiler struct {
	columns []policy.Column
	keep    func(values ...string) int
}

// maxDepth is that of the evaluator.
const maxDepth = 200

func (c *compiler) predicate(p *policy.Predicate, depth int) (*Expr, error) {
	if p == nil || depth > maxDepth {
		return nil, errors.New("the row filter cannot be read")
	}
	switch p.Op {
	case policy.OpTrue, policy.OpFalse:
		return &Expr{Op: string(p.Op)}, nil
	case policy.OpAnd, policy.OpOr, policy.OpNot:
		return c.connective(p, depth)
	case policy.OpIsNull, policy.OpNotNull:
		if _, err := c.typeOf(p.Column); err != nil {
			return nil, err
		}
		return &Expr{Op: map[policy.Op]string{policy.OpIsNull: isNull, policy.OpNotNull: notNull}[p.Op], Left: &Operand{Column: p.Column}}, nil
	case policy.OpEq, policy.OpNe, policy.OpLt, policy.OpLe, policy.OpGt, policy.OpGe:
		return c.comparison(p)
	case policy.OpIn:
		return c.in(p)
	}
	return nil, fmt.Errorf("the row filter has the unknown operator %q", p.Op)
}

func (c *compiler) connective(p *policy.Predicate, depth int) (*Expr, error) {
	if len(p.Args) == 0 || p.Op == policy.OpNot && len(p.Args) != 1 {
		return nil, fmt.Errorf("operator %q has %d operands", p.Op, len(p.Args))
	}
	e := &Expr{Op: string(p.Op)}
	for _, a := range p.Args {
		arg, err := c.predicate(a, depth+1)
		if err != nil {
			return nil, err
		}
		e.Args = append(e.Args, arg)
	}
	return e, nil
}

// typeOf is the type that constants compared with the column carry.
func (c *compiler) typeOf(name string) (string, error) {
	at := slices.IndexFunc(c.columns, func(of policy.Column) bool { return of.Name == name })
	if at < 0 {
		return "", fmt.Errorf("the row filter names column %q, which the table does not have", name)
	}
	if c.columns[at].Type == "real" {
		// The evaluator compares the shortest text of a real, PostgreSQL the double that it becomes.
		return "real", nil
	}
	return policy.ValueType(c.columns[at].Type), nil
}

// compared is a column as it is compared, with the type of what is on the other side.
func (c *compiler) compared(name, valueType string) (left *Operand, typ string, err error) {
	of, err := c.typeOf(name)
	if err != nil {
		return nil, "", err
	}
	number := func(t string) bool { return t == "bigint" || t == "numeric" }
	text := func(t string) bool { return t == "text" || t == "character" } // the cast drops trailing blanks
	switch {
	case text(of) && text(valueType):
		return &Operand{Column: name, As: "text"}, "text", nil
	case number(of) && number(valueType):
		if of == valueType {
			return &Operand{Column: name}, of, nil
		}
		return &Operand{Column: name, As: "numeric"}, "numeric", nil
	case of == valueType && of != "" && of != "real":
		return &Operand{Column: name}, of, nil
	}
	return nil, "", fmt.Errorf("the row filter compares column %q in a way that PostgreSQL does not", name)
}

// blank is a constant compared with character(n): trailing blanks mean nothing.
func (c *compiler) blank(name, text string) string {
	if of, err := c.typeOf(name); err == nil && of == "character" {
		return strings.TrimRight(text, " ")
	}
	return text
}

func (c *compiler) comparison(p *policy.Predicate) (*Expr, error) {
	if p.Other != "" {
		return c.pair(p)
	}
	if len(p.Values) != 1 {
		return nil, fmt.Errorf("the row filter compares column %q with %d values", p.Column, len(p.Values))
	}
	v := p.Values[0]
	if v.Null {
		return &Expr{Op: null}, nil
	}
	left, typ, err := c.compared(p.Column, policy.ValueType(v.Type))
	if err != nil {
		return nil, err
	}
	return &Expr{Op: string(p.Op), Left: left, Right: &Operand{Slot: c.keep(c.blank(p.Column, v.Text)), As: typ}}, nil
}

// pair compares two columns.
func (c *compiler) pair(p *policy.Predicate) (*Expr, error) {
	u, err := c.typeOf(p.Other)
	if err != nil {
		return nil, err
	}
	t, err := c.typeOf(p.Column)
	if err != nil {
		return nil, err
	}
	left, _, err := c.compared(p.Column, u)
	if err != nil {
		return nil, err
	}
	right, _, err := c.compared(p.Other, t)
	if err != nil {
		return nil, err
	}
	if t != u && (t == "character" || u == "character") {
		return nil, fmt.Errorf("the row filter compares columns %q and %q, of which one is padded", p.Column, p.Other)
	}
	return &Expr{Op: string(p.Op), Left: left, Right: right}, nil
}

// in is unknown for NULL, even of an empty list, as the evaluator has it.
func (c *compiler) in(p *policy.Predicate) (*Expr, error) {
	var values []string
	var left *Operand
	hasNull, typ := false, ""
	for _, v := range p.Values {
		if v.Null {
			hasNull = true
			continue
		}
		l, t, err := c.compared(p.Column, policy.ValueType(v.Type))
		if err != nil {
			return nil, err
		}
		if t == "numeric" || typ == "" {
			left, typ = l, t
		}
		values = append(values, c.blank(p.Column, v.Text))
	}
	found := &Expr{Op: string(policy.OpFalse)}
	if len(values) > 0 {
		if typ == "numeric" {
			left = &Operand{Column: p.Column, As: "numeric"}
		}
		found = &Expr{Op: anyOf, Left: left, Right: &Operand{Slot: c.keep(values...), As: typ}}
	}
	if hasNull {
		found = &Expr{Op: string(policy.OpOr), Args: []*Expr{found, {Op: null}}}
	}
	if _, err := c.typeOf(p.Column); err != nil {
		return nil, err
	}
	return &Expr{Op: known, Left: &Operand{Column: p.Column}, Args: []*Expr{found}}, nil
}
