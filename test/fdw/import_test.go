package fdw_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// What cannot be imported is left out with a warning that names it, and is an
// error where it was asked for by name.
func TestImportLeavesOutWhatItCannotRead(t *testing.T) {
	long := strings.Repeat("long", 16)
	file, err := shared.env.SQLiteFile(t.Context(), "broken.db", fmt.Sprintf(`
CREATE TABLE fine (n integer PRIMARY KEY, word text); INSERT INTO fine VALUES (1, 'one');
CREATE TABLE gone (n integer); CREATE VIEW badview AS SELECT * FROM gone; DROP TABLE gone;
CREATE TABLE %[1]s (n integer); CREATE TABLE longcolumn (%[1]s integer); CREATE TABLE system (n integer, ctid text); CREATE TABLE unnamed ("" integer);
CREATE TABLE broad (%[2]s);`, long, "c"+strings.Join(numbers(1601), ", c")))
	if err != nil {
		t.Fatal(err)
	}
	config, err := pgx.ParseConfig(shared.local.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	var warnings []string
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { warnings = append(warnings, n.Message) }
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	do(t, conn, fmt.Sprintf("CREATE SERVER broken FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'SQLite3', database '%s')", file.Path))
	cleanup(t, "DROP SERVER broken CASCADE; DROP SCHEMA brought CASCADE")
	do(t, conn, "CREATE SCHEMA brought")

	for _, left := range []struct{ name, says string }{{"badview", "cannot be read"}, {"longcolumn", "longer than 63 bytes"}, {"system", "ctid"}, {"unnamed", "empty"}, {"broad", "1601 columns"}} {
		e := refused(t, conn, fmt.Sprintf("IMPORT FOREIGN SCHEMA main LIMIT TO (%s) FROM SERVER broken INTO brought", left.name))
		if !strings.Contains(e.Message, left.name) || !strings.Contains(e.Message+e.Detail, left.says) {
			t.Error(left.name, describe(e))
		}
	}
	if e := refused(t, conn, "IMPORT FOREIGN SCHEMA main LIMIT TO (zzz) FROM SERVER broken INTO brought"); !strings.Contains(e.Message, "zzz") {
		t.Error(describe(e))
	}
	do(t, conn, "IMPORT FOREIGN SCHEMA main LIMIT TO (fine) FROM SERVER broken INTO brought")
	if got := value[string](t, conn, "SELECT word FROM brought.fine"); got != "one" || len(warnings) != 0 {
		t.Error(got, warnings)
	}
	do(t, conn, "DROP FOREIGN TABLE brought.fine")
	do(t, conn, "IMPORT FOREIGN SCHEMA main EXCEPT (broad) FROM SERVER broken INTO brought")
	if got := value[int64](t, conn, "SELECT count(*) FROM pg_class WHERE relnamespace = 'brought'::regnamespace"); got != 1 || len(warnings) != 5 {
		t.Errorf("%d tables, %q", got, warnings)
	}
	for _, name := range []string{"badview", long, "longcolumn", "system", "unnamed"} {
		if !strings.Contains(strings.Join(warnings, "\n"), name) {
			t.Errorf("no warning of %s: %q", name, warnings)
		}
	}
}

func numbers(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprint(i))
	}
	return out
}
