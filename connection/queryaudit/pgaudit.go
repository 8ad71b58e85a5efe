package queryaudit

import (
	"encoding/csv"
	"strings"
)

// pgaudit fills in AUDIT_TYPE, STATEMENT_ID, SUBSTATEMENT_ID, CLASS, COMMAND,
// OBJECT_TYPE, OBJECT_NAME, STATEMENT, PARAMETER[, ROWS].
func (r *Record) pgaudit(text string) bool {
	read := csv.NewReader(strings.NewReader(text))
	read.FieldsPerRecord = -1
	read.LazyQuotes = r.Cut // the end, and the quote before it, are not there
	fields, err := read.Read()
	if err != nil || len(fields) < 8 || fields[0] != "SESSION" && fields[0] != "OBJECT" {
		return false
	}
	r.Source = FromPgaudit
	r.Class, r.Command, r.ObjectType, r.Object, r.Statement = fields[3], fields[4], fields[5], fields[6], fields[7]
	return true
}
