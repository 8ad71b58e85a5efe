package rows

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/sqltext"
)

// job is policies to be made, or to be taken away.
type job struct {
	table   *compiled
	content content
	stands  bool // policies of ours stand as they were made: right for everybody whose form they have
	changed bool // somebody changed them by hand
	without int  // people who see nothing until it is done
	remove  uint32
}

func (j job) base() uint32 {
	if j.table == nil {
		return j.remove
	}
	return j.table.table.Ref.OID
}

func (j job) statement(database string) string {
	if j.table == nil {
		return fmt.Sprintf("DROP POLICY portcullis_rows ON table %d -- in database %q", j.remove, database)
	}
	ref := j.table.table.Ref
	return fmt.Sprintf("CREATE POLICY portcullis_rows ON %s.%s -- in database %q", sqltext.Identifier(ref.Schema), sqltext.Identifier(ref.Name), database)
}

// each does the jobs, each in its own transaction. Tables that somebody uses come
// last, in any order, since patience may not suffice for all of them.
func (a *applier) each(ctx context.Context, jobs []job) error {
	held, err := a.held(ctx, jobs)
	if err != nil {
		return err
	}
	rand.Shuffle(len(jobs), func(i, k int) { jobs[i], jobs[k] = jobs[k], jobs[i] })
	slices.SortStableFunc(jobs, func(x, y job) int { return boolean(held[x.base()] != "") - boolean(held[y.base()] != "") })
	begun := time.Now()
	for i, j := range jobs {
		by := held[j.base()]
		wait := min(briefly, a.o.Patience-a.out.Waited).Truncate(time.Millisecond)
		late := i > 0 && time.Since(begun) >= a.o.Limit
		switch {
		case by != "" && (late || wait <= 0):
			a.wait(j, by, &connection.Error{Code: "locked", Message: "somebody holds a lock"})
		case late:
			a.out.Left = true
			a.keep(j)
		default:
			if err := a.one(ctx, j, max(wait, time.Millisecond)); err != nil {
				return err
			}
		}
	}
	return nil
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// one does one job. The error is for what ends the round.
func (a *applier) one(ctx context.Context, j job, wait time.Duration) error {
	begun := time.Now()
	err := a.transaction(ctx, wait, func(conn *pgx.Conn) error { return a.do(ctx, conn, j) })
	remote := refusal(err)
	switch {
	case err == nil && j.table != nil:
		a.out.Made = append(a.out.Made, j.table.made())
		a.out.Mended += boolean(j.changed)
	case err == nil:
		a.out.Cleared++
	case remote != nil && passing(remote):
		a.out.Waited += time.Since(begun)
		held, err := a.held(ctx, []job{j})
		if err != nil {
			return err
		}
		a.wait(j, held[j.base()], &connection.Error{Code: "locked", Message: remote.Message, SQLState: remote.Code})
	case remote != nil && j.table == nil:
		a.wait(j, "", &connection.Error{Code: "remote_error", Message: remote.Message, SQLState: remote.Code})
	case remote != nil:
		a.refuse(j.table.table.Ref, "the policies cannot be made: "+remote.Message, remote.Hint)
		a.keep(j)
	default:
		return err
	}
	return nil
}

func (a *applier) do(ctx context.Context, conn *pgx.Conn, j job) error {
	if j.table == nil {
		_, err := conn.Exec(ctx, "SELECT portcullis_broker.row_remove($1::oid)", j.remove)
		return err
	}
	change, err := json.Marshal(j.table.change(a.o.Target.Prefix))
	if err != nil {
		return fmt.Errorf("policies: %w", err)
	}
	if _, err := conn.Exec(ctx, "SELECT portcullis_broker.row_policies($1::jsonb)", string(change)); err != nil {
		return err
	}
	return write(ctx, conn, fill{j.table.table.Ref.OID, j.content})
}

// keep tells that what stood goes on to stand.
func (a *applier) keep(j job) {
	if j.stands {
		a.out.Made = append(a.out.Made, j.table.made())
	}
}

// wait tells that a job is not done, and who is in the way.
func (a *applier) wait(j job, blocker string, err *connection.Error) {
	err.Hint = "It is tried again. Nobody sees meanwhile what they may no longer see."
	a.out.Waiting = append(a.out.Waiting, connection.Pending{Statement: j.statement(a.database), Error: err, Blocker: blocker})
	if j.table != nil && j.without > 0 {
		a.refuse(j.table.table.Ref, fmt.Sprintf("somebody uses the table: %d people see nothing until its policies can be made", j.without), "")
	}
	a.keep(j)
}

// sqlHeld names who uses tables: policies need a lock that meets every other.
const sqlHeld = `SELECT l.relation, string_agg(DISTINCT CASE WHEN l.pid IS NULL THEN 'a prepared transaction (pg_prepared_xacts)'
		ELSE concat('pid ', l.pid, ', role ' || s.usename, ', application ' || nullif(s.application_name, ''),
			to_char(s.xact_start AT TIME ZONE 'UTC', '", in a transaction since "YYYY-MM-DD"T"HH24:MI:SS"Z"')) END, '; ')
	FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity s ON s.pid = l.pid
	WHERE l.relation = ANY ($1) AND l.locktype = 'relation' AND l.granted AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
		AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())
	GROUP BY l.relation`

// held tells, by table, who is in the way of a job.
func (a *applier) held(ctx context.Context, jobs []job) (map[uint32]string, error) {
	if len(jobs) == 0 {
		return nil, nil
	}
	conn, err := a.o.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	oids := make([]uint32, len(jobs))
	for i, j := range jobs {
		oids[i] = j.base()
	}
	rows, err := conn.Query(ctx, sqlHeld, oids)
	if err != nil {
		return nil, err
	}
	out := map[uint32]string{}
	var oid uint32
	var by string
	_, err = pgx.ForEachRow(rows, []any{&oid, &by}, func() error { out[oid] = by; return nil })
	return out, err
}
