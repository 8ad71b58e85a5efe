package service

import (
	"context"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection/grants"
)

// ledger is the store's memory of the roles that were made on one instance.
type ledger struct {
	store      *Store
	connection string
	fence      int64
}

func (l *ledger) Roles(ctx context.Context) ([]grants.MadeRole, error) {
	rows, err := l.store.pool.Query(ctx, "SELECT body FROM portcullis.connection_ledger WHERE connection = $1 ORDER BY name", l.connection)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[grants.MadeRole])
}

func (l *ledger) Put(ctx context.Context, roles ...grants.MadeRole) error {
	return l.change(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO portcullis.connection_ledger (connection, name, body)
			SELECT $1, body ->> 'name', body FROM jsonb_array_elements($2::jsonb) AS body
			ON CONFLICT (connection, name) DO UPDATE SET body = EXCLUDED.body`, l.connection, roles)
		return err
	})
}

func (l *ledger) Forget(ctx context.Context, names ...string) error {
	return l.change(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "DELETE FROM portcullis.connection_ledger WHERE connection = $1 AND name = ANY ($2::text[])", l.connection, names)
		return err
	})
}

// change writes under the lease: a service that lost it must not change what the next one reads.
func (l *ledger) change(ctx context.Context, f func(tx pgx.Tx) error) error {
	return l.store.underLease(ctx, l.connection, l.fence, f)
}
