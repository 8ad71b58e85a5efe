package policy

import (
	"fmt"
	"math/big"
)

// roundMasker shows floor(x/b)*b, computed exactly on decimals. Results
// beyond the type's ends are shown as the end; infinity and NaN are NULL.
// A floating point number is rounded as the shortest decimal that reads back
// as it.
type roundMasker struct {
	keepsNull
	t        typeInfo
	base     *big.Int // b * 10^scale
	scale    int      // digits of b after the point
	small    int64    // b where it is a small whole number, else 0
	min, max *big.Int // ends of the type times 10^t.scale; nil: none
	buf      []byte
}

// maxBaseDigits is beyond all that is counted: a larger base shows 0 for everything.
const maxBaseDigits = 100

func (m Mask) compileRound(t typeInfo) (Masker, error) {
	switch t.class {
	case classInt, classNumeric, classFloat:
	default:
		return nil, fmt.Errorf("only numbers are rounded, not %s", t.class)
	}
	b, ok := parseDecimal([]byte(m.Base))
	if !ok || b.special != 0 || b.neg || len(b.whole)+len(b.frac) == 0 {
		return nil, fmt.Errorf("base %q is not a positive decimal", m.Base)
	}
	if len(b.whole)+len(b.frac) > maxBaseDigits {
		return nil, fmt.Errorf("base has more than %d digits", maxBaseDigits)
	}
	bounded := t.class == classInt || t.precision > 0
	if bounded && len(b.frac) > t.scale {
		return nil, fmt.Errorf("base %s has more digits after the point than the column", m.Base)
	}
	r := &roundMasker{t: t, scale: len(b.frac), base: b.scaled(len(b.frac))}
	r.min, r.max = t.bounds()
	if r.scale == 0 {
		if n, ok := smallInt(b.whole); ok {
			r.small = n
		}
	}
	return r, nil
}

// bounds are the ends of an integer or numeric(p,s) type times 10^scale; nil
// where the type has none that matter.
func (t typeInfo) bounds() (min, max *big.Int) {
	switch {
	case t.class == classInt:
		max = new(big.Int).Lsh(big.NewInt(1), uint(t.bits-1))
		min = new(big.Int).Neg(max)
		return min, max.Sub(max, big.NewInt(1))
	case t.class == classNumeric && t.precision > 0:
		max = pow10(t.precision)
		max.Sub(max, big.NewInt(1))
		return new(big.Int).Neg(max), max
	}
	return nil, nil
}

func pow10(n int) *big.Int {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
}

func mul(a, b *big.Int) *big.Int { return new(big.Int).Mul(a, b) }

func (m *roundMasker) Append(dst, value []byte) ([]byte, bool, error) {
	if m.small > 0 && m.t.class == classInt {
		if n, ok := smallInt(value); ok {
			if r := floorDiv(n, m.small) * m.small; r >= -1<<(m.t.bits-1) {
				return appendInt(dst, r), false, nil
			}
		}
	}
	d, ok := m.read(value)
	if !ok || d.special != 0 {
		return dst, true, nil
	}
	scale := max(m.scale, len(d.frac))
	x := d.scaled(scale)
	b := mul(m.base, pow10(scale-m.scale))
	q := new(big.Int).Div(x, b) // Euclidean: the floor, since b > 0
	return m.print(dst, q.Mul(q, m.base)), false, nil
}

func (m *roundMasker) read(value []byte) (decimal, bool) {
	if m.t.class != classFloat {
		d, ok := parseDecimal(value)
		return d, ok && (m.t.class != classInt || len(d.frac) == 0)
	}
	var ok bool
	if m.buf, ok = m.t.appendCanonical(m.buf[:0], value); !ok {
		return decimal{}, false
	}
	return parseDecimal(m.buf)
}

// print writes r / 10^m.scale, kept within the type.
func (m *roundMasker) print(dst []byte, r *big.Int) []byte {
	scale := m.scale
	if m.max != nil {
		r = mul(r, pow10(m.t.scale-scale))
		scale = m.t.scale
		if r.Cmp(m.min) < 0 {
			r = m.min
		}
	}
	text := r.Text(10)
	if scale == 0 {
		return append(dst, text...)
	}
	if text[0] == '-' {
		dst = append(dst, '-')
		text = text[1:]
	}
	for len(text) <= scale {
		text = "0" + text
	}
	dst = append(dst, text[:len(text)-scale]...)
	dst = append(dst, '.')
	return append(dst, text[len(text)-scale:]...)
}

func appendInt(dst []byte, n int64) []byte {
	if n < 0 {
		dst = append(dst, '-')
		n = -n
	}
	return appendPadded(dst, n, 1)
}
