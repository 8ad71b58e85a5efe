package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/broker"
	"portcullis.dev/portcullis/connection/grants"
	"portcullis.dev/portcullis/internal/testenv"
)

const (
	grantedPeople  = 1_000
	grantedTables  = 1_000
	grantedSchemas = 10
)

// granting prints how long it takes until one policy that gives 1,000 people
// 1,000 tables is in force on an instance, through the broker, the longest
// transaction of that, and how long one more subscription takes.
func granting(ctx context.Context, i *installation) error {
	pg, err := i.env.StartServer(ctx, testenv.ServerOptions{Name: "granted"})
	if err != nil {
		return err
	}
	g, err := newGranted(ctx, pg)
	if err != nil {
		return err
	}
	longest, stop := g.longestTransaction(ctx)
	start := time.Now()
	if err := g.round(ctx); err != nil {
		return err
	}
	all := time.Since(start)
	if err := stop(); err != nil {
		return err
	}
	set := &g.want.Sets[0]
	last := set.Members[len(set.Members)-1]
	var more []time.Duration
	for range 5 {
		set.Members = set.Members[:len(set.Members)-1]
		if err := g.round(ctx); err != nil {
			return err
		}
		set.Members = append(set.Members, last)
		start = time.Now()
		if err := g.round(ctx); err != nil {
			return err
		}
		more = append(more, time.Since(start))
	}
	slices.Sort(more)
	nothing, err := median(5, func() error { return g.round(ctx) })
	if err != nil {
		return err
	}
	fmt.Printf("\n%d people granted %d tables: %d ms, longest transaction %d ms; one person more: %d ms; nothing to do: %d ms\n",
		grantedPeople, grantedTables, all.Milliseconds(), longest.Milliseconds(), more[2].Milliseconds(), nothing.Milliseconds())
	return nil
}

// granted is an instance with people, tables and a policy.
type granted struct {
	pg     *testenv.Postgres
	target connection.Target
	engine *grants.Engine
	want   connection.Want
}

func newGranted(ctx context.Context, pg *testenv.Postgres) (*granted, error) {
	g := &granted{pg: pg, target: connection.Target{Name: "bench", Database: "postgres", Username: "account", Mode: connection.ModeBroker, Prefix: connection.DefaultPrefix}}
	var schemas []string
	for s := range grantedSchemas {
		schemas = append(schemas, fmt.Sprintf("s%d", s+1))
	}
	script, err := broker.Script(broker.Options{Target: g.target, Roles: true, Schemas: schemas})
	if err != nil {
		return nil, err
	}
	conn, err := pg.Connect(ctx, "postgres")
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.PgConn().Exec(ctx, fmt.Sprintf(`CREATE ROLE account LOGIN PASSWORD 'account';
		DO $$ BEGIN FOR s IN 1..%d LOOP EXECUTE format('CREATE SCHEMA s%%s', s);
			FOR t IN 1..%d LOOP EXECUTE format('CREATE TABLE s%%s.t%%s (id int)', s, t); END LOOP; END LOOP;
			FOR p IN 1..%d LOOP EXECUTE format('CREATE ROLE person%%s LOGIN', p); END LOOP; END $$; %s`,
		grantedSchemas, grantedTables/grantedSchemas, grantedPeople, script)).ReadAll(); err != nil {
		return nil, err
	}
	set := connection.AccessSet{ID: "policy:read", Access: connection.Read}
	rows, err := conn.Query(ctx, "SELECT c.oid, n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY ($1)", schemas)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		t := connection.ObjectRef{Database: "postgres"}
		if err := rows.Scan(&t.OID, &t.Schema, &t.Name); err != nil {
			return nil, err
		}
		set.Tables = append(set.Tables, t)
	}
	for p := range grantedPeople {
		role := fmt.Sprintf("person%d", p+1)
		set.Members = append(set.Members, role)
		g.want.Accounts = append(g.want.Accounts, connection.Account{Person: "bench/" + role, Role: role})
	}
	g.want.Sets, g.want.Managed = []connection.AccessSet{set}, set.Tables
	g.engine, err = grants.New(grants.Options{Target: g.target, Ledger: &grants.Memory{}, Fence: func(context.Context) error { return nil },
		Connect: func(ctx context.Context, database string) (*pgx.Conn, error) {
			return pgx.Connect(ctx, pg.DSNAs("account", "account", database))
		}})
	return g, errors.Join(err, rows.Err())
}

func (g *granted) round(ctx context.Context) error {
	r, err := g.engine.Round(ctx, g.want)
	if err == nil && (len(r.Pending) > 0 || r.Lacks+r.Exceeds > 0) {
		err = fmt.Errorf("%d pending, %d lack, %d exceed", len(r.Pending), r.Lacks, r.Exceeds)
	}
	return err
}

// longestTransaction watches the transactions of the account that have changed
// something, and so hold locks, until it is told to stop.
func (g *granted) longestTransaction(ctx context.Context) (longest *time.Duration, stop func() error) {
	longest = new(time.Duration)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		conn, err := g.pg.Connect(ctx, "postgres")
		if err != nil {
			done <- err
			return
		}
		defer conn.Close(context.WithoutCancel(ctx))
		for ctx.Err() == nil {
			var ms float64
			err := conn.QueryRow(ctx, `SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)) * 1000, 0)::float8
				FROM pg_stat_activity WHERE usename = 'account' AND backend_xid IS NOT NULL`).Scan(&ms)
			if err == nil {
				*longest = max(*longest, time.Duration(ms*float64(time.Millisecond)))
			}
			time.Sleep(10 * time.Millisecond)
		}
		done <- nil
	}()
	return longest, func() error { cancel(); return <-done }
}
