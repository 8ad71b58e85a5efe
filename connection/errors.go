package connection

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// Error is what a person can act on. It never holds a secret.
type Error struct {
	Code     string `json:"code"` // stable, for programs: unreachable, wrong_credentials, replica …
	Message  string `json:"message"`
	Detail   string `json:"detail,omitempty"`
	Hint     string `json:"hint,omitempty"`
	SQLState string `json:"sqlstate,omitempty"` // of the instance
	Err      error  `json:"-"`
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return e.Message
	}
	return fmt.Sprintf("%s: %s", e.Message, e.Detail)
}

func (e *Error) Unwrap() error { return e.Err }

// Passing reports whether a statement failed on somebody else's lock or
// transaction and may succeed later.
func Passing(err error) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case "55P03", "40P01", "40001", "57014": // lock, deadlock, serialisation, statement_timeout
		return true
	case "XX000":
		return e.Message == "tuple concurrently updated" || e.Message == "tuple concurrently deleted"
	}
	return false
}
