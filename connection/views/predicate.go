package views

import (
	"errors"
	"fmt"
	"strings"

	"portcullis.dev/portcullis/policy"
)

// maxDepth is that of the evaluator.
const maxDepth = 200

// predicate prints a row filter so that it is true for exactly the rows for
// which policy.Predicate.Compile is: PostgreSQL's own three-valued logic and
// comparisons, text by bytes.
func (w *writer) predicate(p *policy.Predicate, depth int) (string, error) {
	if p == nil || depth > maxDepth {
		return "", errors.New("the row filter cannot be read")
	}
	switch p.Op {
	case policy.OpTrue, policy.OpFalse:
		return string(p.Op), nil
	case policy.OpAnd, policy.OpOr, policy.OpNot:
		return w.connective(p, depth)
	case policy.OpIsNull, policy.OpNotNull:
		if _, err := w.typeOf(p.Column); err != nil {
			return "", err
		}
		return column(p.Column) + map[policy.Op]string{policy.OpIsNull: " IS NULL", policy.OpNotNull: " IS NOT NULL"}[p.Op], nil
	case policy.OpEq, policy.OpNe, policy.OpLt, policy.OpLe, policy.OpGt, policy.OpGe:
		return w.comparison(p)
	case policy.OpIn:
		return w.in(p)
	}
	return "", fmt.Errorf("the row filter has the unknown operator %q", p.Op)
}

func (w *writer) connective(p *policy.Predicate, depth int) (string, error) {
	if len(p.Args) == 0 || p.Op == policy.OpNot && len(p.Args) != 1 {
		return "", fmt.Errorf("operator %q has %d operands", p.Op, len(p.Args))
	}
	args := make([]string, len(p.Args))
	for i, a := range p.Args {
		text, err := w.predicate(a, depth+1)
		if err != nil {
			return "", err
		}
		args[i] = "(" + text + ")"
	}
	if p.Op == policy.OpNot {
		return "NOT " + args[0], nil
	}
	return strings.Join(args, map[policy.Op]string{policy.OpAnd: " AND ", policy.OpOr: " OR "}[p.Op]), nil
}

// typeOf is the type that constants compared with the column carry.
func (w *writer) typeOf(name string) (string, error) {
	for _, c := range w.table.Columns {
		if c.Name == name {
			if c.Type == "real" {
				// The evaluator compares the shortest text of a real, PostgreSQL the double that it becomes.
				return "real", nil
			}
			return policy.ValueType(c.Type), nil
		}
	}
	return "", fmt.Errorf("the row filter names column %q, which the table does not have", name)
}

// compared is a column as it is compared, with the type of what is on the other side.
func (w *writer) compared(name, valueType string) (text, typ string, err error) {
	of, err := w.typeOf(name)
	if err != nil {
		return "", "", err
	}
	number := func(t string) bool { return t == "bigint" || t == "numeric" }
	switch {
	case of == "text" && valueType == "text", of == "text" && valueType == "character":
		return column(name) + `::text COLLATE "C"`, `text COLLATE "C"`, nil
	case of == "character" && (valueType == "character" || valueType == "text"):
		return column(name) + `::text COLLATE "C"`, `text COLLATE "C"`, nil // the cast drops trailing blanks
	case number(of) && number(valueType):
		if of == valueType {
			return column(name), of, nil
		}
		return column(name) + "::numeric", "numeric", nil
	case of == valueType && of != "" && of != "real":
		return column(name), of, nil
	}
	return "", "", fmt.Errorf("the row filter compares column %q in a way that PostgreSQL does not", name)
}

// blank is a constant compared with character(n): trailing blanks mean nothing.
func (w *writer) blank(name, text string) string {
	if of, err := w.typeOf(name); err == nil && of == "character" {
		return strings.TrimRight(text, " ")
	}
	return text
}

func (w *writer) comparison(p *policy.Predicate) (string, error) {
	if p.Other != "" {
		return w.columns(p)
	}
	if len(p.Values) != 1 {
		return "", fmt.Errorf("the row filter compares column %q with %d values", p.Column, len(p.Values))
	}
	v := p.Values[0]
	if v.Null {
		return "NULL::boolean", nil
	}
	left, typ, err := w.compared(p.Column, policy.ValueType(v.Type))
	if err != nil {
		return "", err
	}
	return left + " " + string(p.Op) + " " + w.one(w.blank(p.Column, v.Text), typ), nil
}

func (w *writer) columns(p *policy.Predicate) (string, error) {
	u, err := w.typeOf(p.Other)
	if err != nil {
		return "", err
	}
	t, err := w.typeOf(p.Column)
	if err != nil {
		return "", err
	}
	left, _, err := w.compared(p.Column, u)
	if err != nil {
		return "", err
	}
	right, _, err := w.compared(p.Other, t)
	if err != nil {
		return "", err
	}
	if t != u && (t == "character" || u == "character") {
		return "", fmt.Errorf("the row filter compares columns %q and %q, of which one is padded", p.Column, p.Other)
	}
	return left + " " + string(p.Op) + " " + right, nil
}

// in is unknown for NULL, even of an empty list, as the evaluator has it.
func (w *writer) in(p *policy.Predicate) (string, error) {
	var values []string
	null, left, typ := false, "", ""
	for _, v := range p.Values {
		if v.Null {
			null = true
			continue
		}
		l, t, err := w.compared(p.Column, policy.ValueType(v.Type))
		if err != nil {
			return "", err
		}
		if t == "numeric" || typ == "" {
			left, typ = l, t
		}
		values = append(values, w.blank(p.Column, v.Text))
	}
	found := "false"
	if len(values) > 0 {
		if typ == "numeric" {
			left = column(p.Column) + "::numeric"
		}
		element, collate, _ := strings.Cut(typ, " COLLATE ")
		if collate != "" {
			element, collate = "text", " COLLATE "+collate
		}
		found = left + " = ANY ((" + w.slot(values...) + ")::" + element + "[]" + collate + ")"
	}
	if null {
		found += " OR NULL"
	}
	if _, err := w.typeOf(p.Column); err != nil {
		return "", err
	}
	return "CASE WHEN " + column(p.Column) + " IS NOT NULL THEN " + found + " END", nil
}
