package main

import (
	"context"
	"fmt"
	"time"
)

// scans reads the million rows from each source and prints the ratios. What is
// compared runs in turns, so that a slow minute of the machine is everybody's.
func scans(ctx context.Context, i *installation) error {
	conn, err := i.engine.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	through := func(relation string) lap {
		return clock(func() error { return drain(ctx, conn, allColumns(relation)) })
	}
	loop := func(source raw, sql string) lap {
		return func() (time.Duration, error) { return source.cloop(ctx, sql) }
	}
	fmt.Printf("\n%-12s %10s %10s %8s %14s\n", "1 M rows", "C loop", "portcullis", "ratio", "scan memory")
	i.scanned = map[string]time.Duration{}
	for _, source := range i.sources.raw() {
		relation := source.schema + "." + table
		compared := []lap{loop(source, source.sql), through(relation)}
		if source.exact != "" {
			compared = append(compared, loop(source, source.exact))
		}
		if source.schema == "pg" {
			compared = append(compared, through("pgfdw."+table))
		}
		took, err := inTurns(5, compared)
		if err != nil {
			return err
		}
		held, err := i.scanMemory(ctx, relation)
		if err != nil {
			return err
		}
		ours := took[1]
		i.scanned[source.schema] = ours
		fmt.Printf("%-12s %10s %10s %8.2f %11.1f MB\n", source.schema, round(took[0]), round(ours), ratio(ours, took[0]), mb(held))
		if source.exact != "" {
			fmt.Printf("%-12s %10s %10s %8.2f  (against a C loop that reads numbers exactly, as we do)\n", "", round(took[2]), round(ours), ratio(ours, took[2]))
		}
		if source.schema == "pg" {
			fmt.Printf("%-12s %10s %10s %8.2f  (against postgres_fdw, fetch_size 1000)\n", "", round(took[2]), round(ours), ratio(ours, took[2]))
		}
	}
	return nil
}

// scanMemory is the most private memory, kB, that a session has in a scan beyond
// what it has at rest, once it is connected. A scan by itself: to look at a
// process's memory holds the process up.
func (i *installation) scanMemory(ctx context.Context, relation string) (int64, error) {
	conn, err := i.engine.Connect(ctx, database)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := drain(ctx, conn, "SELECT id FROM "+relation+" WHERE id = 1"); err != nil {
		return 0, err
	}
	rest, err := privateKB(conn.PgConn().PID())
	if err != nil {
		return 0, err
	}
	top, err := peak(ctx, conn.PgConn().PID(), func() error { return drain(ctx, conn, allColumns(relation)) })
	return top - rest, err
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
