package fdw

import (
	"fmt"
	"strings"
)

// SQLWriter collects remote SQL and the values bound to its ? marks, in order.
type SQLWriter struct {
	sql  strings.Builder
	args []Arg
}

// Raw appends SQL text. It must not hold a ? mark.
func (w *SQLWriter) Raw(parts ...string) {
	for _, p := range parts {
		w.sql.WriteString(p)
	}
}

// Bind appends one ? mark and its value.
func (w *SQLWriter) Bind(a Arg) {
	w.sql.WriteByte('?')
	w.args = append(w.args, a)
}

// SQL is the text so far.
func (w *SQLWriter) SQL() string { return w.sql.String() }

// Args are the values of the marks so far.
func (w *SQLWriter) Args() []Arg { return w.args }

// Bind says as what a value is given to the driver.
type Bind int

// The binds.
const (
	BindText Bind = iota
	BindInt64
	BindFloat64
	BindBytes
)

// Value is a value ready for the driver.
type Value struct {
	Bind  Bind
	Null  bool
	Text  string
	Int   int64
	Float float64
	Bytes []byte
}

// Arg is the value of one ? mark: a constant, or a parameter of the scan.
type Arg struct {
	Param int     // index of the scan's parameter, -1 for a constant
	Type  uint32  // PostgreSQL type of the value
	text  *string // of the constant, nil = SQL NULL
	bind  Bind
	code  encoder
}

// encoder turns the text of a PostgreSQL value into what the source reads as
// the same value; it fails where the source has no such value.
type encoder func(text string) (Value, error)

// Value is what to give to the driver, given the text of the scan's
// parameters (nil = SQL NULL).
func (a Arg) Value(params []*string) (Value, error) {
	text := a.text
	if a.Param >= 0 {
		if a.Param >= len(params) {
			return Value{}, &Error{State: stateInternal, Message: fmt.Sprintf("parameter %d of %d is missing", a.Param+1, len(params))}
		}
		text = params[a.Param]
	}
	if text == nil {
		return Value{Bind: a.bind, Null: true}, nil
	}
	return a.code(*text)
}
