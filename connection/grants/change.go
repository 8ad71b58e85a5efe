package grants

import (
	"fmt"
	"strings"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/sqltext"
)

// action is what a change does. Those on roles belong to the maintenance
// database, the others to the database of their object.
type action int

const (
	makeRole action = iota
	resetRole
	dropRole
	joinRole
	leaveRole
	leaveAdmin
	grantTable
	revokeTable
	grantSchema
	revokeSchema
	grantDatabase
	revokeDatabase
)

// change is one statement. Roles are named, since some are made in the same
// round; what the names mean is checked by OID where they are used.
type change struct {
	action     action
	as         string // role to act as; "": the session's own
	role       string // of ours
	login      bool   // makeRole: somebody's own
	comment    string
	member     string
	grantedBy  string               // leaveRole on 16 and later
	object     connection.ObjectRef // OID and Schema for a schema, OID and Name for a database
	privileges []string
	drift      bool
}

func (c change) revokes() bool {
	switch c.action {
	case leaveRole, leaveAdmin, revokeTable, revokeSchema, revokeDatabase, dropRole:
		return true
	}
	return false
}

// target is what the object is in a statement and in the broker's words.
func (c change) target() (kind, name string) {
	switch c.action {
	case grantTable, revokeTable:
		return "table", quoteTable(c.object.Schema, c.object.Name)
	case grantSchema, revokeSchema:
		return "schema", sqltext.Identifier(c.object.Schema)
	}
	return "database", sqltext.Identifier(c.object.Name)
}

// sql is the statement as it is run in grantor mode; broker mode runs the same
// inside its functions.
func (c change) sql(version int) string {
	r := sqltext.Identifier(c.role)
	switch c.action {
	case makeRole:
		can := "NOLOGIN"
		if c.login {
			can = "LOGIN"
		}
		return fmt.Sprintf("CREATE ROLE %s %s; COMMENT ON ROLE %s IS %s", r, can, r, sqltext.Literal(c.comment))
	case resetRole:
		return "ALTER ROLE " + r + " NOLOGIN NOCREATEROLE INHERIT"
	case dropRole:
		return "DROP ROLE " + r
	case joinRole:
		if version >= 160000 {
			return fmt.Sprintf("GRANT %s TO %s WITH INHERIT TRUE, SET FALSE", r, sqltext.Identifier(c.member))
		}
		return fmt.Sprintf("GRANT %s TO %s", r, sqltext.Identifier(c.member))
	case leaveRole, leaveAdmin:
		by, option := "", ""
		if c.grantedBy != "" {
			by = " GRANTED BY " + sqltext.Identifier(c.grantedBy)
		}
		if c.action == leaveAdmin {
			option = "ADMIN OPTION FOR "
		}
		return fmt.Sprintf("REVOKE %s%s FROM %s%s", option, r, sqltext.Identifier(c.member), by)
	}
	kind, name := c.target()
	verb, to := "GRANT", "TO"
	if c.revokes() {
		verb, to = "REVOKE", "FROM"
	}
	return fmt.Sprintf("%s %s ON %s %s %s %s", verb, strings.Join(c.privileges, ", "), strings.ToUpper(kind), name, to, r)
}

// statements is how many the text of sql holds.
func (c change) statements() int {
	if c.action == makeRole {
		return 2
	}
	return 1
}

// onRoles reports whether the change belongs to the maintenance database.
func (c change) onRoles() bool { return c.action <= leaveAdmin }

// brokered is the change in the words of the broker's functions.
func (c change) brokered(oid func(role string) uint32) map[string]any {
	switch c.action {
	case makeRole:
		return map[string]any{"do": "make", "role": c.role, "comment": c.comment, "login": c.login}
	case resetRole, dropRole:
		do := map[action]string{resetRole: "reset", dropRole: "drop"}[c.action]
		return map[string]any{"do": do, "role": c.role, "oid": oid(c.role)}
	case joinRole, leaveRole, leaveAdmin:
		do := map[action]string{joinRole: "grant", leaveRole: "revoke", leaveAdmin: "revoke_admin"}[c.action]
		return map[string]any{"do": do, "role": c.role, "oid": oid(c.role), "to": c.member, "member": oid(c.member)}
	}
	out := map[string]any{"do": "grant", "oid": c.object.OID, "privileges": c.privileges, "role": c.role, "grantee": oid(c.role)}
	if c.revokes() {
		out["do"], out["privileges"] = "revoke", []string{"ALL"}
	}
	kind, _ := c.target()
	out["on"] = kind
	if kind != "database" {
		out["schema"] = c.object.Schema
	}
	if kind != "schema" {
		out["name"] = c.object.Name
	}
	return out
}
