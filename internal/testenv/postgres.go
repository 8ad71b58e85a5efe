package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// PostgresOptions says what kind of instance is wanted.
type PostgresOptions struct {
	Name     string            // of its folder and log, default "postgres"
	Port     int               // the first free one from it on, 0: any
	Preload  string            // shared_preload_libraries
	Settings map[string]string // postgresql.conf
	Fsync    bool              // else fsync=off, as suits tests
	Wrap     []string          // a program with arguments to run the server under (valgrind)
	Tree     *Tree             // installation to run, nil: the checkout's
}

// Postgres is a running instance. Logins need the password, local ones too.
type Postgres struct {
	Tree
	Host     string
	Port     int
	User     string // superuser
	Password string
	DataDir  string
	Log      string // path
	CA       string // PEM file that vouches for the instance, where it has TLS

	env  *Env
	name string
	wrap []string
	as   account
	proc *process
}

// StartPostgres starts an instance that ends with the test.
func StartPostgres(tb testing.TB, o PostgresOptions) *Postgres {
	tb.Helper()
	p, err := ForTest(tb).StartPostgres(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// StartPostgres makes a cluster and starts it.
func (e *Env) StartPostgres(ctx context.Context, o PostgresOptions) (*Postgres, error) {
	if o.Name == "" {
		o.Name = "postgres"
	}
	tree, err := PGTree(ctx)
	if err != nil {
		return nil, err
	}
	if o.Tree != nil {
		tree = *o.Tree
	}
	if o.Preload != "" && !fileExists(filepath.Join(tree.Lib, o.Preload+".so")) {
		return nil, fmt.Errorf("%s.so is not in %s: run make build", o.Preload, tree.Lib)
	}
	p, err := e.makeCluster(ctx, tree, o)
	if err != nil {
		return nil, err
	}
	return p, p.startOnFreePort(ctx, o.Port)
}

// makeCluster makes a cluster with the programs of a tree; Stop of the Env stops it.
func (e *Env) makeCluster(ctx context.Context, tree Tree, o PostgresOptions) (*Postgres, error) {
	as, err := serverAccount("postgres")
	if err != nil {
		return nil, err
	}
	p := &Postgres{
		Tree: tree, Host: Loopback, User: "postgres", Password: Password(),
		DataDir: filepath.Join(e.Dir, o.Name), Log: filepath.Join(e.Dir, o.Name+".log"),
		env: e, name: o.Name, as: as, wrap: o.Wrap,
	}
	if err := p.initdb(ctx); err != nil {
		return nil, err
	}
	if err := p.configure(o); err != nil {
		return nil, err
	}
	e.onStop(p.Stop)
	return p, nil
}

func (p *Postgres) initdb(ctx context.Context) error {
	if err := p.as.mkdir(p.DataDir); err != nil {
		return err
	}
	pw := filepath.Join(p.env.Dir, p.name+".initial")
	if err := os.WriteFile(pw, []byte(p.Password+"\n"), 0o600); err != nil {
		return err
	}
	defer os.Remove(pw)
	if err := p.as.own(pw); err != nil {
		return err
	}
	return run(p.as.command(ctx, p.DataDir, filepath.Join(p.Bin, "initdb"), "-D", p.DataDir, "-U", p.User,
		"--pwfile="+pw, "--auth=scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"))
}

func (p *Postgres) configure(o PostgresOptions) error {
	settings := map[string]string{
		"listen_addresses":        Loopback,
		"unix_socket_directories": "",
		"shared_buffers":          "64MB",
		"max_connections":         "200",
		"log_line_prefix":         "%m [%p] %q%u@%d ",
		"timezone":                "UTC",
		"log_timezone":            "UTC",
	}
	if !o.Fsync {
		settings["fsync"] = "off"
	}
	if o.Preload != "" {
		settings["shared_preload_libraries"] = o.Preload
	}
	for name, value := range o.Settings {
		settings[name] = value
	}
	return p.AppendConfig(settings)
}

// AppendConfig adds settings to postgresql.conf; Reload or Restart applies them.
func (p *Postgres) AppendConfig(settings map[string]string) error {
	f, err := os.OpenFile(filepath.Join(p.DataDir, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for name, value := range settings {
		if _, err := fmt.Fprintf(f, "%s = '%s'\n", name, strings.ReplaceAll(value, "'", "''")); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}

func (p *Postgres) startOnFreePort(ctx context.Context, want int) error {
	return onFreePort(want, p.Log, func(port int) error {
		p.Port = port
		return p.startup(ctx)
	})
}

func (p *Postgres) startup(ctx context.Context) error {
	line := append(slices.Clone(p.wrap), filepath.Join(p.Bin, "postgres"), "-D", p.DataDir, "-p", strconv.Itoa(p.Port))
	cmd := p.as.command(context.Background(), p.DataDir, line[0], line[1:]...)
	proc, err := p.env.start(cmd, p.name, syscall.SIGINT) // fast shutdown
	if err != nil {
		return err
	}
	p.proc = proc
	return p.WaitReady(ctx)
}

// WaitReady waits until the instance accepts connections, at most a minute.
func (p *Postgres) WaitReady(ctx context.Context) error {
	return p.proc.answers(ctx, "PostgreSQL", loginWorks(p.DSN("postgres")))
}

// DSN is the superuser's connection URL.
func (p *Postgres) DSN(database string) string { return p.DSNAs(p.User, p.Password, database) }

// DSNAs is a connection URL.
func (p *Postgres) DSNAs(user, password, database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(user, password),
		Host: net.JoinHostPort(p.Host, strconv.Itoa(p.Port)), Path: "/" + database, RawQuery: "sslmode=disable"}
	return u.String()
}

// Connect opens a superuser's session; the caller closes it.
func (p *Postgres) Connect(ctx context.Context, database string) (*pgx.Conn, error) {
	return pgx.Connect(ctx, p.DSN(database))
}

// Exec runs statements as superuser, without parameters.
func (p *Postgres) Exec(ctx context.Context, database, sql string) error {
	conn, err := p.Connect(ctx, database)
	if err != nil {
		return err
	}
	_, err = conn.PgConn().Exec(ctx, sql).ReadAll()
	return errors.Join(err, conn.Close(ctx))
}

// CreateDatabase makes a database.
func (p *Postgres) CreateDatabase(ctx context.Context, name string) error {
	return p.Exec(ctx, "postgres", "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
}

// PID is the postmaster's.
func (p *Postgres) PID() int { return p.proc.pid }

// Reload makes the instance read its configuration again.
func (p *Postgres) Reload() error { return syscall.Kill(p.proc.pid, syscall.SIGHUP) }

// Restart stops (fast) and starts on the same port.
func (p *Postgres) Restart(ctx context.Context) error {
	if err := p.proc.stop(ctx); err != nil {
		return err
	}
	return p.startup(ctx)
}

// Crash ends the instance at once, as a power cut would; Restart brings it back.
func (p *Postgres) Crash(ctx context.Context) error {
	if err := syscall.Kill(p.proc.pid, syscall.SIGQUIT); err != nil {
		return err
	}
	return p.proc.stop(ctx)
}

// Stop stops the instance; its folder stays until the Env stops.
func (p *Postgres) Stop(ctx context.Context) error {
	if p.proc == nil {
		return nil
	}
	return p.proc.stop(ctx)
}

// LogText is what the instance has logged so far.
func (p *Postgres) LogText() (string, error) {
	b, err := os.ReadFile(p.Log)
	return string(b), err
}

// Command prepares a program of the tree (psql, pg_dump …) that logs in as the
// superuser on a database.
func (p *Postgres) Command(ctx context.Context, database, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(p.Bin, program), args...)
	cmd.Env = append(os.Environ(), "PGHOST="+p.Host, "PGPORT="+strconv.Itoa(p.Port), "PGUSER="+p.User,
		"PGPASSWORD="+p.Password, "PGDATABASE="+database, "PGSSLMODE=disable")
	return cmd
}
