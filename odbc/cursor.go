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
	"unsafe"
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
	ncols  int
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
	cur.ncols = len(cols)
	if cols, err = s.asDescribed(cur.ctx, cols); err != nil {
		return err
	}
	if err := s.checkUnsigned(cur.ctx, cols); err != nil {
		return err
	}
	if cur.ring, err = s.c.takeRing(o); err != nil {
		return err
	}
	return cur.newFetch(cols, o)
}

// Describe tells the columns of the result, those that nobody reads included.
// It asks the driver only, which knows them from executing.
func (cur *Cursor) Describe() (columns []ResultColumn, err error) {
	err = cur.s.call(cur.ctx, phaseOther, "describing the columns", func() (rc C.SQLRETURN) {
		columns, rc = cur.s.describe()
		return rc
	})
	return columns, err
}

func (s *stmt) resultColumns(ctx context.Context) (int, error) {
	var n C.SQLSMALLINT
	err := s.call(ctx, phaseOther, "counting the columns", func() C.SQLRETURN {
		return C.SQLNumResultCols(C.SQLHSTMT(s.handle), &n)
	})
	return int(n), err
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
// 1.9 to 1.
func (s *stmt) asDescribed(ctx context.Context, cols []Column) ([]Column, error) {
	if t := s.c.lib.traits; !t.native || !t.convertsNumbers {
		return cols, nil
	}
	cols = slices.Clone(cols)
	for i := range cols {
		if k := cols[i].Kind; k != KindInt64 && k != KindUint64 && k != KindFloat64 && k != KindBool {
			continue
		}
		var kind C.SQLLEN
		var name [16]C.SQLCHAR
		err := s.call(ctx, phaseOther, "describing a column", func() C.SQLRETURN {
			h, n := C.SQLHSTMT(s.handle), C.SQLUSMALLINT(i+1)
			if rc := C.SQLColAttribute(h, n, C.SQL_DESC_TYPE_NAME, C.SQLPOINTER(&name[0]), C.SQLSMALLINT(len(name)), nil, nil); !ok(int64(rc)) {
				return rc
			}
			return C.SQLColAttribute(h, n, C.SQL_DESC_CONCISE_TYPE, nil, 0, nil, &kind)
		})
		if err != nil {
			return nil, err
		}
		boolean := cols[i].Kind == KindBool && C.GoString((*C.char)(unsafe.Pointer(&name[0]))) == "bool"
		if !boolean && !keepsNumber(cols[i].Kind, kind) {
			cols[i].Kind = KindText
		}
	}
	return cols, nil
}

// keepsNumber tells whether a bind of this kind keeps every value of an SQL type.
func keepsNumber(kind Kind, of C.SQLLEN) bool {
	switch of {
	case C.SQL_BIT:
		return kind != KindFloat64
	case C.SQL_TINYINT, C.SQL_SMALLINT, C.SQL_INTEGER, C.SQL_BIGINT:
		return kind == KindInt64 || kind == KindUint64
	case C.SQL_REAL, C.SQL_FLOAT, C.SQL_DOUBLE:
		return kind == KindFloat64
	}
	return false
}

// checkUnsigned refuses to read an unsigned column of 64 bits as signed where
// the driver would wrap it without a word.
func (s *stmt) checkUnsigned(ctx context.Context, cols []Column) error {
	if !s.c.lib.traits.wrapsUnsigned {
		return nil
	}
	for i, col := range cols {
		if col.Kind != KindInt64 {
			continue
		}
		var unsigned, kind C.SQLLEN
		err := s.call(ctx, phaseOther, "describing a column", func() C.SQLRETURN {
			h, n := C.SQLHSTMT(s.handle), C.SQLUSMALLINT(i+1)
			if rc := C.SQLColAttribute(h, n, C.SQL_DESC_UNSIGNED, nil, 0, nil, &unsigned); !ok(int64(rc)) {
				return rc
			}
			return C.SQLColAttribute(h, n, C.SQL_DESC_CONCISE_TYPE, nil, 0, nil, &kind)
		})
		if err != nil {
			return err
		}
		if unsigned == C.SQL_TRUE && kind == C.SQL_BIGINT {
			return &Error{State: "22003", Message: "column " + itoa(i+1) + " is an unsigned 64-bit integer and cannot be read as signed", Driver: s.c.spec.Driver}
		}
	}
	return nil
}
