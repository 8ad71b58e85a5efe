// Package queryaudit reads what people did on an instance with their own
// connection strings, from the log of the instance: lines of pgaudit, logged
// statements and errors, in csvlog or jsonlog.
//
// It reads on from a position. What is read twice has the same ids, so keeping
// records by id makes repeats harmless; nothing is skipped unless the instance
// removed it, which is said.
package queryaudit

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Kind of the records in the audit.
const Kind = "native_statement"

// Record is one statement of one session, as the instance logged it.
type Record struct {
	ID          string    `json:"id"`
	Kind        string    `json:"kind"`
	Time        time.Time `json:"time"`
	Person      string    `json:"person,omitempty"` // iamid/userid; "": the role is nobody's
	Role        string    `json:"role"`             // that logged in, whatever SET ROLE said later
	Database    string    `json:"database"`
	Client      string    `json:"client,omitempty"` // address and port
	Application string    `json:"application,omitempty"`
	PID         int       `json:"pid"`
	Session     string    `json:"session"` // as %c of log_line_prefix
	Line        int64     `json:"line"`    // of the session
	Source      Source    `json:"source"`
	Class       string    `json:"class,omitempty"`       // of pgaudit: READ, WRITE, DDL, …
	Command     string    `json:"command,omitempty"`     // SELECT, …
	ObjectType  string    `json:"object_type,omitempty"` // of pgaudit
	Object      string    `json:"object,omitempty"`      // of pgaudit
	Statement   string    `json:"statement,omitempty"`   // passwords left out, at most MaxStatement bytes
	Cut         bool      `json:"cut,omitempty"`         // the statement was longer
	SQLState    string    `json:"sqlstate,omitempty"`    // of an error
	Error       string    `json:"error,omitempty"`
}

// Source of a record.
type Source string

const (
	FromPgaudit   Source = "pgaudit"
	FromStatement Source = "statement" // log_statement or log_min_duration_statement
	FromError     Source = "error"     // the statement failed
)

// MaxStatement bounds the statement and the error of a record, in bytes.
const MaxStatement = 64 << 10

// line is an entry of the log, in either format.
type line struct {
	time                          time.Time
	role, database, client        string
	pid                           int
	session                       string
	number                        int64
	severity, state, message      string
	command, statement, appl, typ string
	cut                           bool // longer than what was read
}

// record makes a record of an entry, false if it is about none of ours: what
// the server does by itself, steps of a protocol, notices.
func (l line) record(instance string) (Record, bool) {
	if l.role == "" || l.session == "" || l.typ != "" && l.typ != "client backend" && l.typ != "parallel worker" {
		return Record{}, false
	}
	r := Record{Kind: Kind, Time: l.time, Role: l.role, Database: l.database, Client: l.client, Application: l.appl, PID: l.pid,
		Session: l.session, Line: l.number, Command: l.command, Cut: l.cut}
	r.ID = id(instance, l)
	switch {
	case strings.HasPrefix(l.message, "AUDIT: "):
		if !r.pgaudit(strings.TrimPrefix(l.message, "AUDIT: ")) {
			return Record{}, false
		}
	case l.severity == "LOG":
		text, ok := statementOf(l.message)
		if !ok {
			return Record{}, false
		}
		r.Source, r.Statement = FromStatement, text
	case l.severity == "ERROR" || l.severity == "FATAL":
		r.Source, r.Statement, r.SQLState, r.Error = FromError, l.statement, l.state, l.message
	default:
		return Record{}, false
	}
	r.Statement = r.bound(redact(r.Statement))
	r.Error = r.bound(r.Error)
	return r, true
}

// id is the same whenever and from whichever file an entry is read.
func id(instance string, l line) string {
	h := sha256.New()
	for _, part := range []string{instance, l.session, strconv.FormatInt(l.number, 10), l.time.UTC().Format(time.RFC3339Nano)} {
		h.Write([]byte(strconv.Itoa(len(part)) + ":" + part))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func (r *Record) bound(s string) string {
	if len(s) <= MaxStatement {
		return s
	}
	r.Cut = true
	s = s[:MaxStatement]
	for len(s) > 0 && !utf8.ValidString(s[len(s)-min(len(s), utf8.UTFMax):]) {
		s = s[:len(s)-1]
	}
	return s
}

// statementOf finds the statement in what log_statement and
// log_min_duration_statement write. Their words are those of lc_messages = C.
func statementOf(message string) (string, bool) {
	if rest, ok := strings.CutPrefix(message, "duration: "); ok {
		if _, rest, ok = strings.Cut(rest, " ms  "); !ok {
			return "", false // the duration alone: the statement has an entry of its own
		}
		message = rest
	}
	if rest, ok := strings.CutPrefix(message, "statement: "); ok {
		return rest, true
	}
	if rest, ok := strings.CutPrefix(message, "execute fetch from "); ok {
		message = "execute " + rest
	}
	if rest, ok := strings.CutPrefix(message, "execute "); ok {
		if _, text, ok := strings.Cut(rest, ": "); ok {
			return text, true
		}
	}
	return "", false
}
