package fdw

import (
	"context"
	"net/netip"
	"sort"
	"strings"
	"time"
)

// Exactness says whether and how a source may compute a condition.
type Exactness int

// The answers, from worst to best.
const (
	// No: it stays here.
	No Exactness = iota
	// Fallible: exact, and it fails on the rows on which PostgreSQL fails. Where a
	// policy holds it stays here: what an error of a source says is hidden
	// then, and a person would miss the error that PostgreSQL gives.
	Fallible
	// Guarded: exact, but not proved to be harmless on every row, so it may
	// only see rows that the row filter lets through (POLICY.md, "Remote
	// statements").
	Guarded
	// Total: exact and it cannot fail on any row.
	Total
)

// Dialect is what is known of one kind of source. It never talks to it.
type Dialect interface {
	// Name is postgres, mariadb or sqlite.
	Name() string

	// Options are the options that may be set on objects of this dialect.
	Options() OptionSet

	// Connection turns the options of a server and user mapping into
	// connection attributes and the statements that prepare a session.
	Connection(server, mapping map[string]string, env Env) (*Connection, error)

	// Transfer says how a column is fetched so that its exact value arrives.
	Transfer(c *TableColumn) (Transfer, error)

	// Exact says whether the source computes e exactly as PostgreSQL would,
	// and if not why.
	Exact(e Expr, t *Table, f *Facts) (Exactness, string)

	// Print writes a condition that Exact accepted.
	Print(e Expr, t *Table, f *Facts, w *SQLWriter) error

	// Quote makes an identifier of the source; it refuses names that the
	// source cannot have.
	Quote(name string) (string, error)

	// Relation is the quoted name of the remote table.
	Relation(t *Table) (string, error)

	// Witness is an expression that is NULL in every row and that the driver
	// describes as it does the column itself.
	Witness(c *TableColumn, t *Table) (string, error)

	// Agrees says whether a column that the driver describes so may be one
	// that Import gave this type (typeFromName's). Where the driver does not
	// tell types apart, nor does it.
	Agrees(local string, d Described) bool

	// Import writes CREATE FOREIGN TABLE statements for remote tables.
	Import(ctx context.Context, q Querier, r ImportRequest) ([]ImportedTable, error)

	// Explain turns a message of the remote source into one that a person can
	// act on, where the dialect has caused it; else nil.
	Explain(message string) *Error
}

// partial is a dialect whose sources may hold values that are none of their
// column's type, on which Transfer or PostgreSQL fails. Readable is a condition,
// never NULL, that holds where they do not, or "" where that is always.
type partial interface {
	Readable(c *TableColumn) (string, error)
}

// direct is a dialect that need not compute what the driver hands over exactly
// by itself: without an expression around it a column costs the source less and
// describes itself. Direct is such a Transfer, for values of the type Column; Fits
// says whether a column that is described so has that type. Where it has not,
// Transfer is the way.
type direct interface {
	Direct(c *TableColumn) (Transfer, bool)
	Fits(c *TableColumn, d Described) bool
}

// Env is what a dialect needs of the node.
type Env struct {
	FileFolder string                              // file databases lie below it, "" = none allowed
	Unseal     func(sealed string) (string, error) // nil: no node key
}

// Attr is one connection attribute.
type Attr struct{ Name, Value string }

// Connection says how to connect and how to prepare the session.
type Connection struct {
	Driver         string // name registered with unixODBC
	Attrs          []Attr
	ConnectTimeout time.Duration // 0: the engine's default

	// Where the driver connects to: "" for a file. The node's guard decides on
	// the addresses that Host stands for; HoldTo holds the driver to one of
	// them. Nil: the driver looks the name up again.
	Host   string
	Port   uint16
	HoldTo func(address netip.Addr) []Attr

	Setup  []string // statements, in order, right after connecting
	Verify []Verify // then asked, in order
	// AutoCommit stays on: the driver streams only so, and one statement at a
	// time reads a consistent state.
	AutoCommit bool
}

// Verify is a condition on the session without which values or conditions
// would not be exact.
type Verify struct {
	SQL  string
	Want string // first column of the first row
	Why  string // message of the error when it is not
}

// Drivers that are known, by the names that packages register with unixODBC,
// in lower case.
var driverNames = map[string]string{
	"postgresql unicode": "postgres",
	"postgresql ansi":    "postgres",
	"postgresql":         "postgres",
	"mariadb unicode":    "mariadb",
	"mariadb":            "mariadb",
	"sqlite3":            "sqlite",
}

// debianDrivers are Debian's packages, and the names that they register.
var debianDrivers = map[string]string{
	"postgres": `odbc-postgresql registers "PostgreSQL Unicode"`,
	"mariadb":  `odbc-mariadb registers "MariaDB Unicode"`,
	"sqlite":   `libsqliteodbc registers "SQLite3"`,
}

// NotRegistered is the error of a driver that is none of those registered with unixODBC.
func NotRegistered(driver string, registered []string) *Error {
	var usable []string
	for _, name := range registered {
		if _, err := ForDriver(name); err == nil {
			usable = append(usable, name)
		}
	}
	hint := "No supported driver is registered."
	if len(usable) > 0 {
		hint = "Registered and supported: " + strings.Join(usable, ", ") + "."
	}
	if d, err := ForDriver(driver); err == nil {
		hint += " Debian's package " + debianDrivers[d.Name()] + "; other installations need a section [" + printable(driver) + "] in odbcinst.ini."
	}
	return &Error{
		State:   stateInvalidOptionValue,
		Message: "driver \"" + printable(driver) + "\" is not registered with unixODBC on this server",
		Hint:    hint,
	}
}

// ForDriver finds the dialect of a driver registered with unixODBC.
func ForDriver(driver string) (Dialect, error) {
	switch driverNames[strings.ToLower(driver)] {
	case "postgres":
		return postgres{}, nil
	case "mariadb":
		return mariadb{}, nil
	case "sqlite":
		return sqlite{}, nil
	}
	return nil, &Error{
		State:   stateInvalidOptionValue,
		Message: "driver \"" + printable(driver) + "\" is not supported",
		Hint:    "Supported drivers: " + strings.Join(supportedDrivers(), ", ") + ".",
	}
}

func supportedDrivers() []string {
	names := []string{"PostgreSQL Unicode", "PostgreSQL ANSI", "MariaDB Unicode", "MariaDB", "SQLite3"}
	sort.Strings(names)
	return names
}

// ForServer finds the dialect of a server's options.
func ForServer(server map[string]string) (Dialect, error) {
	driver, ok := server["driver"]
	if !ok {
		return nil, &Error{State: stateMissingOption, Message: "the server has no option \"driver\"",
			Hint: "Supported drivers: " + strings.Join(supportedDrivers(), ", ") + "."}
	}
	return ForDriver(driver)
}

// printable keeps control characters out of messages.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

// quoteWith quotes an identifier with q, doubling q inside.
func quoteWith(name, q string, longest int) (string, error) {
	if name == "" || strings.IndexByte(name, 0) >= 0 {
		return "", &Error{State: stateInvalidName, Message: "a remote name is empty or holds a NUL character"}
	}
	if longest > 0 && len(name) > longest {
		return "", &Error{State: stateNameTooLong, Message: "the remote name \"" + printable(name) + "\" is too long for the source"}
	}
	return q + strings.ReplaceAll(name, q, q+q) + q, nil
}

// relationName quotes schema and table.
func relationName(d Dialect, t *Table) (string, error) {
	name, err := d.Quote(t.RemoteName)
	if err != nil || t.RemoteSchema == "" {
		return name, err
	}
	schema, err := d.Quote(t.RemoteSchema)
	return schema + "." + name, err
}
