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
func Script(t connection.Target) string { return fillIn(installSQL, t) }

func fillIn(script string, t connection.Target) string {
	return strings.NewReplacer("{{account}}", sqltext.Identifier(t.Username), "{{prefix}}", sqltext.Literal(t.Prefix), "{{kept}}", keptSQL).Replace(script)
}

// RemovalScript takes away, in one database, what Script made. It runs inside a
// transaction and stops where a table has our policies.
func RemovalScript() string { return removeSQL }

// keptSQL is a digest of all that decides which rows of table c people see. Policies follow
// columns by their number, what is wanted means them by their name: so both belong to it.
const keptSQL = `encode(sha256(convert_to(concat_ws('/', c.relrowsecurity, c.relforcerowsecurity, (SELECT string_agg(concat_ws('/', p.polname, p.polcmd, p.polpermissive,
		p.polroles::text, p.polqual::text, p.polwithcheck::text), ',' ORDER BY p.polname) FROM pg_policy p WHERE p.polrelid = c.oid),
		(SELECT string_agg(concat_ws('/', a.attnum, a.attname), ',' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid
			AND a.attnum IN (SELECT d.refobjsubid FROM pg_policy p JOIN pg_depend d ON d.classid = 'pg_policy'::regclass AND d.objid = p.oid
				WHERE p.polrelid = c.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid))), getdatabaseencoding())), 'hex')`
