package odbc

// #include <stdlib.h>
// #include "sqlite.h"
import "C"

import (
	"context"
	"runtime"
	"sync"
	"unsafe"
)

// sqliteLibrary is SQLite as the driver loaded it.
type sqliteLibrary struct {
	mu         sync.Mutex
	connecting int // connects under way
}

// findSQLite returns nil if the library lacks what is needed of it.
func findSQLite(driver unsafe.Pointer) *sqliteLibrary {
	if C.pc_sqlite_init(driver) == 0 {
		return nil
	}
	return &sqliteLibrary{}
}

// connect runs the driver's connect and returns the database that it opened,
// nil if it opened none. It shares its cache with our others of the same file:
// the driver streams one statement at a time, and only so do statements on
// several connections see one state of the file.
func (l *sqliteLibrary) connect(f func()) *C.struct_sqlite3 {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	l.share(1)
	defer l.share(-1)
	C.pc_sqlite_opened()
	f()
	return C.pc_sqlite_opened()
}

// share counts connects, which may wait long for a file that somebody locked;
// while there are any, databases are opened with a shared cache.
func (l *sqliteLibrary) share(by int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.connecting += by
	switch {
	case by > 0 && l.connecting == 1:
		C.pc_sqlite_share(1)
	case l.connecting == 0:
		C.pc_sqlite_share(0)
	}
}

// prepare makes a database ready for our statements.
func (l *sqliteLibrary) prepare(db *C.struct_sqlite3) error {
	if db == nil {
		return newError("HY000", "the driver opened no database of SQLite")
	}
	if rc := C.pc_sqlite_prepare(db); rc != 0 {
		return &Error{State: "HY000", Native: int(rc), Message: "SQLite does not take the functions that read its values exactly"}
	}
	return nil
}

// passesDriver tells whether statements for their effect go to SQLite itself.
// In manual commit mode its driver begins the transactions.
func (c *Conn) passesDriver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sqliteDB != nil && c.autoCommit
}

// Moved tells whether the file that the connection reads has lost its name, to
// another file or to none: what is read from it is not what is stored there
// now. Connections of one file share its cache, so a new one is no better
// while an older one is open.
func (c *Conn) Moved() bool {
	if c.sqliteDB == nil {
		return false
	}
	moved := false
	err := c.do(context.Background(), nil, phaseOther, func() int64 {
		moved = C.pc_sqlite_moved(c.sqliteDB) != 0
		return 0
	}, nil)
	return err == nil && moved
}

// execInSQLite runs statements past the driver, which would leave reading what
// a SELECT brings, and so looking at the file, to a cursor.
func (s *stmt) execInSQLite(ctx context.Context, sql string) error {
	text := C.CString(sql)
	defer C.free(unsafe.Pointer(text))
	var why [1024]C.char
	return s.c.do(ctx, s, phaseExecute, func() int64 {
		return int64(C.pc_sqlite_exec(s.c.sqliteDB, text, &why[0], C.size_t(len(why))))
	}, func(rc int64) error {
		if rc == 0 {
			return nil
		}
		return &Error{State: "HY000", Native: int(rc), Message: C.GoString(&why[0]), Driver: s.c.spec.Driver}
	})
}

// stop interrupts what runs on db, which the caller keeps open meanwhile.
func (l *sqliteLibrary) stop(db *C.struct_sqlite3) { C.pc_sqlite_interrupt(db) }
