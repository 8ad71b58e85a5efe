package grants

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/broker"
)

// Connect opens a session of the system account in a database of the instance.
type Connect func(ctx context.Context, database string) (*pgx.Conn, error)

// Options of an Engine. Zero durations and counts mean the defaults.
type Options struct {
	Target  connection.Target
	Connect Connect
	Ledger  Ledger
	// Fence is asked right before each commit; an error means that the lease is
	// no longer ours and ends the round. What a commit changes may become
	// visible up to five seconds later, so a lease must outlive its last Fence by
	// more.
	Fence func(ctx context.Context) error
	// LockTimeout bounds what a round waits for locks of others (1.5 s: a server
	// takes a lock from autovacuum after one). Hurry, when closed, ends that
	// wait: something else is wanted of the instance.
	LockTimeout time.Duration
	Hurry       <-chan struct{}
	// GiveWay, where there is one, ends Round with ErrGaveWay when it is closed
	// before anything is changed.
	GiveWay <-chan struct{}
	Now     func() time.Time
	// Pending of the last report: what stays pending keeps its Since.
	Pending []connection.Pending
	// Lingering of the last report: these sessions are looked for again.
	Lingering []connection.LingeringSession
	// MaxExcess bounds the causes that a report lists (1,000); all are counted.
	MaxExcess int
	Limits    Limits
}

// Engine acts on one instance. Its methods may not be called concurrently;
// engines of two processes are kept apart by Fence.
type Engine struct {
	o Options
}

// New returns an engine; nothing is contacted yet.
func New(o Options) (*Engine, error) {
	if o.Connect == nil || o.Ledger == nil || o.Fence == nil {
		return nil, errors.New("grants: Connect, Ledger and Fence are needed")
	}
	if err := broker.CheckPrefix(o.Target.Prefix); err != nil {
		return nil, err
	}
	if o.LockTimeout <= 0 {
		o.LockTimeout = 1500 * time.Millisecond
	}
	if o.MaxExcess <= 0 {
		o.MaxExcess = 1000
	}
	o.Limits = o.Limits.orDefault()
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Engine{o: o}, nil
}

// Round brings the instance in line with what is wanted and says how it stands
// after. Statements that failed are pending in the report; an error means that
// the instance could not be read, or that the lease was lost.
func (e *Engine) Round(ctx context.Context, want connection.Want) (connection.Report, error) {
	s := &sessions{connect: e.o.Connect}
	defer s.close()
	before, err := e.lookUnlessAsked(ctx, s, want)
	if err != nil {
		return connection.Report{}, err
	}
	if before.plan.empty() {
		return e.report(ctx, s, before, nil)
	}
	x, err := e.apply(ctx, s, before)
	if err != nil {
		return connection.Report{}, err
	}
	after, err := e.look(ctx, s, want, nil)
	if err != nil {
		return connection.Report{}, err
	}
	return e.report(ctx, s, after, x)
}

// ErrGaveWay says that a round looked at the instance, and ended before it changed anything.
var ErrGaveWay = errors.New("grants: the round gave way to something else that is wanted")

func (e *Engine) lookUnlessAsked(ctx context.Context, s *sessions, want connection.Want) (*view, error) {
	looking, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() {
		select {
		case <-e.o.GiveWay:
			stop(ErrGaveWay)
		case <-looking.Done():
		}
	}()
	v, err := e.look(looking, s, want, nil)
	if errors.Is(context.Cause(looking), ErrGaveWay) {
		return nil, ErrGaveWay
	}
	return v, err
}

// DryRun returns, as a script, what Round would run now. Round also checks
// before each commit that the statements reached the very objects that were meant.
func (e *Engine) DryRun(ctx context.Context, want connection.Want) (string, error) {
	s := &sessions{connect: e.o.Connect}
	defer s.close()
	now, err := e.look(ctx, s, want, nil)
	if err != nil {
		return "", err
	}
	return e.script(now), nil
}

// TakeBack drops the roles that hold our grants after revoking what they hold,
// then the login roles that were made, and nothing that is not in the ledger.
// What could not be taken back is pending in the report.
func (e *Engine) TakeBack(ctx context.Context) (connection.Report, error) {
	report, err := e.Round(ctx, connection.Want{})
	if err != nil {
		return report, err
	}
	s := &sessions{connect: e.o.Connect}
	defer s.close()
	now, err := e.look(ctx, s, connection.Want{}, nil)
	if err != nil {
		return report, err
	}
	x := e.executor(s, now)
	logins, gone := now.logins(e.o.Target)
	if err := errors.Join(x.run(ctx, e.o.Target.Database, logins), x.retry(ctx)); err != nil {
		return report, err
	}
	for _, c := range logins {
		if !x.failed(c) {
			gone = append(gone, c.role)
		}
	}
	if err := e.o.Ledger.Forget(ctx, gone...); err != nil {
		return report, err
	}
	report.Applied += x.applied
	p := now.planner(e.o.Target)
	for _, f := range x.failures {
		if now.emptied(p, f.change, &f) {
			left, err := e.leftBehind(ctx, s, now, f.change.role)
			if err != nil {
				return report, err
			}
			report.Excess = append(report.Excess, left)
			continue
		}
		report.Pending = append(report.Pending, e.pending(now, f.change, &f, &obstacles{view: now, planner: p, target: e.o.Target}))
	}
	return report, nil
}
