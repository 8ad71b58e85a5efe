package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// long makes statements that PostgreSQL gives a block of memory of their own
// (above 8 kB), so that what reads past their ends shows.
var long = strings.Repeat("x", 20_000)

// useSecrets types statements that hold a secret, or only the name of what
// takes one, in every way that the log, others' views and the audit must keep
// it out of.
func useSecrets(ctx context.Context, dsn, relation string, mayType bool) error {
	fmt.Println("Typing secrets …")
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	read := "SELECT count(*) FROM " + relation + " WHERE words <> '" + long + "'"
	for _, statement := range []string{
		"/* immutasys.seal( */ " + read,
		"SELECT '" + long + "'; /* immutasys.seal */ " + read + "; SELECT 1",
		"PREPARE q AS " + read + " AND words <> 'immutasys.seal'; EXECUTE q; DEALLOCATE q",
		"BEGIN; DECLARE c CURSOR FOR " + read + " AND words <> 'immutasys.seal'; FETCH c; COMMIT",
		"COPY (" + read + " /* immutasys.set_api_key */) TO STDOUT",
		"DO $$ BEGIN PERFORM count(*) FROM " + relation + " WHERE words <> 'immutasys.seal " + long + "'; END $$",
	} {
		if _, err := conn.PgConn().Exec(ctx, statement).ReadAll(); err != nil {
			return fmt.Errorf("%.60s …: %w", statement, err)
		}
	}
	for _, statement := range []string{
		"SELECT immutasys.seal('" + long + "'), count(*) FROM " + relation,
		"DO $$ BEGIN PERFORM immutasys.seal('" + long + "'), count(*) FROM " + relation + "; END $$",
		"BEGIN; DECLARE c CURSOR FOR SELECT immutasys.seal('" + long + "'), id FROM " + relation + "; FETCH c; COMMIT",
		"SET standard_conforming_strings = off; SELECT immutasys.seal('" + long + `\'), count(*) FROM ` + relation,
		"CREATE USER MAPPING FOR bodata_user SERVER pg OPTIONS (username 'x', password 'x') /* " + long + " */",
		"ALTER USER MAPPING FOR bodata_user SERVER pg OPTIONS (SET password E'x\\'') /* " + long + " */",
	} {
		_, err := conn.PgConn().Exec(ctx, statement).ReadAll()
		if _, rollback := conn.PgConn().Exec(ctx, "ROLLBACK; RESET ALL").ReadAll(); rollback != nil {
			return rollback
		}
		if mayType && err != nil {
			return fmt.Errorf("%.60s …: %w", statement, err)
		}
		if !mayType && err == nil {
			return fmt.Errorf("%.60s …: no error", statement)
		}
	}
	return refused(ctx, conn, "ALTER USER MAPPING FOR bodata_user SERVER pg OPTIONS (SET password '"+long)
}
