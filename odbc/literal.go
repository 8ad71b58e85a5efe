package odbc

import (
	"encoding/hex"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// withLiterals writes parameters into a SQLite statement in place of its
// question marks: each literal has the type, value and (lack of) affinity that
// the bound parameter would have. Texts hold no NUL byte, checked before.
func withLiterals(sql string, params []Param) (string, error) {
	var b strings.Builder
	next := 0
	for i := 0; i < len(sql); {
		n := tokenLen(sql[i:])
		if sql[i] != '?' {
			b.WriteString(sql[i : i+n])
			i += n
			continue
		}
		if next == len(params) {
			return "", newError("07002", "the statement has more parameters than the %d given", len(params))
		}
		b.WriteString(literalOf(&params[next]))
		next++
		i++
	}
	if next != len(params) {
		return "", newError("07002", "the statement has %d parameters, %d were given", next, len(params))
	}
	return b.String(), nil
}

// tokenLen is the length of the quoted text or comment at the start of sql, else 1.
func tokenLen(sql string) int {
	switch sql[0] {
	case '\'', '"', '`':
		return quotedLen(sql, sql[:1])
	case '[':
		return endAfter(sql, 1, "]")
	case '-':
		if strings.HasPrefix(sql, "--") {
			return endAfter(sql, 2, "\n")
		}
	case '/':
		if strings.HasPrefix(sql, "/*") {
			return endAfter(sql, 2, "*/")
		}
	}
	return 1
}

// A doubled quote reads as the end of one text and the start of the next, which comes to the same.
func quotedLen(sql, quote string) int { return endAfter(sql, 1, quote) }

func endAfter(sql string, from int, end string) int {
	n := strings.Index(sql[from:], end)
	if n < 0 {
		return len(sql)
	}
	return from + n + len(end)
}

func literalOf(p *Param) string {
	if p.Null {
		return "NULL"
	}
	switch p.Type {
	case ParamInt:
		return integerLiteral(p.Int)
	case ParamBool:
		if p.Int != 0 {
			return "1"
		}
		return "0"
	case ParamFloat:
		return floatLiteral(p.Float)
	case ParamBytes:
		return "x'" + hex.EncodeToString(p.Bytes) + "'"
	}
	return "'" + strings.ReplaceAll(p.Text, "'", "''") + "'"
}

// SQLite reads the digits of the smallest integer as a real and negates that.
func integerLiteral(i int64) string {
	if i == math.MinInt64 {
		return "(-9223372036854775807-1)"
	}
	if i < 0 {
		return "(" + strconv.FormatInt(i, 10) + ")"
	}
	return strconv.FormatInt(i, 10)
}

// floatLiteral builds a double from integers, since SQLite does not read every
// decimal exactly: an odd mantissa times or divided by powers of two, each
// step of which is exact.
func floatLiteral(f float64) string {
	const step = 60
	switch {
	case math.IsInf(f, 1):
		return "9e999"
	case math.IsInf(f, -1):
		return "(-9e999)"
	case f == 0:
		return "0.0"
	}
	frac, exp := math.Frexp(f)
	mantissa := int64(frac * (1 << 53))
	exp -= 53
	zeros := bits.TrailingZeros64(uint64(mantissa))
	mantissa >>= zeros
	exp += zeros
	var b strings.Builder
	fmt.Fprintf(&b, "(CAST(%d AS REAL)", mantissa)
	for op, n := "*", exp; n != 0; {
		if n < 0 {
			op, n = "/", -n
		}
		k := min(n, step)
		fmt.Fprintf(&b, "%sCAST(%d AS REAL)", op, int64(1)<<k)
		n -= k
	}
	b.WriteString(")")
	return b.String()
}
