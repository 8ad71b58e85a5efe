package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/internal/testenv"
)

// useAsAdministrator reads from each source as its own foreign table.
func useAsAdministrator(ctx context.Context, engine *testenv.Engine, s *sources) error {
	if err := define(ctx, engine, s); err != nil {
		return err
	}
	for _, relation := range []string{"pg.things", "mariadb.things", "sqlite.things"} {
		if err := use(ctx, engine.DSN(testenv.EngineDatabase), relation); err != nil {
			return err
		}
	}
	return useSecrets(ctx, engine.DSN(testenv.EngineDatabase), "pg.things", true)
}

// use reads from a table in every way that ends a scan.
func use(ctx context.Context, dsn, relation string) error {
	fmt.Println("Reading", relation, "…")
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, good := range []string{
		"SELECT count(*), max(words) FROM " + relation,
		"SELECT * FROM " + relation + " WHERE id = 7",
		"SELECT a.id FROM " + relation + " a JOIN " + relation + " b USING (id) WHERE a.id < 50",
		"EXPLAIN VERBOSE SELECT * FROM " + relation + " WHERE words LIKE 'w%' AND id + 1 > 3",
		"BEGIN; DECLARE c CURSOR FOR SELECT * FROM " + relation + "; FETCH 10 FROM c; CLOSE c; COMMIT",
		"BEGIN; DECLARE c CURSOR FOR SELECT * FROM " + relation + "; FETCH 10 FROM c; ROLLBACK",
		"PREPARE p(int) AS SELECT words FROM " + relation + " WHERE id = $1; EXECUTE p(1); EXECUTE p(2); DEALLOCATE p",
	} {
		if _, err := conn.PgConn().Exec(ctx, good).ReadAll(); err != nil {
			return fmt.Errorf("%s: %w", good, err)
		}
	}
	for _, bad := range []string{
		"INSERT INTO " + relation + " (id) VALUES (0)",
		"SELECT 1 / (id - 5000) FROM " + relation,
	} {
		if err := refused(ctx, conn, bad); err != nil {
			return err
		}
	}
	return leaveInMidFetch(ctx, dsn, relation)
}

func refused(ctx context.Context, conn *pgx.Conn, statement string) error {
	if _, err := conn.PgConn().Exec(ctx, statement).ReadAll(); err == nil {
		return fmt.Errorf("%s: no error", statement)
	}
	return nil
}

// leaveInMidFetch closes a session whose cursor is half read.
func leaveInMidFetch(ctx context.Context, dsn, relation string) error {
	conn, err := pgx.Connect(ctx, dsn)
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
