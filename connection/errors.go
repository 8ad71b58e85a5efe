package connection

import "fmt"

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
