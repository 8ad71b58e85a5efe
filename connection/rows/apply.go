package rows

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/parts"
)

// Options of Apply and Clear.
type Options struct {
	parts.Options
	// Open gives a session of the system account in the database. Each
	// transaction has one of its own, since functions of others have run in it.
	Open func(ctx context.Context) (*pgx.Conn, error)
}

const longestLook = 30 * time.Second

// Outcome is how the policies of a database stand.
type Outcome struct {
	parts.Outcome
	Made    []Made
	Surplus bool     // policies stand that are not wanted: Clear takes them away once the grants are revoked
	Absent  []string // roles of people that are not there yet: they see nothing before the next call
	Mended  int      // policies that somebody had changed by hand
	Cleared int      // tables that have no policies any more
}

// Apply makes the policies of one database equal to what is wanted, before
// anybody is granted the tables. First, in one transaction, who sees what: that waits for
// nobody's lock. Then the policies of each table that are to be others, in a transaction of
// its own. Policies that are not wanted show people nothing from then on.
func Apply(ctx context.Context, o Options, database string, tables []Table) (Outcome, error) {
	a := &applier{o: o, database: database}
	if err := a.apply(ctx, tables); err != nil {
		return Outcome{}, fmt.Errorf("policies in database %q: %w", database, err)
	}
	return a.out, nil
}

// Clear takes away the policies that are not wanted, after the grants that
// needed them were revoked.
func Clear(ctx context.Context, o Options, database string, wanted []Table) (Outcome, error) {
	a := &applier{o: o, database: database}
	if err := a.clear(ctx, wanted); err != nil {
		return Outcome{}, fmt.Errorf("policies in database %q: %w", database, err)
	}
	return a.out, nil
}

type applier struct {
	o        Options
	database string
	out      Outcome
}

// fill is who is to see what of a table.
type fill struct {
	base    uint32
	content content
}

func (a *applier) apply(ctx context.Context, tables []Table) error {
	f, err := a.look(ctx, tables)
	if err != nil {
		return err
	}
	if !f.ready {
		for _, t := range tables {
			a.out.Refuse(t.Ref, "row-level security is not set up in this database", "what "+scriptCommand+" prints")
		}
		return nil
	}
	var jobs []job
	var fills []fill
	for _, t := range tables {
		s := f.standing[t.Ref.OID]
		if s != nil && !s.stands {
			s = nil
		}
		if reason, fix := f.bases[t.Ref.OID].unusable(t, s); reason != "" {
			a.out.Refuse(t.Ref, reason, fix)
			continue // what stands is emptied below
		}
		c, refused, err := compile(t, a.o.Target.Prefix)
		if err != nil {
			return err
		}
		a.out.Refused = append(a.out.Refused, refused...)
		all, err := c.content(f.roles, nil)
		if err != nil {
			return err
		}
		a.out.Absent = append(a.out.Absent, all.absent...)
		if len(c.members) == 0 {
			continue
		}
		if s != nil {
			delete(f.standing, t.Ref.OID)
		}
		switch {
		case s != nil && s.digest == c.digest && s.kept == f.bases[t.Ref.OID].kept:
			fills = s.refill(fills, all)
			a.out.Made = append(a.out.Made, c.made())
		case s != nil && s.kept == f.bases[t.Ref.OID].kept:
			now, err := c.content(f.roles, s.forms)
			if err != nil {
				return err
			}
			fills = s.refill(fills, now)
			jobs = append(jobs, job{table: c, content: all, stands: s.readers == roleOf(a.o.Target.Prefix, t.Ref, connection.Read), without: len(all.people) - len(now.people)})
		default:
			jobs = append(jobs, job{table: c, content: all, changed: s != nil, without: len(c.members)})
		}
	}
	for _, s := range f.standing {
		fills = s.refill(fills, content{people: []seer{}})
		a.out.Surplus = true
	}
	if err := a.fill(ctx, fills); err != nil {
		return err
	}
	return a.do(ctx, jobs)
}

func (s *standing) refill(fills []fill, c content) []fill {
	if s.filled == c.sum && s.people == int64(len(c.people)) {
		return fills
	}
	return append(fills, fill{s.base, c})
}

func (a *applier) clear(ctx context.Context, wanted []Table) error {
	f, err := a.look(ctx, nil)
	if err != nil || !f.ready {
		return err
	}
	for _, t := range wanted {
		delete(f.standing, t.Ref.OID)
	}
	var jobs []job
	for oid := range f.standing {
		jobs = append(jobs, job{remove: oid})
	}
	return a.do(ctx, jobs)
}

// fill writes who sees what, in one transaction.
func (a *applier) fill(ctx context.Context, fills []fill) error {
	if len(fills) == 0 {
		return nil
	}
	return a.transaction(ctx, parts.Briefly, func(conn *pgx.Conn) error {
		for _, f := range fills {
			if err := write(ctx, conn, f); err != nil {
				return err
			}
		}
		return nil
	})
}

func write(ctx context.Context, conn *pgx.Conn, f fill) error {
	people, err := json.Marshal(f.content.people)
	if err != nil {
		return fmt.Errorf("who sees what: %w", err)
	}
	_, err = conn.Exec(ctx, "SELECT portcullis_broker.row_fill($1::oid, $2::jsonb, $3::text)", f.base, string(people), f.content.sum)
	return err
}

// sqlLeft looks for what would run as the account at the commit: triggers on rows
// that were written, which may have been put off, and cursors that outlive it. Our
// functions write into three tables without triggers.
const sqlLeft = `SELECT EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable) OR EXISTS (
	SELECT FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_class c ON c.oid = l.relation
	WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' AND l.mode = 'RowExclusiveLock' AND l.relation >= 16384 AND coalesce(c.relkind, 'r') NOT IN ('i', 't')
		AND (c.relnamespace = pg_catalog.to_regnamespace('portcullis_broker') AND c.relname IN ('row_table', 'row_person', 'row_slot') AND NOT c.relhastriggers) IS NOT TRUE)`

// session runs f in a session of its own.
func (a *applier) session(ctx context.Context, f func(*pgx.Conn) error) error {
	conn, err := a.o.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // which rolls back
	return f(conn)
}

// transaction runs f, which calls the owner's functions, in a session of its own.
func (a *applier) transaction(ctx context.Context, wait time.Duration, f func(*pgx.Conn) error) error {
	return a.session(ctx, func(conn *pgx.Conn) error {
		if _, err := conn.PgConn().Exec(ctx, fmt.Sprintf("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; %s; SET LOCAL statement_timeout = %d",
			parts.Settings(wait), longestLook.Milliseconds())).ReadAll(); err != nil {
			return err
		}
		if err := f(conn); err != nil {
			return err
		}
		if err := a.nothingLeft(ctx, conn); err != nil {
			return err
		}
		if err := a.o.Allowed(ctx); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, "COMMIT")
		return err
	})
}

// nothingLeft is an error where something would run as the account at the commit.
func (a *applier) nothingLeft(ctx context.Context, conn *pgx.Conn) error {
	var left bool
	if err := conn.QueryRow(ctx, sqlLeft).Scan(&left); err != nil || !left {
		return err
	}
	return &connection.Error{Code: "foreign_broker", Message: "the broker of this database does what the broker does not: it wrote other rows, into tables with triggers, or left a cursor",
		Hint: "See who replaced functions or tables of schema portcullis_broker, and install the broker again."}
}
