package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
)

// nanoseconds finds the time of one round in what go test prints of a benchmark.
var nanoseconds = regexp.MustCompile(`(?m)^Benchmark\S+\s+\d+\s+([0-9.]+) ns/op`)

// decisions prints what asking for a cached decision costs a statement.
func decisions(ctx context.Context, _ *installation) error {
	out, err := exec.CommandContext(ctx, "go", "test", "./engine/run", "-run", "^$", "-bench", "^BenchmarkCachedDecision$").CombinedOutput()
	if err != nil {
		return fmt.Errorf("go test: %w\n%s", err, out)
	}
	found := nanoseconds.FindSubmatch(out)
	if found == nil {
		return fmt.Errorf("go test prints no benchmark:\n%s", out)
	}
	fmt.Printf("\ndecision of two tables from the cache: %s ns\n", found[1])
	return nil
}
