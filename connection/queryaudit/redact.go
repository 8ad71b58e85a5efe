package queryaudit

import "regexp"

// secrets are where statements carry a password: pgaudit leaves out its own,
// log_statement does not. What follows is left out to the end, as pgaudit does,
// since no pattern knows every way to quote.
var secrets = regexp.MustCompile(`(?is)\b(create|alter)\s+(role|user|group|subscription|server|user\s+mapping)\b.*?\b(password|connection|options)\b`)

const redacted = " <REDACTED>"

func redact(statement string) string {
	at := secrets.FindStringIndex(statement)
	if at == nil {
		return statement
	}
	return statement[:at[1]] + redacted
}
