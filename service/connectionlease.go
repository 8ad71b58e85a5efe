package service

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// leaseLife is how long a service that stopped without a word keeps others
// from an instance.
const leaseLife = 15 * time.Second

// errLease says that another service works on the instance.
var errLease = errors.New("another service holds the lease of the connection")

// takeLease takes or renews the lease of a connection for a holder and returns
// its fencing number, which grows with each new holder. errGone: the connection
// was deleted.
func (s *Store) takeLease(ctx context.Context, connection, holder string) (fence int64, err error) {
	err = s.pool.QueryRow(ctx, `INSERT INTO portcullis.connection_leases AS l (connection, holder, fence, expires) VALUES ($1, $2, 1, clock_timestamp() + $3::interval)
		ON CONFLICT (connection) DO UPDATE SET holder = $2, expires = clock_timestamp() + $3::interval,
			fence = CASE WHEN l.holder = $2 AND l.expires > clock_timestamp() THEN l.fence ELSE l.fence + 1 END
		WHERE l.holder = $2 OR l.expires <= clock_timestamp() RETURNING fence`, connection, holder, leaseLife.String()).Scan(&fence)
	var violated *pgconn.PgError
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return 0, errLease
	case errors.As(err, &violated) && violated.Code == "23503": // there is no such connection
		return 0, errGone
	}
	return fence, err
}

// giveWayAfter is how long a transaction under the lease waits for a lock. It is less
// than deadlock_timeout (1 s), so that where it and the change of a person wait for each
// other it is not that change which is ended.
const giveWayAfter = 200 * time.Millisecond

// underLease runs f in a transaction while the lease is ours, and keeps it so until the
// end. It runs again where others are in the way, for a minute at most.
func (s *Store) underLease(ctx context.Context, connection string, fence int64, f func(tx pgx.Tx) error) error {
	for until := time.Now().Add(time.Minute); ; {
		err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			if err := holdLease(ctx, tx, connection, fence); err != nil {
				return err
			}
			return f(tx)
		})
		if !inTheWay(err) || time.Now().After(until) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(giveWayAfter / 4):
		}
	}
}

// holdLease keeps the lease from changing hands until the transaction ends. Statements
// are planned each time: a plan that was made when a store was empty goes through all of
// it for each of a thousand tables, when there are a hundred thousand.
func holdLease(ctx context.Context, tx pgx.Tx, connection string, fence int64) error {
	var ours bool
	err := tx.QueryRow(ctx, "SELECT fence = $2 AND expires > clock_timestamp(), set_config('lock_timeout', $3, true), set_config('plan_cache_mode', 'force_custom_plan', true) FROM portcullis.connection_leases WHERE connection = $1 FOR SHARE",
		connection, fence, giveWayAfter.String()).Scan(&ours, nil, nil)
	if err == nil && !ours || errors.Is(err, pgx.ErrNoRows) {
		return errLease
	}
	return err
}

// checkLease is the fence before each commit on an instance. It asks for time
// enough for that commit.
func (s *Store) checkLease(ctx context.Context, connection string, fence int64) error {
	var ours bool
	err := s.pool.QueryRow(ctx, "SELECT fence = $2 AND expires > clock_timestamp() + $3::interval FROM portcullis.connection_leases WHERE connection = $1",
		connection, fence, (leaseLife / 3).String()).Scan(&ours)
	if err == nil && !ours || errors.Is(err, pgx.ErrNoRows) {
		return errLease
	}
	return err
}

// dropLease lets the next holder begin at once.
func (s *Store) dropLease(ctx context.Context, connection, holder string) error {
	_, err := s.pool.Exec(ctx, "UPDATE portcullis.connection_leases SET expires = clock_timestamp() WHERE connection = $1 AND holder = $2", connection, holder)
	return err
}
