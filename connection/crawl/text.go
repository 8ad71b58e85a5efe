package crawl

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/connection"
)

// clean spells bytes that are not UTF-8 as \xNN, and reports whether there
// were none. A database of the encoding SQL_ASCII holds whatever it was given.
func clean(s string) (string, bool) {
	if utf8.ValidString(s) {
		return s, true
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, `\x%02x`, s[0])
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String(), false
}

func cleaned(s string) string {
	s, _ = clean(s)
	return s
}

// explain makes what went wrong in a database into what a person can act on.
func explain(database string, err error) *connection.Error {
	var known *connection.Error
	if errors.As(err, &known) {
		return known
	}
	e := &connection.Error{Code: "crawl_failed", Message: fmt.Sprintf("the catalogs of database %q could not be read", database), Detail: err.Error(), Err: err}
	var remote *pgconn.PgError
	if !errors.As(err, &remote) {
		return e
	}
	e.SQLState, e.Detail = remote.Code, remote.Message
	switch remote.Code {
	case "57014":
		e.Code, e.Hint = "timeout", "The next crawl tries again. If it stays, raise the statement timeout or look for what slows the catalogs down (VACUUM pg_attribute)."
	case "42501":
		e.Code, e.Hint = "missing_privilege", "The system account must be able to read pg_catalog, as every role can unless it was revoked."
	case "22P05", "22021":
		e.Code, e.Hint = "encoding", "A name or comment cannot be converted to UTF-8: rename the object."
	case "3D000":
		e.Code = "database_gone"
	}
	return e
}
