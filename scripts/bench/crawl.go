package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/crawl"
	"portcullis.dev/portcullis/internal/testenv"
)

const (
	crawledSchemas = 100
	crawledTables  = 10_000
)

// fillCrawled makes the tables, and an account that may log in.
func fillCrawled(ctx context.Context, pg *testenv.Postgres) error {
	return pg.Exec(ctx, "postgres", fmt.Sprintf(`CREATE ROLE reader LOGIN PASSWORD 'reader';
		DO $$ BEGIN FOR s IN 1..%d LOOP EXECUTE format('CREATE SCHEMA s%%s', s);
			FOR t IN 1..%d LOOP EXECUTE format('CREATE TABLE s%%s.t%%s (id bigint, name text, mail varchar(80), born date, amount numeric(12,2),
				note text, at timestamptz, flag boolean, ratio double precision, tags text[])', s, t); END LOOP; END LOOP; END $$`,
		crawledSchemas, crawledTables/crawledSchemas))
}

// crawls prints how long it takes to read what an instance of 10,000 tables in
// 100 schemas has: the first time, when nothing is new, and when one table is.
// The account has nothing but a login, as everywhere in broker mode.
func crawls(ctx context.Context, i *installation) error {
	pg, err := i.env.StartServer(ctx, testenv.ServerOptions{Name: "crawled", Settings: map[string]string{"max_locks_per_transaction": "1000"}})
	if err != nil {
		return err
	}
	if err := fillCrawled(ctx, pg); err != nil {
		return err
	}
	if err := pg.Exec(ctx, "postgres", "VACUUM ANALYZE"); err != nil {
		return err
	}
	c := crawling{o: crawl.Options{
		Target: connection.Target{Database: "postgres", Mode: connection.ModeGrantor, Prefix: connection.DefaultPrefix, Username: "reader"},
		Open: func(ctx context.Context, database string) (*pgx.Conn, error) {
			return pgx.Connect(ctx, pg.DSNAs("reader", "reader", database))
		}}}
	first, err := c.median(ctx, crawledTables)
	if err != nil {
		return err
	}
	c.o.Since = crawl.DigestsOf(c.last, nil)
	unchanged, err := c.median(ctx, 0)
	if err != nil {
		return err
	}
	if err := pg.Exec(ctx, "postgres", "CREATE TABLE s1.more (id int)"); err != nil {
		return err
	}
	one, err := c.median(ctx, crawledTables/crawledSchemas+1)
	if err != nil {
		return err
	}
	fmt.Printf("\ncrawl of %d tables of 10 columns in %d schemas: %d ms, nothing new: %d ms, one table more: %d ms\n",
		crawledTables, crawledSchemas, first.Milliseconds(), unchanged.Milliseconds(), one.Milliseconds())
	return nil
}

// crawling is a crawl that is repeated.
type crawling struct {
	o    crawl.Options
	last []connection.Database
}

// median times three crawls, each of which has to read so many tables.
func (c *crawling) median(ctx context.Context, tables int) (time.Duration, error) {
	return median(3, func() error {
		read := 0
		c.o.Visit = func(_ context.Context, _ connection.Database, s connection.Schema) error {
			read += len(s.Objects)
			return nil
		}
		var err error
		if c.last, err = crawl.Crawl(ctx, c.o); err != nil {
			return err
		}
		if read != tables {
			return fmt.Errorf("%d tables were read, not %d", read, tables)
		}
		return nil
	})
}
