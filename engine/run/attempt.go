package run

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"portcullis.dev/portcullis/fdw"
	"portcullis.dev/portcullis/odbc"
)

// attempt is a connect under way. A driver's connect cannot be cancelled: when
// nobody waits for it any more it is abandoned, counted, and what it brings is closed.
type attempt struct {
	done chan struct{} // closed when the driver has returned
	err  error         // set before done is closed

	late    chan struct{} // closed when the driver has not kept to the time for a connect
	tooLate error         // what is said then

	server, driver string
	hashes         sourceHashes
	began          time.Time

	// guarded by pool.mu
	waiters   int
	abandoned bool
	retired   bool // the source was changed meanwhile
}

// defaultConnectTimeout is given to drivers that were not told one.
const defaultConnectTimeout = 15 * time.Second

// connectGrace is how much longer than the timeout that it was given a driver
// may take. MariaDB's bounds the TCP connect only, not the wait for a greeting.
const connectGrace = time.Second

// connect starts an attempt. The caller holds mu.
func (p *pool) connect(key connKey, source *Source) (*attempt, error) {
	if limit := p.engine.cfg.MaxAbandoned; limit > 0 && p.abandoned >= limit {
		return nil, &Error{
			State:   stateTooMany,
			Message: fmt.Sprintf("could not connect to server \"%s\": too many connects of this session hang", source.ServerName),
			Detail:  fmt.Sprintf("%d connects were cancelled whose drivers have not returned yet.", p.abandoned),
			Hint:    "Wait until the source answers, or open a new session. The limit is portcullis.max_abandoned_connections.",
		}
	}
	d, err := dialectOf(source)
	if err != nil {
		return nil, err
	}
	how, err := d.Connection(source.Server, source.Mapping, p.engine.env())
	if err != nil {
		return nil, AsError(err)
	}
	if how.ConnectTimeout == 0 {
		how.ConnectTimeout = defaultConnectTimeout
	}
	a := &attempt{done: make(chan struct{}), late: make(chan struct{}), server: source.ServerName, driver: how.Driver, hashes: source.hashes(), began: time.Now()}
	a.tooLate = connectError(source, how.Driver, &odbc.Error{State: "HYT00", Message: fmt.Sprintf("no answer within %v", how.ConnectTimeout), Driver: how.Driver})
	isLate := sync.OnceFunc(func() { close(a.late) })
	p.connecting[key] = a
	p.attempts[a] = struct{}{}
	finish := func(r *remote, err error) { p.connected(key, a, r, err) }
	p.engine.Go("connect", func(err error) { finish(nil, err) }, func() {
		finish(p.open(key, source, d, how, isLate))
	})
	return a, nil
}

// open connects and prepares the session; isLate is called when the driver
// does not keep to the time that it has for a connect.
func (p *pool) open(key connKey, source *Source, d fdw.Dialect, how *fdw.Connection, isLate func()) (*remote, error) {
	ctx := p.engine.ctx
	spec := odbc.ConnSpec{Driver: how.Driver, LoginTimeout: how.ConnectTimeout, ReadOnly: true}
	conn, err := p.engine.connect(source, how, spec, isLate)
	if err != nil {
		return nil, err
	}
	r := &remote{
		pool: p, key: key, hashes: source.hashes(), server: source.ServerName, driver: how.Driver, dialect: d, conn: conn,
		inside: make(chan struct{}, 1), opened: time.Now(), used: time.Now(),
		single: conn.Info().MaxStatements == 1,
	}
	r.elsewhere = func() bool {
		now, err := d.Connection(source.Server, source.Mapping, p.engine.env())
		return err != nil || !slices.Equal(now.Attrs, how.Attrs)
	}
	if err := r.setUp(ctx, source, how); err != nil {
		conn.Close()
		return nil, err
	}
	return r, nil
}

func (r *remote) setUp(ctx context.Context, source *Source, how *fdw.Connection) error {
	for _, sql := range how.Setup {
		if err := r.conn.Exec(ctx, sql); err != nil {
			return sourceError(source, r.dialect, "prepare the session at", err)
		}
	}
	for _, v := range how.Verify {
		rows, err := r.conn.QueryStrings(ctx, v.SQL, nil)
		if err != nil {
			return sourceError(source, r.dialect, "check the session at", err)
		}
		if len(rows) == 0 || len(rows[0]) == 0 || rows[0][0] == nil || *rows[0][0] != v.Want {
			return &Error{State: stateFDW, Message: fmt.Sprintf("cannot use server \"%s\": %s", source.ServerName, v.Why)}
		}
	}
	if !r.how().manual {
		return nil
	}
	if err := r.conn.SetAutoCommit(false); err != nil {
		return sourceError(source, r.dialect, "prepare the session at", err)
	}
	return nil
}

// connected takes what an attempt brought.
func (p *pool) connected(key connKey, a *attempt, r *remote, err error) {
	p.mu.Lock()
	if p.connecting[key] == a {
		delete(p.connecting, key)
	}
	delete(p.attempts, a)
	drop := a.abandoned || p.stopped
	if a.abandoned {
		p.abandoned--
	}
	if r != nil {
		r.broken, r.retired = drop, a.retired
		p.remotes[r] = struct{}{}
		p.watchIdle()
	}
	a.err = err
	close(a.done)
	p.changed()
	p.mu.Unlock()
	if r != nil && drop {
		p.close(r)
	}
	p.engine.progress()
}

// await waits for an attempt; the last one to give up abandons it.
func (p *pool) await(ctx context.Context, a *attempt) error {
	why := canceled()
	select {
	case <-a.done:
		p.mu.Lock()
		a.waiters--
		p.mu.Unlock()
		return a.err
	case <-a.late:
		why = a.tooLate
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	a.waiters--
	select {
	case <-a.done:
		return why
	default:
	}
	if a.waiters == 0 && !a.abandoned {
		a.abandoned = true
		p.abandoned++
		for key, other := range p.connecting {
			if other == a {
				delete(p.connecting, key)
			}
		}
	}
	return why
}
