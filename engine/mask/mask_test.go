package mask

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"portcullis.dev/portcullis/policy"
)

// made is a pc_block laid out in Go memory, kept from the collector by its fields.
type made struct {
	block   *block
	columns []column
	keep    []any
	arena   []byte
}

func newBlock(rows int) *made {
	return &made{block: &block{nrows: int32(rows)}}
}

func (m *made) pointer() unsafe.Pointer {
	m.block.ncols = int32(len(m.columns))
	m.block.cols = unsafe.Pointer(unsafe.SliceData(m.columns))
	m.block.arena, m.block.arenaLen = unsafe.Pointer(unsafe.SliceData(m.arena)), int64(len(m.arena))
	return unsafe.Pointer(m.block)
}

// fixed adds a column of a fixed kind; nulls are the rows that are NULL.
func fixed[T any](m *made, k kind, values []T, nulls ...int) {
	ind := make([]int64, len(values))
	for _, row := range nulls {
		ind[row] = nullInd
	}
	var one T
	m.columns = append(m.columns, column{kind: k, width: int32(unsafe.Sizeof(one)),
		data: unsafe.Pointer(unsafe.SliceData(values)), ind: unsafe.Pointer(unsafe.SliceData(ind))})
	m.keep = append(m.keep, values, ind)
}

const null = "\x00null"

// text adds a TEXT or BYTES column; values longer than 16 bytes go to the arena.
func (m *made) text(k kind, values ...string) {
	const width, room = 24, 16
	data, ind := make([]byte, width*len(values)), make([]int64, len(values))
	for i, v := range values {
		switch {
		case v == null:
			ind[i] = nullInd
		case len(v) <= room:
			ind[i] = int64(len(v))
			copy(data[i*width:], v)
		default:
			ind[i] = int64(len(v))
			*(*int64)(unsafe.Pointer(&data[i*width])) = int64(len(m.arena))
			m.arena = append(m.arena, v...)
		}
	}
	m.columns = append(m.columns, column{kind: k, width: width, room: room,
		data: unsafe.Pointer(unsafe.SliceData(data)), ind: unsafe.Pointer(unsafe.SliceData(ind))})
	m.keep = append(m.keep, data, ind)
}

func (m *made) choose(rows ...int32) {
	m.block.rows, m.block.nrows = unsafe.Pointer(unsafe.SliceData(rows)), int32(len(rows))
	m.keep = append(m.keep, rows)
}

// apply shows a block and returns its rows, cells joined by "|".
func apply(t *testing.T, transform *Transform, m *made) []string {
	t.Helper()
	region := &Region{}
	t.Cleanup(region.Free)
	shown, rows, err := transform.Apply(m.pointer(), region)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range Texts(shown) {
		var cells []string
		for _, c := range r {
			if c == nil {
				cells = append(cells, "NULL")
				continue
			}
			cells = append(cells, *c)
		}
		out = append(out, strings.Join(cells, "|"))
	}
	if len(out) != rows {
		t.Errorf("%d rows, said to be %d", len(out), rows)
	}
	runtime.KeepAlive(m)
	return out
}

func masker(t *testing.T, m policy.Mask, of string) policy.Masker {
	t.Helper()
	out, err := m.Compile(of)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func same(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestEveryKindIsReadAsItsTypePrints(t *testing.T) {
	date := dateStruct{2024, 2, 29}
	for _, c := range []struct {
		of   string
		fill func(m *made)
		want string
	}{
		{"bigint", func(m *made) { fixed(m, kindInt64, []int64{math.MinInt64}) }, "-9223372036854775808"},
		{"numeric", func(m *made) { fixed(m, kindUint64, []uint64{math.MaxUint64}) }, "18446744073709551615"},
		{"double precision", func(m *made) { fixed(m, kindFloat64, []float64{0.1}) }, "0.1"},
		{"real", func(m *made) { fixed(m, kindFloat64, []float64{float64(float32(0.1))}) }, "0.1"},
		{"double precision", func(m *made) { fixed(m, kindFloat64, []float64{math.Inf(-1)}) }, "-Inf"},
		{"boolean", func(m *made) { fixed(m, kindBool, []uint8{1}) }, "true"},
		{"bytea", func(m *made) { m.text(kindBytes, "\x00\xff") }, `\x00ff`},
		{"text", func(m *made) { m.text(kindText, "a longer text than has room in place") }, "a longer text than has room in place"},
		{"date", func(m *made) { fixed(m, kindDate, []dateStruct{date}) }, "2024-02-29"},
		{"date", func(m *made) { fixed(m, kindDate, []dateStruct{{-43, 3, 15}}) }, "0044-03-15 BC"},
		{"timestamp without time zone", func(m *made) {
			fixed(m, kindTimestamp, []timestampStruct{{date, 1, 2, 3, 4000}})
		}, "2024-02-29 01:02:03.000004"},
		{"timestamp with time zone", func(m *made) {
			fixed(m, kindTimestamp, []timestampStruct{{date, 23, 59, 59, 0}})
		}, "2024-02-29 23:59:59+00"},
	} {
		m := newBlock(1)
		c.fill(m)
		m.pointer()
		r := newReader(0, c.of)
		if got, isNull := r.text(m.block, 0); isNull || string(got) != c.want {
			t.Errorf("%s: %q, want %q", c.of, got, c.want)
		}
		runtime.KeepAlive(m)
	}
}

func TestMasksLeaveNothingRaw(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	constant := "***"
	m := newBlock(3)
	fixed(m, kindInt64, []int64{17, -17, 5}, 2)
	m.text(kindText, "short", "a text that is longer than its room", null)
	m.text(kindText, "123.456", "NaN", "-0.5")
	transform := New([]Column{
		{Source: 1, Type: "text", Masker: masker(t, policy.Mask{Kind: policy.MaskHash, Key: key}, "text")},
		{Source: 0, Type: "integer", Masker: masker(t, policy.Mask{Kind: policy.MaskRound, Base: "10"}, "integer")},
		{Source: 1, Type: "text", Masker: masker(t, policy.Mask{Kind: policy.MaskConstant, Constant: &constant}, "text")},
		{Source: -1},
		{Source: 2, Type: "numeric", Masker: masker(t, policy.Mask{Kind: policy.MaskRound, Base: "0.5"}, "numeric")},
		{Source: 1, Type: "text"},
	}, nil, nil)
	hash := func(v string) string {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(v))
		return hex.EncodeToString(h.Sum(nil))
	}
	same(t, apply(t, transform, m),
		hash("short")+"|10|***|NULL|123.0|short",
		hash("a text that is longer than its room")+"|-20|***|NULL|NULL|a text that is longer than its room",
		"NULL|NULL|NULL|NULL|-0.5|NULL")
}

func TestLongMaskedValuesGoToTheArena(t *testing.T) {
	long := strings.Repeat("ab", 700)
	m := newBlock(3)
	m.text(kindText, long, "x", strings.Repeat("z", 300))
	m.text(kindText, "", "raw text in the arena of the driver", null)
	transform := New([]Column{
		{Source: 0, Type: "text", Masker: masker(t, policy.Mask{Kind: policy.MaskRegex, Pattern: "a", Replacement: "AA", Global: true, Keep: true}, "text")},
		{Source: 1, Type: "text"},
	}, nil, nil)
	same(t, apply(t, transform, m),
		strings.Repeat("AAb", 700)+"|",
		"x|raw text in the arena of the driver",
		strings.Repeat("z", 300)+"|NULL")
}

func TestFiltersSelectRowsBeforeTheirMasks(t *testing.T) {
	columns := []policy.Column{{Name: "id", Type: "integer"}, {Name: "tenant", Type: "text"}}
	predicate := &policy.Predicate{Op: policy.OpOr, Args: []*policy.Predicate{
		{Op: policy.OpEq, Column: "tenant", Values: []policy.Value{{Type: "text", Text: "acme"}}},
		{Op: policy.OpGt, Column: "id", Values: []policy.Value{{Type: "integer", Text: "100"}}},
	}}
	filter, err := predicate.Compile(columns)
	if err != nil {
		t.Fatal(err)
	}
	m := newBlock(5)
	fixed(m, kindInt64, []int64{1, 2, 300, 4, 500})
	m.text(kindText, "acme", "other", "other", "acme", null)
	transform := New([]Column{
		{Source: 1, Type: "text", Masker: masker(t, policy.Mask{Kind: policy.MaskRegex, Pattern: "^.", Replacement: "#", Keep: true}, "text")},
		{Source: 0, Type: "integer"},
	}, filter, []FilterColumn{{0, "integer"}, {1, "text"}})
	same(t, apply(t, transform, m), "#cme|1", "#ther|300", "#cme|4", "NULL|500")
	m.choose(1, 2, 4) // a block that has a selection already
	same(t, apply(t, transform, m), "#ther|300", "NULL|500")
	m.choose(1)
	same(t, apply(t, transform, m))
}

func TestBlocksWithoutColumnsAndRows(t *testing.T) {
	m := newBlock(4)
	fixed(m, kindInt64, []int64{1, 1, 1, 1})
	same(t, apply(t, New(nil, nil, nil), m), "", "", "", "")
	m.choose()
	same(t, apply(t, New([]Column{{Source: 0}}, nil, nil), m))
}

func TestIdleTransformsAreToldApart(t *testing.T) {
	plain := []Column{{Source: 0}, {Source: 1}}
	if !New(plain, nil, nil).Idle(2) {
		t.Error("nothing to do is not idle")
	}
	for name, tr := range map[string]*Transform{
		"swapped": New([]Column{{Source: 1}, {Source: 0}}, nil, nil),
		"fewer":   New(plain[:1], nil, nil),
		"NULL":    New([]Column{{Source: 0}, {Source: -1}}, nil, nil),
		"filter":  New(plain, func(policy.Getter) bool { return true }, nil),
		"masked":  New([]Column{{Source: 0}, {Source: 1, Masker: masker(t, policy.Mask{Kind: policy.MaskNull}, "text")}}, nil, nil),
	} {
		if tr.Idle(2) {
			t.Errorf("%s counts as idle", name)
		}
	}
}

// Rows are masked without a single allocation each: garbage of a million
// rows would be the session's memory.
func TestMaskingDoesNotAllocatePerRow(t *testing.T) {
	const rows = 1000
	values, numbers := make([]string, rows), make([]int64, rows)
	for i := range values {
		values[i], numbers[i] = "value "+strconv.Itoa(i), int64(i)
	}
	m := newBlock(rows)
	m.text(kindText, values...)
	fixed(m, kindInt64, numbers)
	source := m.pointer()
	transform := New([]Column{
		{Source: 0, Type: "text", Masker: masker(t, policy.Mask{Kind: policy.MaskHash, Key: make([]byte, 32)}, "text")},
		{Source: 1, Type: "bigint", Masker: masker(t, policy.Mask{Kind: policy.MaskRound, Base: "10"}, "bigint")},
	}, nil, nil)
	region := &Region{}
	defer region.Free()
	perBlock := testing.AllocsPerRun(20, func() {
		if _, _, err := transform.Apply(source, region); err != nil {
			t.Fatal(err)
		}
	})
	if perBlock > 20 {
		t.Errorf("%.0f allocations for a block of %d rows", perBlock, rows)
	}
	runtime.KeepAlive(m)
}

func BenchmarkHash(b *testing.B) {
	const rows = 1000
	values := make([]string, rows)
	for i := range values {
		values[i] = fmt.Sprintf("value %d", i)
	}
	m := newBlock(rows)
	m.text(kindText, values...)
	source := m.pointer()
	hash, err := policy.Mask{Kind: policy.MaskHash, Key: make([]byte, 32)}.Compile("text")
	if err != nil {
		b.Fatal(err)
	}
	transform := New([]Column{{Source: 0, Type: "text", Masker: hash}}, nil, nil)
	region := &Region{}
	defer region.Free()
	for b.Loop() {
		if _, _, err := transform.Apply(source, region); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/value")
	runtime.KeepAlive(m)
}
