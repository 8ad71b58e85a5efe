package testenv

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
)

func TestPostgresRunsFromThePrivateTree(t *testing.T) {
	pg := StartPostgres(t, PostgresOptions{})
	conn, err := pg.Connect(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var share, lib string
	if err := conn.QueryRow(t.Context(), `SELECT (SELECT setting FROM pg_config WHERE name = 'SHAREDIR'),
		(SELECT setting FROM pg_config WHERE name = 'PKGLIBDIR')`).Scan(&share, &lib); err != nil {
		t.Fatal(err)
	}
	if share != pg.Share || lib != pg.Lib {
		t.Errorf("server uses %s and %s, the tree is %s and %s", share, lib, pg.Share, pg.Lib)
	}
	if err := pg.Exec(t.Context(), "postgres", "CREATE EXTENSION postgres_fdw"); err != nil {
		t.Error(err)
	}
}

func TestPostgresRestartsAndSurvivesACrash(t *testing.T) {
	pg := StartPostgres(t, PostgresOptions{})
	if err := pg.Exec(t.Context(), "postgres", "CREATE TABLE kept AS SELECT 1 AS x; CHECKPOINT"); err != nil {
		t.Fatal(err)
	}
	if err := pg.Crash(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := pg.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := pg.Exec(t.Context(), "postgres", "SELECT 1/count(*) FROM kept"); err != nil {
		t.Error(err)
	}
}

func TestMissingModuleIsToldWithTheCommandToRun(t *testing.T) {
	_, err := ForTest(t).StartPostgres(t.Context(), PostgresOptions{Preload: "portcullis_absent"})
	if err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("got %v", err)
	}
}

func TestPortThatIsTakenInBetween(t *testing.T) {
	p := StartPostgres(t, PostgresOptions{})
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	wanted, tries := p.Port, 0
	if err := onFreePort(wanted, p.Log, func(port int) error {
		if tries++; tries == 1 {
			if l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", Loopback, port)); err == nil {
				defer l.Close()
			}
		}
		p.Port = port
		return p.startup(t.Context())
	}); err != nil || tries != 2 {
		t.Errorf("after %d tries on from port %d: %d, %v", tries, wanted, p.Port, err)
	}
}

func TestMariaDB(t *testing.T) {
	m := StartMariaDB(t, MariaDBOptions{})
	got, err := m.Query(t.Context(), "", "SELECT CURRENT_USER(); SELECT COUNT(*) FROM mysql.global_priv WHERE User = ''")
	if err != nil {
		t.Fatal(err)
	}
	if got != "root@127.0.0.1\n0\n" {
		t.Errorf("got %q", got)
	}
	if m.Password = "wrong"; m.Exec(t.Context(), "", "SELECT 1") == nil {
		t.Error("a wrong password was let in")
	}
}

func TestSQLiteFile(t *testing.T) {
	s := SQLiteFile(t, "x.db", "CREATE TABLE x (a INTEGER, b TEXT); INSERT INTO x VALUES (1, 'ä')")
	got, err := s.Query(t.Context(), "SELECT * FROM x")
	if err != nil || got != "1\tä\n" {
		t.Errorf("got %q, %v", got, err)
	}
	if s.Exec(t.Context(), "SELECT * FROM missing") == nil {
		t.Error("an error was not told")
	}
}

func TestDetachedServersAreFoundAndStopped(t *testing.T) {
	dir, err := os.MkdirTemp("", "detached")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	e, err := New(Options{Dir: dir, Detach: true})
	if err != nil {
		t.Fatal(err)
	}
	pg, err := e.StartPostgres(t.Context(), PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if alive, ended, err := RunningIn(dir); err != nil || len(alive) != 1 || len(ended) != 0 {
		t.Fatalf("alive %v, ended %v, %v", alive, ended, err)
	}
	stopped, err := StopDir(t.Context(), dir)
	if err != nil || len(stopped) != 1 || stopped[0] != "postgres" {
		t.Errorf("stopped %v, %v", stopped, err)
	}
	if !pg.proc.ended() || fileExists(dir) {
		t.Error("the server or its folder is still there")
	}
}
