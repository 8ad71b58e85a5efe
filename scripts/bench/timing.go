package main

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// lap is something done, and how long it took.
type lap func() (time.Duration, error)

func clock(f func() error) lap {
	return func() (time.Duration, error) {
		begun := time.Now()
		err := f()
		return time.Since(begun), err
	}
}

// median runs f n times and returns the middle duration.
func median(n int, f func() error) (time.Duration, error) { return middle(n, clock(f)) }

// middle is median for what measures itself.
func middle(n int, f lap) (time.Duration, error) {
	took, err := inTurns(n, []lap{f})
	if err != nil {
		return 0, err
	}
	return took[0], nil
}

// inTurns runs each of all once, n times over, and returns the middle duration of each.
func inTurns(n int, all []lap) ([]time.Duration, error) {
	took := make([][]time.Duration, len(all))
	for range n {
		for i, f := range all {
			d, err := f()
			if err != nil {
				return nil, err
			}
			took[i] = append(took[i], d)
		}
	}
	middle := make([]time.Duration, len(all))
	for i := range took {
		slices.Sort(took[i])
		middle[i] = took[i][n/2]
	}
	return middle, nil
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
