package service

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// checkName accepts a name: not empty, valid UTF-8 without NUL, at most max bytes.
func checkName(field, name string, max int) error {
	if name == "" {
		return invalid(field, "must not be empty")
	}
	return checkText(field, name, max)
}

// checkText accepts text that PostgreSQL can store.
func checkText(field, text string, max int) error {
	switch {
	case len(text) > max:
		return invalid(field, "is longer than %d bytes", max)
	case !utf8.ValidString(text):
		return invalid(field, "is not valid UTF-8")
	case strings.ContainsRune(text, 0):
		return invalid(field, "contains a NUL character")
	}
	return nil
}

// checkIdentifier accepts what can name an object of PostgreSQL unshortened.
func checkIdentifier(field, name string) error { return checkName(field, name, 63) }

// maxString bounds every string of a request, bytes.
const maxString = 64 << 10

// checkStrings finds a string that cannot be stored anywhere in v.
func checkStrings(v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		return err
	}
	return walkStrings("", tree)
}

func walkStrings(path string, v any) error {
	switch x := v.(type) {
	case string:
		return checkText(path, x, maxString)
	case []any:
		for i, e := range x {
			if err := walkStrings(fmt.Sprintf("%s[%d]", path, i), e); err != nil {
				return err
			}
		}
	case map[string]any:
		for name, e := range x {
			at := strings.TrimPrefix(path+"."+name, ".")
			if err := checkText(at, name, maxString); err != nil {
				return err
			}
			if err := walkStrings(at, e); err != nil {
				return err
			}
		}
	}
	return nil
}

func indexed(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }
