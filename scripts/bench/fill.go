package main

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"portcullis.dev/portcullis/internal/testenv"
)

const (
	rows  = 1_000_000
	table = "mixed"
)

// sources are the remote databases, each with the same million rows of six
// columns: integer, numeric, double, text, date, timestamp.
type sources struct {
	postgres *testenv.Postgres
	mariadb  *testenv.MariaDB
	sqlite   *testenv.SQLite
}

func startSources(ctx context.Context, e *testenv.Env) (*sources, error) {
	s := &sources{}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		if s.postgres, err = e.StartPostgres(ctx, testenv.PostgresOptions{Name: "remote-postgres"}); err != nil {
			return err
		}
		if err := s.postgres.Exec(ctx, "postgres", fmt.Sprintf(`CREATE TABLE %s (id integer PRIMARY KEY, amount numeric(12,2) NOT NULL,
			ratio double precision NOT NULL, name varchar(40) NOT NULL, day date NOT NULL, at timestamp NOT NULL);
			INSERT INTO %[1]s SELECT n, (n %% 100000) / 100.0, n / 7.0, 'customer number ' || n, date '2000-01-01' + n %% 9000,
				timestamp '2020-01-01' + n * interval '1 second' FROM generate_series(1, %d) n`, table, rows)); err != nil {
			return err
		}
		return s.postgres.Exec(ctx, "postgres", "VACUUM (ANALYZE) "+table) // or autovacuum does it in the middle
	})
	g.Go(func() (err error) {
		if s.mariadb, err = e.StartMariaDB(ctx, testenv.MariaDBOptions{Name: "remote-mariadb"}); err != nil {
			return err
		}
		return s.mariadb.Exec(ctx, "", fmt.Sprintf(`CREATE DATABASE bench; USE bench; CREATE TABLE %s (id INT PRIMARY KEY,
			amount DECIMAL(12,2) NOT NULL, ratio DOUBLE NOT NULL, name VARCHAR(40) NOT NULL, day DATE NOT NULL, at DATETIME NOT NULL);
			INSERT INTO %[1]s SELECT seq, (seq %% 100000) / 100, seq / 7e0, CONCAT('customer number ', seq),
				DATE '2000-01-01' + INTERVAL seq %% 9000 DAY, TIMESTAMP '2020-01-01 00:00:00' + INTERVAL seq SECOND FROM seq_1_to_%d;
			ANALYZE TABLE %[1]s`, table, rows))
	})
	g.Go(func() (err error) {
		s.sqlite, err = e.SQLiteFile(ctx, "bench.db", fmt.Sprintf(`CREATE TABLE %s (id INTEGER PRIMARY KEY, amount DECIMAL(12,2) NOT NULL,
			ratio DOUBLE NOT NULL, name VARCHAR(40) NOT NULL, day DATE NOT NULL, at TIMESTAMP NOT NULL);
			INSERT INTO %[1]s WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < %d)
				SELECT n, (n %% 100000) / 100.0, n / 7.0, 'customer number ' || n, date('2000-01-01', (n %% 9000) || ' days'),
				datetime('2020-01-01', n || ' seconds') FROM s`, table, rows))
		return err
	})
	err := g.Wait()
	unix.Sync() // or it is written in the middle
	return s, err
}

// allColumns reads every column of every row into a local aggregate that
// costs next to nothing; OFFSET 0 keeps the aggregate from going remote.
func allColumns(relation string) string {
	return "SELECT count(id), count(amount), count(ratio), count(name), count(day), count(at) FROM (SELECT * FROM " + relation + " OFFSET 0) s"
}
