package fdw_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// A connection ends with its server or user mapping, in the session that drops
// it and in others, and one that was changed makes way for another.
func TestConnectionsEndWithTheirSource(t *testing.T) {
	conn, other := session(t), session(t)
	server := func(name string) {
		do(t, conn, fmt.Sprintf(`CREATE SERVER %[1]s FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'PostgreSQL Unicode', host '%[2]s', port '%[3]d', database 'postgres');
			CREATE USER MAPPING FOR PUBLIC SERVER %[1]s OPTIONS (username '%[4]s', password '%[5]s');
			CREATE FOREIGN TABLE of_%[1]s (n int) SERVER %[1]s OPTIONS (schema_name 'public', table_name 'numbers')`,
			name, shared.remote.Host, shared.remote.Port, shared.remote.User, shared.remote.Password))
		cleanup(t, "DROP SERVER IF EXISTS "+name+" CASCADE")
	}
	read := func(c *pgx.Conn, name string) {
		do(t, c, "SELECT n FROM of_"+name+" LIMIT 1")
		if got := connectionsOf(t, c, name); len(got) != 1 {
			t.Fatalf("connections to %s: %v", name, got)
		}
	}
	gone := func(c *pgx.Conn, name string) {
		t.Helper()
		waitFor(t, "the end of the connection", func(context.Context) (bool, error) { return len(connectionsOf(t, c, name)) == 0, nil })
	}
	server("kept")
	server("ending")

	t.Run("server", func(t *testing.T) {
		read(conn, "kept")
		read(conn, "ending")
		read(other, "ending")
		do(t, conn, "DROP SERVER ending CASCADE")
		gone(conn, "ending")
		gone(other, "ending")
		if got := connectionsOf(t, conn, "kept"); len(got) != 1 {
			t.Errorf("of another server are left %v", got)
		}
		server("ending")
	})
	t.Run("in a transaction", func(t *testing.T) {
		do(t, conn, "BEGIN")
		read(conn, "ending")
		do(t, conn, "DROP SERVER ending CASCADE")
		if got := connectionsOf(t, conn, "ending"); strings.Join(got, " ") != "closing" {
			t.Errorf("in the transaction that drops it: %v", got)
		}
		do(t, conn, "ROLLBACK")
		gone(conn, "ending")
		read(conn, "ending")
	})
	t.Run("user mapping", func(t *testing.T) {
		read(conn, "ending")
		do(t, conn, "DROP USER MAPPING FOR PUBLIC SERVER ending")
		gone(conn, "ending")
	})
	t.Run("changed", func(t *testing.T) {
		read(conn, "kept")
		read(other, "kept")
		do(t, other, "ALTER SERVER kept OPTIONS (ADD connect_timeout '7')")
		gone(conn, "kept")
		read(conn, "kept")
	})
}

// connectionsOf lists the states of the session's connections to a server.
func connectionsOf(t *testing.T, conn *pgx.Conn, server string) []string {
	t.Helper()
	return lines(t, conn, "SELECT state FROM portcullis_connections() WHERE server = $1 ORDER BY 1", server)
}
