// Package broker prints the definer functions that the owner of a database
// installs, so that the system account can grant on listed tables to roles of
// one prefix and do nothing else.
//
// Two functions do the work. portcullis_broker.tables, in each database, is
// owned by whoever owns the tables and grants and revokes on them.
// portcullis_broker.roles, in the maintenance database only, is owned by a
// NOLOGIN CREATEROLE role and makes, drops and joins roles of the prefix. Both
// take all changes of a transaction at once and check each by OID and name,
// before and after: what they say is refused is refused as a whole.
package broker

import (
	"embed"
	"fmt"
	"regexp"
	"strings"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/sqltext"
)

// Version of the functions; About tells the one that is installed.
const Version = 1

// makers is how many roles make ours on PostgreSQL 16 and later: 10,000 sets
// are then a few hundred for each.
const makers = 32

//go:embed sql/*.sql
var files embed.FS

// Options say for which database the script is.
type Options struct {
	Target connection.Target // Username, Prefix and MakeRoles count
	// Roles adds the functions that handle roles: in Target.Database only.
	Roles bool
	// Schemas to list, so that their tables, future ones too, can be granted.
	Schemas []string
}

var prefixForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,14}_$`)

// CheckPrefix refuses a prefix with which names could be mistaken or too long.
func CheckPrefix(prefix string) error {
	if !prefixForm.MatchString(prefix) || strings.HasPrefix(prefix, "pg_") {
		return &connection.Error{Code: "invalid_prefix", Message: fmt.Sprintf("%q cannot be the prefix of roles", prefix),
			Detail: "It has at most 16 characters, lower-case letters, digits and _, begins with a letter, ends with _ and is not pg_.",
			Hint:   "Use " + connection.DefaultPrefix + " unless another installation manages the same instance."}
	}
	return nil
}

// Script installs or upgrades the broker in one database. It is plain SQL in one
// transaction, to be run by the owner of the tables or by a superuser; running it
// again changes nothing.
func Script(o Options) (string, error) {
	if err := check(o); err != nil {
		return "", err
	}
	parts := []string{"begin", "schema"}
	if o.Roles {
		parts = append(parts, "owner", "makers", "roles")
	}
	parts = append(parts, "listed", "tables", "revoke")
	if o.Roles {
		parts = append(parts, "makers_call")
	}
	return print(o, append(parts, "close")), nil
}

// Makers makes the roles that make ours beside the owner role, for both modes.
func Makers(t connection.Target) string { return fill(Options{Target: t}, "makers") }

// Uninstall drops what Script made in one database, if the roles that were made
// by it are gone; it drops nothing else.
func Uninstall(o Options) (string, error) {
	if err := check(o); err != nil {
		return "", err
	}
	parts := []string{"begin"}
	if o.Roles {
		parts = append(parts, "drop_roles")
	}
	return print(o, append(parts, "drop")), nil
}

func check(o Options) error {
	if err := CheckPrefix(o.Target.Prefix); err != nil {
		return err
	}
	if o.Target.Username == "" || len(o.Target.Username) > 63 || strings.ContainsRune(o.Target.Username, 0) {
		return &connection.Error{Code: "invalid_account", Message: "the broker needs the name of the system account, of at most 63 bytes"}
	}
	return nil
}

func print(o Options, parts []string) string {
	text := fill(o, parts...)
	for _, s := range o.Schemas {
		if parts[len(parts)-1] == "close" {
			text += fmt.Sprintf("SELECT portcullis_broker.list_schema(%s);\n", sqltext.Literal(s))
		}
	}
	return text + "COMMIT;\n"
}

func fill(o Options, parts ...string) string {
	values := strings.NewReplacer(
		"{{prefix}}", sqltext.Literal(o.Target.Prefix),
		"{{account}}", sqltext.Identifier(o.Target.Username),
		"{{account_name}}", sqltext.Literal(o.Target.Username),
		"{{owner}}", sqltext.Identifier(o.Target.OwnerRole()),
		"{{owner_name}}", sqltext.Literal(o.Target.OwnerRole()),
		"{{views_name}}", sqltext.Literal(o.Target.ViewsOwner()),
		"{{logins}}", fmt.Sprint(o.Target.MakeRoles),
		"{{roles}}", fmt.Sprint(o.Roles),
		"{{version}}", fmt.Sprint(Version),
		"{{makers}}", fmt.Sprint(makers),
	)
	var b strings.Builder
	for _, p := range parts {
		text, err := files.ReadFile("sql/" + p + ".sql")
		if err != nil {
			panic(err) // embedded
		}
		b.WriteString(values.Replace(string(text)))
		b.WriteByte('\n')
	}
	return b.String()
}
