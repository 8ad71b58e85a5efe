package setup

import (
	"embed"
	"fmt"
	"slices"
	"strings"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/sqltext"
)

//go:embed sql/*.sql
var files embed.FS

// fill completes a file of SQL for a connection.
func fill(name string, o ScriptOptions, database string) string {
	text, err := files.ReadFile("sql/" + name + ".sql")
	if err != nil {
		panic(err) // embedded
	}
	t := o.Target
	return strings.NewReplacer(
		"{{account}}", sqltext.Identifier(t.Username),
		"{{account_name}}", sqltext.Literal(t.Username),
		"{{owner}}", sqltext.Identifier(t.OwnerRole()),
		"{{owner_name}}", sqltext.Literal(t.OwnerRole()),
		"{{comment}}", sqltext.Literal(accountComment(t)),
		"{{escalation}}", fmt.Sprint(o.AcceptCreateRoleEscalation),
		"{{grantor}}", fmt.Sprint(t.Mode == connection.ModeGrantor),
		"{{grantor_oid}}", grantorOID(t),
		"{{views_name}}", sqltext.Literal(t.ViewsOwner()),
		"{{databases}}", literals(o.databases()),
		"{{only_schemas}}", onlySchemas(o.Schemas[database]),
	).Replace(string(text))
}

// accountComment marks an account that was made here.
func accountComment(t connection.Target) string {
	return "System account of Portcullis (" + t.Prefix + ")"
}

// grantorOID is the role whose grant options count.
func grantorOID(t connection.Target) string {
	if t.Mode == connection.ModeBroker {
		return "(SELECT proowner FROM pg_catalog.pg_proc WHERE oid = pg_catalog.to_regprocedure('portcullis_broker.tables(jsonb)'))"
	}
	return "(SELECT oid FROM pg_catalog.pg_roles WHERE rolname = " + sqltext.Literal(t.OwnerRole()) + ")"
}

func onlySchemas(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return " AND n.nspname IN (" + literals(slices.Sorted(slices.Values(names))) + ")"
}

func literals(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = sqltext.Literal(n)
	}
	return strings.Join(quoted, ", ")
}

// connectLine is psql's command, with a connection string since a plain name
// that holds = would be taken for one. What follows runs as a superuser in a
// database where others may have put functions and operators in the DBA's path.
func connectLine(database string) string {
	value := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(database)
	return `\connect -reuse-previous=on "dbname='` + strings.ReplaceAll(value, `"`, `""`) + `'"` + "\nSET search_path = pg_catalog, pg_temp;\n"
}
