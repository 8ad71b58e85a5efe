// Command bench is behind `make bench`: it measures, side by side in one run,
// the extension against a C loop over the same driver, postgres_fdw, other
// wrappers for ODBC and the source itself (docs/benchmarks.md).
//
//	bench [SECTION…]
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"portcullis.dev/portcullis/internal/testenv"
)

// installation is what is measured.
type installation struct {
	env     *testenv.Env
	engine  *testenv.Engine
	sources *sources
	scanned map[string]time.Duration // by source: our scan of all rows, from the section scans
}

// section is one part of the report. Sections run in this order.
type section struct {
	name    string
	measure func(ctx context.Context, i *installation) error
	named   bool // measured only when it is named
}

var sections = []section{
	{"scans", scans, false},
	{"forks", forks, false},
	{"decisions", decisions, false},
	{"sessions", sessions, false},
	{"crawls", crawls, false},
	{"grants", granting, false},
	{"connections", connections, false},
	{"large", large, true},
}

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	err := checkSections(os.Args[1:])
	if err == nil {
		err = bench(ctx, os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func checkSections(names []string) error {
	var known []string
	for _, s := range sections {
		known = append(known, s.name)
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return fmt.Errorf("there is no section %q; the sections are %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}

// bench runs the named sections; if none is named all that need not be.
func bench(ctx context.Context, names []string) (err error) {
	i := &installation{}
	if i.env, err = testenv.New(testenv.Options{}); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			fmt.Fprintln(os.Stderr, i.env.LogTails(3000))
		}
		err = errors.Join(err, i.env.Stop(context.WithoutCancel(ctx)))
	}()
	if err := i.start(ctx); err != nil {
		return err
	}
	for _, s := range sections {
		if (len(names) > 0 || s.named) && !slices.Contains(names, s.name) {
			continue
		}
		if err := s.measure(ctx, i); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func (i *installation) start(ctx context.Context) (err error) {
	if err := buildPrograms(ctx); err != nil {
		return err
	}
	fmt.Printf("Filling three sources with %d rows of six columns …\n", rows)
	if i.sources, err = startSources(ctx, i.env); err != nil {
		return err
	}
	if i.engine, err = i.env.StartEngine(ctx, testenv.EngineOptions{Fsync: true}); err != nil {
		return err
	}
	return define(ctx, i.engine.Postgres, i.sources)
}
