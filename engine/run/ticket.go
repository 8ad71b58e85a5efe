package run

import (
	"context"
	"sync"
)

// Rows is a table of strings; nil cells are SQL NULL.
type Rows [][]*string

// ticket is a piece of work that may wait. Its work runs in one goroutine,
// which sets the outcome once; the shim polls.
type ticket struct {
	cancel context.CancelFunc

	mu    sync.Mutex
	done  bool
	value any
	err   error
}

func (t *ticket) set(value any, err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return false
	}
	t.done, t.value, t.err = true, value, err
	return true
}

func (t *ticket) get() (value any, err error, done bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.value, t.err, t.done
}

// start runs work behind a new ticket.
func (e *Engine) start(what string, work func(ctx context.Context) (any, error)) uint64 {
	ctx, cancel := context.WithCancel(e.ctx)
	t := &ticket{cancel: cancel}
	id := e.keep(t)
	finish := func(value any, err error) {
		if t.set(value, err) {
			e.progress()
		}
	}
	e.Go(what, func(err error) { finish(nil, err) }, func() {
		defer cancel()
		finish(work(ctx))
	})
	return id
}

// finished is a ticket whose outcome is known already.
func (e *Engine) finished(value any) uint64 {
	return e.keep(&ticket{cancel: func() {}, done: true, value: value})
}

func (e *Engine) keep(t *ticket) uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lastID++
	e.tickets[e.lastID] = t
	return e.lastID
}

// take returns a ticket's outcome and forgets the ticket, unless it is not done yet.
func (e *Engine) take(id uint64) (value any, err error, done bool) {
	e.mu.Lock()
	t := e.tickets[id]
	e.mu.Unlock()
	if t == nil {
		return nil, &Error{State: stateInternal, Message: "the portcullis library knows no such ticket"}, true
	}
	value, err, done = t.get()
	if done {
		e.forget(id)
	}
	return value, err, done
}

func (e *Engine) forget(id uint64) *ticket {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.tickets[id]
	delete(e.tickets, id)
	return t
}

// TicketResult returns the rows of a ticket; done is false while it works.
func (e *Engine) TicketResult(id uint64) (rows Rows, done bool, err error) {
	value, err, done := e.take(id)
	if err != nil || !done {
		return nil, done, err
	}
	rows, ok := value.(Rows)
	if !ok {
		return nil, true, &Error{State: stateInternal, Message: "the ticket is of another kind"}
	}
	return rows, true, nil
}

// TicketCancel gives a ticket up; what it does is cancelled and nobody waits for it.
func (e *Engine) TicketCancel(id uint64) {
	if t := e.forget(id); t != nil {
		t.cancel()
	}
}
