package main

import (
	"context"
	"fmt"

	"portcullis.dev/portcullis/internal/testenv"
)

const things = 10000 // rows of each table

// sources are the remote databases, each with a table of the same name.
type sources struct {
	postgres *testenv.Postgres
	mariadb  *testenv.MariaDB
	sqlite   *testenv.SQLite
}

func startSources(ctx context.Context, env *testenv.Env) (s *sources, err error) {
	s = &sources{}
	if s.postgres, err = env.StartPostgres(ctx, testenv.PostgresOptions{Name: "remote-postgres"}); err != nil {
		return nil, err
	}
	if err := s.postgres.Exec(ctx, "postgres", fmt.Sprintf(`CREATE TABLE things AS SELECT n AS id, 'words ' || n AS words, n / 3.0 AS part,
		date '2000-01-01' + n AS day, repeat('x', n %% 3000)::bytea AS bytes FROM generate_series(1, %d) n`, things)); err != nil {
		return nil, err
	}
	if s.mariadb, err = env.StartMariaDB(ctx, testenv.MariaDBOptions{Name: "remote-mariadb"}); err != nil {
		return nil, err
	}
	if err := s.mariadb.Exec(ctx, "", fmt.Sprintf(`CREATE DATABASE d; USE d; CREATE TABLE things (id INT PRIMARY KEY, words TEXT, part DECIMAL(30,9),
		day DATE, bytes BLOB); INSERT INTO things SELECT seq, CONCAT('words ', seq), seq / 3, DATE '2000-01-01' + INTERVAL seq DAY,
		REPEAT('x', seq %% 3000) FROM seq_1_to_%d`, things)); err != nil {
		return nil, err
	}
	s.sqlite, err = env.SQLiteFile(ctx, "things.db", fmt.Sprintf(`CREATE TABLE things (id INTEGER PRIMARY KEY, words TEXT, part DOUBLE, day DATE, bytes BLOB);
		INSERT INTO things WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < %d)
		SELECT n, 'words ' || n, n / 3.0, date('2000-01-01', n || ' days'), zeroblob(n %% 3000) FROM s`, things))
	return s, err
}

// define makes the tables foreign tables of an administrator.
func define(ctx context.Context, engine *testenv.Engine, s *sources) error {
	return engine.Exec(ctx, testenv.EngineDatabase, fmt.Sprintf(`CREATE SCHEMA pg; CREATE SCHEMA mariadb; CREATE SCHEMA sqlite;
		CREATE SERVER pg FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'PostgreSQL Unicode', host '%s', port '%d', database 'postgres');
		CREATE USER MAPPING FOR CURRENT_USER SERVER pg OPTIONS (username '%s', password '%s');
		IMPORT FOREIGN SCHEMA public FROM SERVER pg INTO pg;
		CREATE SERVER mariadb FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'MariaDB Unicode', host '%s', port '%d', database 'd');
		CREATE USER MAPPING FOR CURRENT_USER SERVER mariadb OPTIONS (username '%s', password '%s');
		IMPORT FOREIGN SCHEMA d FROM SERVER mariadb INTO mariadb;
		CREATE SERVER sqlite FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'SQLite3', database '%s');
		CREATE USER MAPPING FOR CURRENT_USER SERVER sqlite;
		IMPORT FOREIGN SCHEMA main FROM SERVER sqlite INTO sqlite`,
		s.postgres.Host, s.postgres.Port, s.postgres.User, s.postgres.Password,
		s.mariadb.Host, s.mariadb.Port, s.mariadb.User, s.mariadb.Password, s.sqlite.Path))
}
