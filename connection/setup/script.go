package setup

import (
	"fmt"
	"strings"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/broker"
	"portcullis.dev/portcullis/connection/queryaudit"
	"portcullis.dev/portcullis/connection/rows"
	"portcullis.dev/portcullis/connection/views"
	"portcullis.dev/portcullis/internal/sqltext"
)

// Script is what a DBA pastes into psql to do what Register does. Running it
// again changes nothing; for another system account it replaces the first.
func Script(o ScriptOptions) (string, error) {
	if err := o.check(); err != nil {
		return "", err
	}
	steps, err := plan(o)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	t := o.Target
	fmt.Fprintf(&b, "-- Makes %s ready to be a connection of Portcullis, in %s mode.\n", comment(t.Host), t.Mode)
	b.WriteString("-- To be run by psql as a superuser, or as the owner of the tables with CREATEROLE. It may be run again.\n")
	for _, line := range strings.Split(strings.TrimSpace(risk(t)), "\n") {
		b.WriteString("-- " + line + "\n")
	}
	b.WriteString("\\set ON_ERROR_STOP on\n")
	current := ""
	for i, s := range steps {
		if s.database != current {
			b.WriteString("\n" + connectLine(s.database))
			current = s.database
		}
		b.WriteString(s.sql())
		if i > 0 {
			b.WriteString(fill("defaults", o, s.database))
		}
	}
	for _, name := range o.databases() {
		if o.Views {
			b.WriteString("\n" + connectLine(name) + views.Script(t))
		}
		if t.RowSecurity {
			b.WriteString("\n" + connectLine(name) + rows.Script(t))
		}
	}
	b.WriteString("RESET search_path;\n")
	if t.Password == "" && t.AWS == nil && !o.HasPassword { // last, since it reads what is pasted after it
		fmt.Fprintf(&b, "\\echo 'The password of the system account, to be given to the service, too:'\n\\password %s\n", sqltext.Identifier(t.Username))
	}
	return b.String(), nil
}

// RemovalScript takes away what Script made, once the connection was deleted
// and has taken back what it granted. It drops nothing that it did not make.
func RemovalScript(o ScriptOptions) (string, error) {
	if err := o.check(); err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "-- Takes away what makes %s a connection of Portcullis. Delete the connection first:\n", comment(o.Target.Host))
	b.WriteString("-- that takes back what was granted, and this script stops where something is left.\n\\set ON_ERROR_STOP on\n")
	names := o.databases()
	b.WriteString("\n" + connectLine(o.Target.Database) + fill("remove_guard", o, ""))
	for i := len(names) - 1; i >= 0; i-- { // the one that holds roles last
		sql, err := removalSQL(o, names[i])
		if err != nil {
			return "", err
		}
		b.WriteString("\n" + connectLine(names[i]) + sql)
	}
	b.WriteString(begin + views.RoleRemovalScript(o.Target) + fill("remove_roles", o, "") + "COMMIT;\nRESET search_path;\n")
	return b.String(), nil
}

func removalSQL(o ScriptOptions, name string) (string, error) {
	sql := begin + views.RemovalScript(o.Target) + rows.RemovalScript() + fill("remove_connect", o, name)
	if name == o.Target.Database {
		sql = queryaudit.RemovalScript() + sql
	}
	if o.Target.Mode == connection.ModeGrantor {
		return sql + fill("remove_grantor", o, name) + "COMMIT;\n", nil
	}
	// Grants of the broker to the account go with the broker.
	drop, err := broker.Uninstall(broker.Options{Target: o.Target, Roles: name == o.Target.Database})
	if err != nil {
		return "", err
	}
	return sql + "COMMIT;\n" + drop, nil
}

// risk says in plain words what the system account can do.
func risk(t connection.Target) string {
	if t.Mode == connection.ModeGrantor {
		return fmt.Sprintf("%s can itself read and write every table that it manages here, and pass that on:\n"+
			"whoever gets its password has all of it. In broker mode it has EXECUTE on a few functions and no data.", comment(t.Username))
	}
	return fmt.Sprintf("%s gets EXECUTE on functions that grant on listed tables to roles named %s…, and no data.", comment(t.Username), t.Prefix)
}

// comment keeps a name on its line.
func comment(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return '?'
		}
		return r
	}, s)
}
