package odbc

// #include <stdlib.h>
// #include "fetch.h"
import "C"

import (
	"fmt"
	"sync"
	"unsafe"
)

// ring is the memory of a cursor's blocks. It outlives the cursor while
// blocks are held, then goes back to the connection for the next one.
type ring struct {
	c      *Conn
	fixed  int
	bufs   *C.pc_buffer // array in C memory
	n      int
	free   chan *Block
	mu     sync.Mutex
	held   int
	closed bool
}

func (c *Conn) takeRing(o QueryOptions) (*ring, error) {
	c.mu.Lock()
	r := c.spare
	c.spare = nil
	c.mu.Unlock()
	if r != nil {
		if r.fixed == o.BlockBytes && r.n == o.Blocks {
			r.closed = false
			return r, nil
		}
		r.unmap()
	}
	return newRing(c, o.BlockBytes, o.Blocks)
}

func newRing(c *Conn, fixed, n int) (*ring, error) {
	r := &ring{c: c, fixed: fixed, n: n, free: make(chan *Block, n)}
	r.bufs = (*C.pc_buffer)(C.calloc(C.size_t(n), C.size_t(unsafe.Sizeof(C.pc_buffer{}))))
	if r.bufs == nil {
		return nil, newError("HY001", "out of memory for row blocks")
	}
	if errno := C.pc_buffers_new(r.bufs, C.int32_t(n), C.int64_t(fixed)); errno != 0 {
		C.free(unsafe.Pointer(r.bufs))
		return nil, newError("HY001", "cannot map %d row blocks of %d bytes: errno %d", n, fixed, int(errno))
	}
	for i := range unsafe.Slice(r.bufs, n) {
		b := &Block{ring: r, buf: (*C.pc_buffer)(unsafe.Add(unsafe.Pointer(r.bufs), i*int(unsafe.Sizeof(C.pc_buffer{}))))}
		r.free <- b
	}
	return r, nil
}

func (r *ring) take(s *stmt) (*Block, error) {
	select {
	case b := <-r.free:
		r.mu.Lock()
		r.held++
		r.mu.Unlock()
		b.held = true
		return b, nil
	case <-s.cancelled:
		cause, _ := s.c.whyCancelled(s)
		return nil, cancelledError(s.c.spec.Driver, cause)
	}
}

func (r *ring) giveBack(b *Block) {
	C.pc_buffer_trim(b.buf)
	r.free <- b
	r.mu.Lock()
	r.held--
	last := r.closed && r.held == 0
	r.mu.Unlock()
	if last {
		r.retire()
	}
}

// done says that the cursor is closed.
func (r *ring) done() {
	r.mu.Lock()
	r.closed = true
	last := r.held == 0
	r.mu.Unlock()
	if last {
		r.retire()
	}
}

// retire keeps the memory for the connection's next cursor, or unmaps it.
func (r *ring) retire() {
	r.c.mu.Lock()
	keep := !r.c.closing && r.c.spare == nil
	if keep {
		r.c.spare = r
	}
	r.c.mu.Unlock()
	if !keep {
		r.unmap()
	}
}

func (r *ring) unmap() {
	C.pc_buffers_free(r.bufs, C.int32_t(r.n))
	C.free(unsafe.Pointer(r.bufs))
	r.bufs = nil
}

// Block is some rows, laid out as block.h says.
type Block struct {
	ring *ring
	buf  *C.pc_buffer
	held bool
}

// C is the pc_block.
func (b *Block) C() unsafe.Pointer { return unsafe.Pointer(b.buf.base) }

// Release gives the memory back for a later block; a second call does nothing.
// Any goroutine may call it, none may use the block afterwards.
func (b *Block) Release() {
	b.ring.mu.Lock()
	held := b.held
	b.held = false
	b.ring.mu.Unlock()
	if held {
		b.ring.giveBack(b)
	}
}

func (b *Block) block() *C.pc_block { return (*C.pc_block)(unsafe.Pointer(b.buf.base)) }

func (b *Block) column(col int) *C.pc_column {
	return (*C.pc_column)(unsafe.Add(unsafe.Pointer(b.block().cols), col*int(unsafe.Sizeof(C.pc_column{}))))
}

// Rows is the number of rows fetched.
func (b *Block) Rows() int { return int(b.block().nrows) }

// Kind is how the values of a column lie here: text where the driver could not be
// trusted to make the number that was asked for.
func (b *Block) Kind(col int) Kind { return Kind(b.column(col).kind) }

// IsNull tells whether a value is NULL.
func (b *Block) IsNull(col, row int) bool { return b.indicator(col, row) == C.PC_NULL }

func (b *Block) indicator(col, row int) int64 {
	return *(*int64)(unsafe.Add(unsafe.Pointer(b.column(col).ind), row*8))
}

func (b *Block) slot(col, row int) unsafe.Pointer {
	c := b.column(col)
	return unsafe.Add(unsafe.Pointer(c.data), row*int(c.width))
}

// Bytes is a value of kind text or bytes, in the block's memory; nil for NULL.
func (b *Block) Bytes(col, row int) []byte {
	n := b.indicator(col, row)
	if n < 0 {
		return nil
	}
	p := b.slot(col, row)
	if n > int64(b.column(col).room) {
		p = unsafe.Add(unsafe.Pointer(b.block().arena), *(*int64)(p))
	}
	return unsafe.Slice((*byte)(p), n)
}

// Int64 is a value of kind int64; Uint64, Float64 and Bool alike.
func (b *Block) Int64(col, row int) int64 { return *(*int64)(b.slot(col, row)) }

// Uint64 is a value of kind uint64.
func (b *Block) Uint64(col, row int) uint64 { return *(*uint64)(b.slot(col, row)) }

// Float64 is a value of kind float64.
func (b *Block) Float64(col, row int) float64 { return *(*float64)(b.slot(col, row)) }

// Bool is a value of kind bool.
func (b *Block) Bool(col, row int) bool { return *(*uint8)(b.slot(col, row)) != 0 }

// Date is a value of kind date.
func (b *Block) Date(col, row int) (year, month, day int) {
	d := (*C.SQL_DATE_STRUCT)(b.slot(col, row))
	return int(d.year), int(d.month), int(d.day)
}

// Timestamp is a value of kind timestamp as ISO text with nanoseconds.
func (b *Block) Timestamp(col, row int) string {
	t := (*C.SQL_TIMESTAMP_STRUCT)(b.slot(col, row))
	return fmt.Sprintf("%04d-%02d-%02d %02d:%02d:%02d.%09d", t.year, t.month, t.day, t.hour, t.minute, t.second, t.fraction)
}
