package service

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Error is what a caller gets: an HTTP status and the parts of
// {"error":{"code","message","field","hint"}}.
type Error struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Field   string `json:"field,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

const codeNotFound = "not_found"

func (e *Error) Error() string {
	if e.Field == "" || e.Code == codeNotFound { // whose message says it all
		return e.Message
	}
	return e.Field + ": " + e.Message
}

// malformed says that a body or parameter cannot be read.
func malformed(field, format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Code: "malformed", Field: field, Message: fmt.Sprintf(format, args...)}
}

// invalid says that a field can be read, but its value is not acceptable.
func invalid(field, format string, args ...any) *Error {
	return &Error{Status: http.StatusUnprocessableEntity, Code: "invalid", Field: field, Message: fmt.Sprintf(format, args...)}
}

func notFound(what, key string) *Error {
	noun := strings.ReplaceAll(strings.TrimSuffix(what, "s"), "_", " ")
	if singular, ok := map[string]string{"people": "person", "policies": "policy", "userid": "person", "api_keys": "API key"}[what]; ok {
		noun = singular
	}
	return &Error{Status: http.StatusNotFound, Code: codeNotFound, Field: what, Message: fmt.Sprintf("there is no %s %q", noun, key)}
}

func conflict(field, format string, args ...any) *Error {
	return &Error{Status: http.StatusConflict, Code: "conflict", Field: field, Message: fmt.Sprintf(format, args...)}
}

func unauthorized(message, hint string) *Error {
	return &Error{Status: http.StatusUnauthorized, Code: "unauthorized", Field: "Authorization", Message: message, Hint: hint}
}

func forbidden(field, format string, args ...any) *Error {
	return &Error{Status: http.StatusForbidden, Code: "forbidden", Field: field, Message: fmt.Sprintf(format, args...)}
}

// withPrefix puts the place in a larger document before the field.
func withPrefix(prefix string, err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	c := *e
	if c.Field == "" {
		c.Field = prefix
	} else {
		c.Field = prefix + "." + c.Field
	}
	return &c
}

// constraints are those of the store that a request may violate: the field
// that is about, "" for the caller's, and what is wrong.
var constraints = map[string]struct{ field, message string }{
	"data_sources_pkey":                                  {"id", "another data source has this id"},
	"data_sources_local_name_key":                        {"local_name", "another data source has this name of the table that people query"},
	"data_sources_source_remote_schema_remote_table_key": {"remote_table", "another data source stands for this table of the source already"},
	"data_sources_source_fkey":                           {"", "data sources use it"},
	"limits_group_name_fkey":                             {"", "there is no such group"},
	"group_members_group_name_fkey":                      {"", "there is no such group"},
}

// constraint turns a violated database constraint into an Error about field.
func constraint(field string, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	message := ""
	if c, known := constraints[pg.ConstraintName]; known {
		message = c.message
		if c.field != "" {
			field = c.field
		}
	}
	switch pg.Code {
	case "23505":
		return conflict(field, "%s", cmp.Or(message, "another entry has this value already"))
	case "23503":
		return conflict(field, "%s", cmp.Or(message, "another entry depends on it, or it names an entry that does not exist"))
	case "23514", "23502", "22001":
		return invalid(field, "%s", cmp.Or(message, "value is not acceptable"))
	case "54000":
		return invalid(field, "is too long to be stored")
	case "22021", "22P05":
		return invalid(field, "text contains a character that cannot be stored")
	}
	return err
}

// inTheWay reports whether a transaction was ended only because others were at the same
// rows: a deadlock, a lock that was not to be had in time, another order of changes.
func inTheWay(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40P01" || pg.Code == "55P03" || pg.Code == "40001")
}

// busy says of such a change that it may be tried again.
func busy(err error) error {
	if !inTheWay(err) {
		return err
	}
	return &Error{Status: http.StatusServiceUnavailable, Code: "busy", Message: "something else was changing the same entries, and nothing was done", Hint: "Try again."}
}
