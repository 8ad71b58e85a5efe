package policy

import (
	"bytes"
	"math/big"
)

// decimal is a number read from its text without loss. The slices point
// into the text; the digits carry no leading (whole) or trailing (frac)
// zeros, so that equal numbers have equal parts.
type decimal struct {
	special int // -1 -Infinity, 1 Infinity, 2 NaN, 0 a number
	neg     bool
	whole   []byte
	frac    []byte
}

// maxExponent bounds what "1e…" may expand to; numeric allows 131072 digits
// before and 16383 after the point.
const maxExponent = 131072

// parseDecimal reads the text of a number: digits, point, exponent, NaN and
// infinities as PostgreSQL prints them.
func parseDecimal(b []byte) (decimal, bool) {
	var d decimal
	b = bytes.TrimSpace(b)
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		d.neg = b[0] == '-'
		b = b[1:]
	}
	if len(b) == 0 {
		return d, false
	}
	if b[0] > '9' {
		return parseSpecial(b, d.neg)
	}
	i := digits(b, 0)
	d.whole = b[:i]
	if i < len(b) && b[i] == '.' {
		j := digits(b, i+1)
		d.frac = b[i+1 : j]
		i = j
	}
	if len(d.whole)+len(d.frac) == 0 {
		return d, false
	}
	if i < len(b) {
		exp, ok := parseExponent(b[i:])
		if !ok {
			return d, false
		}
		d.shift(exp)
	}
	d.whole = bytes.TrimLeft(d.whole, "0")
	d.frac = bytes.TrimRight(d.frac, "0")
	if len(d.whole)+len(d.frac) == 0 {
		d.neg = false
	}
	return d, true
}

func parseSpecial(b []byte, neg bool) (decimal, bool) {
	switch string(bytes.ToLower(b)) {
	case "nan":
		return decimal{special: 2}, !neg
	case "infinity", "inf":
		if neg {
			return decimal{special: -1}, true
		}
		return decimal{special: 1}, true
	}
	return decimal{}, false
}

func digits(b []byte, i int) int {
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return i
}

func parseExponent(b []byte) (int, bool) {
	if b[0] != 'e' && b[0] != 'E' {
		return 0, false
	}
	b = b[1:]
	neg := false
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		neg = b[0] == '-'
		b = b[1:]
	}
	if len(b) == 0 || digits(b, 0) != len(b) {
		return 0, false
	}
	n := 0
	for _, c := range b {
		n = n*10 + int(c-'0')
		if n > maxExponent {
			return 0, false
		}
	}
	if neg {
		n = -n
	}
	return n, true
}

// shift multiplies by 10^exp.
func (d *decimal) shift(exp int) {
	all := append(append([]byte{}, d.whole...), d.frac...)
	point := len(d.whole) + exp
	if point < 0 {
		all = append(bytes.Repeat([]byte{'0'}, -point), all...)
		point = 0
	}
	if point > len(all) {
		all = append(all, bytes.Repeat([]byte{'0'}, point-len(all))...)
	}
	d.whole, d.frac = all[:point], all[point:]
}

// compare orders as PostgreSQL does: -Infinity, numbers, Infinity, NaN.
func (d decimal) compare(e decimal) int {
	if d.special != 0 || e.special != 0 {
		return sign(d.special - e.special)
	}
	if d.neg != e.neg {
		if d.neg {
			return -1
		}
		return 1
	}
	c := compareMagnitude(d, e)
	if d.neg {
		return -c
	}
	return c
}

func compareMagnitude(d, e decimal) int {
	if len(d.whole) != len(e.whole) {
		return sign(len(d.whole) - len(e.whole))
	}
	if c := bytes.Compare(d.whole, e.whole); c != 0 {
		return c
	}
	return bytes.Compare(d.frac, e.frac)
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

// appendTo prints the number with at least scale digits after the point.
func (d decimal) appendTo(dst []byte, scale int) []byte {
	switch d.special {
	case -1:
		return append(dst, "-Infinity"...)
	case 1:
		return append(dst, "Infinity"...)
	case 2:
		return append(dst, "NaN"...)
	}
	if d.neg {
		dst = append(dst, '-')
	}
	if len(d.whole) == 0 {
		dst = append(dst, '0')
	}
	dst = append(dst, d.whole...)
	if len(d.frac) == 0 && scale == 0 {
		return dst
	}
	dst = append(dst, '.')
	dst = append(dst, d.frac...)
	for i := len(d.frac); i < scale; i++ {
		dst = append(dst, '0')
	}
	return dst
}

// scaled returns the number times 10^scale, which must be whole.
func (d decimal) scaled(scale int) *big.Int {
	text := d.appendScaled(nil, scale)
	n, _ := new(big.Int).SetString(string(text), 10)
	return n
}

func (d decimal) appendScaled(dst []byte, scale int) []byte {
	if d.neg {
		dst = append(dst, '-')
	}
	dst = append(dst, '0')
	dst = append(dst, d.whole...)
	dst = append(dst, d.frac...)
	for i := len(d.frac); i < scale; i++ {
		dst = append(dst, '0')
	}
	return dst
}

// smallInt reads a plain integer that fits int64 without allocating.
func smallInt(b []byte) (int64, bool) {
	neg := false
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		neg = b[0] == '-'
		b = b[1:]
	}
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if neg {
		n = -n
	}
	return n, true
}
