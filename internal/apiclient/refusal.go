package apiclient

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Refusal is an answer of the service that is not a success.
type Refusal struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"` // "": the answer was not the service's
	Field   string `json:"field"`
	Hint    string `json:"hint"`
}

func (e *Refusal) Error() string {
	text := fmt.Sprintf("the policy service answered %d", e.Status)
	for _, part := range []string{e.Code, e.Message, e.Field, e.Hint} {
		if part != "" {
			text += ": " + part
		}
	}
	return text
}

// ReadRefusal reads the answer of a request that failed. Of an answer that is
// not the service's own, only the status is told.
func ReadRefusal(status int, answer []byte) *Refusal {
	var body struct {
		Error Refusal `json:"error"`
	}
	if json.Unmarshal(answer, &body) != nil {
		body.Error = Refusal{}
	}
	body.Error.Status = status
	return &body.Error
}

// IsStatus tells whether the error is a refusal of this HTTP status.
func IsStatus(err error, status int) bool {
	var r *Refusal
	return errors.As(err, &r) && r.Status == status
}
