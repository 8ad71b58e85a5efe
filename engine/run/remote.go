package run

import (
	"context"
	"time"

	"portcullis.dev/portcullis/fdw"
	"portcullis.dev/portcullis/odbc"
)

// remote is one open connection to a source. Guarded by the pool's mutex.
type remote struct {
	pool      *pool
	key       connKey
	hashes    sourceHashes
	server    string
	driver    string
	dialect   fdw.Dialect
	conn      *odbc.Conn
	inside    chan struct{} // holds one token: who has it may begin or end the transaction
	single    bool          // one active statement only
	opened    time.Time
	elsewhere func() bool // the source's options lead to another file now

	// guarded by pool.mu
	users      int    // fetches that hold the connection
	stopping   int    // of those, the ones that were given up and may sit in the driver
	inTx       bool   // a remote transaction is open
	tx         uint64 // of this local transaction
	endTx      bool   // it must end before anything else is done
	broken     bool   // serves nobody any more
	moved      bool   // broken, and what it reads is no longer the source's file
	abandoned  bool   // broken, and counted because a thread hangs in it
	retired    bool   // its source was changed: it serves its transaction to the end and nobody else
	closed     bool
	used       time.Time // when it was given back, or answered a check since
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

// transaction is how a dialect's read-only transactions with one snapshot
// begin and end.
type transaction struct {
	manual bool   // the driver's manual commit mode: it begins by itself, SQLEndTran ends it
	begin  string // without manual mode
	end    string // without manual mode
	// common: those of one session see one state of the source, as long as any is open.
	common bool
	// outlives: a statement that is cancelled leaves its transaction as it was.
	outlives bool
}

var transactions = map[string]transaction{
	"postgres": {manual: true}, // the session's set-up makes them READ ONLY and REPEATABLE READ
	"mariadb":  {manual: true}, // likewise; the first read makes the snapshot
	// In manual commit mode the driver reads whole results into memory. The
	// first reading looks whether the schema that the connection knows still
	// holds: without it the columns would be described as they were.
	"sqlite": {begin: "BEGIN; SELECT 1 FROM sqlite_master LIMIT 1", end: "ROLLBACK", common: true, outlives: true},
}

func (r *remote) how() transaction { return transactions[r.dialect.Name()] }

// begin opens the remote transaction that the scans of one local transaction share.
func (r *remote) begin(ctx context.Context) error {
	if sql := r.how().begin; sql != "" {
		return r.conn.Exec(ctx, sql)
	}
	return nil
}

// end rolls the remote transaction back: it has only read.
func (r *remote) end() error {
	if sql := r.how().end; sql != "" {
		return r.conn.Exec(r.pool.engine.ctx, sql)
	}
	return r.conn.Rollback()
}

// settle ends the remote transaction; false: the connection is of no use any
// more. The caller is inside.
func (r *remote) settle() bool {
	err := r.end()
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
	case r.retired || r.broken:
		return "closing"
	}
	return "idle"
}
