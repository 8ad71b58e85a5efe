package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/views"
	"portcullis.dev/portcullis/internal/sqltext"
	"portcullis.dev/portcullis/internal/testenv"
)

const (
	wantedPort        = 5432
	wantedServicePort = 8080

	nativeName     = "pg" // of the connection in sample/state.yaml
	nativeDatabase = "aviation"
	nativeAccount  = "portcullis"
)

// startAll starts everything and writes .run/env last.
func startAll(ctx context.Context, l layout) (v vars, err error) {
	if err := os.MkdirAll(l.run, 0o755); err != nil {
		return nil, err
	}
	if err := step("Fetching the sample data", func() error { return fetchData(ctx, l.data) }); err != nil {
		return nil, err
	}
	e, err := testenv.New(testenv.Options{Dir: l.servers, Detach: true})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, e.LogTails(2000))
		}
	}()
	var engine *testenv.Engine
	if err := step("Starting PostgreSQL with the extension, and the policy service", func() (err error) {
		engine, err = startEngine(ctx, e)
		return err
	}); err != nil {
		return nil, err
	}
	passwords, err := writePasswords(l)
	if err != nil {
		return nil, err
	}
	var remote *remotes
	if err := step("Starting three remote databases and loading sample data", func() (err error) {
		remote, err = startRemotes(ctx, e, l.data, passwords)
		return err
	}); err != nil {
		return nil, err
	}
	state, err := writeState(l, remote)
	if err != nil {
		return nil, err
	}
	if err := step("Applying the people, sources and policies of sample/state.yaml", func() error {
		if err := engine.Service.Apply(ctx, state); err != nil {
			return err
		}
		if err := execBeside(ctx, remote.postgres, nativeDatabase, letViews()); err != nil {
			return err
		}
		_, err := engine.Service.CLI(ctx, "connection", "sync", nativeName)
		return err
	}); err != nil {
		return nil, err
	}
	v = settings(l, engine, remote)
	if err := writePassFile(l, engine, remote, passwords); err != nil {
		return nil, err
	}
	return v, v.write(l.env())
}

// execBeside runs statements while the service changes the same rows of the
// catalog: PostgreSQL does not wait there, and whoever comes second tries again.
func execBeside(ctx context.Context, p *testenv.Postgres, database, sql string) (err error) {
	for range 5 {
		if err = p.Exec(ctx, database, sql); !connection.Passing(err) {
			return err
		}
	}
	return err
}

// letViews is what a DBA runs so that the service may show people a part of a table.
func letViews() string {
	target := connection.Target{Username: nativeAccount, Prefix: connection.DefaultPrefix}
	owner := sqltext.Identifier(target.ViewsOwner())
	return views.Script(target) + "GRANT USAGE ON SCHEMA aviation TO " + owner + "; GRANT SELECT ON aviation.birdstrikes TO " + owner
}

func startEngine(ctx context.Context, e *testenv.Env) (*testenv.Engine, error) {
	return e.StartEngine(ctx, testenv.EngineOptions{Port: wantedPort, ServicePort: wantedServicePort, Fsync: true})
}

func (l layout) passwords() string      { return filepath.Join(l.run, "passwords") }
func (l layout) dbaPassword() string    { return filepath.Join(l.passwords(), "aviation-dba") }
func (l layout) readerPassword() string { return filepath.Join(l.passwords(), reader) }

// writePasswords draws a password for each sample person, in a file of its
// own, as the state file wants it.
func writePasswords(l layout) (map[string]string, error) {
	if err := os.MkdirAll(l.passwords(), 0o700); err != nil {
		return nil, err
	}
	passwords := map[string]string{}
	for _, role := range roles() {
		passwords[role] = testenv.Password()
		if err := os.WriteFile(filepath.Join(l.passwords(), role), []byte(passwords[role]), 0o600); err != nil {
			return nil, err
		}
	}
	return passwords, nil
}

// writeState fills the ports and files into sample/state.yaml.
func writeState(l layout, r *remotes) (string, error) {
	if err := os.WriteFile(l.readerPassword(), []byte(r.readerPassword), 0o600); err != nil {
		return "", err
	}
	if err := os.WriteFile(l.dbaPassword(), []byte(r.postgres.Password), 0o600); err != nil {
		return "", err
	}
	template, err := os.ReadFile(filepath.Join(l.root, "sample", "state.yaml"))
	if err != nil {
		return "", err
	}
	text := strings.NewReplacer(
		"${AVIATION_PORT}", strconv.Itoa(r.postgres.Port),
		"${GEO_PORT}", strconv.Itoa(r.mariadb.Port),
		"${PLACES_FILE}", r.sqlite.Path,
		"${READER_PASSWORD_FILE}", l.readerPassword(),
		"${AVIATION_DBA}", r.postgres.User,
		"${AVIATION_DBA_PASSWORD_FILE}", l.dbaPassword(),
		"${PASSWORDS}", l.passwords(),
	).Replace(string(template))
	file := filepath.Join(l.run, "state.yaml")
	return file, os.WriteFile(file, []byte(text), 0o600)
}

// writePassFile makes what PGPASSFILE names: the sample people, here and at the
// remote PostgreSQL, the administrator and the remote PostgreSQL's reader.
func writePassFile(l layout, engine *testenv.Engine, r *remotes, passwords map[string]string) error {
	var b strings.Builder
	for _, role := range roles() {
		fmt.Fprintf(&b, "%s:%d:*:%s:%s\n", engine.Host, engine.Port, role, passwords[role])
		fmt.Fprintf(&b, "%s:%d:*:%s:%s\n", r.postgres.Host, r.postgres.Port, role, passwords[role])
	}
	fmt.Fprintf(&b, "%s:%d:*:%s:%s\n", engine.Host, engine.Port, engine.User, engine.Password)
	fmt.Fprintf(&b, "%s:%d:*:%s:%s\n", r.postgres.Host, r.postgres.Port, reader, r.readerPassword)
	return os.WriteFile(l.passFile(), []byte(b.String()), 0o600)
}

func settings(l layout, engine *testenv.Engine, r *remotes) vars {
	var v vars
	v.set("PGHOST", engine.Host)
	v.set("PGPORT", strconv.Itoa(engine.Port))
	v.set("PGDATABASE", testenv.EngineDatabase)
	v.set("PGPASSFILE", l.passFile())
	v.set("PORTCULLIS_URL", engine.Service.URL)
	v.set("PORTCULLIS_API_KEY_FILE", engine.Service.APIKeyFile)
	v.set("PORTCULLIS_ADMIN", engine.User)
	v.set("SAMPLE_STATE", filepath.Join(l.run, "state.yaml"))
	v.set("SAMPLE_PEOPLE", strings.Join(roles(), " "))
	v.set("SAMPLE_PGUSER", reader)
	v.set("SAMPLE_READER_PASSWORD_FILE", l.readerPassword())
	v.set("SAMPLE_PGHOST", r.postgres.Host)
	v.set("SAMPLE_PGPORT", strconv.Itoa(r.postgres.Port))
	v.set("SAMPLE_PGDATABASE", "aviation")
	v.set("SAMPLE_MARIADB_HOST", r.mariadb.Host)
	v.set("SAMPLE_MARIADB_PORT", strconv.Itoa(r.mariadb.Port))
	v.set("SAMPLE_MARIADB_DATABASE", "geo")
	v.set("SAMPLE_SQLITE", r.sqlite.Path)
	return v
}
