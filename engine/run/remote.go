package run

import (
	"context"
	"time"

	"portcullis.dev/portcullis/fdw"
	"portcullis.dev/portcullis/odbc"
)

// remote is one open connection to a source. Guarded by the pool's mutex.
type remote struct {
	pool    *pool
	key     connKey
	server  string
	driver  string
	dialect fdw.Dialect
	conn    *odbc.Conn
	inside  chan struct{} // holds one token: who has it may begin or end the transaction
	single  bool          // one active statement only
	opened  time.Time

	// guarded by pool.mu
	users      int    // fetches that hold the connection
	stopping   int    // of those, the ones that were given up and may sit in the driver
	inTx       bool   // a remote transaction is open
	tx         uint64 // of this local transaction
	endTx      bool   // it must end before anything else is done
	broken     bool   // serves nobody any more
	abandoned  bool   // broken, and counted because a thread hangs in it
	closed     bool
	used       time.Time
	statements int64
}

// enter waits for the right to begin or end the remote transaction.
func (r *remote) enter(ctx context.Context) error {
	select {
	case r.inside <- struct{}{}:
		return nil
	case <-ctx.Done():
		return canceled()
	}
}

func (r *remote) leave() { <-r.inside }

// begin opens the remote transaction that the scans of one local transaction
// share. The connection is in manual commit mode, so most sources begin with
// the first statement; MariaDB takes its snapshot only when told.
func (r *remote) begin(ctx context.Context) error {
	if sql := beginStatement[r.dialect.Name()]; sql != "" {
		return r.conn.Exec(ctx, sql)
	}
	return nil
}

// beginStatement is what opens a read-only transaction with one snapshot
// where the session's set-up does not make each transaction so.
var beginStatement = map[string]string{
	"mariadb": "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
}

// settle ends the remote transaction; false: the connection is of no use any
// more. The caller is inside.
func (r *remote) settle() bool {
	err := r.conn.Rollback() // it has only read
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	r.inTx, r.endTx = false, false
	if err != nil {
		r.broken = true
	}
	r.pool.changed()
	return !r.broken
}

func (r *remote) state() string {
	switch {
	case r.abandoned:
		return "abandoned"
	case r.users > 0 || r.endTx:
		return "busy"
	}
	return "idle"
}
