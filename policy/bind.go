package policy

import "sort"

// Bind replaces the @functions by what holds for the person and resolves
// columns and types. In the result negations stand at comparisons only, so
// a part that is unknown (it reads an attribute that the person lacks) can be
// false without showing a row: neither the part nor its negation holds.
func (c *Condition) Bind(p *Person, ds *DataSource) (*Predicate, error) {
	b := binder{person: p, ds: ds}
	return b.bind(c, false, 0)
}

// bind is Bind of a filter, which may name columns by names that they had.
func (p *Policy) bind(person *Person, ds *DataSource) (*Predicate, error) {
	b := binder{person: person, ds: ds, policy: p.ID}
	return b.bind(p.Filter, false, 0)
}

type binder struct {
	person *Person
	ds     *DataSource
	policy string // its id, where the condition is one of a policy
}

func (b *binder) bind(c *Condition, negated bool, depth int) (*Predicate, error) {
	if c == nil {
		return nil, conditionError(0, "condition is empty")
	}
	if depth > maxDepth {
		return nil, conditionError(c.At, "condition is nested deeper than %d", maxDepth)
	}
	switch c.Op {
	case OpTrue, OpFalse:
		return constant(truthOf(c.Op == OpTrue), negated), nil
	case OpNot:
		if len(c.Args) != 1 {
			return nil, conditionError(c.At, "NOT needs one operand")
		}
		return b.bind(c.Args[0], !negated, depth+1)
	case OpAnd, OpOr:
		return b.bindList(c, negated, depth)
	case OpIsInGroups:
		return b.bindIsInGroups(c, negated)
	case OpHasAttribute:
		return b.bindHasAttribute(c, negated)
	}
	return b.bindColumn(c, negated)
}

func constant(t truth, negated bool) *Predicate {
	if negated {
		t = not(t)
	}
	if t == isTrue {
		return &Predicate{Op: OpTrue}
	}
	return &Predicate{Op: OpFalse}
}

func (b *binder) bindList(c *Condition, negated bool, depth int) (*Predicate, error) {
	if len(c.Args) == 0 {
		return nil, conditionError(c.At, "%s needs operands", c.Op)
	}
	op := c.Op
	if negated {
		op = map[Op]Op{OpAnd: OpOr, OpOr: OpAnd}[op]
	}
	args := make([]*Predicate, 0, len(c.Args))
	for _, a := range c.Args {
		p, err := b.bind(a, negated, depth+1)
		if err != nil {
			return nil, err
		}
		args = append(args, p)
	}
	return join(op, args), nil
}

// join builds AND or OR of the parts, dropping what does not matter.
func join(op Op, args []*Predicate) *Predicate {
	neutral, decisive := OpTrue, OpFalse
	if op == OpOr {
		neutral, decisive = OpFalse, OpTrue
	}
	var kept []*Predicate
	for _, a := range args {
		switch a.Op {
		case decisive:
			return &Predicate{Op: decisive}
		case neutral:
		case op:
			kept = append(kept, a.Args...)
		default:
			kept = append(kept, a)
		}
	}
	switch len(kept) {
	case 0:
		return &Predicate{Op: neutral}
	case 1:
		return kept[0]
	}
	return &Predicate{Op: op, Args: kept}
}

func (b *binder) bindIsInGroups(c *Condition, negated bool) (*Predicate, error) {
	if len(c.List) == 0 {
		return nil, conditionError(c.At, "@isInGroups needs names of groups")
	}
	in := isFalse
	for _, o := range c.List {
		if o.Kind != OperandString {
			return nil, conditionError(o.At, "@isInGroups takes string constants")
		}
		in = or(in, named(o, b.person.inGroup(o.Text)))
	}
	return constant(in, negated), nil
}

func (b *binder) bindHasAttribute(c *Condition, negated bool) (*Predicate, error) {
	if len(c.List) != 2 || c.List[0].Kind != OperandString || c.List[1].Kind != OperandString {
		return nil, conditionError(c.At, "@hasAttribute takes two string constants: name and value")
	}
	return constant(hasAttribute(b.person, c.List[0].Text, c.List[1].Text), negated), nil
}

func (b *binder) bindColumn(c *Condition, negated bool) (*Predicate, error) {
	if c.Left != nil && (c.Left.Kind == OperandUsername || c.Left.Kind == OperandIAM) {
		return b.bindIdentity(c, negated)
	}
	name, t, err := b.column(c.Left, c.At)
	if err != nil {
		return nil, err
	}
	switch c.Op {
	case OpIsNull, OpNotNull:
		if (c.Op == OpIsNull) != negated {
			return &Predicate{Op: OpIsNull, Column: name}, nil
		}
		return &Predicate{Op: OpNotNull, Column: name}, nil
	case OpIsTrue:
		if t.class != classBool {
			return nil, conditionError(c.At, "column %q is not boolean", name)
		}
		text := "true"
		if negated {
			text = "false"
		}
		return &Predicate{Op: OpEq, Column: name, Values: []Value{{Type: "boolean", Text: text}}}, nil
	}
	if t.class == classOther {
		return nil, conditionError(c.At, "column %q is of a type that cannot be compared", name)
	}
	switch c.Op {
	case OpEq, OpNe, OpLt, OpLe, OpGt, OpGe:
		return b.bindComparison(c, name, t, negated)
	case OpBetween:
		return b.bindBetween(c, name, t, negated)
	case OpIn:
		values := make([]Value, 0, len(c.List))
		for _, o := range c.List {
			v, err := b.value(o, name, t)
			if err != nil {
				return nil, err
			}
			values = append(values, v)
		}
		return membership(name, values, negated), nil
	case OpGroupsContains:
		return membership(name, knownValues(b.person.Groups, t), negated), nil
	case OpAttributeValuesContains:
		return b.bindAttributeValues(c, name, t, negated)
	}
	return nil, conditionError(c.At, "unknown operator %q", c.Op)
}

// bindIdentity decides @username or @iam against constants.
func (b *binder) bindIdentity(c *Condition, negated bool) (*Predicate, error) {
	if c.Op != OpEq && c.Op != OpNe && c.Op != OpIn {
		return nil, conditionError(c.At, "@%s is compared with =, <> and IN only", c.Left.Kind)
	}
	mine := b.person.UserID
	if c.Left.Kind == OperandIAM {
		mine = b.person.IAMID
	}
	found := isFalse
	for _, o := range c.List {
		if o.Kind != OperandString || o.Type != "" && o.Type != "text" {
			return nil, conditionError(o.At, "@%s is compared with string constants and columns only", c.Left.Kind)
		}
		found = or(found, named(o, o.Text == mine))
	}
	return constant(found, negated != (c.Op == OpNe)), nil
}

// named is unknown where a constant names a group or person that does not exist.
func named(o *Operand, is bool) truth {
	if o.missing && !is {
		return unknown
	}
	return truthOf(is)
}

func or(a, b truth) truth {
	switch {
	case a == isTrue || b == isTrue:
		return isTrue
	case a == unknown || b == unknown:
		return unknown
	}
	return isFalse
}

func (b *binder) bindAttributeValues(c *Condition, name string, t typeInfo, negated bool) (*Predicate, error) {
	if len(c.List) != 1 || c.List[0].Kind != OperandString {
		return nil, conditionError(c.At, "@attributeValuesContains takes the name of an attribute as string constant and a column")
	}
	values := b.person.Attributes[c.List[0].Text]
	if len(values) == 0 {
		return constant(unknown, negated), nil
	}
	return membership(name, knownValues(values, t), negated), nil
}

// membership is column IN values. Of an empty list nothing is a member, and
// everything but NULL is not.
func membership(name string, values []Value, negated bool) *Predicate {
	switch {
	case len(values) == 0 && negated:
		return &Predicate{Op: OpNotNull, Column: name}
	case len(values) == 0:
		return &Predicate{Op: OpFalse}
	case len(values) == 1 && negated:
		return &Predicate{Op: OpNe, Column: name, Values: values}
	case len(values) == 1:
		return &Predicate{Op: OpEq, Column: name, Values: values}
	}
	in := &Predicate{Op: OpIn, Column: name, Values: values}
	if negated {
		return &Predicate{Op: OpNot, Args: []*Predicate{in}}
	}
	return in
}

// knownValues turns names into values of the column's type; those that are
// none cannot equal anything in the column and are left out.
func knownValues(names []string, t typeInfo) []Value {
	sorted := append([]string{}, names...)
	sort.Strings(sorted)
	var values []Value
	for _, n := range sorted {
		if text, ok := t.comparisonKey(nil, []byte(n)); ok {
			values = append(values, Value{Type: t.valueType(), Text: string(text)})
		}
	}
	return values
}

func (b *binder) bindComparison(c *Condition, name string, t typeInfo, negated bool) (*Predicate, error) {
	if len(c.List) != 1 {
		return nil, conditionError(c.At, "comparison needs one right side")
	}
	op := c.Op
	if negated {
		op = map[Op]Op{OpEq: OpNe, OpNe: OpEq, OpLt: OpGe, OpGe: OpLt, OpGt: OpLe, OpLe: OpGt}[op]
	}
	right := c.List[0]
	if right.isColumn() {
		other, u, err := b.column(right, right.At)
		if err != nil {
			return nil, err
		}
		if !comparable(t, u) {
			return nil, conditionError(right.At, "column %q (%s) and column %q (%s) are not of one type", name, t.class, other, u.class)
		}
		return &Predicate{Op: op, Column: name, Other: other}, nil
	}
	v, err := b.value(right, name, t)
	if err != nil {
		return nil, err
	}
	return &Predicate{Op: op, Column: name, Values: []Value{v}}, nil
}

func (b *binder) bindBetween(c *Condition, name string, t typeInfo, negated bool) (*Predicate, error) {
	if len(c.List) != 2 {
		return nil, conditionError(c.At, "BETWEEN needs two bounds")
	}
	low := &Condition{Op: OpGe, Left: c.Left, List: c.List[:1], At: c.At}
	high := &Condition{Op: OpLe, Left: c.Left, List: c.List[1:], At: c.At}
	l, err := b.bindComparison(low, name, t, negated)
	if err != nil {
		return nil, err
	}
	h, err := b.bindComparison(high, name, t, negated)
	if err != nil {
		return nil, err
	}
	if negated {
		return join(OpOr, []*Predicate{l, h}), nil
	}
	return join(OpAnd, []*Predicate{l, h}), nil
}

// column resolves a column operand to name and type.
func (b *binder) column(o *Operand, at int) (string, typeInfo, error) {
	if !o.isColumn() {
		return "", typeInfo{}, conditionError(at, "a column is needed here")
	}
	var found []TaggedColumn
	for _, c := range b.ds.Columns {
		if o.Kind == OperandColumn && c.isNamed(b.policy, o.Text) || o.Kind == OperandTagged && anyTagDepth(c.Tags, o.Text) > 0 {
			found = append(found, c)
		}
	}
	switch {
	case len(found) == 1:
		return found[0].Name, parseType(found[0].Type), nil
	case o.Kind == OperandColumn && len(found) > 1:
		return "", typeInfo{}, conditionError(o.At, "column %q of data source %q was renamed, and another column has the name: nobody can tell which is meant", o.Text, b.ds.Name)
	case o.Kind == OperandColumn:
		return "", typeInfo{}, conditionError(o.At, "data source %q has no column %q", b.ds.Name, o.Text)
	}
	return "", typeInfo{}, conditionError(o.At, "@columnTagged(%q) needs exactly one column with that tag, data source %q has %d", o.Text, b.ds.Name, len(found))
}

// value gives an operand the column's type.
func (b *binder) value(o *Operand, name string, t typeInfo) (Value, error) {
	isText := t.class == classText || t.class == classBlank
	switch o.Kind {
	case OperandUsername, OperandIAM:
		if !isText {
			return Value{}, conditionError(o.At, "column %q is %s, but @%s is text", name, t.class, o.Kind)
		}
		text := b.person.UserID
		if o.Kind == OperandIAM {
			text = b.person.IAMID
		}
		return Value{Type: t.valueType(), Text: text}, nil
	case OperandNumber:
		if t.class != classInt && t.class != classNumeric && t.class != classFloat {
			return Value{}, conditionError(o.At, "column %q is %s, but the value is a number", name, t.class)
		}
		return b.numberValue(o, t)
	case OperandBool:
		if t.class != classBool {
			return Value{}, conditionError(o.At, "column %q is %s, but the value is boolean", name, t.class)
		}
		return Value{Type: "boolean", Text: o.Text}, nil
	case OperandString:
		return b.stringValue(o, name, t)
	}
	return Value{}, conditionError(o.At, "a constant is needed here")
}

func (b *binder) numberValue(o *Operand, t typeInfo) (Value, error) {
	v := Value{Type: t.valueType(), Text: o.Text}
	if t.class == classInt {
		if _, small := smallInt([]byte(o.Text)); !small {
			v.Type = "numeric"
		}
	}
	if t.class == classFloat {
		f, ok := parseFloat([]byte(o.Text))
		if !ok {
			return v, conditionError(o.At, "value is out of range")
		}
		v.Text = string(appendFloat(nil, f))
	}
	return v, nil
}

func (b *binder) stringValue(o *Operand, name string, t typeInfo) (Value, error) {
	if o.Type != "" && !typeFits(t, o.Type) {
		return Value{}, conditionError(o.At, "column %q is %s, but the value is %s", name, t.class, o.Type)
	}
	text, ok := t.appendCanonical(nil, []byte(o.Text))
	if !ok {
		hint := ""
		if t.class == classTimestampTZ {
			hint = ", such as 2026-01-31 12:00:00+00 (the offset is needed)"
		}
		return Value{}, conditionError(o.At, "%q is not a value of type %s of column %q%s", o.Text, t.class, name, hint)
	}
	return Value{Type: t.valueType(), Text: string(text)}, nil
}
