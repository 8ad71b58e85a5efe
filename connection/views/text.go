package views

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// schemaPrefix begins the names of the schemas that hold views.
const schemaPrefix = "policy_"

// SchemaOf is the schema that holds the views of a schema's tables.
func SchemaOf(schema string) string { return fit(schemaPrefix + schema) }

// maxName is the longest name that PostgreSQL keeps, in bytes.
const maxName = 63

// fit shortens a name that is too long, so that two do not become one.
func fit(name string) string {
	if len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	cut := maxName - 9
	for !utf8.RuneStart(name[cut]) {
		cut--
	}
	return name[:cut] + "_" + hex.EncodeToString(sum[:4])
}

// decimals are the digits of a base after the point.
func decimals(base string) int {
	_, after, _ := strings.Cut(base, ".")
	return len(after)
}

// lowest is the least value of numeric(p,s), "" for numeric.
func lowest(typeName string) (string, error) {
	_, args, found := strings.Cut(typeName, "(")
	if !found {
		return "", nil
	}
	p, s, _ := strings.Cut(strings.TrimSuffix(args, ")"), ",")
	precision, err1 := strconv.Atoi(strings.TrimSpace(p))
	scale := 0
	var err2 error
	if s != "" {
		scale, err2 = strconv.Atoi(strings.TrimSpace(s))
	}
	if err1 != nil || err2 != nil || scale < 0 || scale > precision {
		return "", fmt.Errorf("type %s is rounded by the gate only", typeName)
	}
	whole := strings.Repeat("9", precision-scale)
	if whole == "" {
		whole = "0"
	}
	if scale == 0 {
		return "-" + whole, nil
	}
	return "-" + whole + "." + strings.Repeat("9", scale), nil
}
