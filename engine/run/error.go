package run

import (
	"errors"
	"fmt"

	"portcullis.dev/portcullis/fdw"
)

// Error is an error as the shim raises it: every field ends up in ereport.
type Error struct {
	State   string // SQLSTATE
	Message string
	Detail  string
	Hint    string
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return e.Message
	}
	return e.Message + ": " + e.Detail
}

// The SQLSTATEs that the library raises on its own account.
const (
	stateInternal         = "XX000"
	stateSystem           = "58000" // system_error: the policy service cannot be asked
	stateCannotConnectNow = "57P03"
	stateCanceled         = "57014"
	stateTooMany          = "53300"
	stateLimit            = "53400"
	stateDenied           = "42501"
	stateUndefinedTable   = "42P01"
	stateMismatch         = "42804"
	stateFDW              = "HV000"
	stateChanged          = "HV021" // fdw_inconsistent_descriptor_information
	stateNoTable          = "HV00R"
	stateBadOption        = "HV00D"
	stateBadValue         = "HV024"
	stateConnect          = "08001"
	stateConnectionLost   = "08006"
	stateTooLong          = "54000" // of a statement, for its source
	stateBadPassword      = "28P01"
	stateNoAuthorization  = "28000"
)

// AsError turns any error into one that the shim can raise.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	var composed *fdw.Error
	if errors.As(err, &composed) {
		return &Error{State: composed.State, Message: composed.Message, Detail: composed.Detail, Hint: composed.Hint}
	}
	return &Error{State: stateFDW, Message: err.Error()}
}

// panicked is the error of a call or goroutine that panicked.
func panicked(what string, value any) *Error {
	return &Error{
		State:   stateInternal,
		Message: fmt.Sprintf("internal error in the portcullis library: %s: %v", what, value),
		Hint:    "The session goes on. Please report this with the server log.",
	}
}

// Panicked is panicked for the exports.
func Panicked(what string, value any) *Error { return panicked(what, value) }
