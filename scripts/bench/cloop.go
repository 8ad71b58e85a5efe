package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// raw is a source as the C loop sees it: schema of our foreign table, driver
// connection string, the statement that reads everything, and the one that
// reads it exactly where the driver is not exact by itself.
type raw struct {
	schema, connection, sql, exact string
}

func (s *sources) raw() []raw {
	everything := "SELECT id, amount, ratio, name, day, at FROM " + table
	return []raw{
		{"pg", fmt.Sprintf("DRIVER={PostgreSQL Unicode};SERVER=%s;PORT=%d;DATABASE=postgres;UID=%s;PWD={%s};UseDeclareFetch=1;Fetch=10000",
			s.postgres.Host, s.postgres.Port, s.postgres.User, s.postgres.Password), everything, ""},
		{"mariadb", fmt.Sprintf("DRIVER={MariaDB Unicode};SERVER=%s;PORT=%d;DATABASE=bench;UID=%s;PWD={%s}",
			s.mariadb.Host, s.mariadb.Port, s.mariadb.User, s.mariadb.Password), everything, ""},
		{"sqlite", fmt.Sprintf("DRIVER={SQLite3};Database=%s;StepAPI=1", s.sqlite.Path), everything,
			"SELECT id, printf('%!.17g', amount), printf('%!.17g', ratio), name, day, at FROM " + table},
	}
}

// Programs compiled from C: the loop and the point query.
const (
	cloopProgram = "build/cloop"
	pointProgram = "build/point"
)

func buildPrograms(ctx context.Context) error {
	for program, source := range map[string]string{cloopProgram: "odbc/cloop/cloop.c", pointProgram: "scripts/bench/point/point.c"} {
		out, err := exec.CommandContext(ctx, "gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source, "-lodbc").CombinedOutput()
		if err != nil {
			return fmt.Errorf("gcc: %w\n%s", err, out)
		}
	}
	return nil
}

// cloop is the time in which the C loop executes a statement and reads all of it.
func (r raw) cloop(ctx context.Context, sql string) (time.Duration, error) {
	out, err := r.program(ctx, cloopProgram, sql)
	if err != nil {
		return 0, err
	}
	var read int
	var seconds float64
	if _, err := fmt.Sscanf(out, "rows %d seconds %g", &read, &seconds); err != nil || read != rows {
		return 0, fmt.Errorf("the C loop on %s says %q", r.schema, out)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

// point is the median time of a statement sent straight through the driver.
func (r raw) point(ctx context.Context, sql string, times int) (time.Duration, error) {
	out, err := r.program(ctx, pointProgram, sql, strconv.Itoa(times))
	if err != nil {
		return 0, err
	}
	ns, err := strconv.ParseInt(out, 10, 64)
	return time.Duration(ns), err
}

func (r raw) program(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, append([]string{r.connection}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s on %s: %w: %s", program, r.schema, err, strings.TrimSpace(string(out)))
	}
	return strings.TrimSpace(string(out)), nil
}
