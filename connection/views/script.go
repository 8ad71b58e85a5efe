package views

import (
	_ "embed" // what a DBA runs
	"strings"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/sqltext"
)

var (
	//go:embed sql/install.sql
	installSQL string
	//go:embed sql/remove.sql
	removeSQL string
	//go:embed sql/remove_role.sql
	removeRoleSQL string
)

// storeSchema holds what the views read and the function that makes their
// schemas. It belongs to the DBA who ran the script.
const storeSchema = "portcullis_views"

// Script is what a DBA runs, in every database that is to have views, so that
// the system account may make them. The account then acts as a role that reads
// the tables which have views; it says so. It may be run again.
func Script(t connection.Target) string { return fill(installSQL, t) }

// RemovalScript takes away, in one database, what Script made. It runs inside a
// transaction and stops where a view is left.
func RemovalScript(t connection.Target) string { return fill(removeSQL, t) }

// RoleRemovalScript drops the owner of views if Script made it, once every
// database is rid of what it holds.
func RoleRemovalScript(t connection.Target) string { return fill(removeRoleSQL, t) }

func fill(text string, t connection.Target) string {
	return strings.NewReplacer("{{owner}}", sqltext.Identifier(t.ViewsOwner()), "{{owner_name}}", sqltext.Literal(t.ViewsOwner()),
		"{{account}}", sqltext.Identifier(t.Username), "{{account_name}}", sqltext.Literal(t.Username),
		"{{comment}}", sqltext.Literal("Owns the views of Portcullis ("+t.Prefix+")")).Replace(text)
}
