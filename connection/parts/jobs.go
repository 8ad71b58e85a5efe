package parts

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/connection"
)

// Job is what is to be done to one table.
type Job struct {
	Table     connection.ObjectRef
	Alone     uint32 // the relation that nobody else may use meanwhile, 0: none
	Statement string // what a person is told that waits
	Lost      string // by whom what until it is done, "": by nobody

	// Do does it in a transaction, and waits for no lock longer than this.
	Do func(ctx context.Context, wait time.Duration) error
	// Failed is told what else the instance said.
	Failed func(*pgconn.PgError)
	// Keep tells that what stood goes on to stand.
	Keep func()
}

// Session runs something in a session of the system account in the database.
type Session func(ctx context.Context, f func(*pgx.Conn) error) error

// Do does jobs. Those that somebody is in the way of come last, in any order, since
// patience may not suffice for all of them. The error is for what ends the round.
func (out *Outcome) Do(ctx context.Context, o Options, look Session, jobs []Job) error {
	if o.Patience <= 0 {
		o.Patience = Patience
	}
	if o.Limit <= 0 {
		o.Limit = longestWork
	}
	held, err := holders(ctx, look, jobs...)
	if err != nil {
		return err
	}
	rand.Shuffle(len(jobs), func(i, k int) { jobs[i], jobs[k] = jobs[k], jobs[i] })
	last := map[bool]int{true: 1}
	slices.SortStableFunc(jobs, func(x, y Job) int { return last[held[x.Table.OID] != ""] - last[held[y.Table.OID] != ""] })
	begun := time.Now()
	for i, j := range jobs {
		by := held[j.Table.OID]
		wait := min(Briefly, o.Patience-out.Waited).Truncate(time.Millisecond)
		late := i > 0 && time.Since(begun) >= o.Limit
		switch {
		case by != "" && (late || wait <= 0):
			out.Wait(j, by, &connection.Error{Code: "locked", Message: "somebody holds a lock"})
		case late:
			out.Left = true
			j.Keep()
		default:
			if err := out.one(ctx, look, j, max(wait, time.Millisecond)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (out *Outcome) one(ctx context.Context, look Session, j Job, wait time.Duration) error {
	begun := time.Now()
	err := j.Do(ctx, wait)
	remote := Refused(err)
	switch {
	case remote == nil:
		return err
	case connection.Passing(remote):
		out.Waited += time.Since(begun)
		held, err := holders(ctx, look, j)
		if err != nil {
			return err
		}
		out.Wait(j, held[j.Table.OID], &connection.Error{Code: "locked", Message: remote.Message, SQLState: remote.Code})
	default:
		j.Failed(remote)
	}
	return nil
}

// Wait tells that a job is not done, and who is in the way.
func (out *Outcome) Wait(j Job, blocker string, err *connection.Error) {
	err.Hint = "It is tried again. Nobody sees meanwhile what they may no longer see."
	out.Waiting = append(out.Waiting, connection.Pending{Statement: j.Statement, Error: err, Blocker: blocker})
	if j.Lost != "" {
		out.Refuse(j.Table, j.Lost, "")
	}
	j.Keep()
}

// sqlHolders names, by table ($2), who uses what a job needs alone ($1) or keeps
// others from reading the table. Since when a transaction is open stands there for
// members of pg_read_all_stats only.
const sqlHolders = `SELECT w.base, string_agg(DISTINCT CASE WHEN l.pid IS NULL THEN 'a prepared transaction (pg_prepared_xacts)'
		ELSE concat('pid ', l.pid, ', role ' || s.usename, ', application ' || nullif(s.application_name, ''),
			to_char(s.xact_start AT TIME ZONE 'UTC', '", in a transaction since "YYYY-MM-DD"T"HH24:MI:SS"Z"')) END, '; ')
	FROM (SELECT a.relation, a.base, true FROM unnest($1::oid[], $2::oid[]) a(relation, base) UNION ALL SELECT b, b, false FROM unnest($2::oid[]) b) w(relation, base, alone)
		JOIN pg_catalog.pg_locks l ON l.relation = w.relation AND (w.alone OR l.mode = 'AccessExclusiveLock')
		LEFT JOIN pg_catalog.pg_stat_activity s ON s.pid = l.pid
	WHERE l.locktype = 'relation' AND l.granted AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
		AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())
	GROUP BY w.base`

// holders tells, by table, who is in the way of jobs.
func holders(ctx context.Context, look Session, jobs ...Job) (map[uint32]string, error) {
	if len(jobs) == 0 {
		return nil, nil
	}
	alone, tables := make([]uint32, len(jobs)), make([]uint32, len(jobs))
	for i, j := range jobs {
		alone[i], tables[i] = j.Alone, j.Table.OID
	}
	out := map[uint32]string{}
	return out, look(ctx, func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, sqlHolders, alone, tables)
		if err != nil {
			return err
		}
		var oid uint32
		var by string
		_, err = pgx.ForEachRow(rows, []any{&oid, &by}, func() error { out[oid] = by; return nil })
		return err
	})
}

// errFence says that the commit was not allowed.
type errFence struct{ error }

func (e errFence) Unwrap() error { return e.error }

// Allowed asks the fence whether to commit.
func (o Options) Allowed(ctx context.Context) error {
	if err := o.Fence(ctx); err != nil {
		return errFence{err}
	}
	return nil
}

// Refused is what the instance said of a statement, nil if the session ended.
func Refused(err error) *pgconn.PgError {
	var remote *pgconn.PgError
	var fence errFence
	if errors.As(err, &fence) || !errors.As(err, &remote) || remote.Severity == "FATAL" || remote.Severity == "PANIC" {
		return nil
	}
	return remote
}
