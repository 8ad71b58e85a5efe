package main

import (
	"context"
	"fmt"
	"time"

	"portcullis.dev/portcullis/internal/testenv"
)

// use reads from the sources in every way that ends a scan.
func use(ctx context.Context, env *testenv.Env, engine *testenv.Postgres) error {
	if err := define(ctx, env, engine); err != nil {
		return err
	}
	for _, relation := range []string{"pg.things", "mariadb.things", "sqlite.things"} {
		fmt.Println("Reading", relation, "…")
		conn, err := engine.Connect(ctx, "postgres")
		if err != nil {
			return err
		}
		for _, good := range []string{
			"SELECT count(*), max(words) FROM " + relation,
			"SELECT * FROM " + relation + " WHERE id = 7",
			"SELECT a.id FROM " + relation + " a JOIN " + relation + " b USING (id) WHERE a.id < 50",
			"EXPLAIN VERBOSE SELECT * FROM " + relation + " WHERE words LIKE 'w%' AND id + 1 > 3",
			"BEGIN; DECLARE c CURSOR FOR SELECT * FROM " + relation + "; FETCH 10 FROM c; CLOSE c; COMMIT",
			"BEGIN; DECLARE c CURSOR FOR SELECT * FROM " + relation + "; FETCH 10 FROM c; ROLLBACK",
		} {
			if _, err := conn.PgConn().Exec(ctx, good).ReadAll(); err != nil {
				return fmt.Errorf("%s: %w", good, err)
			}
		}
		for _, bad := range []string{
			"INSERT INTO " + relation + " (id) VALUES (0)",
			"SELECT 1 / (id - 5000) FROM " + relation,
		} {
			if _, err := conn.PgConn().Exec(ctx, bad).ReadAll(); err == nil {
				return fmt.Errorf("%s: no error", bad)
			}
		}
		if err := leaveInMidFetch(ctx, engine, relation); err != nil {
			return err
		}
		if err := conn.Close(ctx); err != nil {
			return err
		}
	}
	return nil
}

// leaveInMidFetch closes a session whose cursor is half read.
func leaveInMidFetch(ctx context.Context, engine *testenv.Postgres, relation string) error {
	conn, err := engine.Connect(ctx, "postgres")
	if err != nil {
		return err
	}
	if _, err := conn.PgConn().Exec(ctx, "BEGIN; DECLARE c CURSOR FOR SELECT * FROM "+relation+"; FETCH 10 FROM c").ReadAll(); err != nil {
		return err
	}
	short, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return conn.Close(short)
}

const things = 10000

func define(ctx context.Context, env *testenv.Env, engine *testenv.Postgres) error {
	pg, err := env.StartPostgres(ctx, testenv.PostgresOptions{Name: "remote-postgres"})
	if err != nil {
		return err
	}
	if err := pg.Exec(ctx, "postgres", fmt.Sprintf(`CREATE TABLE things AS SELECT n AS id, 'words ' || n AS words, n / 3.0 AS part,
		date '2000-01-01' + n AS day, repeat('x', n %% 3000)::bytea AS bytes FROM generate_series(1, %d) n`, things)); err != nil {
		return err
	}
	maria, err := env.StartMariaDB(ctx, testenv.MariaDBOptions{Name: "remote-mariadb"})
	if err != nil {
		return err
	}
	if err := maria.Exec(ctx, "", fmt.Sprintf(`CREATE DATABASE d; USE d; CREATE TABLE things (id INT PRIMARY KEY, words TEXT, part DECIMAL(30,9),
		day DATE, bytes BLOB); INSERT INTO things SELECT seq, CONCAT('words ', seq), seq / 3, DATE '2000-01-01' + INTERVAL seq DAY,
		REPEAT('x', seq %% 3000) FROM seq_1_to_%d`, things)); err != nil {
		return err
	}
	lite, err := env.SQLiteFile(ctx, "things.db", fmt.Sprintf(`CREATE TABLE things (id INTEGER PRIMARY KEY, words TEXT, part DOUBLE, day DATE, bytes BLOB);
		INSERT INTO things WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < %d)
		SELECT n, 'words ' || n, n / 3.0, date('2000-01-01', n || ' days'), zeroblob(n %% 3000) FROM s`, things))
	if err != nil {
		return err
	}
	return engine.Exec(ctx, "postgres", fmt.Sprintf(`CREATE EXTENSION portcullis; CREATE SCHEMA pg; CREATE SCHEMA mariadb; CREATE SCHEMA sqlite;
		CREATE SERVER pg FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'PostgreSQL Unicode', host '%s', port '%d', database 'postgres');
		CREATE USER MAPPING FOR CURRENT_USER SERVER pg OPTIONS (username '%s', password '%s');
		IMPORT FOREIGN SCHEMA public FROM SERVER pg INTO pg;
		CREATE SERVER mariadb FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'MariaDB Unicode', host '%s', port '%d', database 'd');
		CREATE USER MAPPING FOR CURRENT_USER SERVER mariadb OPTIONS (username '%s', password '%s');
		IMPORT FOREIGN SCHEMA d FROM SERVER mariadb INTO mariadb;
		CREATE SERVER sqlite FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'SQLite3', database '%s');
		CREATE USER MAPPING FOR CURRENT_USER SERVER sqlite;
		IMPORT FOREIGN SCHEMA main FROM SERVER sqlite INTO sqlite`,
		pg.Host, pg.Port, pg.User, pg.Password, maria.Host, maria.Port, maria.User, maria.Password, lite.Path))
}
