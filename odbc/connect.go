package odbc

// #include "fetch.h"
import "C"

import (
	"context"
	"fmt"
	"sync"
	"time"
	"unicode/utf16"
	"unsafe"
)

// Attempt is a connect under way. No driver can be interrupted while it
// connects, so an attempt is abandoned instead: its caller goes on at once,
// and what the driver returns later is closed.
type Attempt struct {
	done chan struct{} // the driver has returned; if abandoned, all is freed

	mu        sync.Mutex
	conn      *Conn
	err       error
	abandoned bool
}

// Begin starts to connect and returns at once.
func Begin(spec ConnSpec) *Attempt {
	a := &Attempt{done: make(chan struct{})}
	go a.run(spec)
	return a
}

func (a *Attempt) run(spec ConnSpec) {
	defer close(a.done)
	defer func() { _ = recover() }() // what closes a late connection runs here too
	conn, err := connectGuarded(spec)
	a.mu.Lock()
	a.conn, a.err = conn, err
	abandoned := a.abandoned
	a.mu.Unlock()
	if abandoned && conn != nil {
		conn.Close()
	}
}

// A panic must not leave a goroutine: it would end the process.
func connectGuarded(spec ConnSpec) (conn *Conn, err error) {
	defer func() {
		if p := recover(); p != nil {
			conn, err = nil, newError("XX000", "connecting failed: %v", p)
		}
	}()
	return connect(spec)
}

// Done is closed when the driver has returned. A caller that counts
// abandoned attempts counts each down then.
func (a *Attempt) Done() <-chan struct{} { return a.done }

// Result may be called once Done is closed.
func (a *Attempt) Result() (*Conn, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.abandoned {
		return nil, cancelledConnect(nil)
	}
	return a.conn, a.err
}

// Abandon gives the attempt up; a connection already made is closed.
func (a *Attempt) Abandon() {
	a.mu.Lock()
	conn, again := a.conn, a.abandoned
	a.abandoned = true
	a.mu.Unlock()
	if conn != nil && !again {
		conn.Close()
	}
}

// Wait waits for the connection; when ctx ends first the attempt is abandoned.
func (a *Attempt) Wait(ctx context.Context) (*Conn, error) {
	select {
	case <-a.done:
		return a.Result()
	case <-ctx.Done():
		a.Abandon()
		return nil, cancelledConnect(context.Cause(ctx))
	}
}

func cancelledConnect(cause error) *Error {
	e := cancelledError("", cause)
	e.Message = "connecting to the remote source was cancelled"
	return e
}

// Connect connects and waits for it, or abandons the attempt when ctx ends.
func Connect(ctx context.Context, spec ConnSpec) (*Conn, error) {
	if ctx.Err() != nil {
		return nil, cancelledConnect(context.Cause(ctx))
	}
	return Begin(spec).Wait(ctx)
}

func setODBC3(env C.SQLHANDLE) error {
	rc := C.pc_odbc3(C.SQLHENV(env))
	if rc != C.SQL_SUCCESS {
		return diagnose(C.SQL_HANDLE_ENV, env, true, "", "setting the ODBC version")
	}
	return nil
}

// connect does it, in the caller's goroutine. Each connection has its own
// environment: they then share no lock of the driver manager.
func connect(spec ConnSpec) (*Conn, error) {
	lib, err := loadDriver(spec.Driver)
	if err != nil {
		return nil, err
	}
	str, err := connectionString(spec, lib.traits)
	if err != nil {
		return nil, err
	}
	c := &Conn{spec: spec, lib: lib, sem: make(chan struct{}, 1), stmts: map[*stmt]struct{}{}, autoCommit: true}
	c.returned = sync.NewCond(&c.mu)
	if err := c.allocate(); err != nil {
		return nil, err
	}
	if err := c.login(str); err != nil {
		c.freeHandles()
		return nil, err
	}
	if err := c.afterLogin(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Conn) allocate() error {
	if rc := C.SQLAllocHandle(C.SQL_HANDLE_ENV, nil, &c.env); rc != C.SQL_SUCCESS {
		return newError("HY001", "cannot allocate an ODBC environment")
	}
	if err := setODBC3(c.env); err != nil {
		c.freeHandles()
		return err
	}
	if rc := C.SQLAllocHandle(C.SQL_HANDLE_DBC, c.env, &c.dbc); rc != C.SQL_SUCCESS {
		err := diagnose(C.SQL_HANDLE_ENV, c.env, true, c.spec.Driver, "allocating a connection")
		c.freeHandles()
		return err
	}
	return nil
}

func (c *Conn) login(str string) error {
	if c.spec.LoginTimeout > 0 {
		seconds := max(1, uintptr((c.spec.LoginTimeout+time.Second-1)/time.Second))
		C.pc_set_connect(C.SQLHDBC(c.dbc), C.SQL_ATTR_LOGIN_TIMEOUT, C.SQLULEN(seconds))
	}
	if c.spec.ReadOnly {
		C.pc_set_connect(C.SQLHDBC(c.dbc), C.SQL_ATTR_ACCESS_MODE, C.SQL_MODE_READ_ONLY)
	}
	var rc C.SQLRETURN
	if c.lib.sqlite != nil {
		c.sqliteDB = c.lib.sqlite.connect(func() { rc = c.driverConnect(str) })
	} else {
		rc = c.driverConnect(str)
	}
	if rc != C.SQL_SUCCESS && rc != C.SQL_SUCCESS_WITH_INFO {
		return diagnose(C.SQL_HANDLE_DBC, c.dbc, c.lib.wide, c.spec.Driver, "connecting")
	}
	c.connected = true
	return nil
}

func (c *Conn) driverConnect(str string) C.SQLRETURN {
	dbc := C.SQLHDBC(c.dbc)
	if c.lib.wide {
		w := append(utf16.Encode([]rune(str)), 0)
		return C.SQLDriverConnectW(dbc, nil, (*C.SQLWCHAR)(unsafe.Pointer(&w[0])), C.SQLSMALLINT(len(w)-1), nil, 0, nil, C.SQL_DRIVER_NOPROMPT)
	}
	b := append([]byte(str), 0)
	return C.SQLDriverConnect(dbc, nil, (*C.SQLCHAR)(unsafe.Pointer(&b[0])), C.SQLSMALLINT(len(b)-1), nil, 0, nil, C.SQL_DRIVER_NOPROMPT)
}

// afterLogin learns what later cancellation needs, and makes SQLite read-only.
func (c *Conn) afterLogin() error {
	c.getData = c.infoNumber(C.SQL_GETDATA_EXTENSIONS)
	if from := c.lib.traits.quietFrom; from != "" {
		c.quiet = c.infoText(C.SQL_DRIVER_VER) >= from
	}
	ctx := context.Background()
	if c.lib.sqlite != nil {
		if err := c.lib.sqlite.prepare(c.sqliteDB); err != nil || !c.spec.ReadOnly {
			return err
		}
		return c.Exec(ctx, "PRAGMA query_only=1")
	}
	if c.lib.traits.sessionSQL == "" || c.spec.side {
		return nil
	}
	rows, err := c.QueryStrings(ctx, c.lib.traits.sessionSQL, nil)
	if err != nil || len(rows) != 1 || rows[0][0] == nil {
		return nil // another DBMS behind the same driver: cancelled by SQLCancel only
	}
	_, _ = fmt.Sscan(*rows[0][0], &c.session)
	return nil
}
