package views

import (
	"fmt"

	"portcullis.dev/portcullis/connection/filter"
	"portcullis.dev/portcullis/policy"
)

// predicate prints a row filter.
func (w *writer) predicate(p *policy.Predicate) (string, error) {
	e, err := filter.Compile(w.table.Columns, p, w.keep)
	if err != nil {
		return "", err
	}
	return e.SQL(column, w.slot), nil
}

// keep keeps values and returns the number under which they are found.
func (w *writer) keep(values ...string) int {
	w.slots = append(w.slots, values)
	return len(w.slots)
}

// slot is the array of values that were kept, in SQL.
func (w *writer) slot(n int) string {
	return fmt.Sprintf("(SELECT s.list FROM portcullis_views.slot s WHERE s.base = %d AND s.role = %s AND s.n = %d)", w.table.Ref.OID, me, n)
}

// one keeps one value and returns it in SQL, as typ.
func (w *writer) one(value, typ string) string {
	return "((" + w.slot(w.keep(value)) + ")[1])::" + typ
}
