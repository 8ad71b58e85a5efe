package filter

import (
	"strings"

	"portcullis.dev/portcullis/policy"
)

// SQL prints the expression: column says how a column is named, slot what gives
// the array of a list of values.
func (e *Expr) SQL(column func(name string) string, slot func(n int) string) string {
	p := printer{column, slot}
	return p.expr(e)
}

type printer struct {
	column func(string) string
	slot   func(int) string
}

func (p printer) expr(e *Expr) string {
	switch e.Op {
	case null:
		return "NULL::boolean"
	case isNull, notNull:
		return p.operand(e.Left) + " " + strings.ToUpper(e.Op)
	case string(policy.OpNot):
		return "NOT (" + p.expr(e.Args[0]) + ")"
	case string(policy.OpAnd), string(policy.OpOr):
		args := make([]string, len(e.Args))
		for i, a := range e.Args {
			args[i] = "(" + p.expr(a) + ")"
		}
		return strings.Join(args, " "+strings.ToUpper(e.Op)+" ")
	case known:
		return "CASE WHEN " + p.operand(e.Left) + " IS NOT NULL THEN " + p.expr(e.Args[0]) + " END"
	case anyOf:
		return p.operand(e.Left) + " = ANY ((" + p.slot(e.Right.Slot) + ")::" + e.Right.As + "[]" + collation(e.Right.As) + ")"
	}
	if e.Left == nil { // true, false
		return e.Op
	}
	return p.operand(e.Left) + " " + e.Op + " " + p.operand(e.Right)
}

func (p printer) operand(o *Operand) string {
	text := ""
	if o.Column != "" {
		text = p.column(o.Column)
	} else {
		text = "((" + p.slot(o.Slot) + ")[1])"
	}
	if o.As != "" {
		text += "::" + o.As + collation(o.As)
	}
	return text
}

// collation makes text compare by bytes, whatever the column's collation.
func collation(as string) string {
	if as == "text" {
		return ` COLLATE "C"`
	}
	return ""
}
