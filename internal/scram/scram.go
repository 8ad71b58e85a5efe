// Package scram makes and checks the verifier that PostgreSQL stores for a
// password, so that no password travels in a statement.
package scram

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// iterations is PostgreSQL's own count.
const iterations = 4096

// Verifier computes what PostgreSQL stores for a password.
func Verifier(password string) (string, error) {
	salt := make([]byte, 16)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	return verifier(password, salt, iterations)
}

func verifier(password string, salt []byte, iterations int) (string, error) {
	prepared, err := prepare(password)
	if err != nil {
		return "", err
	}
	salted, err := pbkdf2.Key(sha256.New, prepared, salt, iterations, sha256.Size)
	if err != nil {
		return "", err
	}
	client := mac(salted, "Client Key")
	stored := sha256.Sum256(client)
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, b64(salt), b64(stored[:]), b64(mac(salted, "Server Key"))), nil
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// Matches tells whether the verifier was made of the password.
func Matches(stored, password string) bool {
	rest, ok := strings.CutPrefix(stored, "SCRAM-SHA-256$")
	if !ok {
		return false
	}
	count, rest, ok := strings.Cut(rest, ":")
	if !ok {
		return false
	}
	saltText, _, ok := strings.Cut(rest, "$")
	iterations, err1 := strconv.Atoi(count)
	salt, err2 := base64.StdEncoding.DecodeString(saltText)
	if !ok || err1 != nil || err2 != nil || iterations < 1 || iterations > 1<<20 {
		return false
	}
	again, err := verifier(password, salt, iterations)
	return err == nil && subtle.ConstantTimeCompare([]byte(again), []byte(stored)) == 1
}

// prepare normalises as SASLprep does for what it accepts. What it prohibits
// PostgreSQL takes as it is; such passwords are refused here.
func prepare(password string) (string, error) {
	for _, r := range password {
		if unicode.IsControl(r) || r == unicode.ReplacementChar || unicode.Is(unicode.Co, r) || unicode.Is(unicode.Cs, r) {
			return "", errors.New("contains a control, private or invalid character")
		}
	}
	mapped := strings.Map(func(r rune) rune {
		switch {
		case r == 0x00AD || r == 0x1806 || r >= 0x200B && r <= 0x200D || r == 0x2060 || r == 0xFEFF || r >= 0xFE00 && r <= 0xFE0F:
			return -1
		case unicode.Is(unicode.Zs, r):
			return ' '
		}
		return r
	}, password)
	if mapped == "" {
		return "", errors.New("is empty")
	}
	return norm.NFKC.String(mapped), nil
}
