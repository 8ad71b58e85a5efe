package policy

import (
	"bytes"
	"fmt"
)

// truth is SQL's: unknown is what a comparison with NULL gives.
type truth int8

const (
	isFalse truth = iota
	isTrue
	unknown
)

// Getter returns the value of column i of a row as text in its type's output
// format (timestamptz with offset), or null. The text need only live until
// the next call.
type Getter func(i int) (text []byte, null bool)

// Filter reports whether a row is visible. It is total: a value that cannot
// be read as its column's type makes its comparison unknown, so the row is
// hidden. It must not be used by two goroutines at once.
type Filter func(get Getter) bool

type evalFunc func(get Getter) truth

// maxDepth bounds the nesting of predicates and conditions.
const maxDepth = 200

// Compile prepares the predicate for rows with these columns. A nil
// predicate shows every row. Unknown operators, columns and types are errors.
func (p *Predicate) Compile(cols []Column) (Filter, error) {
	if p == nil {
		return func(Getter) bool { return true }, nil
	}
	eval, err := p.compile(cols, 0)
	if err != nil {
		return nil, err
	}
	return func(get Getter) bool { return eval(get) == isTrue }, nil
}

func (p *Predicate) compile(cols []Column, depth int) (evalFunc, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("predicate is nested deeper than %d", maxDepth)
	}
	switch p.Op {
	case OpTrue:
		return constantTruth(isTrue), nil
	case OpFalse:
		return constantTruth(isFalse), nil
	case OpAnd, OpOr, OpNot:
		return p.compileBool(cols, depth)
	case OpIsNull, OpNotNull:
		i, _, err := findColumn(cols, p.Column)
		if err != nil {
			return nil, err
		}
		want := p.Op == OpIsNull
		return func(get Getter) truth {
			_, null := get(i)
			return truthOf(null == want)
		}, nil
	case OpEq, OpNe, OpLt, OpLe, OpGt, OpGe, OpIn:
		return p.compileComparison(cols)
	}
	return nil, fmt.Errorf("unknown operator %q in a predicate", p.Op)
}

func constantTruth(t truth) evalFunc { return func(Getter) truth { return t } }

func truthOf(b bool) truth {
	if b {
		return isTrue
	}
	return isFalse
}

func (p *Predicate) compileBool(cols []Column, depth int) (evalFunc, error) {
	args := make([]evalFunc, len(p.Args))
	for i, a := range p.Args {
		if a == nil {
			return nil, fmt.Errorf("operator %q lacks an operand", p.Op)
		}
		var err error
		if args[i], err = a.compile(cols, depth+1); err != nil {
			return nil, err
		}
	}
	switch {
	case p.Op == OpNot && len(args) == 1:
		arg := args[0]
		return func(get Getter) truth { return not(arg(get)) }, nil
	case len(args) == 0 || p.Op == OpNot:
		return nil, fmt.Errorf("operator %q has %d operands", p.Op, len(args))
	case p.Op == OpAnd:
		return decidedBy(isFalse, args), nil
	}
	return decidedBy(isTrue, args), nil
}

func not(t truth) truth {
	switch t {
	case isTrue:
		return isFalse
	case isFalse:
		return isTrue
	}
	return unknown
}

// decidedBy is AND, which the first false decides, or OR, which the first true does.
func decidedBy(decisive truth, args []evalFunc) evalFunc {
	neutral := not(decisive)
	return func(get Getter) truth {
		result := neutral
		for _, a := range args {
			switch a(get) {
			case decisive:
				return decisive
			case unknown:
				result = unknown
			}
		}
		return result
	}
}

func findColumn(cols []Column, name string) (int, typeInfo, error) {
	for i, c := range cols {
		if c.Name == name {
			return i, parseType(c.Type), nil
		}
	}
	return 0, typeInfo{}, fmt.Errorf("predicate names column %q, which is not among the columns", name)
}

func (p *Predicate) compileComparison(cols []Column) (evalFunc, error) {
	i, t, err := findColumn(cols, p.Column)
	if err != nil {
		return nil, err
	}
	if t.class == classOther {
		return nil, fmt.Errorf("column %q is of a type that is not compared", p.Column)
	}
	if p.Other != "" {
		return p.compileColumns(cols, i, t)
	}
	if p.Op == OpIn {
		return compileIn(i, t, p)
	}
	if len(p.Values) != 1 {
		return nil, fmt.Errorf("comparison of column %q has %d values", p.Column, len(p.Values))
	}
	op, v := p.Op, p.Values[0]
	if v.Null {
		return constantTruth(unknown), nil
	}
	cmp, err := comparerWith(t, v)
	if err != nil {
		return nil, fmt.Errorf("column %q: %w", p.Column, err)
	}
	return func(get Getter) truth {
		b, null := get(i)
		if null {
			return unknown
		}
		c, ok := cmp(b)
		return outcome(op, c, ok)
	}, nil
}

func (p *Predicate) compileColumns(cols []Column, i int, t typeInfo) (evalFunc, error) {
	j, u, err := findColumn(cols, p.Other)
	if err != nil {
		return nil, err
	}
	if !comparable(t, u) || p.Op == OpIn || len(p.Values) != 0 {
		return nil, fmt.Errorf("columns %q and %q are not compared", p.Column, p.Other)
	}
	op := p.Op
	var keep []byte
	return func(get Getter) truth {
		b, null := get(i)
		if null {
			return unknown
		}
		keep = append(keep[:0], b...)
		c, null := get(j)
		if null {
			return unknown
		}
		order, ok := compareTexts(t, u, keep, c)
		return outcome(op, order, ok)
	}, nil
}

func compileIn(i int, t typeInfo, p *Predicate) (evalFunc, error) {
	var hasNull bool
	set := make(map[string]struct{}, len(p.Values))
	for _, v := range p.Values {
		if v.Null {
			hasNull = true
			continue
		}
		key, ok := t.comparisonKey(nil, []byte(v.Text))
		if !ok || !typeFits(t, v.Type) {
			return nil, fmt.Errorf("column %q: value of type %s does not compare with %s", p.Column, v.Type, t.class)
		}
		set[string(key)] = struct{}{}
	}
	missing := isFalse
	if hasNull {
		missing = unknown
	}
	var key []byte
	return func(get Getter) truth {
		b, null := get(i)
		if null {
			return unknown
		}
		var ok bool
		if key, ok = t.comparisonKey(key[:0], b); !ok {
			return unknown
		}
		if _, found := set[string(key)]; found {
			return isTrue
		}
		return missing
	}, nil
}

// comparisonKey is the canonical form, with integers open to numeric constants.
func (t typeInfo) comparisonKey(dst, b []byte) ([]byte, bool) {
	if t.class == classInt {
		t.class = classNumeric
	}
	return t.appendCanonical(dst, b)
}

func comparable(t, u typeInfo) bool {
	return comparisonClass(t.class) == comparisonClass(u.class) && t.class != classOther
}

// comparisonClass folds classes whose values PostgreSQL compares exactly with
// each other. Text and character(n) are apart: blanks count in one only.
func comparisonClass(c class) class {
	if c == classInt {
		return classNumeric
	}
	return c
}

func typeFits(column typeInfo, valueType string) bool {
	return comparable(column, parseType(valueType))
}

func outcome(op Op, c int, ok bool) truth {
	if !ok {
		return unknown
	}
	switch op {
	case OpEq:
		return truthOf(c == 0)
	case OpNe:
		return truthOf(c != 0)
	case OpLt:
		return truthOf(c < 0)
	case OpLe:
		return truthOf(c <= 0)
	case OpGt:
		return truthOf(c > 0)
	}
	return truthOf(c >= 0)
}

// comparerWith returns a function that compares a column's value with v.
func comparerWith(t typeInfo, v Value) (func([]byte) (int, bool), error) {
	right := []byte(v.Text)
	if !typeFits(t, v.Type) {
		return nil, fmt.Errorf("value of type %s does not compare with %s", v.Type, t.class)
	}
	switch t.class {
	case classInt, classNumeric:
		d, ok := parseDecimal(right)
		if !ok {
			return nil, fmt.Errorf("value is not a number")
		}
		if n, small := smallInt(right); small {
			return func(b []byte) (int, bool) {
				if m, ok := smallInt(b); ok {
					return compareInt(m, n), true
				}
				e, ok := parseDecimal(b)
				return e.compare(d), ok
			}, nil
		}
		return func(b []byte) (int, bool) {
			e, ok := parseDecimal(b)
			return e.compare(d), ok
		}, nil
	case classDate, classTimestamp, classTimestampTZ, classTime:
		n, ok := parseMoment(t.class, right)
		if !ok {
			return nil, fmt.Errorf("value is not a %s", t.class)
		}
		return func(b []byte) (int, bool) {
			m, ok := parseMoment(t.class, b)
			return compareInt(m, n), ok
		}, nil
	}
	if _, ok := t.appendCanonical(nil, right); !ok {
		return nil, fmt.Errorf("value is not of type %s", t.class)
	}
	return func(b []byte) (int, bool) { return compareTexts(t, t, b, right) }, nil
}

func compareInt(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// compareTexts orders two values of comparable types as PostgreSQL does, text
// by bytes. It reports false where one is no value of its type.
func compareTexts(t, u typeInfo, a, b []byte) (int, bool) {
	switch t.class {
	case classInt, classNumeric:
		d, ok1 := parseDecimal(a)
		e, ok2 := parseDecimal(b)
		return d.compare(e), ok1 && ok2
	case classFloat:
		x, ok1 := parseFloat(a)
		y, ok2 := parseFloat(b)
		return compareFloat(x, y), ok1 && ok2
	case classText:
		return bytes.Compare(a, b), true
	case classBlank:
		return bytes.Compare(bytes.TrimRight(a, " "), bytes.TrimRight(b, " ")), true
	case classBool:
		x, ok1 := parseBool(a)
		y, ok2 := parseBool(b)
		return int(truthOf(x)) - int(truthOf(y)), ok1 && ok2
	case classDate, classTimestamp, classTimestampTZ, classTime:
		x, ok1 := parseMoment(t.class, a)
		y, ok2 := parseMoment(u.class, b)
		return compareInt(x, y), ok1 && ok2
	case classUUID, classBytes:
		var bufA, bufB [64]byte
		x, ok1 := t.appendCanonical(bufA[:0], a)
		y, ok2 := u.appendCanonical(bufB[:0], b)
		return bytes.Compare(x, y), ok1 && ok2
	}
	return 0, false
}

// compareFloat orders NaN last and equal to itself, as PostgreSQL does.
func compareFloat(x, y float64) int {
	switch {
	case x != x && y != y:
		return 0
	case x != x:
		return 1
	case y != y:
		return -1
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}
