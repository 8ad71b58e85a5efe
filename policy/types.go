package policy

import (
	"fmt"
	"strconv"
	"strings"
)

// class groups PostgreSQL types that compare, hash and mask in the same way.
type class int

const (
	classOther   class = iota // compared not at all, hashed as its text
	classInt                  // smallint, integer, bigint
	classNumeric              // numeric
	classFloat                // real, double precision
	classText                 // text, character varying
	classBlank                // character(n): trailing blanks mean nothing
	classBool
	classDate
	classTimestamp
	classTimestampTZ
	classTime
	classUUID
	classBytes
)

// typeInfo is what a type name as format_type prints it says.
type typeInfo struct {
	class     class
	bits      int // integers: 16, 32, 64
	precision int // numeric(p,s): p, else 0
	scale     int // numeric(p,s): s
	length    int // character types: declared length in characters, else 0
}

// parseType reads a type name as format_type prints it; an unknown name is
// of classOther.
func parseType(name string) typeInfo {
	base, args := splitType(name)
	switch base {
	case "smallint", "int2":
		return typeInfo{class: classInt, bits: 16}
	case "integer", "int", "int4":
		return typeInfo{class: classInt, bits: 32}
	case "bigint", "int8":
		return typeInfo{class: classInt, bits: 64}
	case "numeric", "decimal":
		t := typeInfo{class: classNumeric}
		if len(args) > 0 {
			t.precision = args[0]
		}
		if len(args) > 1 {
			t.scale = args[1]
		}
		return t
	case "real", "float4", "double precision", "float8":
		return typeInfo{class: classFloat}
	case "text":
		return typeInfo{class: classText}
	case "character varying", "varchar":
		return typeInfo{class: classText, length: first(args)}
	case "character", "char", "bpchar":
		return typeInfo{class: classBlank, length: first(args)}
	case "boolean", "bool":
		return typeInfo{class: classBool}
	case "date":
		return typeInfo{class: classDate}
	case "timestamp", "timestamp without time zone":
		return typeInfo{class: classTimestamp}
	case "timestamptz", "timestamp with time zone":
		return typeInfo{class: classTimestampTZ}
	case "time", "time without time zone":
		return typeInfo{class: classTime}
	case "uuid":
		return typeInfo{class: classUUID}
	case "bytea":
		return typeInfo{class: classBytes}
	}
	return typeInfo{}
}

func first(args []int) int {
	if len(args) == 0 {
		return 0
	}
	return args[0]
}

// splitType takes "timestamp(3) without time zone" apart into the name
// without and the numbers within the parentheses.
func splitType(name string) (string, []int) {
	open := strings.IndexByte(name, '(')
	if open < 0 {
		return strings.TrimSpace(name), nil
	}
	end := strings.IndexByte(name[open:], ')')
	if end < 0 {
		return "", nil
	}
	end += open
	var args []int
	for _, part := range strings.Split(name[open+1:end], ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil {
			return "", nil
		}
		args = append(args, n)
	}
	base := strings.TrimSpace(name[:open])
	if rest := strings.TrimSpace(name[end+1:]); rest != "" {
		base += " " + rest
	}
	return base, args
}

// classNames says how a class is called in messages, and which type a
// constant carries that is compared with a column of it.
var classNames = [...]struct{ shown, value string }{
	classOther:       {"other", ""},
	classInt:         {"integer", "bigint"},
	classNumeric:     {"numeric", "numeric"},
	classFloat:       {"floating point", "double precision"},
	classText:        {"text", "text"},
	classBlank:       {"text", "character"},
	classBool:        {"boolean", "boolean"},
	classDate:        {"date", "date"},
	classTimestamp:   {"timestamp", "timestamp"},
	classTimestampTZ: {"timestamp with time zone", "timestamptz"},
	classTime:        {"time", "time"},
	classUUID:        {"uuid", "uuid"},
	classBytes:       {"bytea", "bytea"},
}

func (c class) String() string { return classNames[c].shown }

// valueType is the type that a constant compared with a column of this type carries.
func (t typeInfo) valueType() string { return classNames[t.class].value }

// Canonical returns text in the canonical form of the type: two values are
// equal in PostgreSQL exactly if their canonical forms are the same bytes.
// See appendCanonical for the forms.
func Canonical(typeName, text string) (string, error) {
	out, ok := parseType(typeName).appendCanonical(nil, []byte(text))
	if !ok {
		return "", fmt.Errorf("%q is not a value of type %s", text, typeName)
	}
	return string(out), nil
}
