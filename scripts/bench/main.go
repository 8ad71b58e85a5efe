// Command bench is behind `make bench`: it measures, side by side in one run,
// the extension against a C loop over the same driver, postgres_fdw and the
// source itself (docs/benchmarks.md).
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"portcullis.dev/portcullis/internal/testenv"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := bench(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context) (err error) {
	env, err := testenv.New(testenv.Options{})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			fmt.Fprintln(os.Stderr, env.LogTails(3000))
		}
		err = errors.Join(err, env.Stop(context.WithoutCancel(ctx)))
	}()
	if err := buildPrograms(ctx); err != nil {
		return err
	}
	fmt.Printf("Filling three sources with %d rows of six columns …\n", rows)
	remote, err := startSources(ctx, env)
	if err != nil {
		return err
	}
	engine, err := env.StartEngine(ctx, testenv.EngineOptions{Fsync: true})
	if err != nil {
		return err
	}
	if err := define(ctx, engine.Postgres, remote); err != nil {
		return err
	}
	if err := scans(ctx, engine.Postgres, remote); err != nil {
		return err
	}
	return sessions(ctx, env, engine, remote)
}
