package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/internal/testenv"
)

const person = "bench_person"

// govern puts the three tables under governance, readable by one person.
func govern(ctx context.Context, env *testenv.Env, engine *testenv.Engine, s *sources) (password string, err error) {
	dir := filepath.Join(env.Dir, "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	secret := func(name, value string) string {
		file := filepath.Join(dir, name)
		if e := os.WriteFile(file, []byte(value), 0o600); e != nil {
			err = e
		}
		return file
	}
	password = testenv.Password()
	state := fmt.Sprintf(`
people: [{userid: %[1]s}]
sources:
  - {name: governed_pg, driver: PostgreSQL Unicode, host: %[2]s, port: %[3]d, database: postgres, username: %[4]s, password_file: %[5]q}
  - {name: governed_mariadb, driver: MariaDB Unicode, host: %[6]s, port: %[7]d, database: bench, username: %[8]s, password_file: %[9]q}
  - {name: governed_sqlite, driver: SQLite3, database: %[10]q}
data_sources:
  - {name: governed_pg, source: governed_pg, remote_schema: public, remote_table: %[11]s}
  - {name: governed_mariadb, source: governed_mariadb, remote_table: %[11]s}
  - {name: governed_sqlite, source: governed_sqlite, remote_table: %[11]s}
policies:
  - {name: everyone reads, kind: subscription, on: {data_sources: [governed_pg, governed_mariadb, governed_sqlite]}, who: {everyone: true}}
sql_accounts: [{role: %[1]s, userid: %[1]s, password_file: %[12]q}]
`, person, s.postgres.Host, s.postgres.Port, s.postgres.User, secret("postgres", s.postgres.Password),
		s.mariadb.Host, s.mariadb.Port, s.mariadb.User, secret("mariadb", s.mariadb.Password), s.sqlite.Path, table, secret("person", password))
	file := secret("state.yaml", strings.TrimSpace(state))
	if err != nil {
		return "", err
	}
	return password, engine.Service.Apply(ctx, file)
}

// sessions measures a governed person's sessions: first query, warm point
// query against the source itself, memory.
func sessions(ctx context.Context, i *installation) error {
	password, err := govern(ctx, i.env, i.engine, i.sources)
	if err != nil {
		return err
	}
	dsn := i.engine.DSNAs(person, password, database)
	disk, err := syncTime(i.env.Dir)
	if err != nil {
		return err
	}
	fmt.Printf("\n%-12s %12s %12s %12s %12s   (fdatasync of this disk: %s)\n", "governed", "first query", "point query", "source's own", "more", micro(disk))
	for _, source := range i.sources.raw() {
		first, err := middle(5, func() (time.Duration, error) { return firstQuery(ctx, dsn, "governed_"+source.schema) })
		if err != nil {
			return err
		}
		own, err := source.point(ctx, "SELECT id, amount, ratio, name, day, at FROM "+table+" WHERE id = 4711", 201)
		if err != nil {
			return err
		}
		warm, err := warmPoint(ctx, dsn, "governed_"+source.schema)
		if err != nil {
			return err
		}
		fmt.Printf("%-12s %12s %12s %12s %12s\n", source.schema, micro(first), micro(warm), micro(own), micro(warm-own))
	}
	return atRest(ctx, i.engine, dsn)
}

func pointQuery(relation string) string { return "SELECT * FROM " + relation + " WHERE id = 4711" }

func firstQuery(ctx context.Context, dsn, relation string) (time.Duration, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	begun := time.Now()
	err = drain(ctx, conn, pointQuery(relation), pgx.QueryExecModeSimpleProtocol)
	return time.Since(begun), err
}

func warmPoint(ctx context.Context, dsn, relation string) (time.Duration, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	once := func() error { return drain(ctx, conn, pointQuery(relation), pgx.QueryExecModeSimpleProtocol) }
	if _, err := median(20, once); err != nil {
		return 0, err
	}
	return median(201, once)
}

// atRest compares the private memory of a governed session that has queried
// with that of a plain one.
func atRest(ctx context.Context, engine *testenv.Engine, dsn string) error {
	plain, err := memoryAfter(ctx, engine.DSN(database), "SELECT count(*) FROM pg_class")
	if err != nil {
		return err
	}
	governed, err := memoryAfter(ctx, dsn, pointQuery("governed_pg"))
	if err != nil {
		return err
	}
	fmt.Printf("\nmemory at rest: plain session %.1f MB, governed session %.1f MB, difference %.1f MB\n",
		mb(plain), mb(governed), mb(governed-plain))
	return nil
}

// atRestAfter is when a session has given back what it does not use.
const atRestAfter = 3 * time.Second

func memoryAfter(ctx context.Context, dsn, sql string) (int64, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := drain(ctx, conn, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		return 0, err
	}
	time.Sleep(atRestAfter)
	return privateKB(conn.PgConn().PID())
}

// syncTime is the median of appending a record to a file and syncing it.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	record := make([]byte, 1000)
	return median(51, func() error {
		if _, err := f.Write(record); err != nil {
			return err
		}
		return datasync(f)
	})
}

func micro(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

func mb(kb int64) float64 { return float64(kb) / 1024 }
