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
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Pgbouncer is a running pooler before an instance. Every role of the instance
// may log in through it with its own password.
type Pgbouncer struct {
	Host string
	Port int
	Log  string // path

	server *Postgres
	proc   *process
}

// StartPgbouncer starts a pooler that ends with the test; mode is session,
// transaction or statement. Lines of pgbouncer.ini may follow.
func StartPgbouncer(tb testing.TB, server *Postgres, mode string, lines ...string) *Pgbouncer {
	tb.Helper()
	b, err := server.StartPgbouncer(tb.Context(), mode, lines...)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// StartPgbouncer starts a pooler before the instance.
func (p *Postgres) StartPgbouncer(ctx context.Context, mode string, lines ...string) (*Pgbouncer, error) {
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer" // not on the path of all users
		if !fileExists(program) {
			return nil, errors.New("pgbouncer is not installed: run make deps")
		}
	}
	name := p.name + "-pgbouncer"
	dir := filepath.Join(p.env.Dir, name)
	if err := p.as.mkdir(dir); err != nil {
		return nil, err
	}
	b := &Pgbouncer{Host: Loopback, Log: dir + ".log", server: p}
	if b.Port, err = FreePort(); err != nil {
		return nil, err
	}
	for file, content := range map[string]string{"pgbouncer.ini": b.config(dir, mode, lines), "users": fmt.Sprintf("%q %q\n", p.User, p.Password)} {
		file = filepath.Join(dir, file)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			return nil, err
		}
		if err := p.as.own(file); err != nil {
			return nil, err
		}
	}
	cmd := p.as.command(context.Background(), dir, program, filepath.Join(dir, "pgbouncer.ini"))
	if b.proc, err = p.env.start(cmd, name, syscall.SIGTERM); err != nil {
		return nil, err
	}
	p.env.onStop(b.Stop)
	return b, b.proc.answers(ctx, "pgbouncer", loginWorks(b.DSN("postgres")))
}

// config has each role's password verifier read from the instance, and SCRAM
// keys passed on, so roles made later are known at once.
func (b *Pgbouncer) config(dir, mode string, lines []string) string {
	return strings.Join(append([]string{
		"[databases]",
		fmt.Sprintf("* = host=%s port=%d auth_user=%s", b.server.Host, b.server.Port, b.server.User),
		"[pgbouncer]",
		"listen_addr = " + b.Host,
		"listen_port = " + strconv.Itoa(b.Port),
		"unix_socket_dir =",
		"auth_type = scram-sha-256",
		"auth_file = " + filepath.Join(dir, "users"),
		"pool_mode = " + mode,
		"max_client_conn = 200",
		"ignore_startup_parameters = extra_float_digits",
	}, append(lines, "")...), "\n")
}

// DSN is the superuser's connection URL through the pooler.
func (b *Pgbouncer) DSN(database string) string {
	return b.DSNAs(b.server.User, b.server.Password, database)
}

// DSNAs is a connection URL through the pooler.
func (b *Pgbouncer) DSNAs(user, password, database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(user, password),
		Host: net.JoinHostPort(b.Host, strconv.Itoa(b.Port)), Path: "/" + database, RawQuery: "sslmode=disable"}
	return u.String()
}

// Stop ends the pooler.
func (b *Pgbouncer) Stop(ctx context.Context) error {
	if b.proc == nil {
		return nil
	}
	return b.proc.stop(ctx)
}
