package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/sample"
)

// showAgain shows the sample questions on what runs already.
func showAgain(ctx context.Context, l layout) error {
	whole, _, err := l.running()
	if err != nil {
		return err
	}
	if !whole {
		return errors.New("nothing is running: make run starts it")
	}
	v, err := readEnvFile(l.env())
	if err != nil {
		return err
	}
	return show(ctx, v)
}

// show lets each sample person type each question.
func show(ctx context.Context, v vars) error {
	tree, err := testenv.PGTree(ctx)
	if err != nil {
		return err
	}
	psql := filepath.Join(tree.Bin, "psql")
	for _, q := range sample.Questions {
		fmt.Printf("\n──── %s ────\n%s;\n", q.Source, q.SQL)
		answers := map[string]string{}
		for _, p := range sample.People {
			out, err := ask(ctx, psql, v, p.Role, q.SQL)
			fmt.Printf("\n%s (%s):\n%s\n", p.Role, p.Sees, out)
			if refused := err != nil; refused != p.Refused {
				return fmt.Errorf("%s on %s: refused is %t, expected %t", p.Role, q.Source, refused, p.Refused)
			}
			if other, same := answers[out]; same {
				return fmt.Errorf("%s: %s and %s got the same answer", q.Source, other, p.Role)
			}
			answers[out] = p.Role
		}
	}
	return showDirect(ctx, psql, v)
}

// showDirect lets each sample person log in at the PostgreSQL source itself,
// whose GRANTs follow the same policies.
func showDirect(ctx context.Context, psql string, v vars) error {
	fmt.Printf("\n──── PostgreSQL, without the engine: its own GRANTs follow the policies ────\n")
	there := append(v[:len(v):len(v)], v.direct()...)
	for _, q := range sample.Direct {
		fmt.Printf("%s;\n", q.SQL)
		for _, p := range sample.People {
			out, err := ask(ctx, psql, there, p.Role, q.SQL, "-At")
			answer, _, _ := strings.Cut(out, "\n")
			fmt.Printf("  %-6s %s\n", p.Role, answer)
			if may := err == nil; may != slices.Contains(q.Readers, p.Role) {
				return fmt.Errorf("%s directly at PostgreSQL: %q: may is %t", p.Role, q.SQL, may)
			}
		}
	}
	fmt.Println("A GRANT shows a table whole: who may see only a part of it gets none, and reads a view of that part.")
	return nil
}

// ask types a query as a role; out is what psql shows, rows or error.
func ask(ctx context.Context, psql string, v vars, role, query string, options ...string) (out string, err error) {
	args := append([]string{"--no-psqlrc", "--no-password", "--quiet", "-v", "ON_ERROR_STOP=1", "-P", "pager=off", "-c", query}, options...)
	cmd := exec.CommandContext(ctx, psql, args...)
	cmd.Env = append(v.environ(), "PGUSER="+role, "PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8")
	b, err := cmd.CombinedOutput()
	return strings.TrimRight(string(b), "\n"), err
}

func describe(v vars, l layout) {
	rel := func(path string) string {
		if r, err := filepath.Rel(l.root, path); err == nil {
			return r
		}
		return path
	}
	port := func(name string) string { p, _ := strconv.Atoi(v.get(name)); return strconv.Itoa(p) }
	fmt.Printf(`
Running, all on loopback:
  engine            PostgreSQL on port %s, database %s; people %s, administrator %s
  policy service    %s
  remote sources    PostgreSQL on port %s, MariaDB on port %s, SQLite in %s
  settings          %s (for shells: set -a; . %[9]s)
  passwords         %s
  logs              %s
make show shows the answers again, make stop stops everything.
`, port("PGPORT"), v.get("PGDATABASE"), strings.Join(roles(), ", "), v.get("PORTCULLIS_ADMIN"), v.get("PORTCULLIS_URL"),
		port("SAMPLE_PGPORT"), port("SAMPLE_MARIADB_PORT"), v.get("SAMPLE_SQLITE"), rel(l.env()), rel(l.passFile()), rel(l.servers))
}

func roles() []string {
	var names []string
	for _, p := range sample.People {
		names = append(names, p.Role)
	}
	return names
}
