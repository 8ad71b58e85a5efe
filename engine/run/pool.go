package run

import (
	"context"
	"fmt"
	"sync"
	"time"

	"portcullis.dev/portcullis/fdw"
)

// pool holds the remote connections of the session: one per server, mapping
// and options, more only where a driver allows one active statement or a
// thread hangs in one.
type pool struct {
	engine *Engine

	mu         sync.Mutex
	remotes    map[*remote]struct{}
	connecting map[connKey]*attempt  // those that somebody waits for
	attempts   map[*attempt]struct{} // all, abandoned ones included
	abandoned  int                   // threads that hang in a driver
	tx         uint64                // number of the local transaction
	wake       chan struct{}         // closed and replaced with each change
	janitor    *time.Timer
	stopped    bool
}

// settlePatience is how long a connection that is being cancelled, or whose
// transaction is ending, is waited for before another one is opened.
const settlePatience = 3 * time.Second

func newPool(e *Engine) *pool {
	return &pool{
		engine:     e,
		remotes:    map[*remote]struct{}{},
		connecting: map[connKey]*attempt{},
		attempts:   map[*attempt]struct{}{},
		wake:       make(chan struct{}),
	}
}

// changed wakes who waits for a connection. The caller holds mu.
func (p *pool) changed() {
	close(p.wake)
	p.wake = make(chan struct{})
}

// acquire returns a connection that is alive and in the local transaction's
// remote transaction, connecting where needed. It blocks in the caller's own
// goroutine. began says that the remote transaction begins with this caller.
// hold is told of each connection before its driver is called, and
// nil when it will not do; it answers whether the connection is still wanted.
func (p *pool) acquire(ctx context.Context, source *Source, hold func(*remote) bool) (r *remote, began bool, err error) {
	key := source.key()
	var patience <-chan time.Time
	patient := true
	moved := 0
	for {
		r, wait, attempt, err := p.choose(key, source, patient)
		switch {
		case err != nil:
			return nil, false, err
		case r != nil:
			if !hold(r) {
				hold(nil)
				p.release(r, false)
				return nil, false, canceled()
			}
			ready, began, err := p.prepare(ctx, r)
			if ready {
				return r, began, nil
			}
			hold(nil)
			if err != nil {
				p.release(r, true)
				return nil, false, err
			}
			if p.hasMoved(r) {
				if moved++; moved > maxMoved {
					p.discard(r)
					return nil, false, notAsItIs(source, "Its file was replaced, and a scan of this session still reads the old one.")
				}
			}
			p.discard(r)
		case attempt != nil:
			if err := p.await(ctx, attempt); err != nil {
				return nil, false, err
			}
		default:
			if patience == nil {
				timer := time.NewTimer(settlePatience)
				defer timer.Stop()
				patience = timer.C
			}
			select {
			case <-wait:
			case <-ctx.Done():
				return nil, false, canceled()
			case <-patience:
				patient = false
				p.abandonStuck(key)
			}
		}
	}
}

// choose picks a connection, or says what to wait for.
func (p *pool) choose(key connKey, source *Source, patient bool) (r *remote, wait <-chan struct{}, a *attempt, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return nil, nil, nil, canceled()
	}
	busy := false
	for candidate := range p.remotes {
		if candidate.moved && patient && candidate.driver == source.Server["driver"] {
			return nil, p.wake, nil, nil // what is opened now would share what it reads
		}
		if candidate.key != key || candidate.broken || p.outdated(candidate) {
			continue
		}
		switch {
		case candidate.stopping > 0:
			busy = true
			continue
		case candidate.endTx || candidate.inTx && candidate.tx != p.tx:
			candidate.endTx = true
			if candidate.users > 0 {
				busy = true
				continue
			}
		case candidate.single && candidate.users > 0:
			continue
		}
		if r == nil || candidate.inTx && !r.inTx {
			r = candidate
		}
	}
	if r != nil && p.heldBack(r) {
		if !patient {
			return nil, nil, nil, notAsItIs(source, "A scan of this session that was given up still runs in its driver and holds an older state.")
		}
		return nil, p.wake, nil, nil
	}
	if r != nil {
		r.users++
		r.statements++
		return r, nil, nil, nil
	}
	if busy {
		return nil, p.wake, nil, nil
	}
	if a = p.connecting[key]; a == nil {
		if a, err = p.connect(key, source); err != nil {
			return nil, nil, nil, err
		}
	}
	a.waiters++
	return nil, nil, a, nil
}

// heldBack tells whether a transaction that r would begin now would see the
// state of an earlier one that has not ended yet. The caller holds mu.
func (p *pool) heldBack(r *remote) bool {
	if !r.how().common || r.inTx && r.tx == p.tx {
		return false
	}
	for other := range p.remotes {
		if other != r && other.inTx && other.tx != p.tx && other.how().common {
			return true
		}
	}
	return false
}

func notAsItIs(source *Source, why string) *Error {
	return &Error{State: stateTooMany,
		Message: fmt.Sprintf("cannot read server \"%s\" as it is now", source.ServerName),
		Detail:  why,
		Hint:    "Try again, or open a new session."}
}

// maxMoved is how many connections a fetch finds reading a file that was
// replaced before it gives up: idle ones, and one that shares a cache.
const maxMoved = 3

// hasMoved tells whether a connection was refused because its file is another
// one now. Idle ones that may share what it reads are closed too.
func (p *pool) hasMoved(r *remote) bool {
	p.mu.Lock()
	moved := r.moved
	p.mu.Unlock()
	if moved {
		p.closeWhere(func(other *remote) bool {
			other.moved = other.how().common
			return other.moved
		})
	}
	return moved
}

// begins tells whether a remote transaction of r would be the local one's
// first at its source: later ones see what that one sees. The caller is inside.
func (p *pool) begins(r *remote) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for other := range p.remotes {
		if other != r && other.key == r.key && other.inTx && other.tx == p.tx {
			return false
		}
	}
	return true
}

// trusted is how long after its last use a connection is taken to live. A
// fetch that finds it dead all the same tries once more on a new one.
const trusted = time.Second

// wasStale tells whether a connection that is lost was so when the statement
// was sent: one that had rested since it last answered, for longer than it took to
// find out. Any other was lost under a statement that ran, which is not run
// again: it may be what ended the server.
func (p *pool) wasStale(r *remote, sent time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return r.statements > 1 && time.Since(sent) < sent.Sub(r.used)
}

// prepare makes a chosen connection ready: ends an older transaction, checks
// that the peer still answers, begins. False: it is stale.
func (p *pool) prepare(ctx context.Context, r *remote) (ready, began bool, err error) {
	if err := r.enter(ctx); err != nil {
		return false, false, err
	}
	defer r.leave()
	p.mu.Lock()
	inTx, endTx, number := r.inTx, r.endTx && r.users == 1, p.tx
	rested := time.Since(r.used)
	p.mu.Unlock()
	if inTx && !endTx {
		return true, false, nil
	}
	asked := time.Now()
	if endTx && !r.settle() || rested > trusted && !r.conn.Alive(ctx) {
		if ctx.Err() != nil {
			return false, false, canceled()
		}
		return false, false, nil
	}
	if p.begins(r) && (r.conn.Moved() || r.how().common && r.elsewhere()) {
		p.mu.Lock()
		r.moved = true
		p.mu.Unlock()
		return false, false, nil
	}
	if err := r.begin(ctx); err != nil {
		if ctx.Err() != nil {
			return false, false, canceled()
		}
		return false, false, nil
	}
	p.mu.Lock()
	r.inTx, r.tx = true, number
	if rested > trusted {
		r.used = asked
	}
	p.mu.Unlock()
	return true, true, nil
}

// release gives a connection back. After a failed statement its transaction
// is over; the last one to leave ends what must end.
func (p *pool) release(r *remote, failed bool) {
	tainted := r.conn.Tainted() // a late cancel could hit the next statement
	p.mu.Lock()
	r.users--
	r.broken = r.broken || tainted
	r.used = time.Now()
	r.endTx = r.endTx || failed && r.inTx
	last := r.users == 0
	r.broken = r.broken || last && r.retired && !r.inTx
	settle, discard := last && r.endTx && !r.broken, last && r.broken
	if last && !settle {
		p.watchIdle()
	}
	p.changed()
	p.mu.Unlock()
	switch {
	case discard:
		p.close(r)
	case settle:
		p.endTransaction(r)
	}
}

// endTransaction rolls a connection's transaction back in the background.
func (p *pool) endTransaction(r *remote) {
	e := p.engine
	e.Go("end of a remote transaction", func(error) { p.fail(r) }, func() {
		if r.enter(e.ctx) != nil {
			return
		}
		p.mu.Lock()
		due := r.endTx && r.users == 0 && !r.closed
		p.mu.Unlock()
		if due {
			r.settle()
		}
		r.leave()
		p.mu.Lock()
		r.broken = r.broken || r.retired && r.users == 0
		broken := r.broken && r.users == 0
		p.watchIdle()
		p.mu.Unlock()
		if broken {
			p.close(r)
		}
	})
}

// fail makes a connection serve nobody any more, after a panic around it.
func (p *pool) fail(r *remote) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.broken = true
	p.changed()
}

// discard closes a connection that turned out stale; the caller holds it.
func (p *pool) discard(r *remote) {
	p.mu.Lock()
	r.broken = true
	p.mu.Unlock()
	p.release(r, false)
}

// close closes a connection in the background: a driver may talk to its peer for that.
func (p *pool) close(r *remote) {
	p.mu.Lock()
	already := r.closed
	r.closed = true
	p.mu.Unlock()
	if already {
		return
	}
	p.engine.Go("close of a remote connection", func(error) { p.forget(r) }, func() {
		defer p.forget(r)
		r.conn.Close()
	})
}

func (p *pool) forget(r *remote) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.remotes[r]; !known {
		return
	}
	delete(p.remotes, r)
	if r.abandoned {
		p.abandoned--
	}
	p.changed()
}

// abandonStuck gives up the connections of a key that do not come back.
func (p *pool) abandonStuck(key connKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for r := range p.remotes {
		if r.key == key && !r.broken && (r.endTx || r.stopping > 0) {
			r.broken, r.abandoned = true, true
			p.abandoned++
		}
	}
	p.changed()
}

// stoppingFetch counts fetches that were given up while they hold r.
func (p *pool) stoppingFetch(r *remote, by int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.stopping += by
}

// alone tells whether nobody but the caller holds the connection.
func (p *pool) alone(r *remote) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return r.users <= 1
}

// transactionEnd ends the remote transactions of the local one.
func (p *pool) transactionEnd() {
	p.mu.Lock()
	p.tx++
	var idle []*remote
	for r := range p.remotes {
		if r.inTx && !r.broken {
			r.endTx = true
			if r.users == 0 {
				idle = append(idle, r)
			}
		}
	}
	p.mu.Unlock()
	for _, r := range idle {
		p.endTransaction(r)
	}
	p.closeRetired()
}

// disconnect closes idle connections of a server (0: of all) and says how many.
func (p *pool) disconnect(server uint32) int {
	return p.closeWhere(func(r *remote) bool { return server == 0 || r.key.server == server })
}

func (p *pool) closeWhere(which func(*remote) bool) int {
	p.mu.Lock()
	var idle []*remote
	for r := range p.remotes {
		if r.users == 0 && !r.inTx && !r.broken && which(r) {
			r.broken = true
			idle = append(idle, r)
		}
	}
	p.mu.Unlock()
	for _, r := range idle {
		p.close(r)
	}
	return len(idle)
}

// watchIdle sees to it that idle connections are closed in time. The caller holds mu.
func (p *pool) watchIdle() {
	idle := p.engine.cfg.Idle
	if idle <= 0 || p.stopped || p.janitor != nil {
		return
	}
	p.janitor = time.AfterFunc(idle, func() {
		p.engine.guard("janitor of remote connections", func(error) {}, p.sweep)
	})
}

// sweep closes what has been idle for too long, and comes back while anything is open.
func (p *pool) sweep() {
	limit := p.engine.cfg.Idle
	p.closeWhere(func(r *remote) bool { return time.Since(r.used) >= limit })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.janitor = nil
	if len(p.remotes) > 0 {
		p.watchIdle()
	}
}

// stop cancels whatever runs in drivers. Connections are left to the end of the process.
func (p *pool) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	if p.janitor != nil {
		p.janitor.Stop()
	}
	for r := range p.remotes {
		if r.users == 0 && !r.closed && !r.endTx {
			r.closed = true
			p.engine.Go("close of a remote connection", func(error) {}, func() { r.conn.Close() })
		}
	}
	p.changed()
}

// dialectOf finds the dialect of a source.
func dialectOf(source *Source) (fdw.Dialect, error) {
	d, err := fdw.ForServer(source.Server)
	if err != nil {
		return nil, AsError(err)
	}
	return d, nil
}
