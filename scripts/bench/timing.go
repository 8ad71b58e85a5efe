package main

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// median runs f n times and returns the middle duration.
func median(n int, f func() error) (time.Duration, error) {
	var all []time.Duration
	for range n {
		begun := time.Now()
		if err := f(); err != nil {
			return 0, err
		}
		all = append(all, time.Since(begun))
	}
	slices.Sort(all)
	return all[n/2], nil
}

// drain runs a query and reads its rows to the end.
func drain(ctx context.Context, conn *pgx.Conn, sql string, args ...any) error {
	r, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	for r.Next() {
	}
	return r.Err()
}
