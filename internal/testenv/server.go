package testenv

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// ServerOptions says what kind of plain server is wanted: PostgreSQL as people
// have it, without the extension.
type ServerOptions struct {
	Major    int               // 0: the packaged version
	Name     string            // of its folder and log, default "server-<major>"
	Port     int               // the first free one from it on, 0: any
	Settings map[string]string // postgresql.conf
	HBA      string            // lines that come before those of initdb
	TLS      bool              // a certificate for localhost and 127.0.0.1 by an authority of its own, Postgres.CA
}

// StartServer starts a plain server that ends with the test. Beside TCP on
// loopback it listens on a Unix socket in Postgres.DataDir.
func StartServer(tb testing.TB, o ServerOptions) *Postgres {
	tb.Helper()
	p, err := ForTest(tb).StartServer(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// StartServer makes a cluster of a major version and starts it.
func (e *Env) StartServer(ctx context.Context, o ServerOptions) (*Postgres, error) {
	if o.Major == 0 {
		o.Major = packagedMajor()
	}
	if o.Name == "" {
		o.Name = "server-" + strconv.Itoa(o.Major)
	}
	tree, err := serverTree(ctx, o.Major)
	if err != nil {
		return nil, err
	}
	settings := map[string]string{"unix_socket_directories": filepath.Join(e.Dir, o.Name)}
	maps.Copy(settings, o.Settings)
	p, err := e.makeCluster(ctx, tree, PostgresOptions{Name: o.Name, Settings: settings})
	if err != nil {
		return nil, err
	}
	if o.TLS {
		if err := p.addTLS(); err != nil {
			return nil, err
		}
	}
	if err := p.PrependHBA(o.HBA); err != nil {
		return nil, err
	}
	return p, p.startOnFreePort(ctx, o.Port)
}

// PrependHBA puts lines before all others of pg_hba.conf; Reload or Restart
// applies them.
func (p *Postgres) PrependHBA(lines string) error {
	name := filepath.Join(p.DataDir, "pg_hba.conf")
	old, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	return os.WriteFile(name, append([]byte(lines+"\n"), old...), 0o600)
}

// StartReplica makes a streaming replica that ends with the primary. The
// primary is stopped for the copy and then continues on its port.
func (p *Postgres) StartReplica(ctx context.Context) (*Postgres, error) {
	r := *p
	r.proc = nil
	r.name = p.name + "-replica"
	r.DataDir = filepath.Join(p.env.Dir, r.name)
	r.Log = r.DataDir + ".log"
	if err := p.Stop(ctx); err != nil {
		return nil, err
	}
	copied := errors.Join(p.as.mkdir(r.DataDir), run(p.as.command(ctx, p.DataDir, "cp", "-a", p.DataDir+"/.", r.DataDir)))
	if err := errors.Join(copied, p.startup(ctx)); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(r.DataDir, "standby.signal"), nil, 0o600); err != nil {
		return nil, err
	}
	if err := p.as.own(filepath.Join(r.DataDir, "standby.signal")); err != nil {
		return nil, err
	}
	if err := r.AppendConfig(map[string]string{
		"primary_conninfo":        fmt.Sprintf("host=%s port=%d user=%s password=%s", p.Host, p.Port, p.User, p.Password),
		"unix_socket_directories": r.DataDir,
	}); err != nil {
		return nil, err
	}
	p.env.onStop(r.Stop)
	return &r, r.startOnFreePort(ctx, 0)
}
