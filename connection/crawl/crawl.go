// Package crawl reads what an instance has: Host > Database > Schema > Table.
//
// Of each schema the instance computes a digest; only schemas whose digest is
// another than last time are read, in few round trips, row by row. Everything of
// one database comes from one snapshot. Objects are told by OID, so a renamed
// table is the same and one made anew under the old name is another.
//
// Listed are tables, partitioned tables, views, materialised views and foreign
// tables. A partition is listed as a table of its own, with Object.PartitionOf:
// PostgreSQL checks a query that names it against its own privileges, not
// against its parent's. Left out are system and temporary schemas, those of the
// broker, and the databases template0, template1 and rdsadmin; what lies there is
// told by OID (LeftOut), so that what comes back from there is known again.
//
// The catalogs that are read are readable by every role that may connect.
package crawl

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"portcullis.dev/portcullis/connection"
)

// Open opens a session of the system account in a database of the instance.
type Open func(ctx context.Context, database string) (*pgx.Conn, error)

// Digests are those of an earlier crawl: by OID of the database and the schema.
type Digests map[uint32]map[uint32]string

// Options of a crawl.
type Options struct {
	Open  Open
	Since Digests // nil: a complete crawl

	// Target's Database is where databases are listed; its Mode, Prefix and
	// Username decide what is enforceable.
	Target connection.Target

	// Visit is given each schema that changed, with its objects; the schemas
	// that Crawl returns then have none. Without it Crawl returns all. Calls do
	// not overlap. A schema is visited while its database is still being read.
	Visit func(ctx context.Context, database connection.Database, schema connection.Schema) error

	// LeftOut, where there is one, is given the OIDs of the databases that are left out.
	LeftOut func(databases []uint32)

	Progress func(Progress) // may be nil; calls do not overlap
	Timeout  time.Duration  // of one statement, default 1 minute
	Parallel int            // databases at a time, default 3
}

// Progress of a crawl.
type Progress struct {
	Databases     int    `json:"databases"`      // to be read
	DatabasesDone int    `json:"databases_done"` // read, or failed
	Database      string `json:"database"`       // that this report is about
	Objects       int    `json:"objects"`        // in the changed schemas of the databases seen so far
	ObjectsDone   int    `json:"objects_done"`
}

// Crawl reads an instance. An error means that nothing is known about it; that
// of one database stands in its Err, and the others are complete. Databases
// that are not returned are gone, and so are schemas that are not listed in a
// database without Err.
func Crawl(ctx context.Context, o Options) ([]connection.Database, error) {
	if o.Open == nil || o.Target.Database == "" || o.Target.Mode == "" {
		return nil, errors.New("crawl: Open, and the target's Database and Mode are needed")
	}
	list, err := listDatabases(ctx, o)
	if err != nil {
		return nil, err
	}
	c := &crawler{o: o, seed: seedOf(o.Since), progress: Progress{Databases: len(list)}}
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(or(o.Parallel, 3))
	out := make([]connection.Database, len(list))
	for i, found := range list {
		group.Go(func() error {
			var err error
			out[i], err = c.database(inner, found)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}

// DigestsOf are the digests to give to the next crawl. A database that failed
// keeps those it had.
func DigestsOf(databases []connection.Database, before Digests) Digests {
	out := Digests{}
	for _, db := range databases {
		if db.Err != nil {
			if had, ok := before[db.OID]; ok {
				out[db.OID] = had
			}
			continue
		}
		of := make(map[uint32]string, len(db.Schemas))
		for _, s := range db.Schemas {
			of[s.OID] = s.Digest
		}
		out[db.OID] = of
	}
	return out
}

// crawler is one crawl.
type crawler struct {
	o    Options
	seed int64

	visit sync.Mutex // held while the caller visits

	mu       sync.Mutex
	progress Progress
}

// report tells how far the crawl is.
func (c *crawler) report(change func(*Progress)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.progress)
	if c.o.Progress != nil {
		c.o.Progress(c.progress)
	}
}

// errVisit is an error of the caller's own, which ends the crawl.
type errVisit struct{ error }

func (e errVisit) Unwrap() error { return e.error }

// database reads one database. Only the caller's own errors and the end of the
// context end the crawl.
func (c *crawler) database(ctx context.Context, db connection.Database) (connection.Database, error) {
	c.report(func(p *Progress) { p.Database = db.Name })
	if db.Err == nil {
		schemas, left, err := c.read(ctx, db)
		var own errVisit
		switch {
		case errors.As(err, &own):
			return db, own.error
		case ctx.Err() != nil:
			return db, ctx.Err()
		case err != nil:
			db.Err = explain(db.Name, err)
		default:
			db.Schemas, db.LeftOut = schemas, left
		}
	}
	c.report(func(p *Progress) { p.Database, p.DatabasesDone = db.Name, p.DatabasesDone+1 })
	return db, nil
}

func or[T comparable](value, instead T) T {
	var zero T
	if value == zero {
		return instead
	}
	return value
}
