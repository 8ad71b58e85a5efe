package main

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// plainWriter writes what a terminal would take as a command, such as ESC in the
// name of somebody's table, as an escape. Lines and tabs stay.
type plainWriter struct{ to io.Writer }

func (w plainWriter) Write(p []byte) (int, error) {
	_, err := io.WriteString(w.to, escaped(string(p), "\n\t"))
	return len(p), err
}

// shown is a name on one line and in one column.
func shown(name string) string { return escaped(name, "") }

func escaped(text, except string) string {
	tame := func(r rune) bool {
		return strings.ContainsRune(except, r) || !unicode.IsControl(r) && !unicode.Is(unicode.Bidi_Control, r)
	}
	if !strings.ContainsFunc(text, func(r rune) bool { return !tame(r) }) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if tame(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "\\u%04x", r)
		}
	}
	return b.String()
}
