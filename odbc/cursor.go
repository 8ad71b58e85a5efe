package odbc

// #include <stdlib.h>
// #include "fetch.h"
import "C"

import (
	"context"
	"io"
	"slices"
	"strconv"
	"sync"
)

func itoa(i int) string { return strconv.Itoa(i) }

const (
	defaultBlockRows  = 1000
	defaultBlockBytes = 1 << 20
	minBlockBytes     = 256 << 10 // 1600 columns of any kind fit
	maxBlocks         = 3
	defaultTextRoom   = 64
	maxValue          = 1<<30 - 1 // bytes, PostgreSQL's own limit
)

func (o QueryOptions) withDefaults() QueryOptions {
	if o.BlockRows <= 0 {
		o.BlockRows = defaultBlockRows
	}
	o.BlockRows = min(o.BlockRows, 65535)
	if o.BlockBytes <= 0 {
		o.BlockBytes = defaultBlockBytes
	}
	o.BlockBytes = max(o.BlockBytes, minBlockBytes)
	if o.Blocks <= 0 || o.Blocks > maxBlocks {
		o.Blocks = maxBlocks
	}
	if o.TextRoom <= 0 {
		o.TextRoom = defaultTextRoom
	}
	o.TextRoom = max(o.TextRoom, 16)
	return o
}

// Cursor reads the rows of one statement in blocks. Next is called from one
// goroutine at a time; Cancel and Close from any.
type Cursor struct {
	ctx    context.Context
	stop   func() bool // of the watch on ctx
	s      *stmt
	fetch  *C.pc_cursor
	ring   *ring
	all    int          // columns
	ncols  int          // those of them that are read
	types  []ColumnType // of all, once asked for
	closed sync.Once
	ended  bool
	// nearEnd: what the cursor in C says after each block.
	nearEnd bool
}

// Query executes a statement and makes ready to read its result, whose columns
// must be as many as cols and those only told; with nil cols all are read as text. ctx holds for
// the life of the cursor: when it ends, the statement is cancelled.
func (c *Conn) Query(ctx context.Context, sql string, params []Param, cols []Column, o QueryOptions) (*Cursor, error) {
	return c.open(ctx, cols, o, func(s *stmt) error { return s.execute(ctx, sql, params) })
}

// open makes a cursor of what execute leaves on a new statement.
func (c *Conn) open(ctx context.Context, cols []Column, o QueryOptions, execute func(*stmt) error) (*Cursor, error) {
	s, err := c.newStmt(ctx)
	if err != nil {
		return nil, err
	}
	cur := &Cursor{ctx: ctx, s: s}
	cur.stop = context.AfterFunc(ctx, func() { s.cancel(context.Cause(ctx)) })
	err = execute(s)
	if err == nil {
		err = cur.begin(cols, o.withDefaults())
	}
	if err != nil {
		cur.Close()
		return nil, err
	}
	return cur, nil
}

func (cur *Cursor) begin(cols []Column, o QueryOptions) error {
	s := cur.s
	n, err := s.resultColumns(cur.ctx)
	if err != nil {
		return err
	}
	if cols == nil {
		cols = make([]Column, max(0, n-o.Told))
		for i := range cols {
			cols[i].Kind = KindText
		}
	}
	if n == 0 {
		return &Error{State: "07005", Message: "the statement returns no rows", Driver: s.c.spec.Driver}
	}
	if n != len(cols)+o.Told {
		return &Error{State: "07009", Message: "the statement returns " + itoa(n) + " columns, " + itoa(len(cols)+o.Told) + " were expected", Driver: s.c.spec.Driver}
	}
	cur.all, cur.ncols = n, len(cols)
	if cols, err = cur.asDescribed(cols); err != nil {
		return err
	}
	if cur.ring, err = s.c.takeRing(o); err != nil {
		return err
	}
	return cur.newFetch(cols, o)
}

func (s *stmt) resultColumns(ctx context.Context) (int, error) {
	var n C.SQLSMALLINT
	err := s.call(ctx, phaseOther, "counting the columns", func() C.SQLRETURN {
		return C.SQLNumResultCols(C.SQLHSTMT(s.handle), &n)
	})
	return int(n), err
}

// Types tells the types of the result's columns, those that nobody reads included.
// It asks the driver only, which knows them from executing.
func (cur *Cursor) Types() ([]ColumnType, error) {
	if cur.types != nil {
		return cur.types, nil
	}
	types := make([]ColumnType, cur.all)
	err := cur.s.call(cur.ctx, phaseOther, "describing the columns", func() C.SQLRETURN {
		var t C.pc_type
		for i := range types {
			if rc := C.pc_column_type(C.SQLHSTMT(cur.s.handle), C.int32_t(i+1), &t); !ok(int64(rc)) {
				return rc
			}
			types[i] = ColumnType{SQLType: int(t.sqltype), Unsigned: t.is_unsigned == C.SQL_TRUE, Precision: int(t.precision), TypeName: C.GoString(&t.name[0])}
		}
		return C.SQL_SUCCESS
	})
	if err != nil {
		return nil, err
	}
	cur.types = types
	return types, nil
}

func (cur *Cursor) newFetch(cols []Column, o QueryOptions) error {
	kinds := make([]C.int32_t, len(cols))
	lens := make([]C.int64_t, len(cols))
	for i, col := range cols {
		if col.Kind < KindInt64 || col.Kind > KindFloat64Bits {
			return newError("HY003", "column %d has the unknown kind %d", i+1, col.Kind)
		}
		kinds[i], lens[i] = C.int32_t(col.Kind), C.int64_t(col.MaxLen)
	}
	options := C.pc_cursor_options{
		block_rows:  C.int32_t(o.BlockRows),
		text_room:   C.int32_t(o.TextRoom),
		block_bytes: C.int64_t(o.BlockBytes),
		getdata:     C.uint32_t(cur.s.c.getData),
		max_value:   maxValue,
	}
	traits := cur.s.c.lib.traits
	if traits.native {
		options.native = 1
	}
	if traits.nullAsCut {
		options.null_as_cut = 1
	}
	if traits.keepsLengths {
		options.keeps_lengths = 1
	}
	if !traits.setPos {
		options.getdata &^= C.SQL_GD_BLOCK
	}
	f := C.pc_cursor_new(C.SQLHSTMT(cur.s.handle), C.int32_t(len(cols)), &kinds[0], &lens[0], &options)
	if f == nil {
		return newError("HY001", "out of memory for a cursor")
	}
	cur.fetch = f
	cur.s.atRelease(func() { C.pc_cursor_free(f) })
	return nil
}

// Next reads the next block, io.EOF after the last. It waits while all blocks
// of the ring are held. The block is valid until it is released.
func (cur *Cursor) Next() (*Block, error) {
	if cur.ended {
		return nil, io.EOF
	}
	b, err := cur.ring.take(cur.s)
	if err != nil {
		return nil, err
	}
	rows, err := cur.fill(b)
	if err != nil || rows == 0 {
		b.Release()
		if err == nil {
			cur.ended = true
			err = cur.finish()
		}
		return nil, err
	}
	return b, nil
}

func (cur *Cursor) fill(b *Block) (rows int64, err error) {
	s := cur.s
	err = s.c.do(cur.ctx, s, phaseFetch, func() int64 {
		rows = int64(C.pc_cursor_fetch(cur.fetch, b.buf))
		cur.nearEnd = C.pc_cursor_near_end(cur.fetch) != 0
		return rows
	}, func(rc int64) error {
		switch rc {
		case C.PC_FETCH_DIAG:
			return s.diagnose("fetching")
		case C.PC_FETCH_OWN:
			return &Error{State: C.GoString(C.pc_cursor_state(cur.fetch)), Message: C.GoString(C.pc_cursor_message(cur.fetch)), Driver: s.c.spec.Driver}
		}
		return nil
	})
	return rows, err
}

// finish looks behind the last row: an error may wait there, a second result must not.
func (cur *Cursor) finish() error {
	more, err := cur.s.moreResults(cur.ctx)
	switch {
	case err != nil:
		return err
	case more:
		return &Error{State: "0A000", Message: "the statement returned more than one result", Driver: cur.s.c.spec.Driver}
	}
	return io.EOF
}

// NearEnd tells that the block read last was not full: the next call of Next
// says io.EOF, and need not wait for the source to do so.
func (cur *Cursor) NearEnd() bool { return cur.nearEnd }

// Columns is the number of columns.
func (cur *Cursor) Columns() int { return cur.ncols }

// Cancel interrupts the statement; it returns at once.
func (cur *Cursor) Cancel() { cur.s.cancel(nil) }

// Close ends the cursor without waiting for a call of another goroutine that is
// in the driver: that is cancelled and cleans up when it returns. Blocks not
// released yet stay valid.
func (cur *Cursor) Close() {
	cur.closed.Do(func() {
		cur.stop()
		cur.s.close()
		if cur.ring != nil {
			cur.ring.done()
		}
	})
}

// asDescribed reads as text what was asked for as a number and is none of that
// kind at the source: a driver would convert it without a word, text to 0 and
// 1.9 to 1. An unsigned column of 64 bits is not read as signed where the
// driver would wrap it without a word.
func (cur *Cursor) asDescribed(cols []Column) ([]Column, error) {
	t := cur.s.c.lib.traits
	converts := t.native && t.convertsNumbers
	if !converts && !t.wrapsUnsigned {
		return cols, nil
	}
	types, err := cur.Types()
	if err != nil {
		return nil, err
	}
	cols = slices.Clone(cols)
	for i := range cols {
		told := &types[i]
		if converts && !told.keeps(cols[i].Kind) {
			cols[i].Kind = KindText
		}
		if t.wrapsUnsigned && cols[i].Kind == KindInt64 && told.Unsigned && told.SQLType == C.SQL_BIGINT {
			return nil, &Error{State: "22003", Message: "column " + itoa(i+1) + " is an unsigned 64-bit integer and cannot be read as signed", Driver: cur.s.c.spec.Driver}
		}
	}
	return cols, nil
}

// keeps tells whether a bind of this kind keeps every value of the type.
func (t *ColumnType) keeps(kind Kind) bool {
	switch kind {
	case KindInt64, KindUint64, KindFloat64:
	case KindBool:
		if t.TypeName == "bool" {
			return true
		}
	default:
		return true
	}
	switch t.SQLType {
	case C.SQL_BIT:
		return kind != KindFloat64
	case C.SQL_TINYINT, C.SQL_SMALLINT, C.SQL_INTEGER, C.SQL_BIGINT:
		return kind == KindInt64 || kind == KindUint64
	case C.SQL_REAL, C.SQL_FLOAT, C.SQL_DOUBLE:
		return kind == KindFloat64
	}
	return false
}
