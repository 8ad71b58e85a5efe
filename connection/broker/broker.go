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
	"unicode/utf8"

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
		parts = append(parts, "owner", "makers", "roles", "adopt")
	}
	parts = append(parts, "listed", "tables", "revoke")
	if o.Roles {
		parts = append(parts, "makers_call")
	}
	return print(o, append(parts, "close")), nil
}

// Makers makes the roles that make ours beside the owner role, for both modes,
// and gives the owner role those that were made before an upgrade or a restore.
func Makers(t connection.Target) string { return fill(Options{Target: t}, "makers", "adopt") }

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

// CheckAccount refuses names of the system account that no script can hold.
func CheckAccount(name string) error { return CheckName("account", "system account", name) }

// CheckName refuses names that a script cannot hold everywhere: in bodies of
// functions they stand between dollar quotes, which no quoting inside protects,
// and comments end with the line. kind becomes the error's code.
func CheckName(kind, of, name string) error {
	wrong := unspeakable(name)
	if wrong == "" && strings.ContainsAny(name, "$\n\r") {
		wrong = "has a $ or a line end"
	}
	if wrong == "" {
		return nil
	}
	return &connection.Error{Code: "invalid_" + kind, Message: fmt.Sprintf("%q cannot be the name of the %s: it %s", name, of, wrong),
		Hint: "The scripts that make an instance ready need a name of 1 to 63 bytes without $ and line ends."}
}

// unspeakable says why PostgreSQL takes no such name as it is, "" if it does.
func unspeakable(name string) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > 63:
		return "has more than 63 bytes, which PostgreSQL cuts"
	case strings.ContainsRune(name, 0):
		return "has a NUL"
	case !utf8.ValidString(name):
		return "is not UTF-8"
	}
	return ""
}

func check(o Options) error {
	if err := CheckPrefix(o.Target.Prefix); err != nil {
		return err
	}
	if err := CheckAccount(o.Target.Username); err != nil {
		return err
	}
	for _, s := range o.Schemas {
		if wrong := unspeakable(s); wrong != "" {
			return &connection.Error{Code: "invalid_schema", Message: fmt.Sprintf("%q cannot be the name of a schema: it %s", s, wrong)}
		}
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
