package fdw

import (
	"net/netip"
	"sort"
	"strconv"
	"strings"
)

// OptionSet lists the options of each catalog object.
type OptionSet struct {
	Server, Mapping, Table, Column map[string]check

	// Needed are the server's options without which a source is not stated;
	// servers made by hand may leave them to defaults.
	Needed []string
}

// check says why a value of an option is not accepted, "" if it is.
type check func(value string) (why string)

func anyText(v string) string {
	if strings.IndexByte(v, 0) >= 0 {
		return "it holds a NUL character"
	}
	return ""
}

// name is a database, schema, table or column.
func name(v string) string {
	switch {
	case v == "":
		return "it is empty"
	case strings.ContainsFunc(v, func(r rune) bool { return r == 0 }):
		return "it holds a NUL character"
	case len(v) > 255:
		return "it is longer than 255 bytes"
	}
	return ""
}

// plain is a value that goes into the connection string as it stands.
func plain(v string) string {
	switch {
	case v == "":
		return "it is empty"
	case len(v) > 255:
		return "it is longer than 255 bytes"
	case strings.ContainsAny(v, ";{}=\x00\r\n"):
		return "the characters ; { } = and line ends are not allowed"
	}
	return ""
}

// database is plain and not taken by libpq for a connection string.
func database(v string) string {
	if strings.HasPrefix(v, "postgres://") || strings.HasPrefix(v, "postgresql://") {
		return "it is a connection string, not a name"
	}
	return plain(v)
}

// host is a host name or an IP address: no path of a socket, no list.
func host(v string) string {
	if v == "" || len(v) > 253 {
		return "it is empty or longer than 253 bytes"
	}
	if _, err := netip.ParseAddr(v); err == nil {
		return ""
	}
	for _, label := range strings.Split(strings.TrimSuffix(v, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' {
			return "it is neither a host name nor an IP address"
		}
		for i := 0; i < len(label); i++ {
			c := label[i]
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
				return "it is neither a host name nor an IP address"
			}
		}
	}
	return ""
}

// number is a decimal integer in a range.
func number(lo, hi int) check {
	return func(v string) string {
		n, err := strconv.Atoi(v)
		if err != nil || n < lo || n > hi || strconv.Itoa(n) != v {
			return "it is not a number from " + strconv.Itoa(lo) + " to " + strconv.Itoa(hi)
		}
		return ""
	}
}

func oneOf(values ...string) check {
	return func(v string) string {
		for _, known := range values {
			if v == known {
				return ""
			}
		}
		return "valid values: " + strings.Join(values, ", ")
	}
}

var boolean = oneOf("true", "false", "on", "off", "1", "0")

// IsTrue reads a boolean option that passed validation.
func optionTrue(v string) bool { return v == "true" || v == "on" || v == "1" }

func uuid(v string) string {
	if len(v) == 36 {
		for i := 0; i < 36; i++ {
			dash := i == 8 || i == 13 || i == 18 || i == 23
			if dash != (v[i] == '-') || !dash && !strings.ContainsRune("0123456789abcdefABCDEF", rune(v[i])) {
				return "it is not a uuid"
			}
		}
		return ""
	}
	return "it is not a uuid"
}

// commonTable and commonColumn are the options of tables and columns in every dialect.
func commonTable() map[string]check {
	return map[string]check{"schema_name": name, "table_name": name, "data_source": uuid, "use_remote_estimate": boolean}
}

func commonColumn() map[string]check { return map[string]check{"column_name": name} }

func commonMapping() map[string]check {
	return map[string]check{"username": secretText, "password": secretText, "password_sealed": secretText}
}

// secretText is a value that package odbc can brace-quote.
func secretText(v string) string {
	switch {
	case strings.IndexByte(v, 0) >= 0:
		return "it holds a NUL character"
	case len(v) > 4096:
		return "it is too long"
	}
	return ""
}

// ValidateOptions checks the options of a catalog object: 's' server, 'm'
// user mapping, 't' table, 'c' column. Only a server's options name the
// driver; the others must be known to some dialect.
func ValidateOptions(object byte, options map[string]string) error {
	_, err := wrongOption(object, options)
	return err
}

// CheckSource checks the options of a server, which leaves what is Needed to
// no default, and names the one that is wrong.
func CheckSource(options map[string]string) (option string, err error) {
	if option, err = WrongServerOption(options); err != nil {
		return option, err
	}
	d, err := ForServer(options)
	if err != nil {
		return "driver", err
	}
	for _, needed := range d.Options().Needed {
		if options[needed] == "" {
			return needed, &Error{State: stateMissingOption, Message: "option \"" + needed + "\" is needed for the driver \"" + printable(options["driver"]) + "\""}
		}
	}
	return "", nil
}

// WrongServerOption checks the options of a server and names the one that is wrong.
func WrongServerOption(options map[string]string) (option string, err error) {
	return wrongOption('s', options)
}

// wrongOption names the option that the error is about, "" where it is several.
func wrongOption(object byte, options map[string]string) (option string, err error) {
	set, err := validOptions(object, options)
	if err != nil {
		return "driver", err
	}
	names := make([]string, 0, len(options))
	for n := range options {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		ok, known := set[n]
		if !known {
			return n, unknownOption(n, set)
		}
		if why := ok(options[n]); why != "" {
			return n, badOption(object, n, options[n], why)
		}
	}
	return "", together(object, options)
}

func validOptions(object byte, options map[string]string) (map[string]check, error) {
	switch object {
	case 's':
		d, err := ForServer(options)
		if err != nil {
			return nil, err
		}
		return d.Options().Server, nil
	case 'm':
		return commonMapping(), nil
	case 't':
		return commonTable(), nil
	case 'c':
		return commonColumn(), nil
	}
	return map[string]check{}, nil
}

func unknownOption(name string, set map[string]check) error {
	var valid []string
	for n := range set {
		valid = append(valid, n)
	}
	sort.Strings(valid)
	e := &Error{State: stateInvalidOptionName, Message: "invalid option \"" + printable(name) + "\"", Hint: "There are no valid options here."}
	if len(valid) > 0 {
		e.Hint = "Valid options: " + strings.Join(valid, ", ") + "."
	}
	if near := nearest(name, valid); near != "" {
		e.Hint = "Perhaps you meant \"" + near + "\". " + e.Hint
	}
	return e
}

// badOption names the value, save where it may be a secret.
func badOption(object byte, name, value, why string) error {
	e := &Error{State: stateInvalidOptionValue, Message: "invalid value for option \"" + name + "\"", Hint: "The value cannot be used: " + why + "."}
	if object != 'm' {
		if len(value) > 100 {
			value = value[:100] + "…"
		}
		e.Message += ": \"" + printable(strings.ToValidUTF8(value, "?")) + "\""
	}
	return e
}

// together checks options that need or exclude each other.
func together(object byte, o map[string]string) error {
	_, clear := o["password"]
	_, sealed := o["password_sealed"]
	if object == 'm' && clear && sealed {
		return &Error{State: stateInvalidOptionName, Message: "options \"password\" and \"password_sealed\" exclude each other"}
	}
	return nil
}

// nearest is the valid name within two edits of a wrong one.
func nearest(wrong string, valid []string) string {
	if len(wrong) > 63 {
		return ""
	}
	best, bestAt := "", 3
	for _, v := range valid {
		if d := distance(strings.ToLower(wrong), v); d < bestAt {
			best, bestAt = v, d
		}
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			next := min(row[j]+1, row[j-1]+1)
			if a[i-1] == b[j-1] {
				next = min(next, diagonal)
			} else {
				next = min(next, diagonal+1)
			}
			diagonal, row[j] = row[j], next
		}
	}
	return row[len(b)]
}

// password finds the mapping's password, unsealing it where it is sealed.
func password(mapping map[string]string, env Env) (string, error) {
	sealed, ok := mapping["password_sealed"]
	if !ok {
		return mapping["password"], nil
	}
	if env.Unseal == nil {
		return "", &Error{State: stateInvalidOptionValue, Message: "the password of the user mapping is sealed, but this node has no key",
			Hint: "Set portcullis.key_file to the node's key file, or set the password again: ALTER USER MAPPING … OPTIONS (SET password '…')."}
	}
	clear, err := env.Unseal(sealed)
	if err != nil {
		return "", &Error{State: stateInvalidOptionValue, Message: "the password of the user mapping cannot be unsealed with this node's key",
			Hint: "Set the password again on this node, where it is sealed: ALTER USER MAPPING … OPTIONS (SET password '…')."}
	}
	return clear, nil
}

// address validates the host.
func address(server map[string]string) (string, error) {
	h := or(server["host"], "127.0.0.1")
	if why := host(h); why != "" {
		return "", badOption('s', "host", h, why)
	}
	return h, nil
}

// portOf reads the validated option port.
func portOf(server map[string]string, otherwise uint16) uint16 {
	port, err := strconv.ParseUint(server["port"], 10, 16)
	if err != nil {
		return otherwise
	}
	return uint16(port)
}

// checked validates all server options once more: catalogs may hold options
// that an older version accepted.
func checked(d Dialect, server map[string]string) error {
	for n, v := range server {
		ok, known := d.Options().Server[n]
		if !known {
			return unknownOption(n, d.Options().Server)
		}
		if why := ok(v); why != "" {
			return badOption('s', n, v, why)
		}
	}
	return nil
}
