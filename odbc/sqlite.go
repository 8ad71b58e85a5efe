package odbc

/*
#include <stddef.h>

// The driver gives no way to its sqlite3 handle, but SQLite itself does: an
// automatic extension is told of every database opened in the process.
static void *opened;

static int on_open(void *db, const char **message, const void *api) {
	(void) message;
	(void) api;
	opened = db;
	return 0;
}

static int watch_opens(void *auto_extension) {
	return ((int (*)(void (*)(void))) auto_extension)((void (*)(void)) on_open);
}

static void *take_opened(void) {
	void *db = opened;
	opened = NULL;
	return db;
}

static void interrupt(void *f, void *db) {
	((void (*)(void *)) f)(db);
}

#define LIMIT_ATTACHED 7

static void forbid_attach(void *f, void *db) {
	((int (*)(void *, int, int)) f)(db, LIMIT_ATTACHED, 0);
}
*/
import "C"

import (
	"sync"
	"unsafe"
)

// sqliteLibrary is SQLite as the driver loaded it.
type sqliteLibrary struct {
	mu               sync.Mutex // one connect at a time, so that an open is known to be ours
	interrupt, limit unsafe.Pointer
}

func findSQLite(h unsafe.Pointer) *sqliteLibrary {
	auto := symbol(h, "sqlite3_auto_extension")
	l := &sqliteLibrary{interrupt: symbol(h, "sqlite3_interrupt"), limit: symbol(h, "sqlite3_limit")}
	if auto == nil || l.interrupt == nil || l.limit == nil || C.watch_opens(auto) != 0 {
		return nil
	}
	return l
}

// connect runs the driver's connect and returns the database that it opened,
// with ATTACH forbidden: a statement must not reach other files.
func (l *sqliteLibrary) connect(f func()) unsafe.Pointer {
	l.mu.Lock()
	defer l.mu.Unlock()
	C.take_opened()
	f()
	db := C.take_opened()
	if db != nil {
		C.forbid_attach(l.limit, db)
	}
	return db
}

// stop interrupts what runs on db, which the caller keeps open meanwhile.
func (l *sqliteLibrary) stop(db unsafe.Pointer) { C.interrupt(l.interrupt, db) }
