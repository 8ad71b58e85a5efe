package testenv

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestServersOfEveryMajorVersion(t *testing.T) {
	for _, major := range Majors() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			pg := StartServer(t, ServerOptions{Major: major, TLS: true})
			conn, err := pgx.Connect(t.Context(), strings.Replace(pg.DSN("postgres"), "sslmode=disable", "sslmode=verify-full&sslrootcert="+pg.CA, 1))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(t.Context())
			var version int
			var tls bool
			if err := conn.QueryRow(t.Context(), `SELECT current_setting('server_version_num')::int,
				(SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid())`).Scan(&version, &tls); err != nil {
				t.Fatal(err)
			}
			if version/10000 != major || !tls {
				t.Errorf("version %d, TLS %v", version, tls)
			}
			// Extensions come with the server, so its folders are right.
			if err := pg.Exec(t.Context(), "postgres", "CREATE EXTENSION postgres_fdw"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestUnknownMajorVersion(t *testing.T) {
	if _, err := ForTest(t).StartServer(t.Context(), ServerOptions{Major: 9}); err == nil || !strings.Contains(err.Error(), "14 15 16 17 18") {
		t.Errorf("got %v", err)
	}
}

func TestServerListensOnASocketAndObeysItsHBA(t *testing.T) {
	pg := StartServer(t, ServerOptions{Major: 16, HBA: "local all postgres trust"})
	conn, err := pgx.Connect(t.Context(), fmt.Sprintf("host=%s port=%d user=postgres database=postgres", pg.DataDir, pg.Port))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close(t.Context())
}

func TestReplicaFollowsItsPrimary(t *testing.T) {
	pg := StartServer(t, ServerOptions{Major: 17})
	replica, err := pg.StartReplica(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// The primary waits for the replica to have applied the commit.
	if err := pg.AppendConfig(map[string]string{"synchronous_standby_names": "*", "synchronous_commit": "remote_apply"}); err != nil {
		t.Fatal(err)
	}
	if err := pg.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := pg.Exec(t.Context(), "postgres", "CREATE TABLE followed ()"); err != nil {
		t.Fatal(err)
	}
	if err := replica.Exec(t.Context(), "postgres", "SELECT 1/pg_is_in_recovery()::int WHERE NOT EXISTS (TABLE followed)"); err != nil {
		t.Error(err)
	}
	if replica.DataDir == pg.DataDir || filepath.Dir(replica.DataDir) != filepath.Dir(pg.DataDir) {
		t.Errorf("%s beside %s", replica.DataDir, pg.DataDir)
	}
}

func TestPgbouncerLetsEveryRoleIn(t *testing.T) {
	pg := StartServer(t, ServerOptions{Major: 18})
	b := StartPgbouncer(t, pg, "transaction")
	if err := pg.Exec(t.Context(), "postgres", "CREATE ROLE anna LOGIN PASSWORD 'tulip'"); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), b.DSNAs("anna", "tulip", "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var user string
	if err := conn.QueryRow(t.Context(), "SELECT session_user").Scan(&user); err != nil || user != "anna" {
		t.Errorf("%q, %v", user, err)
	}
	if _, err := pgx.Connect(t.Context(), b.DSNAs("anna", "rose", "postgres")); err == nil {
		t.Error("a wrong password was let in")
	}
}
