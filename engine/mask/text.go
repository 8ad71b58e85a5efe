package mask

import (
	"encoding/hex"
	"strconv"
	"strings"
	"unsafe"
)

// dateStruct is SQL_DATE_STRUCT.
type dateStruct struct {
	year       int16
	month, day uint16
}

// timestampStruct is SQL_TIMESTAMP_STRUCT; fraction in nanoseconds.
type timestampStruct struct {
	dateStruct
	hour, minute, second uint16
	fraction             uint32
}

// reader gives the values of one column as text in the output format of the
// column's type, which is what masks and filters read.
type reader struct {
	source int
	single bool // real: printed with 32 bits
	zoned  bool // timestamptz in a struct is in UTC
	binary bool // bytes that are no bytea stay as they are
	buf    []byte
}

func newReader(source int, columnType string) reader {
	base, _, _ := strings.Cut(columnType, "(")
	base = strings.TrimSpace(base)
	return reader{
		source: source,
		single: base == "real" || base == "float4",
		zoned:  base == "timestamptz" || strings.HasSuffix(columnType, "with time zone"),
		binary: base != "bytea",
	}
}

// text returns the value, valid until the next call.
func (r *reader) text(b *block, row int) (value []byte, null bool) {
	c := &b.columns()[r.source]
	if c.isNull(row) {
		return nil, true
	}
	r.buf = r.buf[:0]
	switch c.kind {
	case kindText:
		return c.bytes(b, row), false
	case kindBytes:
		if r.binary {
			return c.bytes(b, row), false
		}
		r.buf = append(r.buf, `\x`...)
		r.buf = hex.AppendEncode(r.buf, c.bytes(b, row))
	case kindInt64:
		r.buf = strconv.AppendInt(r.buf, *(*int64)(c.at(row)), 10)
	case kindUint64:
		r.buf = strconv.AppendUint(r.buf, *(*uint64)(c.at(row)), 10)
	case kindFloat64:
		bits := 64
		if r.single {
			bits = 32
		}
		r.buf = strconv.AppendFloat(r.buf, *(*float64)(c.at(row)), 'g', -1, bits)
	case kindBool:
		r.buf = strconv.AppendBool(r.buf, *(*uint8)(c.at(row)) != 0)
	case kindDate:
		d := (*dateStruct)(c.at(row))
		r.buf = d.appendEra(d.append(r.buf))
	case kindTimestamp:
		r.buf = r.timestamp((*timestampStruct)(c.at(row)))
	default:
		// An unknown kind shows nothing: masks and filters treat it as NULL.
		return nil, true
	}
	return r.buf, false
}

func (d *dateStruct) append(dst []byte) []byte {
	year := int(d.year)
	if year <= 0 {
		year = 1 - year
	}
	dst = appendPadded(dst, year, 4)
	dst = appendPadded(append(dst, '-'), int(d.month), 2)
	return appendPadded(append(dst, '-'), int(d.day), 2)
}

func (d *dateStruct) appendEra(dst []byte) []byte {
	if d.year <= 0 {
		return append(dst, " BC"...)
	}
	return dst
}

func (r *reader) timestamp(t *timestampStruct) []byte {
	dst := append(t.append(r.buf), ' ')
	dst = appendPadded(dst, int(t.hour), 2)
	dst = appendPadded(append(dst, ':'), int(t.minute), 2)
	dst = appendPadded(append(dst, ':'), int(t.second), 2)
	if t.fraction != 0 {
		dst = appendPadded(append(dst, '.'), int(t.fraction/1000), 6)
	}
	if r.zoned {
		dst = append(dst, "+00"...)
	}
	return t.appendEra(dst)
}

func appendPadded(dst []byte, n, width int) []byte {
	var digits [20]byte
	text := strconv.AppendInt(digits[:0], int64(n), 10)
	for range width - len(text) {
		dst = append(dst, '0')
	}
	return append(dst, text...)
}

// Texts are the rows of a pc_block as text, nil for NULL.
func Texts(source unsafe.Pointer) [][]*string {
	b := (*block)(source)
	readers := make([]reader, b.ncols)
	for i := range readers {
		readers[i] = newReader(i, "bytea")
	}
	out := make([][]*string, b.nrows)
	for i := range out {
		row := i
		if b.rows != nil {
			row = int(*(*int32)(unsafe.Add(b.rows, i*4)))
		}
		out[i] = make([]*string, b.ncols)
		for j := range readers {
			if value, null := readers[j].text(b, row); !null {
				text := string(value)
				out[i][j] = &text
			}
		}
	}
	return out
}
