package main

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// median runs f n times and returns the middle duration.
func median(n int, f func() error) (time.Duration, error) {
	return middle(n, func() (time.Duration, error) {
		begun := time.Now()
		err := f()
		return time.Since(begun), err
	})
}

// middle is median for what measures itself.
func middle(n int, f func() (time.Duration, error)) (time.Duration, error) {
	var all []time.Duration
	for range n {
		d, err := f()
		if err != nil {
			return 0, err
		}
		all = append(all, d)
	}
	slices.Sort(all)
	return all[n/2], nil
}

// drain runs a query and reads its rows to the end; args as for pgx.Conn.Query.
func drain(ctx context.Context, conn *pgx.Conn, sql string, args ...any) error {
	r, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	for r.Next() {
	}
	return r.Err()
}
