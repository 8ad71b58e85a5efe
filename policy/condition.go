package policy

import "fmt"

// Condition is a row condition as an administrator wrote it, parsed (package
// policy/parse): columns, constants, total operators and @functions. Bind
// makes a Predicate of it for one person and one data source.
//
// Op may be those of Predicate, or:
//
//	between              Left, and two operands in List
//	istrue               Left is a boolean column
//	isInGroups           List holds names of groups
//	hasAttribute         List holds name and value
//	groupsContains       Left is a column
//	attributeValuesContains  List holds the name, Left is a column
type Condition struct {
	Op   Op           `json:"op"`
	Args []*Condition `json:"args,omitempty"`
	Left *Operand     `json:"left,omitempty"`
	List []*Operand   `json:"list,omitempty"` // right side of comparisons; values of in; arguments
	At   int          `json:"at,omitempty"`   // position in the text, characters from 1
}

// Operators of conditions only.
const (
	OpBetween                 Op = "between"
	OpIsTrue                  Op = "istrue"
	OpIsInGroups              Op = "isInGroups"
	OpHasAttribute            Op = "hasAttribute"
	OpGroupsContains          Op = "groupsContains"
	OpAttributeValuesContains Op = "attributeValuesContains"
)

// OperandKind says what an operand is.
type OperandKind string

const (
	OperandColumn   OperandKind = "column"   // Text: name
	OperandTagged   OperandKind = "tagged"   // Text: tag; the one column that has it
	OperandString   OperandKind = "string"   // Text
	OperandNumber   OperandKind = "number"   // Text: decimal
	OperandBool     OperandKind = "boolean"  // Text: true, false
	OperandUsername OperandKind = "username" // the person's userid
	OperandIAM      OperandKind = "iam"      // the person's iamid
)

// Operand is a side of a comparison or an argument.
type Operand struct {
	Kind OperandKind `json:"kind"`
	Text string      `json:"text,omitempty"`
	Type string      `json:"type,omitempty"` // string with a cast: date '2020-01-01'
	At   int         `json:"at,omitempty"`

	missing bool // the group or person of that name does not exist
}

func (o *Operand) isColumn() bool {
	return o != nil && (o.Kind == OperandColumn || o.Kind == OperandTagged)
}

// ConditionError says where in the text a condition is wrong.
type ConditionError struct {
	At      int // position, characters from 1; 0: unknown
	Message string

	Unsupported bool // it is documented, but cannot be used yet
}

func (e *ConditionError) Error() string {
	if e.At == 0 {
		return e.Message
	}
	return fmt.Sprintf("at position %d: %s", e.At, e.Message)
}

func conditionError(at int, format string, args ...any) error {
	return &ConditionError{At: at, Message: fmt.Sprintf(format, args...)}
}

// Check reports whether the condition fits the data source: its columns
// exist and are compared with values of their types.
func (c *Condition) Check(ds *DataSource) error {
	_, err := c.Bind(&Person{}, ds)
	return err
}
