package main

import (
	"context"
	"fmt"

	"portcullis.dev/portcullis/internal/testenv"
)

const database = testenv.EngineDatabase

// define makes each source's table known to the engine, through our wrapper
// (schemas pg, mariadb, sqlite) and postgres_fdw (schema pgfdw).
func define(ctx context.Context, engine *testenv.Postgres, s *sources) error {
	return engine.Exec(ctx, database, fmt.Sprintf(`
		CREATE EXTENSION postgres_fdw;
		CREATE SCHEMA pg; CREATE SCHEMA mariadb; CREATE SCHEMA sqlite; CREATE SCHEMA pgfdw;
		CREATE SERVER pg FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'PostgreSQL Unicode', host '%[1]s', port '%[2]d', database 'postgres');
		CREATE USER MAPPING FOR CURRENT_USER SERVER pg OPTIONS (username '%[3]s', password '%[4]s');
		IMPORT FOREIGN SCHEMA public FROM SERVER pg INTO pg;
		CREATE SERVER mariadb FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'MariaDB Unicode', host '%[5]s', port '%[6]d', database 'bench');
		CREATE USER MAPPING FOR CURRENT_USER SERVER mariadb OPTIONS (username '%[7]s', password '%[8]s');
		IMPORT FOREIGN SCHEMA bench FROM SERVER mariadb INTO mariadb;
		CREATE SERVER sqlite FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'SQLite3', database '%[9]s');
		CREATE USER MAPPING FOR CURRENT_USER SERVER sqlite;
		IMPORT FOREIGN SCHEMA main FROM SERVER sqlite INTO sqlite;
		CREATE SERVER pgfdw FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '%[1]s', port '%[2]d', dbname 'postgres', fetch_size '1000');
		CREATE USER MAPPING FOR CURRENT_USER SERVER pgfdw OPTIONS (user '%[3]s', password '%[4]s');
		IMPORT FOREIGN SCHEMA public FROM SERVER pgfdw INTO pgfdw`,
		s.postgres.Host, s.postgres.Port, s.postgres.User, s.postgres.Password,
		s.mariadb.Host, s.mariadb.Port, s.mariadb.User, s.mariadb.Password, s.sqlite.Path))
}
