package policy

import (
	"bytes"
	"math"
	"time"
)

// Dates are counted in days from 1970-01-01, timestamps in microseconds from
// 2000-01-01, as PostgreSQL does: from 1970 its last year would not fit.
const (
	microsecond = int64(1)
	second      = 1000000 * microsecond
	day         = 86400 * second
	epochDays   = 10957 // from 1970-01-01 to 2000-01-01

	posInfinity = math.MaxInt64
	negInfinity = math.MinInt64
)

// PostgreSQL's ends: 4714-11-24 BC, and 5874898-01-01 (date) and
// 294277-01-01 (timestamp), both excluded.
var (
	firstDay   = daysOf(-4713, 11, 24)
	lastDay    = daysOf(5874898, 1, 1) - 1
	firstMicro = (firstDay - epochDays) * day
	lastMicro  = (daysOf(294277, 1, 1)-epochDays)*day - 1
)

// daysOf counts the days from 1970-01-01 to a date; year 0 is 1 BC.
func daysOf(year, month, dayOfMonth int64) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	era := floorDiv(year, 400)
	yoe := year - era*400
	doy := (153*(month-3)+2)/5 + dayOfMonth - 1
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return era*146097 + doe - 719468
}

// dateOf is the inverse of daysOf.
func dateOf(days int64) (year, month, dayOfMonth int64) {
	days += 719468
	era := floorDiv(days, 146097)
	doe := days - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	dayOfMonth = doy - (153*mp+2)/5 + 1
	month = mp + 3
	year = yoe + era*400
	if month > 12 {
		month -= 12
		year++
	}
	return year, month, dayOfMonth
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func daysInMonth(year, month int64) int64 {
	return daysOf(year, month+1, 1) - daysOf(year, month, 1)
}

// scanner reads a moment from left to right.
type scanner struct {
	b  []byte
	ok bool
}

func (s *scanner) number(min, max int) int64 {
	n, i := int64(0), 0
	for i < len(s.b) && i < max && s.b[i] >= '0' && s.b[i] <= '9' {
		n = n*10 + int64(s.b[i]-'0')
		i++
	}
	if i < min {
		s.ok = false
	}
	s.b = s.b[i:]
	return n
}

func (s *scanner) take(c byte) bool {
	if len(s.b) == 0 || s.b[0] != c {
		return false
	}
	s.b = s.b[1:]
	return true
}

func (s *scanner) expect(c byte) {
	if !s.take(c) {
		s.ok = false
	}
}

// date reads YYYY-MM-DD as days.
func (s *scanner) date(bc bool) int64 {
	year := s.number(4, 7)
	s.expect('-')
	month := s.number(2, 2)
	s.expect('-')
	dom := s.number(2, 2)
	if bc {
		if year == 0 {
			s.ok = false
		}
		year = 1 - year
	} else if year == 0 {
		s.ok = false
	}
	if !s.ok || month < 1 || month > 12 || dom < 1 || dom > daysInMonth(year, month) {
		s.ok = false
		return 0
	}
	return daysOf(year, month, dom)
}

// time reads HH:MM[:SS[.ffffff]] as microseconds. Further digits are refused.
func (s *scanner) time() int64 {
	h := s.number(2, 2)
	s.expect(':')
	m := s.number(2, 2)
	var sec, frac int64
	if s.take(':') {
		sec = s.number(2, 2)
		if s.take('.') {
			frac = s.fraction()
		}
	}
	t := ((h*60+m)*60+sec)*second + frac
	if h > 24 || m > 59 || sec > 59 || t > day {
		s.ok = false
	}
	return t
}

func (s *scanner) fraction() int64 {
	var n int64
	i := 0
	for i < len(s.b) && s.b[i] >= '0' && s.b[i] <= '9' {
		switch {
		case i < 6:
			n = n*10 + int64(s.b[i]-'0')
		case s.b[i] != '0':
			s.ok = false // finer than PostgreSQL keeps
		}
		i++
	}
	if i == 0 {
		s.ok = false
	}
	for k := i; k < 6; k++ {
		n *= 10
	}
	s.b = s.b[i:]
	return n
}

// zone reads +HH[:MM[:SS]] or Z as microseconds east of UTC.
func (s *scanner) zone() int64 {
	if s.take('Z') || s.take('z') {
		return 0
	}
	neg := s.take('-')
	if !neg {
		s.expect('+')
	}
	off := s.number(2, 2) * 3600
	if s.take(':') {
		off += s.number(2, 2) * 60
		if s.take(':') {
			off += s.number(2, 2)
		}
	} else if len(s.b) > 0 && s.b[0] >= '0' && s.b[0] <= '9' {
		off += s.number(2, 2) * 60
	}
	if off >= 16*3600 {
		s.ok = false
	}
	if neg {
		off = -off
	}
	return off * second
}

// parseMoment reads a date as days, a timestamp or timestamptz (which must
// carry its offset) as microseconds, a time as microseconds of the day.
func parseMoment(c class, b []byte) (int64, bool) {
	b = bytes.TrimSpace(b)
	if c != classTime {
		switch string(b) {
		case "infinity":
			return posInfinity, true
		case "-infinity":
			return negInfinity, true
		}
	}
	bc := bytes.HasSuffix(b, []byte(" BC"))
	if bc {
		b = b[:len(b)-3]
	}
	s := scanner{b: b, ok: true}
	var v int64
	switch c {
	case classDate:
		v = s.date(bc)
		if v < firstDay || v > lastDay {
			s.ok = false
		}
	case classTime:
		v = s.time()
		if bc {
			s.ok = false
		}
	case classTimestamp, classTimestampTZ:
		v = s.timestamp(c, bc)
	default:
		return 0, false
	}
	return v, s.ok && len(s.b) == 0
}

func (s *scanner) timestamp(c class, bc bool) int64 {
	days := s.date(bc) - epochDays
	if days < firstMicro/day-1 || days > lastMicro/day+1 {
		s.ok = false
		return 0
	}
	v := days * day
	if s.take(' ') || s.take('T') {
		v += s.time()
		s.take(' ')
	}
	if c == classTimestampTZ {
		v -= s.zone()
	}
	if v < firstMicro || v > lastMicro {
		s.ok = false
	}
	return v
}

// appendMoment prints what parseMoment read, in ISO form; timestamptz in UTC.
func appendMoment(dst []byte, c class, v int64) []byte {
	switch {
	case c == classTime:
		return appendTime(dst, v)
	case v == posInfinity:
		return append(dst, "infinity"...)
	case v == negInfinity:
		return append(dst, "-infinity"...)
	}
	days, micros := v, int64(0)
	if c != classDate {
		days = floorDiv(v, day)
		micros = v - days*day
		days += epochDays
	}
	year, month, dom := dateOf(days)
	bc := year <= 0
	if bc {
		year = 1 - year
	}
	dst = appendPadded(dst, year, 4)
	dst = append(dst, '-')
	dst = appendPadded(dst, month, 2)
	dst = append(dst, '-')
	dst = appendPadded(dst, dom, 2)
	if c != classDate {
		dst = append(dst, ' ')
		dst = appendTime(dst, micros)
	}
	if c == classTimestampTZ {
		dst = append(dst, "+00"...)
	}
	if bc {
		dst = append(dst, " BC"...)
	}
	return dst
}

func appendTime(dst []byte, micros int64) []byte {
	sec := micros / second
	dst = appendPadded(dst, sec/3600, 2)
	dst = append(dst, ':')
	dst = appendPadded(dst, sec/60%60, 2)
	dst = append(dst, ':')
	dst = appendPadded(dst, sec%60, 2)
	frac := micros % second
	if frac == 0 {
		return dst
	}
	dst = append(dst, '.')
	dst = appendPadded(dst, frac, 6)
	return bytes.TrimRight(dst, "0")
}

func appendPadded(dst []byte, n int64, width int) []byte {
	var buf [20]byte
	i := len(buf)
	for n > 0 || i > len(buf)-width {
		i--
		buf[i] = byte('0' + n%10)
		n /= 10
	}
	return append(dst, buf[i:]...)
}

// zoneOffset is the offset of loc at the timestamp v, in microseconds.
func zoneOffset(loc *time.Location, v int64) int64 {
	_, off := time.Unix(floorDiv(v, second)+epochDays*86400, 0).In(loc).Zone()
	return int64(off) * second
}

// localToUTC finds the instant at which clocks in loc show local. Where they
// show it twice the earlier instant counts, where never the later offset.
func localToUTC(loc *time.Location, local int64) int64 {
	early := local - zoneOffset(loc, local-day)
	if early+zoneOffset(loc, early) == local {
		return early
	}
	return local - zoneOffset(loc, local+day)
}
