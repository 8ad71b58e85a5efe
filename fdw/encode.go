package fdw

import (
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"time"
)

// notThere is the error for a value that exists in PostgreSQL only.
func notThere(state, text, why string) error {
	return &Error{State: state, Message: "the remote source has no value for " + strconv.Quote(text), Detail: why}
}

func encodeText(text string) (Value, error) {
	if strings.IndexByte(text, 0) >= 0 {
		return Value{}, notThere(stateBadText, text, "The text holds a NUL character.")
	}
	return Value{Bind: BindText, Text: text}, nil
}

// encodeTrimmed drops the blanks that do not count in character(n).
func encodeTrimmed(text string) (Value, error) {
	return encodeText(strings.TrimRight(text, " "))
}

func encodeInt(text string) (Value, error) {
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return Value{}, notThere(stateOutOfRange, text, "Not a 64-bit integer.")
	}
	return Value{Bind: BindInt64, Int: v}, nil
}

// encodeFloat8 takes the shortest text that reads back as the same double.
func encodeFloat8(text string) (Value, error) { return encodeFloat(text, 64) }

// encodeFloat4 widens as PostgreSQL does: through the nearest float4.
func encodeFloat4(text string) (Value, error) { return encodeFloat(text, 32) }

func encodeFloat(text string, bits int) (Value, error) {
	v, err := strconv.ParseFloat(text, bits)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return Value{}, notThere(stateOutOfRange, text, "Only finite numbers can be sent.")
	}
	return Value{Bind: BindFloat64, Float: v}, nil
}

// encodeBool sends 1 and 0.
func encodeBool(text string) (Value, error) {
	switch text {
	case "t", "true":
		return Value{Bind: BindInt64, Int: 1}, nil
	case "f", "false":
		return Value{Bind: BindInt64, Int: 0}, nil
	}
	return Value{}, notThere(stateBadText, text, "Not a boolean.")
}

// encodeBytea reads PostgreSQL's hex and escape formats.
func encodeBytea(text string) (Value, error) {
	b, ok := byteaFromText(text)
	if !ok {
		return Value{}, notThere(stateBadText, text, "Not a bytea.")
	}
	return Value{Bind: BindBytes, Bytes: b}, nil
}

func byteaFromText(text string) ([]byte, bool) {
	if strings.HasPrefix(text, `\x`) {
		b, err := hex.DecodeString(text[2:])
		return b, err == nil
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] != '\\':
			out = append(out, text[i])
		case strings.HasPrefix(text[i:], `\\`):
			out = append(out, '\\')
			i++
		case i+3 < len(text):
			v, err := strconv.ParseUint(text[i+1:i+4], 8, 8)
			if err != nil {
				return nil, false
			}
			out = append(out, byte(v))
			i += 3
		default:
			return nil, false
		}
	}
	return out, true
}

// decimalShape counts the digits of a decimal number in PostgreSQL's output
// format (no exponent): those before and after the point.
func decimalShape(text string) (whole, fraction int, ok bool) {
	digits := strings.TrimPrefix(text, "-")
	before, after, _ := strings.Cut(digits, ".")
	for _, part := range []string{before, after} {
		for i := 0; i < len(part); i++ {
			if part[i] < '0' || part[i] > '9' {
				return 0, 0, false
			}
		}
	}
	if before == "" {
		return 0, 0, false
	}
	return len(strings.TrimLeft(before, "0")), len(after), true
}

// encodeDecimal sends a number that fits DECIMAL(whole+fraction, fraction).
func encodeDecimal(whole, fraction int) encoder {
	return func(text string) (Value, error) {
		w, f, ok := decimalShape(strings.TrimSuffix(trimFraction(text), "."))
		if !ok || w > whole || f > fraction {
			return Value{}, notThere(stateOutOfRange, text, "The number has too many digits for the source, or is not finite.")
		}
		return Value{Bind: BindText, Text: text}, nil
	}
}

// trimFraction drops zeros that end a fraction.
func trimFraction(text string) string {
	if !strings.Contains(text, ".") {
		return text
	}
	return strings.TrimRight(text, "0")
}

const (
	isoDate = "2006-01-02"
	isoTime = "2006-01-02 15:04:05.999999"
)

// encodeDate sends a date of the years 1 to 9999.
func encodeDate(text string) (Value, error) {
	t, err := time.Parse(isoDate, text)
	if err != nil || t.Year() < 1 {
		return Value{}, notThere(stateDatetimeOverflow, text, "Only dates of the years 1 to 9999 can be sent.")
	}
	return Value{Bind: BindText, Text: text}, nil
}

// encodeTimestamp sends a timestamp of the years 1 to 9999.
func encodeTimestamp(text string) (Value, error) {
	t, err := time.Parse(isoTime, text)
	if err != nil || t.Year() < 1 {
		return Value{}, notThere(stateDatetimeOverflow, text, "Only timestamps of the years 1 to 9999 can be sent.")
	}
	return Value{Bind: BindText, Text: text}, nil
}

// encodeUTC sends a timestamp with time zone as its UTC wall clock.
func encodeUTC(text string) (Value, error) {
	for _, layout := range []string{isoTime + "-07", isoTime + "-07:00", isoTime + "-07:00:00"} {
		if t, err := time.Parse(layout, text); err == nil {
			u := t.UTC()
			if u.Year() < 1 || u.Year() > 9999 {
				break
			}
			return Value{Bind: BindText, Text: u.Format(isoTime)}, nil
		}
	}
	return Value{}, notThere(stateDatetimeOverflow, text, "Only timestamps of the years 1 to 9999 can be sent.")
}

// encodeTime sends a time of day.
func encodeTime(text string) (Value, error) {
	if text != "24:00:00" {
		if _, err := time.Parse("15:04:05.999999", text); err != nil {
			return Value{}, notThere(stateDatetimeOverflow, text, "Not a time of day.")
		}
	}
	return Value{Bind: BindText, Text: text}, nil
}

// arrayElements reads the text of a PostgreSQL array, flattened; nil is NULL.
func arrayElements(text string) ([]*string, bool) {
	if i := strings.Index(text, "={"); i >= 0 && strings.HasPrefix(text, "[") {
		text = text[i+1:] // explicit bounds: [0:2]={…}
	}
	if !strings.HasPrefix(text, "{") || !strings.HasSuffix(text, "}") {
		return nil, false
	}
	var out []*string
	depth := 0
	for i := 0; i < len(text); {
		switch c := text[i]; c {
		case '{':
			depth++
			i++
		case '}':
			depth--
			i++
			if depth < 0 || depth == 0 && i != len(text) {
				return nil, false
			}
		case ',':
			i++
		case '"':
			var b strings.Builder
			i++
			for i < len(text) && text[i] != '"' {
				if text[i] == '\\' {
					i++
				}
				if i < len(text) {
					b.WriteByte(text[i])
					i++
				}
			}
			if i >= len(text) {
				return nil, false
			}
			i++
			s := b.String()
			out = append(out, &s)
		default:
			var b strings.Builder
			start := i
			for i < len(text) && text[i] != ',' && text[i] != '}' && text[i] != '{' {
				if text[i] == '\\' {
					i++
				}
				if i < len(text) {
					b.WriteByte(text[i])
					i++
				}
			}
			if i <= len(text) && text[start:i] == "NULL" {
				out = append(out, nil)
				continue
			}
			s := b.String()
			out = append(out, &s)
		}
	}
	return out, depth == 0
}
