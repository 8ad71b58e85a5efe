package connection

import (
	"strings"
	"unicode"
)

// ScriptCommand is the command that prints what a DBA runs in a database to make
// the account of a registered connection ready there; "": in all of them.
func (t Target) ScriptCommand(database string) string {
	command := "portcullis connection print-script " + ShellWord(t.Name)
	if database != "" && database != t.Database {
		command += " --databases " + ShellWord(database)
	}
	return command
}

// ShellWord makes text one word of a command that people paste.
func ShellWord(text string) string {
	if text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return !strings.ContainsRune("._-", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
