package attack

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/test/world"
)

func portOf(p *testenv.Postgres) string { return strconv.Itoa(p.Port) }

// TestConnectionAttributes: whoever may define a source must not own the host.
// Each definition is tried by a superuser of the database, so that nothing but
// our own checks stands in the way; definition or first use must fail.
func TestConnectionAttributes(t *testing.T) {
	env := testenv.ForTest(t)
	folder, err := env.FileFolder()
	if err != nil {
		t.Fatal(err)
	}
	pg, err := env.StartPostgres(t.Context(), testenv.PostgresOptions{Preload: "portcullis", Settings: map[string]string{"portcullis.file_folder": folder}})
	if err != nil {
		t.Fatal(err)
	}
	remote, err := env.StartPostgres(t.Context(), testenv.PostgresOptions{Name: "remote"})
	if err != nil {
		t.Fatal(err)
	}
	good, err := env.SQLiteFile(t.Context(), "good.db", "CREATE TABLE r (id integer); INSERT INTO r VALUES (1)")
	if err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "outside.db")
	raw, err := os.ReadFile(good.Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(outside, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(folder, "link.db")); err != nil {
		t.Fatal(err)
	}
	if err := pg.Exec(t.Context(), "postgres", "CREATE EXTENSION portcullis"); err != nil {
		t.Fatal(err)
	}
	trace := filepath.Join(t.TempDir(), "trace.log")
	psql := "driver 'PostgreSQL Unicode', host '" + remote.Host + "', port '{port}', database 'postgres'"
	sqlite := "driver 'SQLite3', database '" + good.Path + "'"
	for _, c := range []struct {
		name, server, mapping string
		fine                  bool
	}{
		{name: "positive control: PostgreSQL", server: psql, fine: true},
		{name: "positive control: SQLite", server: sqlite, mapping: "none", fine: true},
		{name: "driver by path", server: "driver '/usr/lib/x86_64-linux-gnu/odbc/psqlodbcw.so', host '127.0.0.1', port '{port}', database 'postgres'"},
		{name: "driver that is not registered", server: "driver 'Evil', host '127.0.0.1'"},
		{name: "driver with a semicolon", server: "driver 'SQLite3;LoadExt=/tmp/evil.so', database '" + good.Path + "'"},
		{name: "driver in braces", server: "driver '{SQLite3}', database '" + good.Path + "'"},
		{name: "DSN", server: psql + ", dsn 'x'"},
		{name: "FILEDSN", server: psql + ", filedsn '/tmp/x'"},
		{name: "Driver as a second option", server: psql + ", \"Driver\" 'SQLite3'"},
		{name: "LoadExt", server: sqlite + ", loadext '/tmp/evil.so'"},
		{name: "LoadExt in capitals", server: sqlite + ", \"LoadExt\" '/tmp/evil.so'"},
		{name: "PLUGIN_DIR", server: "driver 'MariaDB Unicode', host '127.0.0.1', port '1', database 'x', plugin_dir '/tmp'"},
		{name: "INITSTMT", server: "driver 'MariaDB Unicode', host '127.0.0.1', port '1', database 'x', initstmt 'SELECT 1'"},
		{name: "ConnSettings", server: psql + ", connsettings 'SELECT 1'"},
		{name: "trace", server: psql + ", trace '1', tracefile '" + trace + "'"},
		{name: "CommLog", server: psql + ", commlog '1'"},
		{name: "Debug", server: psql + ", debug '1'"},
		{name: "key file path", server: psql + ", sslkey '/etc/ssl/private/x.key'"},
		{name: "options string", server: psql + ", options '-c log_statement=all'"},
		{name: "SERVICE", server: psql + ", service 'x'"},
		{name: "host with a semicolon", server: "driver 'PostgreSQL Unicode', host '127.0.0.1;Driver=SQLite3', port '{port}', database 'postgres'"},
		{name: "host with a closing brace", server: "driver 'PostgreSQL Unicode', host '127.0.0.1};Driver={SQLite3', port '{port}', database 'postgres'"},
		{name: "database with an attribute", server: "driver 'PostgreSQL Unicode', host '127.0.0.1', port '{port}', database 'postgres;TraceFile=" + trace + "'"},
		{name: "database with libpq parameters", server: "driver 'PostgreSQL Unicode', host '127.0.0.1', port '{port}', database 'host=/tmp dbname=postgres'"},
		{name: "port that is none", server: "driver 'PostgreSQL Unicode', host '127.0.0.1', port '5432;Trace=1', database 'postgres'"},
		{name: "host that is a socket folder", server: "driver 'PostgreSQL Unicode', host '/tmp', port '{port}', database 'postgres'"},
		{name: "user name with an attribute", server: psql, mapping: "username 'postgres;Trace=1', password 'x'"},
		{name: "password with a brace", server: psql, mapping: "username 'postgres', password 'x};Driver={SQLite3'"},
		{name: "secret in the server", server: psql + ", password 'x'"},
		{name: "file outside the folder", server: "driver 'SQLite3', database '" + outside + "'", mapping: "none"},
		{name: "file by dots", server: "driver 'SQLite3', database '" + folder + "/../../../../../.." + outside + "'", mapping: "none"},
		{name: "file by a link", server: "driver 'SQLite3', database '" + folder + "/link.db'", mapping: "none"},
		{name: "file that is a URI", server: "driver 'SQLite3', database 'file:" + good.Path + "?mode=rwc'", mapping: "none"},
		{name: "file with an attribute", server: "driver 'SQLite3', database '" + good.Path + ";LoadExt=/tmp/x.so'", mapping: "none"},
		{name: "memory database", server: "driver 'SQLite3', database ':memory:'", mapping: "none"},
		{name: "no file database at all", server: "driver 'SQLite3'", mapping: "none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			mapping := "username 'postgres', password '" + remote.Password + "'"
			if c.mapping != "" {
				mapping = c.mapping
			}
			statements := []string{"BEGIN", "CREATE SERVER s FOREIGN DATA WRAPPER portcullis OPTIONS (" + strings.ReplaceAll(c.server, "{port}", portOf(remote)) + ")"}
			if mapping != "none" {
				statements = append(statements, "CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS ("+mapping+")")
			}
			table := "table_name 'r'"
			if strings.Contains(c.server, "PostgreSQL") {
				table = "schema_name 'pg_catalog', table_name 'pg_am'"
			}
			column := "id integer"
			if strings.Contains(c.server, "PostgreSQL") {
				column = "amname name"
			}
			statements = append(statements, "CREATE FOREIGN TABLE f ("+column+") SERVER s OPTIONS ("+table+")", "SELECT count(*) > 0 FROM f", "ROLLBACK")
			got, err := world.Type(t.Context(), pg.DSN("postgres"), statements...)
			if err != nil {
				t.Fatal(err)
			}
			if got.Err != nil {
				t.Logf("%s: %s %s", got.Err.Code, got.Err.Message, got.Err.Detail)
			}
			if c.fine != (got.Err == nil) {
				t.Errorf("fine is %t:\n%s", c.fine, got)
			}
			if got.Err != nil && (strings.HasPrefix(got.Err.Code, "XX") || strings.HasPrefix(got.Err.Code, "57")) {
				t.Errorf("not refused but broken:\n%s", got)
			}
			if strings.Contains(got.String(), remote.Password) && strings.Contains(output(got), remote.Password) {
				t.Errorf("the error shows the password:\n%s", got)
			}
		})
	}
	if _, err := os.Stat(trace); err == nil {
		t.Error("a trace file was written")
	}
}
