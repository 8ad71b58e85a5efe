package mask

import (
	"errors"
	"fmt"
	"unsafe"

	"portcullis.dev/portcullis/policy"
)

// Column is one column of the blocks that the shim gets.
type Column struct {
	Source int           // column of the fetched block, -1: nothing was fetched for it, every row shows NULL
	Type   string        // type of the raw column, as format_type prints it
	Masker policy.Masker // nil: shown as fetched
}

// FilterColumn is a column that the filter reads, in the order in which the
// filter was compiled.
type FilterColumn struct {
	Source int
	Type   string
}

// Transform applies the filter and the masks of one scan to its blocks. It
// belongs to the scan's fetch goroutine.
type Transform struct {
	columns []Column
	readers []reader
	filter  policy.Filter
	get     policy.Getter
	reads   []reader
	require int // column that is 0 where a value cannot be read, -1: none

	src      *block
	row      int
	selected []int32
	shown    []shown
}

// shown is what one masked column shows in the block at hand: the values of
// the selected rows, end to end.
type shown struct {
	values  []byte
	lengths []int64 // by physical row; nullInd: NULL
	longest int
}

// New makes the transformation of a scan; filter is nil where the source has
// filtered or nothing is to be filtered.
func New(columns []Column, filter policy.Filter, filterColumns []FilterColumn) *Transform {
	t := &Transform{columns: columns, filter: filter, require: -1, shown: make([]shown, len(columns))}
	for _, c := range columns {
		t.readers = append(t.readers, newReader(c.Source, c.Type))
	}
	for _, c := range filterColumns {
		t.reads = append(t.reads, newReader(c.Source, c.Type))
	}
	t.get = func(i int) ([]byte, bool) { return t.reads[i].text(t.src, t.row) }
	return t
}

// ErrUnreadable says that a visible row holds a value that cannot be read.
var ErrUnreadable = errors.New("a value is none of its column's type")

// Require makes a visible row an error where an integer column of the fetched
// block is 0; in hidden rows it tells nothing.
func (t *Transform) Require(column int) { t.require = column }

// Idle tells whether blocks with this many columns pass as they are.
func (t *Transform) Idle(fetched int) bool {
	if t.filter != nil || len(t.columns) != fetched {
		return false
	}
	for i, c := range t.columns {
		if c.Masker != nil || c.Source != i {
			return false
		}
	}
	return true
}

// Apply shows the block at source (a pc_block) in region, which it fills
// anew, and returns the pc_block there. That one points to source's columns
// where they are shown as fetched, so source must live as long.
func (t *Transform) Apply(source unsafe.Pointer, region *Region) (result unsafe.Pointer, rows int, err error) {
	t.src = (*block)(source)
	for i, c := range t.columns {
		if c.Source >= int(t.src.ncols) {
			return nil, 0, fmt.Errorf("column %d is shown from column %d of %d", i, c.Source, t.src.ncols)
		}
	}
	t.choose()
	if err := t.readable(); err != nil {
		return nil, 0, err
	}
	for i := range t.columns {
		if t.columns[i].Masker == nil || t.columns[i].Source < 0 {
			continue
		}
		if err := t.show(i); err != nil {
			return nil, 0, err
		}
	}
	result, err = t.lay(region)
	return result, len(t.selected), err
}

// choose fills selected with the physical rows to deliver.
func (t *Transform) choose() {
	t.selected = t.selected[:0]
	var given []int32
	if t.src.rows != nil {
		given = unsafe.Slice((*int32)(t.src.rows), int(t.src.nrows))
	}
	for i := range int(t.src.nrows) {
		t.row = i
		if given != nil {
			t.row = int(given[i])
		}
		if t.filter == nil || t.filter(t.get) {
			t.selected = append(t.selected, int32(t.row))
		}
	}
}

func (t *Transform) readable() error {
	if t.require < 0 {
		return nil
	}
	if t.require >= int(t.src.ncols) {
		return fmt.Errorf("column %d is required of %d", t.require, t.src.ncols)
	}
	c := &t.src.columns()[t.require]
	for _, row := range t.selected {
		if c.kind != kindInt64 || c.isNull(int(row)) || *(*int64)(c.at(int(row))) == 0 {
			return ErrUnreadable
		}
	}
	return nil
}

// show computes what column i shows in the selected rows.
func (t *Transform) show(i int) error {
	s := &t.shown[i]
	s.values, s.longest = s.values[:0], 0
	physical := t.src.physical()
	if cap(s.lengths) < physical {
		s.lengths = make([]int64, physical)
	}
	s.lengths = s.lengths[:physical]
	masker := t.columns[i].Masker
	for _, row := range t.selected {
		value, isNull := t.readers[i].text(t.src, int(row))
		before := len(s.values)
		out, null, err := masked(masker, s.values, value, isNull)
		if err != nil {
			return fmt.Errorf("mask of column %d: %w", i, err)
		}
		if null {
			s.values, s.lengths[row] = out[:before], nullInd
			continue
		}
		s.values = out
		length := len(out) - before
		s.lengths[row] = int64(length)
		s.longest = max(s.longest, length)
	}
	return nil
}

func masked(m policy.Masker, dst, value []byte, isNull bool) (out []byte, null bool, err error) {
	if isNull {
		out, null = m.AppendNull(dst)
		return out, null, nil
	}
	return m.Append(dst, value)
}

// inPlace is the longest masked value that lies in the column rather than in
// the arena, bytes.
const inPlace = 256

// lay writes the block that the shim gets.
func (t *Transform) lay(region *Region) (unsafe.Pointer, error) {
	physical := t.src.physical()
	arena, needsArena := int(t.src.arenaLen), false
	size := reserve[block](1) + reserve[column](len(t.columns)) + reserve[int32](len(t.selected))
	for i, c := range t.columns {
		if c.Source < 0 || c.Masker == nil {
			continue
		}
		s := &t.shown[i]
		size += reserve[int64](physical)
		if s.longest <= inPlace {
			size += physical * roundUp(max(s.longest, 1))
		} else {
			size += physical * 8
			arena += len(s.values)
			needsArena = true
		}
	}
	if needsArena {
		size += reserve[byte](arena)
	}
	if err := region.begin(size); err != nil {
		return nil, err
	}

	head := (*block)(region.take(reserve[block](1)))
	*head = block{nrows: int32(len(t.selected)), ncols: int32(len(t.columns)), arena: t.src.arena, arenaLen: t.src.arenaLen}
	if len(t.selected) != int(t.src.nrows) || t.src.rows != nil {
		head.rows = region.take(reserve[int32](len(t.selected)))
		copy(unsafe.Slice((*int32)(head.rows), len(t.selected)), t.selected)
	}
	var tail []byte
	if needsArena {
		head.arena, head.arenaLen = region.take(reserve[byte](arena)), int64(arena)
		tail = unsafe.Slice((*byte)(head.arena), arena)
		copy(tail, unsafe.Slice((*byte)(t.src.arena), int(t.src.arenaLen)))
	}
	head.cols = region.take(reserve[column](len(t.columns)))
	filled := int(t.src.arenaLen)
	columns := head.columns()
	for i, c := range t.columns {
		switch {
		case c.Source < 0:
			columns[i] = column{kind: kindText} // no data: NULL
		case c.Masker == nil:
			columns[i] = t.src.columns()[c.Source]
		default:
			columns[i] = t.maskedColumn(region, &t.shown[i], physical, tail, &filled)
		}
	}
	return unsafe.Pointer(head), nil
}

func (t *Transform) maskedColumn(region *Region, s *shown, physical int, arena []byte, filled *int) column {
	c := column{kind: kindText, ind: region.take(reserve[int64](physical))}
	copy(unsafe.Slice((*int64)(c.ind), physical), s.lengths)
	long := s.longest > inPlace
	c.width, c.room = int32(roundUp(max(s.longest, 1))), int32(s.longest)
	if long {
		c.width, c.room = 8, 0
	}
	c.data = region.take(physical * int(c.width))
	at := 0
	for _, row := range t.selected {
		n := int(s.lengths[row])
		if n <= 0 {
			continue
		}
		value := s.values[at : at+n]
		at += n
		if long {
			copy(arena[*filled:], value)
			*(*int64)(c.at(int(row))) = int64(*filled)
			*filled += n
			continue
		}
		copy(unsafe.Slice((*byte)(c.at(int(row))), n), value)
	}
	return c
}
