package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"portcullis.dev/portcullis/internal/testenv"
)

// forksVariable names folders that each hold one built fork of odbc_fdw: its
// library, control file and scripts.
const forksVariable = "ODBC_FDW_DIRS"

// fork is one of them, installed for as long as it is measured.
type fork struct {
	name      string
	installed []string // files
}

// forks reads the million rows through each fork, all with the options that
// every fork knows.
func forks(ctx context.Context, i *installation) error {
	dirs := strings.Fields(os.Getenv(forksVariable))
	if len(dirs) == 0 {
		fmt.Printf("\nodbc_fdw: no fork given (%s names folders in which they are built)\n", forksVariable)
		return nil
	}
	tree, err := testenv.PGTree(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("\n%-24s %-12s %10s %s\n", "odbc_fdw, 1 M rows", "source", "time", "ours takes")
	for n, dir := range dirs {
		f, err := installFork(tree, dir)
		if err == nil {
			err = f.measure(ctx, i, fmt.Sprintf("fork%d", n))
		}
		if err = errors.Join(err, f.remove()); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	return nil
}

// installFork copies the files of a fork into the checkout's own PostgreSQL.
func installFork(tree testenv.Tree, dir string) (*fork, error) {
	f := &fork{name: filepath.Base(dir)}
	scripts, err := filepath.Glob(filepath.Join(dir, "odbc_fdw--*.sql"))
	if err != nil {
		return f, err
	}
	extension := filepath.Join(tree.Share, "extension")
	for _, from := range append(scripts, filepath.Join(dir, "odbc_fdw.control")) {
		if err := f.put(from, extension); err != nil {
			return f, err
		}
	}
	return f, f.put(filepath.Join(dir, "odbc_fdw.so"), tree.Lib)
}

// put refuses to replace a file: it would not be put back.
func (f *fork) put(from, folder string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	to := filepath.Join(folder, filepath.Base(from))
	file, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	f.installed = append(f.installed, to)
	_, err = file.Write(b)
	return errors.Join(err, file.Close())
}

func (f *fork) remove() error {
	var failed error
	for _, file := range f.installed {
		failed = errors.Join(failed, os.Remove(file))
	}
	return failed
}

// measure reads each source once, in a database and so a session of the
// fork's own.
func (f *fork) measure(ctx context.Context, i *installation, database string) error {
	if err := i.engine.CreateDatabase(ctx, database); err != nil {
		return err
	}
	if err := i.engine.Exec(ctx, database, "CREATE EXTENSION odbc_fdw"); err != nil {
		return err
	}
	for _, source := range i.sources.forks() {
		took, err := f.scan(ctx, i, database, source)
		if err != nil {
			fmt.Printf("%-24s %-12s cannot read it: %v\n", f.name, source.schema, firstLine(err))
			continue
		}
		ours := "not measured"
		if d, ok := i.scanned[source.schema]; ok {
			ours = fmt.Sprintf("%s, %.2f of it", round(d), ratio(d, took))
		}
		fmt.Printf("%-24s %-12s %10s %s\n", f.name, source.schema, round(took), ours)
	}
	return nil
}

func (f *fork) scan(ctx context.Context, i *installation, database string, s forkSource) (time.Duration, error) {
	conn, err := i.engine.Connect(ctx, database)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, fmt.Sprintf(`CREATE SCHEMA %[1]s;
		CREATE SERVER %[1]s FOREIGN DATA WRAPPER odbc_fdw OPTIONS (%[2]s);
		CREATE USER MAPPING FOR CURRENT_USER SERVER %[1]s OPTIONS (%[3]s);
		CREATE FOREIGN TABLE %[1]s.%[4]s (id bigint, amount numeric, ratio double precision, name text, day date, at timestamp)
			SERVER %[1]s OPTIONS (schema '%[5]s', "table" '%[4]s')`, s.schema, s.server, s.mapping, table, s.remoteSchema)); err != nil {
		return 0, err
	}
	return median(1, func() error { return drain(ctx, conn, allColumns(s.schema+"."+table)) })
}

// forkSource is a source in the options of odbc_fdw.
type forkSource struct{ schema, server, mapping, remoteSchema string }

func (s *sources) forks() []forkSource {
	return []forkSource{
		{"pg", fmt.Sprintf("odbc_driver 'PostgreSQL Unicode', odbc_server '%s', odbc_port '%d', odbc_database 'postgres'", s.postgres.Host, s.postgres.Port),
			fmt.Sprintf("odbc_uid '%s', odbc_pwd '%s'", s.postgres.User, s.postgres.Password), "public"},
		{"mariadb", fmt.Sprintf("odbc_driver 'MariaDB Unicode', odbc_server '%s', odbc_port '%d', odbc_database 'bench'", s.mariadb.Host, s.mariadb.Port),
			fmt.Sprintf("odbc_uid '%s', odbc_pwd '%s'", s.mariadb.User, s.mariadb.Password), "bench"},
		{"sqlite", fmt.Sprintf("odbc_driver 'SQLite3', odbc_database '%s'", s.sqlite.Path), "odbc_uid 'nobody', odbc_pwd 'none'", "main"},
	}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
