package setup

import (
	"fmt"
	"slices"
	"strings"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/broker"
	"portcullis.dev/portcullis/internal/scram"
	"portcullis.dev/portcullis/internal/sqltext"
)

// step is SQL to be run by the DBA in one database. It may be run again.
type step struct {
	database string
	// parts are sent one after the other: a server logs all that it is sent at
	// once before the first statement of it can keep it from doing so.
	parts []string
	shown string // all of it, without the password's verifier
}

// plan is what makes an instance ready: first the account and roles, then each
// database, the one where roles are handled first.
func plan(o ScriptOptions) ([]step, error) {
	accounts, err := accountStep(o)
	if err != nil {
		return nil, err
	}
	steps := []step{accounts}
	for _, name := range o.databases() {
		sql, err := databaseSQL(o, name)
		if err != nil {
			return nil, err
		}
		steps = append(steps, step{database: name, parts: []string{sql}, shown: sql})
	}
	return steps, nil
}

func (s step) sql() string { return strings.Join(s.parts, "") }

// databases has the target's own first and none twice.
func (o ScriptOptions) databases() []string {
	rest := slices.DeleteFunc(slices.Clone(o.Databases), func(d string) bool { return d == o.Target.Database })
	slices.Sort(rest)
	return append([]string{o.Target.Database}, slices.Compact(rest)...)
}

const begin = "BEGIN;\nSET LOCAL search_path = pg_catalog, pg_temp;\n"

func accountStep(o ScriptOptions) (step, error) {
	head, tail := begin, fill("account", o, "")
	password, shown := "", ""
	if o.Target.Password != "" {
		verifier, err := scram.Verifier(o.Target.Password)
		if err != nil {
			return step{}, &connection.Error{Code: CodePassword, Message: "the password of the system account cannot be used",
				Detail: "it " + err.Error(), Hint: "Leave it out, and one is made.", Err: err}
		}
		head += fill("quiet", o, "")
		password = fmt.Sprintf("ALTER ROLE %s PASSWORD %s;\n", sqltext.Identifier(o.Target.Username), sqltext.Literal(verifier))
		shown = fmt.Sprintf("ALTER ROLE %s PASSWORD '...';\n", sqltext.Identifier(o.Target.Username))
	}
	end := ""
	if o.Target.AWS != nil {
		end += fill("aws", o, "")
	}
	if o.Target.Mode == connection.ModeGrantor {
		end += fill("owner", o, "") + broker.Makers(o.Target)
	}
	end += "COMMIT;\n"
	return step{database: o.Target.Database, parts: []string{head, tail + password + end}, shown: head + tail + shown + end}, nil
}

func databaseSQL(o ScriptOptions, name string) (string, error) {
	if o.Target.Mode == connection.ModeGrantor {
		return begin + fill("connect", o, name) + fill("grantor", o, name) + "COMMIT;\n", nil
	}
	script, err := broker.Script(broker.Options{Target: o.Target, Roles: name == o.Target.Database})
	if err != nil {
		return "", err
	}
	return begin + fill("connect", o, name) + "COMMIT;\n" + script + fill("list", o, name), nil
}

// check refuses what no script can be printed for.
func (o ScriptOptions) check() error {
	t := o.Target
	invalid := func(code, message, hint string) error {
		return &connection.Error{Code: code, Message: message, Hint: hint}
	}
	if err := broker.CheckPrefix(t.Prefix); err != nil {
		return err
	}
	if t.Mode != connection.ModeBroker && t.Mode != connection.ModeGrantor {
		return invalid(CodeMode, fmt.Sprintf("mode %q is not known", t.Mode), "It is broker (recommended) or grantor.")
	}
	if err := broker.CheckAccount(t.Username); err != nil {
		return err
	}
	if name := t.Username; strings.HasPrefix(name, "pg_") || strings.HasPrefix(name, t.Prefix) {
		return invalid(CodeAccount, fmt.Sprintf("%s cannot be the name of the system account", name),
			"Names that begin with pg_ are PostgreSQL's own, those with "+t.Prefix+" hold grants.")
	}
	for _, d := range append([]string{t.Database}, o.Databases...) {
		if d == "" || len(d) > 63 || strings.ContainsAny(d, "\x00\n\r") {
			return invalid(CodeDatabase, fmt.Sprintf("%q cannot be the name of a database here", d), "It has 1 to 63 bytes and no line end.")
		}
	}
	for _, names := range o.Schemas {
		for _, name := range names {
			if err := broker.CheckName("schema", "schema", name); err != nil {
				return err
			}
		}
	}
	return nil
}
