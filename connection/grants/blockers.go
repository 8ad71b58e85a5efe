package grants

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Whose session it is stands in the statistics for everybody to see; since when
// its transaction is open, for members of pg_read_all_stats only.
const sqlBlockers = `SELECT a.pid, coalesce(a.usename::text, ''), coalesce(a.application_name, ''),
	coalesce(to_char(a.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), '')
	FROM pg_stat_activity a WHERE a.pid = ANY (pg_blocking_pids($1)) ORDER BY a.pid`

// watch looks, while a statement of ours waits in a database, who holds it up.
// The returned function ends that and lets the answer be read.
func (x *executor) watch(ctx context.Context, database string, blocker *string) (stop func()) {
	waiting, err := x.sessions.get(ctx, database)
	if err != nil {
		return func() {}
	}
	pid := waiting.PgConn().PID()
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		conn, err := x.o.Connect(ctx, database)
		if err != nil {
			return // it is only for the report
		}
		defer end(conn)
		tick := time.NewTicker(x.o.LockTimeout / 8)
		defer tick.Stop()
		for {
			if found := blockers(ctx, conn, pid); found != "" {
				*blocker = found
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return func() { cancel(); <-ended }
}

func blockers(ctx context.Context, conn *pgx.Conn, pid uint32) string {
	var out []string
	_ = each(ctx, conn, func(rows pgx.Rows) error {
		var by int32
		var role, application, since string
		if err := rows.Scan(&by, &role, &application, &since); err != nil {
			return err
		}
		text := fmt.Sprintf("pid %d, role %s", by, role)
		if application != "" {
			text += ", application " + application
		}
		if since != "" {
			text += ", in a transaction since " + since
		}
		out = append(out, text)
		return nil
	}, sqlBlockers, int32(pid))
	return strings.Join(out, "; ")
}
