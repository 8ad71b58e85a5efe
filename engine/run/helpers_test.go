package run

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/internal/testenv"
)

// servers are what the tests of this package share; sources describes the sample table.
var servers struct {
	postgres  *testenv.Postgres
	mariadb   *testenv.MariaDB
	databases atomic.Int32
}

func TestMain(m *testing.M) {
	os.Exit(withServers(m.Run))
}

func withServers(run func() int) int {
	ctx := context.Background()
	env, err := testenv.New(testenv.Options{})
	if err == nil {
		defer func() { _ = env.Stop(ctx) }()
		err = startServers(ctx, env)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot start the remote databases:", err)
		return 1
	}
	return run()
}

func startServers(ctx context.Context, env *testenv.Env) (err error) {
	if servers.postgres, err = env.StartPostgres(ctx, testenv.PostgresOptions{}); err != nil {
		return err
	}
	if servers.mariadb, err = env.StartMariaDB(ctx, testenv.MariaDBOptions{}); err != nil {
		return err
	}
	if err := servers.postgres.CreateDatabase(ctx, "people"); err != nil {
		return err
	}
	err = servers.postgres.Exec(ctx, "people", `CREATE TABLE people (id int PRIMARY KEY, name text, pay numeric(10,2), born date);
		INSERT INTO people SELECT i, CASE WHEN i % 10 <> 7 THEN 'n' || i END, i / 100.0, '2024-02-29' FROM generate_series(0, 4999) i`)
	if err != nil {
		return err
	}
	return servers.mariadb.Exec(ctx, "", `CREATE DATABASE d; USE d;
		CREATE TABLE people (id INT PRIMARY KEY, name VARCHAR(50), pay DECIMAL(10,2), born DATE) CHARACTER SET utf8mb4;
		INSERT INTO people SELECT seq, IF(seq % 10 <> 7, CONCAT('n', seq), NULL), seq / 100, '2024-02-29' FROM seq_0_to_4999;`)
}

// pgConnect connects to a PostgreSQL source past the library.
func pgConnect(ctx context.Context, s *Source) (*pgx.Conn, error) {
	return pgx.Connect(ctx, fmt.Sprintf("host=%s port=%s dbname=%s user=%s password=%s sslmode=disable",
		s.Server["host"], s.Server["port"], s.Server["database"], s.Mapping["username"], s.Mapping["password"]))
}
