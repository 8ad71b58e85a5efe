package service

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// turn is that of whoever makes the account of an instance ready, until it is stored
// how it is reached. Of two at once, in services on one store, each would give the
// account a password, and the one that is stored may not be the one that is valid.
// nil holds nothing.
type turn struct {
	of *Connections
	tx pgx.Tx // holds the lock
}

// take waits until nobody else registers the instance. One process waits with
// one session of the store, however many requests there are.
func (t *turn) take(ctx context.Context, systemID string) (err error) {
	if t == nil {
		return nil
	}
	if t.tx == nil {
		select {
		case t.of.registering <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		if t.tx, err = t.of.store.pool.Begin(ctx); err != nil {
			<-t.of.registering
			return fmt.Errorf("wait for other registrations of the instance: %w", err)
		}
	}
	if _, err = t.tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('portcullis registers ' || $1, 0))", systemID); err != nil {
		return fmt.Errorf("wait for other registrations of the instance: %w", err)
	}
	return nil
}

// end lets others go on.
func (t *turn) end(ctx context.Context) {
	if t.tx != nil {
		_ = t.tx.Rollback(context.WithoutCancel(ctx)) // it wrote nothing; the lock goes with the session, too
		<-t.of.registering
	}
}
