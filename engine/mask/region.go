package mask

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Region is memory outside Go's heap that C may keep pointers into. It is
// mapped shared, so that another process could map it too.
type Region struct {
	mapping []byte
	used    int
}

const pageSize = 4096

// begin makes the region hold size bytes, and forgets what it held.
func (r *Region) begin(size int) error {
	r.used = 0
	if size <= len(r.mapping) {
		return nil
	}
	r.Free()
	size = (size + pageSize - 1) / pageSize * pageSize
	mapping, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
	if err != nil {
		return fmt.Errorf("could not map %d bytes for masked rows: %w", size, err)
	}
	r.mapping = mapping
	return nil
}

// Free gives the memory back. Nothing may point into it any more.
func (r *Region) Free() {
	if r.mapping != nil {
		_ = unix.Munmap(r.mapping)
		r.mapping = nil
	}
}

// take returns the next size bytes. begin was told the sum.
func (r *Region) take(size int) unsafe.Pointer {
	at := unsafe.Add(unsafe.Pointer(unsafe.SliceData(r.mapping)), r.used)
	r.used += roundUp(size)
	if r.used > len(r.mapping) {
		panic("a region is smaller than what is laid into it")
	}
	return at
}

// reserve is the room for n values of a type, in whole words.
func reserve[T any](n int) int {
	var one T
	return roundUp(n * int(unsafe.Sizeof(one)))
}

func roundUp(n int) int { return (n + 7) &^ 7 }
