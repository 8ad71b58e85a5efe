package grants

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"portcullis.dev/portcullis/connection"
)

// A session that broke, of this service or of one that lost the lease, may have
// sent a COMMIT that the instance is still about to carry out. What is read before
// that is not what is there after: a role would be taken for one that was never
// made, and a grant that is to be revoked be missed. So nothing is read while a
// transaction of ours that wrote something is open. It ends by itself: it may idle
// no longer than longestIdle.

// A transaction that wrote holds a lock on its own number.
const sqlUnfinished = `SELECT a.pid FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
	WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted AND a.usename = session_user AND a.pid <> pg_backend_pid() LIMIT 1`

const (
	longestUnfinished = longestIdle + time.Second
	askAgain          = 20 * time.Millisecond
)

// awaitUnfinished returns once no transaction of ours is open any more, or says
// which one does not end.
func awaitUnfinished(ctx context.Context, conn *pgx.Conn) (*connection.Error, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*longestUnfinished)
	defer cancel()
	begun := time.Now()
	for {
		var pid int32
		err := conn.QueryRow(ctx, sqlUnfinished).Scan(&pid)
		if err == pgx.ErrNoRows {
			return nil, nil
		}
		if err != nil {
			return nil, remote("looking for transactions that did not end", err)
		}
		if time.Since(begun) > longestUnfinished {
			return &connection.Error{Code: "unfinished", Message: fmt.Sprintf("a transaction of the system account does not end (pid %d)", pid),
				Detail: "What it will change is not known yet, so nothing that it may have made is forgotten or dropped.",
				Hint:   fmt.Sprintf("If nobody works as the account by hand: SELECT pg_terminate_backend(%d).", pid)}, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("grants: waiting for a transaction of ours: %w", ctx.Err())
		case <-time.After(askAgain):
		}
	}
}
