package policy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
)

// HashLength is how many characters a hash shows.
const HashLength = 2 * sha256.Size

// hashMasker shows HMAC-SHA-256 of the canonical text in lower case hex (64
// characters). One key a table: equal values of one table look equal.
type hashMasker struct {
	t     typeInfo
	nulls NullsMode
	mac   hash.Hash // nil: no key, everything is NULL
	buf   []byte
	sum   [sha256.Size]byte
}

// hashedNull is what is hashed for NULL: no text in UTF-8, so no value.
const hashedNull = "\xffNULL"

func newHashMasker(t typeInfo, key []byte, nulls NullsMode) *hashMasker {
	m := &hashMasker{t: t, nulls: nulls}
	if len(key) > 0 {
		m.mac = hmac.New(sha256.New, key)
	}
	return m
}

func (m *hashMasker) Append(dst, value []byte) ([]byte, bool, error) {
	if m.mac == nil {
		return dst, true, nil
	}
	var ok bool
	if m.buf, ok = m.t.appendCanonical(m.buf[:0], value); !ok {
		return dst, true, nil
	}
	return m.append(dst, m.buf), false, nil
}

func (m *hashMasker) AppendNull(dst []byte) ([]byte, bool) {
	if m.mac == nil || m.nulls != NullsMask {
		return dst, true
	}
	return m.append(dst, []byte(hashedNull)), false
}

func (m *hashMasker) append(dst, canonical []byte) []byte {
	m.mac.Reset()
	_, _ = m.mac.Write(canonical) // a hash never fails
	return hex.AppendEncode(dst, m.mac.Sum(m.sum[:0]))
}
