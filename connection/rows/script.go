package rows

import (
	_ "embed" // what the owner of the tables runs
	"strings"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/sqltext"
)

var (
	//go:embed sql/install.sql
	installSQL string
	//go:embed sql/remove.sql
	removeSQL string
)

// Script is what the owner of the broker runs, after the broker's own script, in
// every database that is to have policies. It may be run again.
func Script(t connection.Target) string {
	return strings.NewReplacer("{{account}}", sqltext.Identifier(t.Username), "{{prefix}}", sqltext.Literal(t.Prefix), "{{kept}}", keptSQL).Replace(installSQL)
}

// RemovalScript takes away, in one database, what Script made. It runs inside a
// transaction and stops where a table has our policies.
func RemovalScript() string { return removeSQL }

// keptSQL is a digest of all that decides which rows of table c people see.
const keptSQL = `encode(sha256(convert_to(concat_ws('/', c.relrowsecurity, c.relforcerowsecurity, (SELECT string_agg(concat_ws('/', p.polname, p.polcmd, p.polpermissive,
		p.polroles::text, p.polqual::text, p.polwithcheck::text), ',' ORDER BY p.polname) FROM pg_policy p WHERE p.polrelid = c.oid)), getdatabaseencoding())), 'hex')`
