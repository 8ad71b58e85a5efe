package parse

import (
	"strconv"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v5"

	"portcullis.dev/portcullis/policy"
)

// operand reads a column, a constant, @username, @iam, @columnReference or @columnTagged.
func (r *reader) operand(n *pg.Node) (*policy.Operand, error) {
	if r.nodes++; r.nodes > maxNodes {
		return nil, fail(0, "condition has more than %d parts", maxNodes)
	}
	switch v := n.GetNode().(type) {
	case *pg.Node_ColumnRef:
		return r.column(v.ColumnRef)
	case *pg.Node_AConst:
		return r.constant(v.AConst)
	case *pg.Node_TypeCast:
		return r.cast(n, v.TypeCast)
	case *pg.Node_AExpr:
		if f, at, ok := r.atCall(n); ok {
			return r.valueFunction(f, at)
		}
	}
	return nil, r.unsupported(n)
}

func (r *reader) column(c *pg.ColumnRef) (*policy.Operand, error) {
	at := r.at(c.Location)
	if len(c.Fields) != 1 || c.Fields[0].GetString_() == nil {
		return nil, fail(at, "name a column of the data source, without table or schema")
	}
	return &policy.Operand{Kind: policy.OperandColumn, Text: lastName(c.Fields), At: at}, nil
}

func (r *reader) valueFunction(f call, at int) (*policy.Operand, error) {
	switch f.name {
	case "username", "iam":
		if len(f.args) > 0 {
			return nil, fail(at, "@%s takes no arguments", f.name)
		}
		kind := policy.OperandUsername
		if f.name == "iam" {
			kind = policy.OperandIAM
		}
		return &policy.Operand{Kind: kind, At: at}, nil
	case "columnreference", "columntagged":
		return r.columnFunction(f, at)
	case "isingroups", "hasattribute", "groupscontains", "attributevaluescontains":
		return nil, fail(at, "@%s is a condition, not a value", f.name)
	}
	return nil, unknownFunction(f.name, at)
}

func (r *reader) columnFunction(f call, at int) (*policy.Operand, error) {
	if len(f.args) != 1 {
		return nil, fail(at, "@%s needs one argument", f.name)
	}
	arg, err := r.stringArgument(f.args[0])
	if err != nil {
		return nil, err
	}
	kind := policy.OperandColumn
	if f.name == "columntagged" {
		kind = policy.OperandTagged
	}
	return &policy.Operand{Kind: kind, Text: arg.Text, At: at}, nil
}

func (r *reader) constant(c *pg.A_Const) (*policy.Operand, error) {
	at := r.at(c.Location)
	if c.Isnull {
		return nil, fail(at, "a comparison with NULL is never true: use IS NULL")
	}
	switch v := c.Val.(type) {
	case *pg.A_Const_Sval:
		return &policy.Operand{Kind: policy.OperandString, Text: v.Sval.GetSval(), At: at}, nil
	case *pg.A_Const_Boolval:
		return &policy.Operand{Kind: policy.OperandBool, Text: strconv.FormatBool(v.Boolval.GetBoolval()), At: at}, nil
	case *pg.A_Const_Fval:
		return r.number(v.Fval.GetFval(), at)
	case *pg.A_Const_Ival:
		return r.integer(int64(v.Ival.GetIval()), c.Location)
	}
	return nil, fail(at, "constants of this kind are not allowed")
}

func (r *reader) number(text string, at int) (*policy.Operand, error) {
	if _, err := policy.Canonical("numeric", text); err != nil {
		return nil, fail(at, "write the number in plain decimal digits")
	}
	return &policy.Operand{Kind: policy.OperandNumber, Text: text, At: at}, nil
}

// integer reads an integer constant. The parser's tree drops the value of
// integers below 1, so what it gives as 0 is read from the text itself.
func (r *reader) integer(value int64, location int32) (*policy.Operand, error) {
	at := r.at(location)
	if value > 0 {
		return r.number(strconv.FormatInt(value, 10), at)
	}
	rest := r.text[int(location)-len(prefix):]
	sign := ""
	if strings.HasPrefix(rest, "-") {
		sign = "-"
		rest = strings.TrimLeft(rest[1:], " \t\r\n")
	}
	end := 0
	for end < len(rest) && (rest[end] >= '0' && rest[end] <= '9') {
		end++
	}
	plain := end > 0 && (end == len(rest) || !strings.ContainsRune("_xXoObB.eE", rune(rest[end])))
	if !plain {
		return nil, fail(at, "write the number in plain decimal digits")
	}
	return r.number(sign+rest[:end], at)
}

var castTypes = map[string]string{
	"date": "date", "timestamp": "timestamp", "timestamptz": "timestamptz", "time": "time", "uuid": "uuid",
	"int2": "bigint", "int4": "bigint", "int8": "bigint", "numeric": "numeric", "float8": "double precision",
	"text": "text", "varchar": "text", "bool": "boolean", "bytea": "bytea",
}

// cast reads date '…' and '…'::date: a constant with its type.
func (r *reader) cast(n *pg.Node, c *pg.TypeCast) (*policy.Operand, error) {
	arg := c.Arg.GetAConst()
	if arg == nil {
		return nil, r.unsupported(n)
	}
	o, err := r.constant(arg)
	if err != nil {
		return nil, err
	}
	t := c.TypeName
	to, ok := castTypes[lastName(t.GetNames())]
	if !ok || t.Setof || t.PctType || len(t.Typmods) > 0 || len(t.ArrayBounds) > 0 {
		return nil, fail(r.at(t.GetLocation()), "a cast to this type is not allowed")
	}
	if o.Kind != policy.OperandString {
		return nil, fail(o.At, "only string constants are cast")
	}
	if len(t.Names) > 2 || len(t.Names) == 2 && t.Names[0].GetString_().GetSval() != "pg_catalog" {
		return nil, fail(r.at(t.Location), "a cast to this type is not allowed")
	}
	o.Type = to
	return o, nil
}
