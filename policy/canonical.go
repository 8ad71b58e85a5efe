package policy

import (
	"bytes"
	"encoding/hex"
	"math"
	"strconv"
)

// appendCanonical appends the canonical form of a value to dst:
//
//	integers, numeric   digits without leading zeros, without trailing zeros after the point
//	float               shortest text that reads back as the same double; -0 is 0
//	text                as it is
//	character(n)        without trailing blanks
//	boolean             true, false
//	date, timestamp     ISO; timestamp with time zone in UTC (+00); no trailing zeros of a second
//	uuid                lower case with hyphens
//	bytea               \x and lower case hex
//	anything else       as it is
//
// It reports false for text that is no value of the type.
func (t typeInfo) appendCanonical(dst, b []byte) ([]byte, bool) {
	switch t.class {
	case classInt, classNumeric:
		d, ok := parseDecimal(b)
		if !ok || t.class == classInt && (d.special != 0 || len(d.frac) > 0) {
			return dst, false
		}
		return d.appendTo(dst, 0), true
	case classFloat:
		f, ok := parseFloat(b)
		if !ok {
			return dst, false
		}
		return appendFloat(dst, f), true
	case classBlank:
		return append(dst, bytes.TrimRight(b, " ")...), true
	case classBool:
		v, ok := parseBool(b)
		if !ok {
			return dst, false
		}
		return strconv.AppendBool(dst, v), true
	case classDate, classTimestamp, classTimestampTZ, classTime:
		v, ok := parseMoment(t.class, b)
		if !ok {
			return dst, false
		}
		return appendMoment(dst, t.class, v), true
	case classUUID:
		return appendUUID(dst, b)
	case classBytes:
		return appendBytea(dst, b)
	}
	return append(dst, b...), true
}

func parseFloat(b []byte) (float64, bool) {
	d, ok := parseDecimal(b)
	if !ok {
		return 0, false
	}
	switch d.special {
	case -1:
		return math.Inf(-1), true
	case 1:
		return math.Inf(1), true
	case 2:
		return math.NaN(), true
	}
	f, err := strconv.ParseFloat(string(bytes.TrimSpace(b)), 64)
	if err != nil {
		return 0, false
	}
	return f, true
}

func appendFloat(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	case f == 0:
		return append(dst, '0')
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

func parseBool(b []byte) (value, ok bool) {
	switch string(b) {
	case "t", "true", "1", "TRUE", "on", "yes":
		return true, true
	case "f", "false", "0", "FALSE", "off", "no":
		return false, true
	}
	return false, false
}

func appendUUID(dst, b []byte) ([]byte, bool) {
	var digits [32]byte
	n := 0
	for _, c := range b {
		if c == '-' || c == '{' || c == '}' {
			continue
		}
		if c >= 'A' && c <= 'F' {
			c += 'a' - 'A'
		}
		if n == 32 || (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return dst, false
		}
		digits[n] = c
		n++
	}
	if n != 32 {
		return dst, false
	}
	for i, c := range digits {
		if i == 8 || i == 12 || i == 16 || i == 20 {
			dst = append(dst, '-')
		}
		dst = append(dst, c)
	}
	return dst, true
}

func appendBytea(dst, b []byte) ([]byte, bool) {
	if !bytes.HasPrefix(b, []byte(`\x`)) {
		return dst, false
	}
	raw, err := hex.DecodeString(string(b[2:]))
	if err != nil {
		return dst, false
	}
	dst = append(dst, `\x`...)
	return hex.AppendEncode(dst, raw), true
}
