package odbc

// #include "fetch.h"
//
// static SQLRETURN call_cancel(void *f, SQLHSTMT h) {
// 	return ((SQLRETURN (*)(SQLHSTMT)) f)(h);
// }
import "C"

import (
	"context"
	"fmt"
	"time"
	"unsafe"
)

// phase says what a statement does in the driver.
type phase int

const (
	phaseNone phase = iota
	phaseExecute
	phaseFetch
	phaseOther // short, not cancelled
)

// stmt is a statement handle with what its use needs. Fields below handle are
// guarded by the connection's mu.
type stmt struct {
	c         *Conn
	handle    C.SQLHANDLE
	inDriver  C.SQLHANDLE   // the driver's own handle behind it, nil unknown
	cleanups  []func()      // run once the handle is freed
	cancelled chan struct{} // closed by the first cancel

	isCancelled bool
	cause       error // why
	now         phase
	done        chan struct{} // closed when the present call returns
	cancels     int           // cancels inside the driver
	closing     bool
	released    bool
}

func (c *Conn) newStmt(ctx context.Context) (*stmt, error) {
	s := &stmt{c: c, cancelled: make(chan struct{})}
	err := c.do(ctx, nil, phaseOther, func() int64 {
		return int64(C.SQLAllocHandle(C.SQL_HANDLE_STMT, c.dbc, &s.handle))
	}, func(rc int64) error {
		if !ok(rc) {
			return c.note(diagnose(C.SQL_HANDLE_DBC, c.dbc, c.lib.wide, c.spec.Driver, "allocating a statement"))
		}
		s.findDriverHandle()
		c.mu.Lock()
		c.stmts[s] = struct{}{}
		c.mu.Unlock()
		return nil
	})
	return s, err
}

func (s *stmt) findDriverHandle() {
	if s.c.lib.traits.cancel != cancelByDriver {
		return
	}
	h := s.handle
	rc := C.SQLGetInfo(C.SQLHDBC(s.c.dbc), C.SQL_DRIVER_HSTMT, C.SQLPOINTER(unsafe.Pointer(&h)), 0, nil)
	if ok(int64(rc)) && h != s.handle {
		s.inDriver = h
	}
}

// release frees the handle; the caller is the only one inside the driver.
func (s *stmt) release() {
	if s.released {
		return
	}
	s.released = true
	C.SQLFreeHandle(C.SQL_HANDLE_STMT, s.handle)
	for _, f := range s.cleanups {
		f()
	}
	s.cleanups = nil
}

// atRelease registers what the driver may use until the handle is freed.
func (s *stmt) atRelease(f func()) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.released {
		f()
		return
	}
	s.cleanups = append(s.cleanups, f)
}

// close frees the statement now, or on return of the call that is in the driver.
func (s *stmt) close() {
	c := s.c
	c.mu.Lock()
	if s.closing {
		c.mu.Unlock()
		return
	}
	s.closing = true
	if s.now != phaseNone {
		c.cancelLocked(s)
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	_ = c.do(context.Background(), nil, phaseOther, func() int64 { c.drop(s); return 0 }, nil)
}

// drop releases s and forgets it; for whoever holds the connection's token.
func (c *Conn) drop(s *stmt) {
	s.release()
	c.mu.Lock()
	delete(c.stmts, s)
	c.mu.Unlock()
}

// do runs call in the driver, one at a time on the connection, and judges its
// result before anything else may disturb the diagnostics. s is the statement
// that a cancel may hit, nil for calls on the connection itself.
func (c *Conn) do(ctx context.Context, s *stmt, p phase, call func() int64, judge func(int64) error) error {
	if err := c.enter(ctx, s, p); err != nil {
		return err
	}
	rc := call()
	c.callReturned(s)
	var err error
	if judge != nil {
		err = judge(rc)
	}
	c.leave(s)
	if err != nil && s != nil {
		if cause, cancelled := c.whyCancelled(s); cancelled {
			return cancelledError(c.spec.Driver, cause)
		}
	}
	return err
}

func (c *Conn) enter(ctx context.Context, s *stmt, p phase) error {
	if ctx.Err() != nil {
		return cancelledError(c.spec.Driver, context.Cause(ctx))
	}
	var cancelled chan struct{}
	if s != nil {
		cancelled = s.cancelled
	}
	select {
	case c.sem <- struct{}{}:
	case <-cancelled:
		return cancelledError(c.spec.Driver, s.cause)
	case <-ctx.Done():
		return cancelledError(c.spec.Driver, context.Cause(ctx))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closing:
		<-c.sem
		return closedError(c.spec.Driver)
	case s != nil && s.isCancelled:
		<-c.sem
		return cancelledError(c.spec.Driver, s.cause)
	}
	c.users++
	if s != nil {
		s.now = p
		s.done = make(chan struct{})
	}
	return nil
}

// callReturned waits until no cancel is inside the driver with this statement.
func (c *Conn) callReturned(s *stmt) {
	if s == nil {
		return
	}
	c.mu.Lock()
	s.now = phaseNone
	close(s.done)
	for s.cancels > 0 {
		c.returned.Wait()
	}
	c.mu.Unlock()
}

func (c *Conn) leave(s *stmt) {
	c.mu.Lock()
	drop := s != nil && s.closing
	c.mu.Unlock()
	if drop {
		c.drop(s)
	}
	c.mu.Lock()
	c.users--
	free := c.takeFreeLocked()
	c.mu.Unlock()
	if free {
		c.free()
	}
	<-c.sem
}

func (c *Conn) whyCancelled(s *stmt) (error, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.cause, s.isCancelled
}

// ---- cancellation ----

// Cancel interrupts every statement of the connection that is in the driver.
// It returns at once and may be called from any goroutine.
func (c *Conn) Cancel() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.stmts {
		if s.now != phaseNone {
			c.cancelLocked(s)
		}
	}
}

func (s *stmt) cancel(cause error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if !s.isCancelled {
		s.cause = cause
	}
	s.c.cancelLocked(s)
}

func (c *Conn) cancelLocked(s *stmt) {
	if s.isCancelled {
		return
	}
	s.isCancelled = true
	close(s.cancelled)
	if s.now == phaseExecute || s.now == phaseFetch {
		c.tainted = c.tainted || c.lib.traits.cancel != cancelBySQLite // whose interrupt ends with the statement
		go c.interrupt(s, s.done)
	}
}

// interrupt repeats the cancel until the call returns: one that arrives
// before the source has begun is lost.
func (c *Conn) interrupt(s *stmt, done <-chan struct{}) {
	defer func() { _ = recover() }() // the call then runs to its end
	pause := 20 * time.Millisecond
	for try := 0; ; try++ {
		c.interruptOnce(s, done, try)
		select {
		case <-done:
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, time.Second)
	}
}

func (c *Conn) interruptOnce(s *stmt, done <-chan struct{}, try int) {
	switch c.lib.traits.cancel {
	case cancelBySQLite:
		c.mu.Lock()
		if s.now != phaseNone && !c.freed && c.sqliteDB != nil {
			c.lib.sqlite.stop(c.sqliteDB)
		}
		c.mu.Unlock()
	case cancelByKill:
		c.kill(done)
	case cancelByDriver:
		if try%2 == 1 || !c.cancelInDriver(s) {
			c.kill(done)
		}
	}
}

// cancelInDriver calls the driver's SQLCancel past the driver manager, whose
// own would clear the diagnostics list under the hands of the running call.
func (c *Conn) cancelInDriver(s *stmt) bool {
	c.mu.Lock()
	if s.now == phaseNone || c.lib.cancel == nil || s.inDriver == nil || s.now == phaseFetch && c.session != 0 {
		c.mu.Unlock()
		return false
	}
	s.cancels++
	c.mu.Unlock()
	C.call_cancel(c.lib.cancel, C.SQLHSTMT(s.inDriver))
	c.mu.Lock()
	s.cancels--
	c.returned.Broadcast()
	c.mu.Unlock()
	return true
}

// kill interrupts the session's statement from a second connection.
func (c *Conn) kill(done <-chan struct{}) {
	if c.lib.traits.killSQL == "" || c.session == 0 {
		return
	}
	spec := c.spec
	spec.side = true
	a := Begin(spec)
	select {
	case <-a.Done():
	case <-done:
		a.Abandon()
		return
	}
	side, err := a.Result()
	if err != nil {
		return
	}
	defer side.Close()
	select {
	case <-done:
	default:
		ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
		defer stop()
		_ = side.Exec(ctx, fmt.Sprintf(c.lib.traits.killSQL, c.session))
	}
}
