package crawl

import (
	"fmt"
	"strings"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/sqltext"
)

// lack says, as bits, what our grants on a table would fail for. The five
// lowest are the privileges that the grantor may not pass on.
type lack int

const (
	lackSchema lack = 1 << (iota + 5) // USAGE on the schema cannot be granted
	lackListed                        // the broker's list has neither the table nor its schema
)

// privileges are those of the lowest bits, in this order.
func (l lack) privileges() []string {
	var out []string
	for i, p := range connection.Write.Privileges() {
		if l&(1<<i) != 0 {
			out = append(out, p)
		}
	}
	return out
}

// explain says why a table of a schema cannot be enforced and what a DBA can
// do about it: "" and "" if it can.
func (l lack) explain(f facts, database, schema string, o connection.Object) (reason, fix string) {
	if f.mode == connection.ModeBroker && !f.readable() {
		return "the broker is not installed in this database, or the system account may not use it",
			"-- run by psql what this prints: " + f.target.ScriptCommand(database)
	}
	table := sqltext.Identifier(schema) + "." + sqltext.Identifier(o.Name)
	var reasons, fixes []string
	if f.closed {
		reasons = append(reasons, "grant CONNECT on the database")
		fixes = append(fixes, fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO %s WITH GRANT OPTION;", sqltext.Identifier(database), sqltext.Identifier(f.name)))
	}
	if l&lackSchema != 0 {
		reasons = append(reasons, "grant USAGE on the schema")
		fixes = append(fixes, fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s WITH GRANT OPTION;", sqltext.Identifier(schema), sqltext.Identifier(f.name)))
	}
	if missing := l.privileges(); len(missing) > 0 {
		list := strings.Join(missing, ", ")
		reasons = append(reasons, "grant "+list+" on it")
		fixes = append(fixes, fmt.Sprintf("GRANT %s ON TABLE %s TO %s WITH GRANT OPTION;", list, table, sqltext.Identifier(f.name)),
			fmt.Sprintf("ALTER DEFAULT PRIVILEGES FOR ROLE %s IN SCHEMA %s GRANT %s ON TABLES TO %s WITH GRANT OPTION;",
				sqltext.Identifier(o.Owner), sqltext.Identifier(schema), strings.Join(connection.Write.Privileges(), ", "), sqltext.Identifier(f.name)))
	}
	var parts []string
	if l&lackListed != 0 && f.mode == connection.ModeBroker {
		parts = append(parts, "the broker lists neither it nor its schema")
		fixes = append(fixes, fmt.Sprintf("SELECT portcullis_broker.list_table(%s);", sqltext.Literal(table)))
	}
	if len(reasons) > 0 {
		parts = append(parts, fmt.Sprintf("%s may not %s", f.name, strings.Join(reasons, ", nor ")))
	}
	return strings.Join(parts, "; "), strings.Join(fixes, "\n")
}

// unnameable is what is said of a table whose name no statement of ours can spell.
const unnameable = "its name, or that of its schema, is not UTF-8: no statement can name it"
