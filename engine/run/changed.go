package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"portcullis.dev/portcullis/fdw"
	"portcullis.dev/portcullis/odbc"
)

// checkColumns compares the columns as the driver describes them with the
// dictionary that the decision was made for, before the first row is handed on.
// It tells whether they fit the way in which they are read.
func (s *Scan) checkColumns(cursor *odbc.Cursor, statement *fdw.Statement) (fit bool, err error) {
	if !statement.Described() {
		return true, nil
	}
	types, err := cursor.Types()
	if err != nil {
		return false, err
	}
	told := make([]fdw.Described, len(types))
	for i, t := range types {
		told[i] = fdw.Described{TypeName: t.TypeName, Unsigned: t.Unsigned, Precision: t.Precision}
	}
	if at, changed := statement.Changed(s.dialect, told); changed {
		return false, s.changed(fmt.Sprintf("Column \"%s\" is no longer of type %s.", at.Column, at.Type))
	}
	return statement.Fits(s.dialect, told), nil
}

// mismatches are SQLSTATEs of PostgreSQL for a condition that does not fit its
// column's type: no operator, no cast.
var mismatches = []string{"42883", "42804", "42846"}

// sourceError is an error of the scan's statement. A remote column or table
// that is not there is a change too.
func (s *Scan) sourceError(err error) error {
	var remote *odbc.Error
	if s.held != nil && errors.As(err, &remote) {
		switch causeOf(remote) {
		case causeNoColumn:
			return s.changed("A column is not there any more.")
		case causeNoTable:
			return s.changed("The remote table is not there any more.")
		}
		if slices.Contains(mismatches, remote.State) {
			return s.changed("A column is of another type.")
		}
	}
	return sourceError(s.source, s.dialect, "read from", err)
}

// changed refuses the scan and has the service look at the source again.
func (s *Scan) changed(how string) error {
	s.engine.resync(s.session, s.held.decision.DataSource)
	return &Error{
		State:   stateChanged,
		Message: fmt.Sprintf("table \"%s\" has changed at its source", s.table.LocalName),
		Detail:  how,
		Hint:    "The policy service reads the source's columns again: repeat the statement in a moment. If this stays, ask an administrator.",
	}
}

// resyncPause is how long a session does not ask again for the same data source.
const resyncPause = 3 * time.Second

func (e *Engine) resync(session *Session, dataSource string) {
	e.mu.Lock()
	recent := time.Since(e.resyncs[dataSource]) < resyncPause
	if !recent {
		e.resyncs[dataSource] = time.Now()
	}
	e.mu.Unlock()
	if recent {
		return
	}
	body, err := json.Marshal(struct {
		Node       string `json:"node"`
		DataSource string `json:"data_source"`
	}{session.Node, dataSource})
	if err != nil {
		return
	}
	e.Go("request to read a source again", func(error) {}, func() {
		// Should it fail, the next statement asks again, and the service looks at sources by itself.
		_, _, _ = e.decisions.service.call(e.ctx, session, http.MethodPost, "/v1/node/resync", body)
	})
}
