package main

import (
	"context"
	"fmt"
	"time"
)

// scans reads the million rows from each source and prints the ratios.
func scans(ctx context.Context, i *installation) error {
	conn, err := i.engine.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	through := func(relation string) func() error {
		return func() error { return drain(ctx, conn, allColumns(relation)) }
	}
	foreign, err := median(3, through("pgfdw."+table))
	if err != nil {
		return err
	}
	fmt.Printf("\n%-12s %10s %10s %8s %14s\n", "1 M rows", "C loop", "portcullis", "ratio", "scan memory")
	i.scanned = map[string]time.Duration{}
	for _, source := range i.sources.raw() {
		loop, err := middle(3, func() (time.Duration, error) { return source.cloop(ctx, source.sql) })
		if err != nil {
			return err
		}
		var ours time.Duration
		rest, err := privateKB(conn.PgConn().PID())
		if err != nil {
			return err
		}
		top, err := peak(ctx, conn.PgConn().PID(), func() (err error) {
			ours, err = median(3, through(source.schema+"."+table))
			return err
		})
		if err != nil {
			return err
		}
		i.scanned[source.schema] = ours
		fmt.Printf("%-12s %10s %10s %8.2f %11.1f MB\n", source.schema, round(loop), round(ours), ratio(ours, loop), mb(top-rest))
		if source.exact != "" {
			exact, err := middle(3, func() (time.Duration, error) { return source.cloop(ctx, source.exact) })
			if err != nil {
				return err
			}
			fmt.Printf("%-12s %10s %10s %8.2f  (against a C loop that reads numbers exactly, as we do)\n", "", round(exact), round(ours), ratio(ours, exact))
		}
		if source.schema == "pg" {
			fmt.Printf("%-12s %10s %10s %8.2f  (against postgres_fdw, fetch_size 1000)\n", "", round(foreign), round(ours), ratio(ours, foreign))
		}
	}
	return nil
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
