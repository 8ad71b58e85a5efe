package odbc

import (
	"strings"
	"unicode/utf8"
)

// reserved are attributes that would change what is loaded or read; unixODBC
// itself acts on all of them.
var reserved = map[string]bool{
	"driver": true, "dsn": true, "filedsn": true, "savefile": true,
	"dmenvattr": true, "dmconnattr": true, "dmstmtattr": true,
}

// connectionString builds the string for SQLDriverConnect. The driver's name
// was checked to be registered. Errors name the attribute, never its value.
func connectionString(spec ConnSpec, t traits) (string, error) {
	var b strings.Builder
	b.WriteString("Driver={" + spec.Driver + "}")
	seen := map[string]bool{}
	for _, a := range spec.Attrs {
		name := strings.ToLower(strings.TrimSpace(a.Name))
		if err := checkName(a.Name, name, seen); err != nil {
			return "", err
		}
		seen[name] = true
		value, err := quoteValue(name, a.Value, t)
		if err != nil {
			return "", err
		}
		b.WriteString(";" + a.Name + "=" + value)
	}
	return b.String(), nil
}

func checkName(given, name string, seen map[string]bool) error {
	if name == "" || name != strings.ToLower(given) {
		return newError("HY024", "%q is not the name of a connection attribute", given)
	}
	for _, c := range []byte(given) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == ' ') {
			return newError("HY024", "%q is not the name of a connection attribute", given)
		}
	}
	if reserved[name] {
		return newError("HY024", "the connection attribute %q may not be set", given)
	}
	if seen[name] {
		return newError("HY024", "the connection attribute %q is given twice", given)
	}
	return nil
}

// quoteValue writes a value so that the driver manager and the driver both
// read exactly it, or refuses.
func quoteValue(name, value string, t traits) (string, error) {
	refuse := func(why string) (string, error) {
		return "", newError("HY024", "the value of the connection attribute %q %s", name, why)
	}
	switch {
	case strings.IndexByte(value, 0) >= 0:
		return refuse("holds a NUL byte")
	case !utf8.ValidString(value):
		return refuse("is not valid UTF-8")
	case t.maxValue(name) > 0 && len(value) > t.maxValue(name):
		return refuse("is longer than the driver keeps")
	case t.trims && strings.TrimSpace(value) != value:
		return refuse("begins or ends with blanks, which the driver does not keep")
	}
	plain := !strings.ContainsAny(value, ";{}") && strings.TrimSpace(value) == value
	if t.braces(name) && (t.always || !plain) {
		return "{" + strings.ReplaceAll(value, "}", "}}") + "}", nil
	}
	if !plain {
		return refuse("holds characters that this driver cannot be given (one of ; { } or blanks at the ends)")
	}
	return value, nil
}
