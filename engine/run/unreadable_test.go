package run

import (
	"testing"

	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/policy"
)

// SQLite lets any column hold any value. Where only the engine can filter, a
// value that cannot be read is an error in a visible row and nothing in a hidden one.
func TestValuesThatCannotBeReadCountInVisibleRowsOnly(t *testing.T) {
	for _, test := range []struct {
		name, odd string
		rows      int // -1: an error
	}{
		{"none", "", 1},
		{"in a hidden row", "UPDATE people SET born = x'01' WHERE id = 8;", 1},
		{"in a column that is not wanted", "UPDATE people SET name = x'01' WHERE id = 9;", 1},
		{"in the visible row", "UPDATE people SET born = x'01' WHERE id = 9;", -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := testenv.SQLiteFile(t, "odd.db", sqlitePeople+test.odd)
			s := &Source{ServerOID: 3, ServerName: "lite", Server: map[string]string{"driver": "SQLite3", "database": file.Path}, Mapping: map[string]string{"folder": file.Folder}}
			e := engineFor(t, s, nil)
			session, decision := governed(t, e, s, policy.Decision{
				// SQLite has no exact numbers.
				Filter: &policy.Predicate{Op: policy.OpEq, Column: "pay", Values: []policy.Value{{Type: "numeric", Text: "0.09"}}},
			})
			r := wholeTable(s, 1, 4)
			r.Session, r.Decision = session, decision
			id := begin(t, e, r)
			defer e.ScanEnd(id)
			if e.scan(id).reading.Load().statement.Filter == nil {
				t.Fatal("the source filters")
			}
			rows, err := readAll(t, e, id)
			switch {
			case test.rows < 0 && (err == nil || AsError(err).State != stateFDW || AsError(err).Detail != ""):
				t.Errorf("%d rows, %v", len(rows), err)
			case test.rows >= 0 && (err != nil || len(rows) != test.rows):
				t.Errorf("%d rows, %v", len(rows), err)
			}
		})
	}
}
