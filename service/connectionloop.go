package service

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Connections keeps every registered instance equal to the policies. Each has
// a loop of its own in every service; a lease in the store lets one of them work.
type Connections struct {
	store   *Store
	watch   *watcher
	log     *slog.Logger
	reach   *reach
	metrics *connectionMetrics
	holder  string       // of leases: this process
	overdue atomic.Int64 // nanoseconds: a revoke that is pending for longer is an alarm
	now     func() time.Time

	narrowFrom atomic.Int64 // tables: smaller instances have complete rounds only

	registering chan struct{} // holds one: the turn of this process
}

const (
	renewEvery    = leaseLife / 3
	firstRetry    = time.Second
	lastRetry     = time.Minute
	lastLook      = 8 * time.Second // where nothing failed and sessions from before a revoke are waited for
	listEvery     = 30 * time.Second
	revokeOverdue = time.Minute
)

func newConnections(store *Store, watch *watcher, metrics *connectionMetrics, log *slog.Logger) *Connections {
	all, err := newReach(Reach{})
	if err != nil {
		panic(err) // the default list is a constant
	}
	c := &Connections{store: store, watch: watch, log: log, reach: all, metrics: metrics, holder: uuid.NewString(), now: time.Now, registering: make(chan struct{}, 1)}
	c.overdue.Store(int64(revokeOverdue))
	c.narrowFrom.Store(narrowFrom)
	return c
}

// AlertRevokes sets after what time a revoke that is pending is an alarm, default a minute.
func (s *Server) AlertRevokes(after time.Duration) { s.native.overdue.Store(int64(after)) }

// run works until ctx ends.
func (c *Connections) run(ctx context.Context) {
	var loops sync.WaitGroup
	defer loops.Wait()
	loops.Go(func() { c.auditQueries(ctx) })
	running := map[string]context.CancelFunc{}
	ended := make(chan string)
	defer func() {
		for _, cancel := range running {
			cancel()
		}
		go func() { loops.Wait(); close(ended) }()
		for range ended { // let the loops say that they ended
		}
	}()
	for {
		_, _, changed := c.watch.state()
		ids, err := c.store.connectionIDs(ctx)
		if err != nil && ctx.Err() == nil {
			c.log.Warn("cannot list the connections", "error", err)
		}
		for _, id := range ids {
			if running[id] != nil {
				continue
			}
			inner, cancel := context.WithCancel(ctx)
			running[id] = cancel
			loops.Go(func() {
				l := &connectionLoop{c: c, id: id, retry: firstRetry}
				l.run(inner)
				ended <- id
			})
		}
		select {
		case <-ctx.Done():
			return
		case id := <-ended:
			running[id]()
			delete(running, id)
		case <-changed:
		case <-time.After(listEvery):
		}
	}
}

func (s *Store) connectionIDs(ctx context.Context) ([]string, error) {
	rows, err := s.pool.Query(ctx, "SELECT id::text FROM portcullis.connections ORDER BY id")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// connectionLoop works on one connection.
type connectionLoop struct {
	c  *Connections
	id string

	fence    int64
	memory   roundMemory
	retry    time.Duration   // after the next failure
	notUntil time.Time       // after a failure: no new round before, unless asked for
	hurry    <-chan struct{} // closed when the policies changed since the step began
}

var errGone = errors.New("the connection was deleted")

func (l *connectionLoop) run(ctx context.Context) {
	defer func() {
		bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if err := l.c.store.dropLease(bye, l.id, l.c.holder); err != nil {
			l.c.log.Warn("cannot give back the lease of a connection", "error", err)
		}
		l.c.metrics.forget(l.id)
	}()
	for ctx.Err() == nil {
		_, _, changed := l.c.watch.state()
		l.hurry = changed
		wait, err := l.step(ctx)
		if errors.Is(err, errGone) {
			return
		}
		if err != nil && !errors.Is(err, errLease) && ctx.Err() == nil {
			l.c.log.Warn("a connection could not be worked on", "connection", l.memory.name, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-time.After(min(wait, renewEvery)):
		}
	}
}

// step does what is due now and says for how long nothing will be.
func (l *connectionLoop) step(ctx context.Context) (time.Duration, error) {
	fence, err := l.c.store.takeLease(ctx, l.id, l.c.holder)
	if err != nil {
		l.memory = roundMemory{name: l.memory.name} // somebody else works: nothing remembered holds
		return firstRetry, err
	}
	if fence != l.fence {
		l.fence, l.memory = fence, roundMemory{name: l.memory.name}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var renewing sync.WaitGroup
	defer renewing.Wait()
	done := make(chan struct{})
	defer close(done)
	renewing.Go(func() { l.renew(ctx, cancel, done) })
	wait, err := l.work(ctx)
	if cause := context.Cause(ctx); errors.Is(cause, errLease) || errors.Is(cause, errGone) {
		return firstRetry, cause
	}
	return wait, err
}

// renew keeps the lease while a round runs, and ends the round when it is lost.
func (l *connectionLoop) renew(ctx context.Context, cancel context.CancelCauseFunc, done <-chan struct{}) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		fence, err := l.c.store.takeLease(ctx, l.id, l.c.holder)
		switch {
		case errors.Is(err, errGone):
			cancel(errGone)
			return
		case errors.Is(err, errLease) || err == nil && fence != l.fence:
			cancel(errLease)
			return
		}
	}
}
