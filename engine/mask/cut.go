package mask

import "unsafe"

// Cut keeps the first rows of a pc_block, at most so many rows and so many
// bytes, and returns what it keeps.
func Cut(source unsafe.Pointer, rows int, bytes int64) (keptRows int, keptBytes int64) {
	b := (*block)(source)
	var selected []int32
	if b.rows != nil {
		selected = unsafe.Slice((*int32)(b.rows), int(b.nrows))
	}
	columns := b.columns()
	for keptRows < min(rows, int(b.nrows)) {
		row := keptRows
		if selected != nil {
			row = int(selected[keptRows])
		}
		size := rowSize(columns, row)
		if keptBytes+size > bytes {
			break
		}
		keptRows++
		keptBytes += size
	}
	b.nrows = int32(keptRows)
	return keptRows, keptBytes
}

func rowSize(columns []column, row int) int64 {
	size := int64(0)
	for i := range columns {
		c := &columns[i]
		switch {
		case c.data == nil:
		case c.kind != kindText && c.kind != kindBytes:
			size += int64(c.width)
		default:
			size += max(c.indicator(row), 0)
		}
	}
	return size
}
