package policy

import (
	"fmt"
	"regexp"
	"time"
)

// Masker shows one value as a mask says. It is total: what cannot be masked
// (a value that is none of the column's type, infinity, NaN, a value that a
// regular expression does not match) becomes NULL, never the raw value.
// A Masker belongs to one goroutine.
type Masker interface {
	// Append appends the masked form of value, which is not NULL, to dst.
	// value is text in the output format of the column's type (timestamptz
	// with its offset, bytea as \x…). err is a defect of ours, not of the value.
	Append(dst, value []byte) (out []byte, null bool, err error)

	// AppendNull appends what NULL is shown as, null: as NULL.
	AppendNull(dst []byte) (out []byte, null bool)
}

// keepsNull is embedded by masks under which NULL stays NULL.
type keepsNull struct{}

func (keepsNull) AppendNull(dst []byte) ([]byte, bool) { return dst, true }

// Validate reports why the mask cannot be used on a column of this type.
func (m Mask) Validate(columnType string) error {
	_, err := m.Compile(columnType)
	return err
}

// Suits reports why a column of this type cannot be shown under the mask: it
// is Validate, and what the mask shows must be a value of the column's type.
func (m Mask) Suits(columnType string) error {
	if err := m.Validate(columnType); err != nil {
		return err
	}
	t := parseType(columnType)
	if m.Kind != MaskHash {
		return nil
	}
	if t.class != classText && t.class != classBlank || t.length > 0 && t.length < HashLength {
		return fmt.Errorf("a hash is text of %d characters, which type %s cannot hold", HashLength, columnType)
	}
	return nil
}

// Compile prepares the mask for a column of this type. The kind "hash"
// needs its key. An unknown kind is an error: the caller must refuse.
func (m Mask) Compile(columnType string) (Masker, error) {
	t := parseType(columnType)
	if err := m.CheckNulls(); err != nil {
		return nil, err
	}
	switch m.Kind {
	case MaskNull:
		return constantMasker{}, nil
	case MaskConstant:
		return m.compileConstant(t, columnType)
	case MaskHash:
		return newHashMasker(t, m.Key, m.Nulls), nil
	case MaskRegex:
		return m.compileRegex(t)
	case MaskRound:
		return m.compileRound(t)
	case MaskTruncate:
		return m.compileTruncate(t)
	}
	return nil, fmt.Errorf("unknown kind of mask %q", m.Kind)
}

// CheckNulls reports why the mask cannot treat NULL as its Nulls says.
func (m Mask) CheckNulls() error {
	switch {
	case m.Nulls == NullsKeep:
	case m.Nulls != NullsMask:
		return fmt.Errorf("nulls is %q, known are mask and keep", m.Nulls)
	case m.Kind == MaskConstant && m.Constant == nil, m.Kind == MaskNull:
		return fmt.Errorf("nulls: mask changes nothing where all values are shown as NULL")
	case m.Kind != MaskConstant && m.Kind != MaskHash:
		return fmt.Errorf("nulls: mask is for the kinds constant and hash: %s has nothing but NULL to show for NULL", m.Kind)
	}
	return nil
}

type constantMasker struct {
	text  *string
	nulls NullsMode
}

func (c constantMasker) AppendNull(dst []byte) ([]byte, bool) {
	if c.text == nil || c.nulls != NullsMask {
		return dst, true
	}
	return append(dst, *c.text...), false
}

func (c constantMasker) Append(dst, _ []byte) ([]byte, bool, error) {
	if c.text == nil {
		return dst, true, nil
	}
	return append(dst, *c.text...), false, nil
}

func (m Mask) compileConstant(t typeInfo, columnType string) (Masker, error) {
	if m.Constant == nil {
		return constantMasker{}, nil
	}
	if err := t.checkText(*m.Constant); err != nil {
		return nil, fmt.Errorf("constant is not a value of type %s: %w", columnType, err)
	}
	return constantMasker{m.Constant, m.Nulls}, nil
}

// checkText reports why text is no value of the type, its length and range included.
func (t typeInfo) checkText(text string) error {
	if t.class == classOther {
		return fmt.Errorf("constants of this type are not supported")
	}
	if t.length > 0 && len([]rune(text)) > t.length {
		return fmt.Errorf("it is longer than %d characters", t.length)
	}
	if _, ok := t.appendCanonical(nil, []byte(text)); !ok {
		return fmt.Errorf("it cannot be read")
	}
	if t.class == classInt || t.class == classNumeric {
		d, _ := parseDecimal([]byte(text))
		if d.special != 0 {
			return nil
		}
		if min, max := t.bounds(); max != nil {
			n := d.scaled(len(d.frac))
			shift := pow10(len(d.frac))
			if len(d.frac) > t.scale || mul(n, pow10(t.scale)).Cmp(mul(min, shift)) < 0 || mul(n, pow10(t.scale)).Cmp(mul(max, shift)) > 0 {
				return fmt.Errorf("it is out of range")
			}
		}
	}
	return nil
}

type regexMasker struct {
	keepsNull
	re       *regexp.Regexp
	template []byte
	global   bool
	keep     bool
	length   int // longest result in characters, 0: any
}

// maxPattern bounds the text of a regular expression, bytes.
const maxPattern = 4096

func (m Mask) compileRegex(t typeInfo) (Masker, error) {
	if t.class != classText && t.class != classBlank {
		return nil, fmt.Errorf("a regular expression masks text columns only, not %s", t.class)
	}
	if m.Pattern == "" {
		return nil, fmt.Errorf("pattern is empty")
	}
	if len(m.Pattern) > maxPattern || len(m.Replacement) > maxPattern {
		return nil, fmt.Errorf("pattern or replacement is longer than %d bytes", maxPattern)
	}
	re, err := regexp.Compile(m.Pattern)
	if err != nil {
		return nil, fmt.Errorf("pattern: %w", err)
	}
	return &regexMasker{re: re, template: []byte(m.Replacement), global: m.Global, keep: m.Keep, length: t.length}, nil
}

func (r *regexMasker) Append(dst, value []byte) ([]byte, bool, error) {
	n := 1
	if r.global {
		n = -1
	}
	matches := r.re.FindAllSubmatchIndex(value, n)
	if len(matches) == 0 {
		return append(dst, value...), !r.keep, nil
	}
	start, at := len(dst), 0
	for _, match := range matches {
		dst = append(dst, value[at:match[0]]...)
		dst = r.re.Expand(dst, r.template, value, match)
		at = match[1]
	}
	dst = append(dst, value[at:]...)
	if r.length > 0 && len([]rune(string(dst[start:]))) > r.length {
		return dst[:start], true, nil
	}
	return dst, false, nil
}

type truncateMasker struct {
	keepsNull
	class class
	unit  string
	loc   *time.Location
}

func (m Mask) compileTruncate(t typeInfo) (Masker, error) {
	switch t.class {
	case classDate, classTimestamp, classTimestampTZ:
	default:
		return nil, fmt.Errorf("only dates and timestamps are truncated, not %s", t.class)
	}
	switch m.Unit {
	case "year", "quarter", "month", "week", "day":
	case "hour", "minute":
		if t.class == classDate {
			return nil, fmt.Errorf("a date has no %s", m.Unit)
		}
	default:
		return nil, fmt.Errorf("unknown unit %q: use year, quarter, month, week, day, hour or minute", m.Unit)
	}
	loc := time.UTC
	if m.Zone != "" {
		if t.class != classTimestampTZ {
			return nil, fmt.Errorf("zone is for timestamp with time zone only")
		}
		if m.Zone == "Local" {
			return nil, fmt.Errorf("unknown time zone %q", m.Zone)
		}
		var err error
		if loc, err = time.LoadLocation(m.Zone); err != nil {
			return nil, fmt.Errorf("unknown time zone %q", m.Zone)
		}
	}
	return &truncateMasker{class: t.class, unit: m.Unit, loc: loc}, nil
}

func (m *truncateMasker) Append(dst, value []byte) ([]byte, bool, error) {
	v, ok := parseMoment(m.class, value)
	if !ok || v == posInfinity || v == negInfinity {
		return dst, true, nil
	}
	switch m.class {
	case classDate:
		v = max(truncateDay(m.unit, v), firstDay)
	case classTimestamp:
		v = max(truncateMicros(m.unit, v), firstMicro)
	case classTimestampTZ:
		v = max(m.truncateInZone(v), firstMicro)
	}
	return appendMoment(dst, m.class, v), false, nil
}

func (m *truncateMasker) truncateInZone(v int64) int64 {
	off := zoneOffset(m.loc, v)
	local := v + off
	trunc := truncateMicros(m.unit, local)
	if m.unit == "hour" || m.unit == "minute" {
		return trunc - off
	}
	return localToUTC(m.loc, trunc)
}

func truncateMicros(unit string, v int64) int64 {
	switch unit {
	case "minute":
		return floorDiv(v, 60*second) * 60 * second
	case "hour":
		return floorDiv(v, 3600*second) * 3600 * second
	}
	return (truncateDay(unit, floorDiv(v, day)+epochDays) - epochDays) * day
}

// truncateDay truncates days since 1970; weeks begin on Monday.
func truncateDay(unit string, days int64) int64 {
	year, month, _ := dateOf(days)
	switch unit {
	case "year":
		return daysOf(year, 1, 1)
	case "quarter":
		return daysOf(year, (month-1)/3*3+1, 1)
	case "month":
		return daysOf(year, month, 1)
	case "week":
		return floorDiv(days+3, 7)*7 - 3 // 1970-01-01 was a Thursday
	}
	return days
}
