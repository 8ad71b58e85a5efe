package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// raw is a source as the C loop sees it: schema of our foreign table, driver
// connection string and the statement that reads everything.
type raw struct {
	schema, connection, sql string
}

func (s *sources) raw() []raw {
	everything := "SELECT id, amount, ratio, name, day, at FROM " + table
	return []raw{
		{"pg", fmt.Sprintf("DRIVER={PostgreSQL Unicode};SERVER=%s;PORT=%d;DATABASE=postgres;UID=%s;PWD={%s};UseDeclareFetch=1;Fetch=10000",
			s.postgres.Host, s.postgres.Port, s.postgres.User, s.postgres.Password), everything},
		{"mariadb", fmt.Sprintf("DRIVER={MariaDB Unicode};SERVER=%s;PORT=%d;DATABASE=bench;UID=%s;PWD={%s}",
			s.mariadb.Host, s.mariadb.Port, s.mariadb.User, s.mariadb.Password), everything},
		{"sqlite", fmt.Sprintf("DRIVER={SQLite3};Database={%s};StepAPI=1", s.sqlite.Path), everything},
	}
}

const cloopProgram = "build/cloop"

// buildCloop compiles the C loop.
func buildCloop(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "gcc", "-O2", "-o", cloopProgram, "odbc/cloop/cloop.c", "-lodbc").CombinedOutput()
	if err != nil {
		return fmt.Errorf("gcc: %w\n%s", err, out)
	}
	return nil
}

// cloop reads everything by the C loop in blocks of 1,000 rows.
func (r raw) cloop(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, cloopProgram, r.connection, r.sql)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("the C loop on %s: %w: %s", r.schema, err, strings.TrimSpace(string(out)))
	}
	return nil
}
