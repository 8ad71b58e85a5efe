package testenv

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// MariaDBOptions says what kind of server is wanted.
type MariaDBOptions struct {
	Name string   // of its folder and log, default "mariadb"
	Port int      // the first free one from it on, 0: any
	Args []string // further arguments of mariadbd
}

// MariaDB is a running server.
type MariaDB struct {
	Host     string
	Port     int
	Socket   string
	User     string // root, may log in over TCP from loopback too
	Password string
	Log      string // path

	env  *Env
	name string
	dir  string
	as   account
	proc *process
}

// StartMariaDB starts a server that ends with the test.
func StartMariaDB(tb testing.TB, o MariaDBOptions) *MariaDB {
	tb.Helper()
	m, err := ForTest(tb).StartMariaDB(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// StartMariaDB makes a data folder and starts a server on it.
func (e *Env) StartMariaDB(ctx context.Context, o MariaDBOptions) (*MariaDB, error) {
	if o.Name == "" {
		o.Name = "mariadb"
	}
	as, err := serverAccount("mysql")
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(e.Dir, o.Name)
	m := &MariaDB{
		Host: Loopback, User: "root", Socket: filepath.Join(dir, "sock"), Log: filepath.Join(e.Dir, o.Name+".log"),
		env: e, name: o.Name, dir: dir, as: as,
	}
	for _, d := range []string{dir, m.temp()} {
		if err := as.mkdir(d); err != nil {
			return nil, err
		}
	}
	if err := m.install(ctx); err != nil {
		return nil, err
	}
	e.onStop(m.Stop)
	if err := m.startOnFreePort(ctx, o); err != nil {
		return nil, err
	}
	return m, m.secure(ctx)
}

// smallServer keeps the files and buffers of a sample server small.
var smallServer = []string{"--innodb-log-file-size=16M", "--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0"}

// temp is a folder of the server's own: at its start MariaDB removes whatever
// looks like a temporary table there, those of other servers too.
func (m *MariaDB) temp() string { return filepath.Join(m.dir, "tmp") }

func (m *MariaDB) install(ctx context.Context) error {
	program, err := systemProgram("mariadb-install-db")
	if err != nil {
		return err
	}
	args := append([]string{"--no-defaults", "--datadir=" + filepath.Join(m.dir, "data"), "--tmpdir=" + m.temp(),
		"--auth-root-authentication-method=normal", "--skip-test-db"}, smallServer...)
	return run(m.as.command(ctx, m.dir, program, args...))
}

func (m *MariaDB) startOnFreePort(ctx context.Context, o MariaDBOptions) error {
	return onFreePort(o.Port, m.Log, func(port int) error {
		m.Port = port
		return m.startup(ctx, o.Args)
	})
}

func (m *MariaDB) startup(ctx context.Context, extra []string) error {
	program, err := systemProgram("mariadbd")
	if err != nil {
		return err
	}
	args := append([]string{"--no-defaults", "--datadir=" + filepath.Join(m.dir, "data"), "--tmpdir=" + m.temp(), "--port=" + strconv.Itoa(m.Port),
		"--bind-address=" + m.Host, "--socket=" + m.Socket, "--pid-file=" + filepath.Join(m.dir, "pid"),
		"--character-set-server=utf8mb4", "--skip-name-resolve", "--local-infile=1"}, smallServer...)
	proc, err := m.env.start(m.as.command(context.Background(), m.dir, program, append(args, extra...)...), m.name, syscall.SIGTERM)
	if err != nil {
		return err
	}
	m.proc = proc
	return m.proc.answers(ctx, "MariaDB", func(ctx context.Context) error { return m.Exec(ctx, "", "SELECT 1") })
}

// secure gives root a password from everywhere on loopback and removes the
// anonymous accounts.
func (m *MariaDB) secure(ctx context.Context) error {
	password := Password()
	err := m.Exec(ctx, "mysql", fmt.Sprintf(`DELETE FROM global_priv WHERE User = '' OR Host NOT IN ('localhost');
		FLUSH PRIVILEGES;
		CREATE USER root@'127.0.0.1' IDENTIFIED BY '%[1]s';
		GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;
		ALTER USER root@localhost IDENTIFIED BY '%[1]s';`, password))
	m.Password = password
	return err
}

// Exec runs statements as root; database may be empty.
func (m *MariaDB) Exec(ctx context.Context, database, sql string) error {
	_, err := m.Query(ctx, database, sql)
	return err
}

// Query runs statements as root and returns what the client prints: rows as
// lines, columns separated by tabs, no header.
func (m *MariaDB) Query(ctx context.Context, database, sql string) (string, error) {
	cmd, err := m.Command(ctx, database)
	if err != nil {
		return "", err
	}
	cmd.Stdin = strings.NewReader(sql)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("mariadb: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// Command prepares the command line client, logged in as root; further
// arguments and standard input are the caller's.
func (m *MariaDB) Command(ctx context.Context, database string, args ...string) (*exec.Cmd, error) {
	program, err := systemProgram("mariadb")
	if err != nil {
		return nil, err
	}
	all := append([]string{"--no-defaults", "--protocol=tcp", "--host=" + m.Host, "--port=" + strconv.Itoa(m.Port), "--user=" + m.User,
		"--default-character-set=utf8mb4", "--batch", "--skip-column-names", "--local-infile=1"}, args...)
	if m.Password == "" { // before it is secured only the socket's owner may come in
		all[1] = "--socket=" + m.Socket
	}
	if database != "" {
		all = append(all, database)
	}
	cmd := exec.CommandContext(ctx, program, all...)
	cmd.Env = append(os.Environ(), "MYSQL_PWD="+m.Password)
	return cmd, nil
}

// Lock keeps everybody else out of a table until unlock is called or the test ends.
func (m *MariaDB) Lock(tb testing.TB, table string) (unlock func()) {
	tb.Helper()
	cmd, err := m.Command(tb.Context(), "", "--unbuffered")
	if err != nil {
		tb.Fatal(err)
	}
	return holdLock(tb, cmd, "LOCK TABLES "+table+" WRITE; SELECT 'locked';\n")
}

// Stop stops the server; its folder stays until the Env stops.
func (m *MariaDB) Stop(ctx context.Context) error {
	if m.proc == nil {
		return nil
	}
	return m.proc.stop(ctx)
}

// systemProgram finds a program also where plain users' PATH does not look.
func systemProgram(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path := filepath.Join(dir, name); fileExists(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed: run make deps", name)
}
