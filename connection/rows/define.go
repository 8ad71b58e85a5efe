package rows

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/parts"
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

// do does the jobs, each in its own transaction.
func (a *applier) do(ctx context.Context, jobs []job) error {
	list := make([]parts.Job, len(jobs))
	for i, j := range jobs {
		list[i] = a.schedule(j)
	}
	return a.out.Do(ctx, a.o.Options, a.session, list)
}

// schedule says how a job is done. Policies need a lock that meets every other.
func (a *applier) schedule(j job) parts.Job {
	p := parts.Job{Table: connection.ObjectRef{OID: j.remove}, Keep: func() { a.keep(j) }}
	if j.table == nil {
		p.Statement = fmt.Sprintf("DROP POLICY portcullis_rows ON table %d -- in database %q", j.remove, a.database)
		p.Failed = func(remote *pgconn.PgError) {
			a.out.Wait(p, "", &connection.Error{Code: "remote_error", Message: remote.Message, SQLState: remote.Code})
		}
	} else {
		p.Table = j.table.table.Ref
		p.Statement = fmt.Sprintf("CREATE POLICY portcullis_rows ON %s.%s -- in database %q", sqltext.Identifier(p.Table.Schema), sqltext.Identifier(p.Table.Name), a.database)
		p.Failed = func(remote *pgconn.PgError) {
			a.out.Refuse(p.Table, "the policies cannot be made: "+remote.Message, remote.Hint)
			a.keep(j)
		}
	}
	if j.without > 0 {
		p.Lost = fmt.Sprintf("somebody uses the table: %d people see nothing until its policies can be made", j.without)
	}
	p.Alone = p.Table.OID
	p.Do = func(ctx context.Context, wait time.Duration) error {
		err := a.transaction(ctx, wait, func(conn *pgx.Conn) error { return a.one(ctx, conn, j) })
		switch {
		case err != nil:
		case j.table == nil:
			a.out.Cleared++
		default:
			a.out.Made = append(a.out.Made, j.table.made())
			if j.changed {
				a.out.Mended++
			}
		}
		return err
	}
	return p
}

func (a *applier) one(ctx context.Context, conn *pgx.Conn, j job) error {
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
