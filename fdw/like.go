package fdw

import "strings"

// likeToken is a piece of a LIKE pattern: a literal character, or a wildcard.
type likeToken struct {
	wild byte // '%', '_', or 0 for a literal
	text string
}

// parseLike splits a pattern whose escape character is the backslash. It
// fails on a pattern that ends in a lone one, which PostgreSQL refuses.
func parseLike(pattern string) ([]likeToken, bool) {
	var out []likeToken
	runes := []rune(pattern)
	for i := 0; i < len(runes); i++ {
		switch r := runes[i]; {
		case r == '%' || r == '_':
			out = append(out, likeToken{wild: byte(r)})
		case r == '\\':
			i++
			if i == len(runes) {
				return nil, false
			}
			out = append(out, likeToken{text: string(runes[i])})
		default:
			out = append(out, likeToken{text: string(r)})
		}
	}
	return out, true
}

// likeWithEscape rewrites a pattern to another escape character.
func likeWithEscape(pattern, escape string) (string, bool) {
	tokens, ok := parseLike(pattern)
	var b strings.Builder
	for _, t := range tokens {
		switch {
		case t.wild != 0:
			b.WriteByte(t.wild)
		case t.text == "%" || t.text == "_" || t.text == escape:
			b.WriteString(escape + t.text)
		default:
			b.WriteString(t.text)
		}
	}
	return b.String(), ok
}

// likeToGlob rewrites a pattern for SQLite's GLOB.
func likeToGlob(pattern string) (string, bool) {
	tokens, ok := parseLike(pattern)
	var b strings.Builder
	for _, t := range tokens {
		switch {
		case t.wild == '%':
			b.WriteByte('*')
		case t.wild == '_':
			b.WriteByte('?')
		case t.text == "*" || t.text == "?" || t.text == "[":
			b.WriteString("[" + t.text + "]")
		default:
			b.WriteString(t.text)
		}
	}
	return b.String(), ok
}
