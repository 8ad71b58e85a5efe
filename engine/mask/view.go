// Package mask shows blocks of rows as a decision says: rows that its filter
// hides are left out of the selection, masked columns are replaced by what
// their masks show. It reads and writes the layout of odbc/block.h.
package mask

import (
	"unsafe"
)

// kind is pc_kind.
type kind int32

const (
	kindInt64     kind = 1
	kindUint64    kind = 2
	kindFloat64   kind = 3
	kindBool      kind = 4
	kindText      kind = 5
	kindBytes     kind = 6
	kindDate      kind = 7
	kindTimestamp kind = 8
)

// nullInd is PC_NULL.
const nullInd = -1

// The sizes of pc_column and pc_block, which the engine's package main compares
// with the C compiler's.
const (
	ColumnSize = unsafe.Sizeof(column{})
	BlockSize  = unsafe.Sizeof(block{})
)

// column mirrors pc_column.
type column struct {
	kind  kind
	width int32
	room  int32
	_     int32
	data  unsafe.Pointer
	ind   unsafe.Pointer // *int64
}

// block mirrors pc_block.
type block struct {
	nrows    int32
	ncols    int32
	rows     unsafe.Pointer // *int32
	cols     unsafe.Pointer // *column
	arena    unsafe.Pointer
	arenaLen int64
}

func (b *block) columns() []column { return unsafe.Slice((*column)(b.cols), int(b.ncols)) }

// physical is the number of rows that the columns hold, as far as the
// selection needs them.
func (b *block) physical() int {
	if b.rows == nil {
		return int(b.nrows)
	}
	last := int32(-1)
	for _, r := range unsafe.Slice((*int32)(b.rows), int(b.nrows)) {
		last = max(last, r)
	}
	return int(last) + 1
}

func (c *column) indicator(row int) int64 {
	return *(*int64)(unsafe.Add(c.ind, row*8))
}

// isNull tells whether the value of a fetched column is NULL.
func (c *column) isNull(row int) bool {
	return c.data == nil || c.indicator(row) == nullInd
}

func (c *column) at(row int) unsafe.Pointer {
	return unsafe.Add(c.data, row*int(c.width))
}

// bytes is a TEXT or BYTES value where it lies.
func (c *column) bytes(b *block, row int) []byte {
	n := c.indicator(row)
	if n <= int64(c.room) {
		return unsafe.Slice((*byte)(c.at(row)), int(n))
	}
	offset := *(*int64)(c.at(row))
	return unsafe.Slice((*byte)(unsafe.Add(b.arena, int(offset))), int(n))
}

// Size is what the rows to deliver of a pc_block hold, bytes.
func Size(source unsafe.Pointer) int64 {
	b := (*block)(source)
	var rows []int32
	if b.rows != nil {
		rows = unsafe.Slice((*int32)(b.rows), int(b.nrows))
	}
	size := int64(0)
	columns := b.columns()
	for i := range columns {
		c := &columns[i]
		switch {
		case c.data == nil:
		case c.kind != kindText && c.kind != kindBytes:
			size += int64(c.width) * int64(b.nrows)
		case rows != nil:
			for _, row := range rows {
				size += max(c.indicator(int(row)), 0)
			}
		default:
			for _, n := range unsafe.Slice((*int64)(c.ind), int(b.nrows)) {
				size += max(n, 0)
			}
		}
	}
	return size
}
