package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/sample"
)

// The sample installation, in a folder of its own: what `make run` and
// `make stop` promise.
func TestInstallation(t *testing.T) {
	l := ownLayout(t)
	take(t, wantedPort)
	take(t, wantedServicePort)
	begin(t, l)
	first := readEnv(t, l)
	t.Run("takes other ports", func(t *testing.T) { otherPorts(t, first) })
	t.Run("is described", func(t *testing.T) { described(t, l, first) })
	t.Run("the reader only reads", func(t *testing.T) { onlyReads(t, first) })
	t.Run("a second run finds it", func(t *testing.T) {
		before := processes(t, l)
		begin(t, l)
		if after := processes(t, l); fmt.Sprint(after) != fmt.Sprint(before) || fmt.Sprint(readEnv(t, l)) != fmt.Sprint(first) {
			t.Errorf("it was started anew: %v, before %v", after, before)
		}
	})
	t.Run("a run after a crash", func(t *testing.T) {
		crash(t, l)
		begin(t, l)
		if readEnv(t, l).get("PGPASSFILE") == "" {
			t.Error("it is not described")
		}
	})
	t.Run("leaves nothing behind", func(t *testing.T) {
		last := readEnv(t, l)
		if err := stop(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		nothingLeft(t, l, last)
		if err := stop(t.Context(), l); err != nil {
			t.Errorf("a second stop: %v", err)
		}
	})
}

// ownLayout is one that no other run knows of, and that ends with the test.
func ownLayout(t *testing.T) layout {
	t.Helper()
	l, err := newLayout()
	if err != nil {
		t.Fatal(err)
	}
	l.run = filepath.Join(testenv.ForTest(t).Dir, "run")
	l.servers = filepath.Join(l.run, "servers")
	t.Cleanup(func() {
		if err := stop(context.WithoutCancel(t.Context()), l); err != nil {
			t.Error(err)
		}
	})
	return l
}

// take listens on a port until the test ends, if nobody else does.
func take(t *testing.T, port int) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(testenv.Loopback, strconv.Itoa(port)))
	if err == nil {
		t.Cleanup(func() { _ = listener.Close() })
	}
}

// begin is `make run`, which also lets each person type each question.
func begin(t *testing.T, l layout) {
	t.Helper()
	began := time.Now()
	if err := up(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	t.Logf("took %.1f s", time.Since(began).Seconds())
}

// crash kills every server, and waits until all have ended: what is still
// ending counts as running.
func crash(t *testing.T, l layout) {
	t.Helper()
	for _, pid := range processes(t, l) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	if err := testenv.Until(t.Context(), 20*time.Second, func() (bool, error) {
		alive, _, err := testenv.RunningIn(l.servers)
		return len(alive) == 0, errors.Join(err, fmt.Errorf("%v", alive))
	}); err != nil {
		t.Fatalf("killed and still running: %v", err)
	}
}

func readEnv(t *testing.T, l layout) vars {
	t.Helper()
	v, err := readEnvFile(l.env())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// processes are those that were started, by name.
func processes(t *testing.T, l layout) map[string]int {
	t.Helper()
	alive, ended, err := testenv.RunningIn(l.servers)
	if err != nil || len(alive) < 4 || len(ended) > 0 {
		t.Fatalf("running %v, ended %v, %v", alive, ended, err)
	}
	list, err := os.ReadFile(filepath.Join(l.servers, "processes"))
	if err != nil {
		t.Fatal(err)
	}
	pids := map[string]int{}
	for line := range strings.Lines(string(list)) {
		var name string
		var pid int
		if _, err := fmt.Sscan(line, &name, &pid); err != nil {
			t.Fatal(err)
		}
		pids[name] = pid
	}
	return pids
}

func otherPorts(t *testing.T, v vars) {
	for setting, taken := range map[string]int{v.get("PGPORT"): wantedPort, portOf(v.get("PORTCULLIS_URL")): wantedServicePort} {
		if port, err := strconv.Atoi(setting); err != nil || port <= taken {
			t.Errorf("port %q in place of %d", setting, taken)
		}
	}
}

func portOf(url string) string { return url[strings.LastIndexByte(url, ':')+1:] }

// described: a shell that sources the file needs nothing else.
func described(t *testing.T, l layout, v vars) {
	tree, err := testenv.PGTree(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	psql := filepath.Join(tree.Bin, "psql") + " -XAtw"
	for _, test := range []struct{ command, want string }{
		{`PGUSER=$PORTCULLIS_ADMIN ` + psql + ` -c "SELECT extversion FROM pg_extension WHERE extname = 'portcullis'"`, "1.0"},
		{`for p in $SAMPLE_PEOPLE; do PGUSER=$p ` + psql + ` -c "SELECT 'in as ' || session_user"; done`, "in as " + strings.Join(roles(), "\nin as ")},
		{`PGHOST=$SAMPLE_PGHOST PGPORT=$SAMPLE_PGPORT PGDATABASE=$SAMPLE_PGDATABASE PGUSER=$SAMPLE_PGUSER ` + psql + ` -c "SELECT count(*) FROM aviation.birdstrikes"`, "10000"},
	} {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", "set -ae; . "+l.env()+"; "+test.command)
		cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"}
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != test.want {
			t.Errorf("%s: %q, %v", test.command, got, err)
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, v.get("PORTCULLIS_URL")+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("the service: %s", answer.Status)
	}
}

// onlyReads: the account that the sources' credentials name.
func onlyReads(t *testing.T, v vars) {
	password, err := os.ReadFile(v.get("SAMPLE_READER_PASSWORD_FILE"))
	if err != nil {
		t.Fatal(err)
	}
	port := func(name string) int { n, _ := strconv.Atoi(v.get(name)); return n }
	postgres := testenv.Postgres{Host: v.get("SAMPLE_PGHOST"), Port: port("SAMPLE_PGPORT"), User: reader, Password: string(password)}
	if err := postgres.Exec(t.Context(), "aviation", "DELETE FROM aviation.birdstrikes"); err == nil || !strings.Contains(err.Error(), "42501") {
		t.Errorf("the reader may write to PostgreSQL: %v", err)
	}
	mariadb := testenv.MariaDB{Host: v.get("SAMPLE_MARIADB_HOST"), Port: port("SAMPLE_MARIADB_PORT"), User: reader, Password: string(password)}
	if got, err := mariadb.Query(t.Context(), "geo", "SELECT COUNT(*) FROM cities"); err != nil || got != "171075\n" {
		t.Errorf("%q, %v", got, err)
	}
	if err := mariadb.Exec(t.Context(), "geo", "DELETE FROM cities"); err == nil || !strings.Contains(err.Error(), "denied") {
		t.Errorf("the reader may write to MariaDB: %v", err)
	}
	if _, err := os.Stat(v.get("SAMPLE_SQLITE")); err != nil || len(sample.People) == 0 {
		t.Error(err)
	}
}

// nothingLeft looks for processes, sockets, ports and files.
func nothingLeft(t *testing.T, l layout, v vars) {
	t.Helper()
	for _, dir := range []string{l.run, l.servers} {
		if _, err := os.Lstat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", dir, err)
		}
	}
	if sockets, err := os.ReadFile("/proc/net/unix"); err != nil || strings.Contains(string(sockets), l.servers) {
		t.Errorf("a socket is left: %v", err)
	}
	for _, port := range []string{v.get("PGPORT"), portOf(v.get("PORTCULLIS_URL")), v.get("SAMPLE_PGPORT"), v.get("SAMPLE_MARIADB_PORT")} {
		if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", net.JoinHostPort(testenv.Loopback, port)); err == nil {
			_ = conn.Close()
			t.Errorf("somebody answers on port %s", port)
		}
	}
	// Those of a server that was killed end by themselves.
	if err := testenv.Until(t.Context(), 20*time.Second, func() (bool, error) {
		left, err := processesOf(l.servers)
		return len(left) == 0, fmt.Errorf("%v %w", left, err)
	}); err != nil {
		t.Errorf("processes are left: %v", err)
	}
}

// processesOf finds processes that were started with a folder as argument or work in it.
func processesOf(dir string) (found []string, err error) {
	all, err := filepath.Glob("/proc/[0-9]*")
	for _, process := range all {
		arguments, _ := os.ReadFile(process + "/cmdline") // it may have ended meanwhile
		folder, _ := os.Readlink(process + "/cwd")
		if strings.Contains(string(arguments), dir) || strings.HasPrefix(folder, dir) {
			found = append(found, filepath.Base(process)+" "+strings.ReplaceAll(string(arguments), "\x00", " "))
		}
	}
	return found, err
}
