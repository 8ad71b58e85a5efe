package policy

// Predicate is a typed row condition after the @functions have been replaced
// by the person's values: columns, constants and total operators only. Its
// truth is SQL's: NULL counts as not true, so the row is hidden.
type Predicate struct {
	Op   Op           `json:"op"`
	Args []*Predicate `json:"args,omitempty"` // and, or, not

	Column string  `json:"column,omitempty"` // remote name: the left side of a comparison
	Other  string  `json:"other,omitempty"`  // comparison of two columns: the right side
	Values []Value `json:"values,omitempty"` // right side: one for comparisons, any number for in
}

// Op is the operator of a Predicate.
type Op string

// The operators. Comparisons are those of PostgreSQL on the column's type;
// text compares by bytes (collation "C", no padding).
const (
	OpTrue    Op = "true"
	OpFalse   Op = "false"
	OpAnd     Op = "and"
	OpOr      Op = "or"
	OpNot     Op = "not"
	OpEq      Op = "="
	OpNe      Op = "<>"
	OpLt      Op = "<"
	OpLe      Op = "<="
	OpGt      Op = ">"
	OpGe      Op = ">="
	OpIn      Op = "in"
	OpIsNull  Op = "isnull"
	OpNotNull Op = "notnull"
)

// Value is a constant of a predicate: text in the input format of Type.
type Value struct {
	Type string `json:"type"` // PostgreSQL type: text, bigint, numeric, date, timestamptz, boolean, uuid …
	Text string `json:"text"`
	Null bool   `json:"null,omitempty"`
}
