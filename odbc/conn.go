package odbc

// #include "fetch.h"
// #include "sqlite.h"
import "C"

import (
	"context"
	"errors"
	"strings"
	"sync"
	"unsafe"
)

// Conn is one connection. Its calls may come from any goroutine; the driver
// sees one at a time.
type Conn struct {
	spec     ConnSpec
	lib      *library
	env, dbc C.SQLHANDLE
	sqliteDB *C.struct_sqlite3
	session  int64 // the source's number of this session, 0 unknown
	getData  uint32
	quiet    bool // see traits.quietFrom

	sem chan struct{} // holds a token while the driver works on this connection

	mu         sync.Mutex
	returned   *sync.Cond // a cancel has returned from the driver
	stmts      map[*stmt]struct{}
	connected  bool
	autoCommit bool
	users      int // calls in the driver or waiting for it
	closing    bool
	freed      bool
	dead       bool
	tainted    bool
	spare      *ring
}

// Close closes the connection without waiting for a call that is in the
// driver: that is cancelled, and its goroutine frees what is left on return.
func (c *Conn) Close() {
	c.mu.Lock()
	c.closing = true
	for s := range c.stmts {
		c.cancelLocked(s)
	}
	free := c.takeFreeLocked()
	c.mu.Unlock()
	if free {
		c.free()
	}
}

// takeFreeLocked tells whether the caller is the one to free the handles.
func (c *Conn) takeFreeLocked() bool {
	if !c.closing || c.freed || c.users > 0 {
		return false
	}
	c.freed = true
	return true
}

func (c *Conn) free() {
	for s := range c.stmts {
		s.release()
	}
	if c.connected {
		if !c.autoCommit {
			C.SQLEndTran(C.SQL_HANDLE_DBC, c.dbc, C.SQL_ROLLBACK)
		}
		C.SQLDisconnect(C.SQLHDBC(c.dbc))
	}
	c.freeHandles()
	if c.spare != nil {
		c.spare.unmap()
		c.spare = nil
	}
}

func (c *Conn) freeHandles() {
	if c.dbc != nil {
		C.SQLFreeHandle(C.SQL_HANDLE_DBC, c.dbc)
		c.dbc = nil
	}
	if c.env != nil {
		C.SQLFreeHandle(C.SQL_HANDLE_ENV, c.env)
		c.env = nil
	}
}

// Tainted tells that a cancel was sent on this connection: a late one could hit
// the next statement, so the connection should be closed, not used again.
func (c *Conn) Tainted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tainted
}

// ok is the common success test.
func ok(rc int64) bool { return rc == C.SQL_SUCCESS || rc == C.SQL_SUCCESS_WITH_INFO }

// onConn runs a call that works on the connection itself.
func (c *Conn) onConn(what string, f func() C.SQLRETURN) error {
	return c.do(context.Background(), nil, phaseOther, func() int64 { return int64(f()) }, func(rc int64) error {
		if ok(rc) {
			return nil
		}
		return c.note(diagnose(C.SQL_HANDLE_DBC, c.dbc, c.lib.wide, c.spec.Driver, what))
	})
}

// note remembers that an error means the connection is gone.
func (c *Conn) note(e *Error) *Error {
	if e != nil && (strings.HasPrefix(e.State, "08") || e.State == "57P01" || e.State == "57P02" || e.State == "57P03") {
		c.mu.Lock()
		c.dead = true
		c.mu.Unlock()
	}
	return e
}

// SetAutoCommit switches between a transaction for each statement and one
// that ends with Commit or Rollback.
func (c *Conn) SetAutoCommit(on bool) error {
	value := C.SQL_AUTOCOMMIT_OFF
	if on {
		value = C.SQL_AUTOCOMMIT_ON
	}
	err := c.onConn("setting autocommit", func() C.SQLRETURN {
		return C.pc_set_connect(C.SQLHDBC(c.dbc), C.SQL_ATTR_AUTOCOMMIT, C.SQLULEN(value))
	})
	if err == nil {
		c.mu.Lock()
		c.autoCommit = on
		c.mu.Unlock()
	}
	return err
}

// SetIsolation sets the level of the transactions that follow.
func (c *Conn) SetIsolation(level Isolation) error {
	return c.onConn("setting the isolation level", func() C.SQLRETURN {
		return C.pc_set_connect(C.SQLHDBC(c.dbc), C.SQL_ATTR_TXN_ISOLATION, C.SQLULEN(level))
	})
}

// Commit ends the transaction.
func (c *Conn) Commit() error { return c.endTransaction(C.SQL_COMMIT) }

// Rollback ends the transaction.
func (c *Conn) Rollback() error {
	if c.quiet {
		return c.Exec(context.Background(), "ROLLBACK")
	}
	return c.endTransaction(C.SQL_ROLLBACK)
}

func (c *Conn) endTransaction(how C.SQLSMALLINT) error {
	return c.onConn("ending the transaction", func() C.SQLRETURN {
		return C.SQLEndTran(C.SQL_HANDLE_DBC, c.dbc, how)
	})
}

// Alive asks the driver, then the source, whether the connection still works.
// It may wait for the network; an open transaction is rolled back.
func (c *Conn) Alive(ctx context.Context) bool {
	c.mu.Lock()
	gone := c.dead || c.closing || c.tainted
	autoCommit := c.autoCommit
	c.mu.Unlock()
	if gone || c.driverSaysDead() {
		return false
	}
	if c.lib.traits.aliveSQL == "" {
		return true
	}
	err := c.Exec(ctx, c.lib.traits.aliveSQL)
	if err == nil && !autoCommit {
		err = c.Rollback()
	}
	return err == nil
}

func (c *Conn) driverSaysDead() bool {
	var dead C.SQLUINTEGER
	err := c.onConn("asking for the state of the connection", func() C.SQLRETURN {
		return C.SQLGetConnectAttr(C.SQLHDBC(c.dbc), C.SQL_ATTR_CONNECTION_DEAD, C.SQLPOINTER(unsafe.Pointer(&dead)), 0, nil)
	})
	return err == nil && dead == C.SQL_CD_TRUE
}

// Driver is the registered name that the connection was made with.
func (c *Conn) Driver() string { return c.spec.Driver }

// Session is the source's own number of this session, 0 if it has none.
func (c *Conn) Session() int64 { return c.session }

// Info asks the driver about itself and the source.
func (c *Conn) Info() Info {
	info := Info{
		DBMSName:      c.infoText(C.SQL_DBMS_NAME),
		DBMSVersion:   c.infoText(C.SQL_DBMS_VER),
		DriverName:    c.infoText(C.SQL_DRIVER_NAME),
		DriverVersion: c.infoText(C.SQL_DRIVER_VER),
		DatabaseName:  c.infoText(C.SQL_DATABASE_NAME),
		Quote:         strings.TrimSpace(c.infoText(C.SQL_IDENTIFIER_QUOTE_CHAR)),
		MaxStatements: int(uint16(c.infoNumber(C.SQL_MAX_CONCURRENT_ACTIVITIES))),
		GetData:       c.getData,
		Isolations:    c.infoNumber(C.SQL_TXN_ISOLATION_OPTION),
	}
	if n := c.lib.traits.maxStatements; n > 0 {
		info.MaxStatements = n
	}
	return info
}

func (c *Conn) infoNumber(what C.SQLUSMALLINT) uint32 {
	var n C.SQLUINTEGER
	_ = c.onConn("asking the driver", func() C.SQLRETURN {
		return C.SQLGetInfo(C.SQLHDBC(c.dbc), what, C.SQLPOINTER(unsafe.Pointer(&n)), 4, nil)
	})
	return uint32(n)
}

func (c *Conn) infoText(what C.SQLUSMALLINT) string {
	var buf [1024]C.SQLCHAR
	var n C.SQLSMALLINT
	err := c.onConn("asking the driver", func() C.SQLRETURN {
		return C.SQLGetInfo(C.SQLHDBC(c.dbc), what, C.SQLPOINTER(unsafe.Pointer(&buf[0])), C.SQLSMALLINT(len(buf)), &n)
	})
	if err != nil {
		return ""
	}
	return C.GoString((*C.char)(unsafe.Pointer(&buf[0])))
}

var errClosed = errors.New("the connection is closed")

func closedError(driver string) *Error {
	return &Error{State: "08003", Message: errClosed.Error(), Driver: driver, cause: errClosed}
}
