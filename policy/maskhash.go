package policy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
)

// hashMasker shows HMAC-SHA-256 of the canonical text in lower case hex (64
// characters). One key a table: equal values of one table look equal.
type hashMasker struct {
	t   typeInfo
	mac hash.Hash // nil: no key, everything is NULL
	buf []byte
	sum [sha256.Size]byte
}

func newHashMasker(t typeInfo, key []byte) *hashMasker {
	m := &hashMasker{t: t}
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
	m.mac.Reset()
	if _, err := m.mac.Write(m.buf); err != nil {
		return dst, true, err
	}
	return hex.AppendEncode(dst, m.mac.Sum(m.sum[:0])), false, nil
}
