package grants

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"portcullis.dev/portcullis/connection"
)

// Connect opens a session of the system account in a database of the instance.
type Connect func(ctx context.Context, database string) (*pgx.Conn, error)

// Options of an Engine. Zero durations and counts mean the defaults.
type Options struct {
	Target  connection.Target
	Connect Connect
	Ledger  Ledger
	// Fence is asked right before each commit; an error means that the lease is
	// no longer ours and ends the round.
	Fence func(ctx context.Context) error
	// LockTimeout bounds one wait for somebody's lock (1 s), Attempts how often
	// a statement that met one is tried in a round (3).
	LockTimeout time.Duration
	Attempts    int
	Now         func() time.Time
	// Pending of the last report: what stays pending keeps its Since.
	Pending []connection.Pending
}

// Engine acts on one instance. Its methods may not be called concurrently;
// engines of two processes are kept apart by Fence.
type Engine struct{ o Options }

// New returns an engine; nothing is contacted yet.
func New(o Options) (*Engine, error) {
	if o.Connect == nil || o.Ledger == nil || o.Fence == nil {
		return nil, errors.New("grants: Connect, Ledger and Fence are needed")
	}
	return &Engine{o: o}, nil
}

var errUnbuilt = errors.New("grants: being built")

// Round brings the instance in line with what is wanted and says how it stands
// after. Statements that failed are pending in the report; an error means that
// the instance could not be read, or that the lease was lost.
func (e *Engine) Round(ctx context.Context, want connection.Want) (connection.Report, error) {
	return connection.Report{}, errUnbuilt
}

// DryRun returns, as a script, what Round would run now.
func (e *Engine) DryRun(ctx context.Context, want connection.Want) (string, error) {
	return "", errUnbuilt
}

// TakeBack drops every role of the ledger after revoking what it holds, and
// nothing else. What could not be taken back is pending in the report.
func (e *Engine) TakeBack(ctx context.Context) (connection.Report, error) {
	return connection.Report{}, errUnbuilt
}
