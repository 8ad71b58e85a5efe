package views

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"portcullis.dev/portcullis/internal/sqltext"
	"portcullis.dev/portcullis/policy"
)

// mask prints a column under a mask so that it shows what the Masker of
// package policy shows, or says why PostgreSQL cannot.
func (w *writer) mask(c policy.Column, m policy.Mask) (string, error) {
	if err := m.Suits(c.Type); err != nil {
		return "", err
	}
	raw := column(c.Name)
	switch m.Kind {
	case policy.MaskNull:
		return "NULL::" + c.Type, nil
	case policy.MaskConstant:
		return w.constant(c, m), nil
	case policy.MaskHash:
		return w.hash(c, m), nil
	case policy.MaskRound:
		return w.round(c, m)
	case policy.MaskTruncate:
		return truncate(c, m)
	case policy.MaskRegex:
		return "", errors.New("PostgreSQL's regular expressions are not those of the mask")
	}
	return "", fmt.Errorf("%s: unknown kind of mask %q", raw, m.Kind)
}

func (w *writer) constant(c policy.Column, m policy.Mask) string {
	if m.Constant == nil {
		return "NULL::" + c.Type
	}
	value := w.one(*m.Constant, c.Type)
	if m.Nulls == policy.NullsMask {
		return value
	}
	return fmt.Sprintf("CASE WHEN %s IS NOT NULL THEN %s END", column(c.Name), value)
}

// hash is HMAC-SHA-256 (RFC 2104) of the column's bytes in UTF-8; the key is
// kept as the two blocks that it is used as.
func (w *writer) hash(c policy.Column, m policy.Mask) string {
	w.keyed = true
	key := func(block string) string {
		return fmt.Sprintf("(SELECT k.%s FROM portcullis_views.key k WHERE k.base = %d)", block, w.table.Ref.OID)
	}
	mac := func(bytes string) string {
		return fmt.Sprintf("pg_catalog.encode(pg_catalog.sha256(%s || pg_catalog.sha256(%s || %s)), 'hex')", key("outer_block"), key("inner_block"), bytes)
	}
	value := fmt.Sprintf("CASE WHEN %s IS NOT NULL THEN %s END", column(c.Name), mac("pg_catalog.convert_to("+column(c.Name)+"::text, 'UTF8')"))
	if m.Nulls == policy.NullsMask {
		value = fmt.Sprintf("CASE WHEN %s IS NOT NULL THEN %s ELSE %s END", column(c.Name), mac("pg_catalog.convert_to("+column(c.Name)+"::text, 'UTF8')"), mac(`'\xff4e554c4c'::bytea`))
	}
	return "(" + value + ")::" + c.Type
}

// blocks are the key as HMAC uses it, xor 0x36 and xor 0x5c.
func blocks(key []byte) (inner, outer []byte) {
	if len(key) > sha256.BlockSize {
		sum := sha256.Sum256(key)
		key = sum[:]
	}
	inner, outer = make([]byte, sha256.BlockSize), make([]byte, sha256.BlockSize)
	copy(inner, key)
	copy(outer, key)
	for i := range inner {
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	return inner, outer
}

// round is x minus its remainder, which numeric computes exactly (a quotient
// would be rounded). Floating point numbers are refused: the evaluator takes
// their shortest text, and how a session prints them is its user's choice.
func (w *writer) round(c policy.Column, m policy.Mask) (string, error) {
	x := column(c.Name) + "::numeric"
	if strings.ContainsAny(m.Base, "eE") {
		return "", fmt.Errorf("base %s is written with an exponent", m.Base)
	}
	base := w.one(m.Base, "numeric")
	floor := fmt.Sprintf("%s - pg_catalog.mod(pg_catalog.mod(%s, %s) + %s, %s)", x, x, base, base, base)
	switch policy.ValueType(c.Type) {
	case "bigint":
		low := map[string]string{"smallint": "-32768", "integer": "-2147483648", "bigint": "-9223372036854775808"}[c.Type]
		if low == "" {
			return "", fmt.Errorf("type %s is not rounded here", c.Type)
		}
		return fmt.Sprintf("CASE WHEN %s IS NOT NULL THEN greatest(%s, %s::numeric) END::%s", column(c.Name), floor, low, c.Type), nil
	case "numeric":
		low, err := lowest(c.Type)
		if err != nil {
			return "", err
		}
		shown := fmt.Sprintf("pg_catalog.round(%s, %d)", floor, decimals(m.Base))
		if low != "" {
			shown = fmt.Sprintf("greatest(%s, '%s'::numeric)", floor, low)
		}
		return fmt.Sprintf("CASE WHEN %s NOT IN ('NaN', 'Infinity', '-Infinity') THEN %s END::%s", x, shown, c.Type), nil
	}
	return "", fmt.Errorf("type %s is rounded by the gate only", c.Type)
}

// truncate truncates as date_trunc does. Timestamps before 4713 BC, where the
// beginning of a period may lie before the first one, become NULL.
func truncate(c policy.Column, m policy.Mask) (string, error) {
	raw := column(c.Name)
	switch policy.ValueType(c.Type) {
	case "date":
		// Dates reach further than timestamps: the calendar repeats after 400 years, which are
		// 146097 days and whole weeks, so the truncation is that of the same day near 2000.
		days := "(" + raw + " - '2000-01-01'::date)"
		begin := fmt.Sprintf("pg_catalog.date_trunc('%s', ('2000-01-01'::date + %s %% 146097)::timestamp)::date - '2000-01-01'::date", m.Unit, days)
		return fmt.Sprintf("CASE WHEN pg_catalog.isfinite(%s) THEN '2000-01-01'::date + greatest(%s + %s - %s %% 146097, '4714-11-24 BC'::date - '2000-01-01'::date) END",
			raw, begin, days, days), nil
	case "timestamp":
		return fmt.Sprintf("CASE WHEN pg_catalog.isfinite(%s) AND %s >= '4713-01-01 BC'::timestamp THEN pg_catalog.date_trunc('%s', %s) END::%s", raw, raw, m.Unit, raw, c.Type), nil
	case "timestamptz":
		zone := m.Zone
		if zone == "" {
			zone = "UTC"
		}
		return fmt.Sprintf("CASE WHEN pg_catalog.isfinite(%s) AND %s >= '4713-01-02 00:00+00 BC'::timestamptz THEN pg_catalog.date_trunc('%s', %s, %s) END::%s",
			raw, raw, m.Unit, raw, sqltext.Literal(zone), c.Type), nil
	}
	return "", fmt.Errorf("type %s is not truncated", c.Type)
}
