package run

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
	"unsafe"

	"portcullis.dev/portcullis/engine/mask"
	"portcullis.dev/portcullis/odbc"
)

// ready is a block for the shim, or the end of the rows (io.EOF), or an error.
type ready struct {
	block  unsafe.Pointer // *pc_block
	rows   int
	bytes  int64
	source *odbc.Block
	region *mask.Region // nil: the source's block is shown as it is
	last   bool         // no more comes behind this block
	err    error
}

func (r *ready) release(f *fetch) {
	if r.source != nil {
		r.source.Release()
	}
	if r.region != nil {
		select {
		case f.regions <- r.region:
		default:
			r.region.Free()
		}
	}
	*r = ready{}
}

// fetch is one execution of a scan's remote statement. Its goroutine reads
// ahead: one block is with the shim, one waits in out, one is being filled.
type fetch struct {
	scan    *Scan
	params  []odbc.Param
	ctx     context.Context
	cancel  context.CancelFunc // gives the driver's call up
	quit    chan struct{}      // closed: no more rows are wanted
	expired chan struct{}      // closed: the source may not be kept busy for longer
	out     chan ready
	regions chan *mask.Region // free ones
	done    chan struct{}     // closed when the goroutine has ended

	mu      sync.Mutex
	stopped bool
	over    *Error  // why expired is closed
	remote  *remote // while it is held
	prev    *fetch  // the execution before a rescan, which ends first; nil when it has
}

// blocksAhead is how many blocks wait for the shim.
const blocksAhead = 1

func (s *Scan) newFetch(params []odbc.Param, prev *fetch) *fetch {
	f := &fetch{
		scan: s, params: params, prev: prev,
		quit:    make(chan struct{}),
		expired: make(chan struct{}),
		out:     make(chan ready, blocksAhead),
		regions: make(chan *mask.Region, blocksAhead+2),
		done:    make(chan struct{}),
	}
	f.ctx, f.cancel = context.WithCancel(s.engine.ctx)
	return f
}

// run is the goroutine of the fetch.
func (f *fetch) run() {
	defer f.ended()
	if prev := f.after(); prev != nil {
		select {
		case <-prev.done:
			f.forgetPrev()
		case <-f.ctx.Done():
			return
		}
	}
	if err := f.read(); err != nil {
		f.send(ready{err: err})
	}
}

// read fetches all rows while the limit of seconds lasts. Their end has been
// sent when it returns nil.
func (f *fetch) read() error {
	u := f.scan.usage
	if err := u.begin(f); err != nil {
		return err
	}
	defer u.end(f)
	switch err := f.rows(); {
	case err == nil:
		return nil
	case f.overtime() != nil:
		return f.overtime()
	default:
		return err
	}
}

// expire gives the remote statement up because of a limit.
func (f *fetch) expire(why *Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over == nil {
		f.over = why
		close(f.expired)
		f.cancel()
		f.scan.engine.progress()
	}
}

// overtime is the limit that was reached, as an error, or nil.
func (f *fetch) overtime() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over == nil {
		return nil
	}
	return f.over
}

// after is the execution that has to end first, or nil.
func (f *fetch) after() *fetch {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.prev
}

func (f *fetch) forgetPrev() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.prev = nil
}

func (f *fetch) isStopped() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stopped
}

// failed hands a panic of the goroutine to the scan.
func (f *fetch) failed(err error) { f.send(ready{err: err}) }

// send hands something to the shim; false: nobody wants it any more.
func (f *fetch) send(r ready) bool {
	select {
	case <-f.quit:
		r.release(f)
		return false
	default:
	}
	select {
	case f.out <- r:
		f.scan.engine.progress()
		return true
	case <-f.quit:
		r.release(f)
		return false
	}
}

// rows executes the statement and hands on its blocks. A connection that
// turns out dead at the first statement of its transaction is replaced once.
func (f *fetch) rows() error {
	for try := 0; ; try++ {
		again, err := f.execute()
		if !again || try > 0 {
			return err
		}
	}
}

// execute runs the statement on one connection; again says that the
// connection was dead before anything was read from it.
func (f *fetch) execute() (again bool, err error) {
	s, p := f.scan, f.scan.engine.pool
	r, began, err := p.acquire(f.ctx, s.source, f.hold)
	if err != nil {
		return false, err
	}
	finished := false
	defer func() { f.letGo(r, !finished && !(f.ctx.Err() != nil && r.how().outlives)) }() // also when what follows panics

	sent := time.Now()
	rows, reading, err := f.open(r)
	if err != nil {
		if began && lost(err) && f.ctx.Err() == nil && p.wasStale(r, sent) {
			p.fail(r)
			return true, f.remoteError(err)
		}
		return false, f.remoteError(err)
	}
	defer rows.Close()
	finished, err = f.pass(rows, reading)
	return false, err
}

// rowBlocks brings the rows of a statement.
type rowBlocks interface {
	Next() (*odbc.Block, error) // io.EOF behind the last
	NearEnd() bool              // the next call of Next says io.EOF, and need not wait
	Close()
}

// open executes the statement, or that of its first page. Where the columns are
// not described as was hoped for, nothing is read and another statement executed,
// which does without.
func (f *fetch) open(r *remote) (rowBlocks, *reading, error) {
	s := f.scan
	key := f.pageKey(r)
	for {
		reading, err := s.inPages(key)
		if err != nil {
			return nil, nil, err
		}
		if reading.statement.Pages != nil {
			rows, fit, err := f.openPages(r.conn, reading, key)
			if err != nil || fit {
				return rows, reading, err
			}
		} else {
			cursor, fit, err := f.query(r.conn, reading, reading.statement.SQL, f.params)
			if err != nil || fit {
				return cursor, reading, err
			}
		}
		if err := s.otherwise(); err != nil {
			return nil, nil, err
		}
	}
}

// query executes a statement; without fit its columns are not described as was
// hoped for, and there is no cursor.
func (f *fetch) query(conn *odbc.Conn, r *reading, sql string, params []odbc.Param) (*odbc.Cursor, bool, error) {
	cursor, err := conn.Query(f.ctx, sql, params, r.columns, f.scan.options(r))
	if err != nil {
		return nil, false, err
	}
	fit, err := f.scan.checkColumns(cursor, r.statement)
	if err == nil && fit {
		return cursor, true, nil
	}
	cursor.Close()
	return nil, false, err
}

// pass hands the blocks of rows to the shim. In peace: the rows have ended or
// no more are wanted, and the transaction may go on.
func (f *fetch) pass(rows rowBlocks, r *reading) (inPeace bool, err error) {
	block, err := rows.Next()
	for err == nil {
		shown, failed := f.show(block, r.transform)
		if failed != nil {
			block.Release()
			return false, failed
		}
		block = nil
		// The end goes with the last block, so that nobody is woken for it alone.
		if rows.NearEnd() {
			block, err = rows.Next()
			shown.last = errors.Is(err, io.EOF)
		}
		if taken, failed := f.hand(shown); !taken {
			if block != nil {
				block.Release()
			}
			return failed == nil, failed
		}
		if shown.last {
			return true, nil
		}
		if block == nil && err == nil {
			block, err = rows.Next()
		}
	}
	if !errors.Is(err, io.EOF) {
		return false, f.remoteError(err)
	}
	f.send(ready{err: io.EOF}) // the executor need not wait until the cursor is closed
	return true, nil
}

// hand waits until the shim has room for a block; false: it is not wanted any
// more, or, with an error, a limit is over.
func (f *fetch) hand(r ready) (taken bool, err error) {
	select {
	case f.out <- r:
		f.scan.engine.progress()
		return true, nil
	case <-f.quit:
		r.release(f)
		return false, nil
	case <-f.expired:
		r.release(f)
		return false, canceled()
	}
}

// show applies the decision's filter and masks to a block.
func (f *fetch) show(block *odbc.Block, transform *mask.Transform) (ready, error) {
	s := f.scan
	if transform == nil {
		return ready{block: block.C(), rows: block.Rows(), bytes: mask.Size(block.C()), source: block}, nil
	}
	var region *mask.Region
	select {
	case region = <-f.regions:
	default:
		region = &mask.Region{}
	}
	shown, rows, err := transform.Apply(block.C(), region)
	if err != nil {
		region.Free()
		if errors.Is(err, mask.ErrUnreadable) {
			return ready{}, &Error{State: "22000", Message: "server \"" + s.source.ServerName + "\" holds a value that is none of its column's type"}
		}
		return ready{}, &Error{State: stateInternal, Message: "could not apply the policy to rows of server \"" + s.source.ServerName + "\""}
	}
	return ready{block: shown, rows: rows, bytes: mask.Size(shown), source: block, region: region}, nil
}

func (f *fetch) remoteError(err error) error {
	if f.ctx.Err() != nil {
		return canceled()
	}
	return f.scan.sourceError(err)
}

// hold notes the connection that the fetch is about to use, nil: none. False:
// it is not wanted any more.
func (f *fetch) hold(r *remote) bool {
	if r == nil {
		f.unhold()
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.remote = r
	return !f.stopped
}

func (f *fetch) letGo(r *remote, failed bool) {
	f.unhold()
	f.scan.engine.pool.release(r, failed)
}

func (f *fetch) unhold() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.remote != nil && f.stopped {
		f.scan.engine.pool.stoppingFetch(f.remote, -1)
	}
	f.remote = nil
}

// ended is the last thing that the goroutine does.
func (f *fetch) ended() {
	f.cancel()
	select {
	case <-f.quit:
		f.drain()
	default:
	}
	close(f.done)
	f.scan.engine.fetchEnded(f)
}

// drain frees what nobody will take any more. Two may do so at once.
func (f *fetch) drain() {
	for {
		select {
		case r := <-f.out:
			r.release(f)
			continue
		default:
		}
		select {
		case region := <-f.regions:
			region.Free()
		default:
			return
		}
	}
}

// cancelGrace is how long a fetch that is not wanted any more may take to
// bring its block before the driver is told to cancel: a cancelled statement
// costs the remote transaction.
const cancelGrace = 100 * time.Millisecond

// stop says that no more rows are wanted; it never waits. A statement that is
// not done after the grace is cancelled, unless others read in the same
// remote transaction, which the cancellation would end.
func (f *fetch) stop() {
	f.mu.Lock()
	if f.stopped {
		f.mu.Unlock()
		return
	}
	f.stopped = true
	r := f.remote
	if r != nil {
		f.scan.engine.pool.stoppingFetch(r, 1)
	}
	f.mu.Unlock()
	close(f.quit)
	f.drain()
	if prev := f.after(); prev != nil {
		prev.stop()
	}
	if r == nil {
		f.cancel()
		return
	}
	select {
	case <-f.done:
		return
	default:
	}
	e := f.scan.engine
	e.Go("cancel of a remote statement", func(error) { f.cancel() }, func() {
		patience := time.NewTicker(cancelGrace)
		defer patience.Stop()
		for {
			select {
			case <-f.done:
				return
			case <-f.ctx.Done():
				return
			case <-patience.C:
				if e.pool.alone(r) {
					f.cancel()
				}
			}
		}
	})
}
