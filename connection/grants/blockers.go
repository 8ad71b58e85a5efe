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
const (
	blockerColumns = `a.pid, coalesce(a.usename::text, ''), coalesce(a.application_name, ''),
	coalesce(to_char(a.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), '')`
	sqlBlockers = `SELECT ` + blockerColumns + ` FROM pg_stat_activity a WHERE a.pid = ANY (pg_blocking_pids($1)) ORDER BY a.pid`
)

// watch looks, while a statement of ours waits in a database, who holds it up.
// The returned function ends that and lets the answer be read.
func (x *executor) watch(ctx context.Context, database string, by *string) (stop func()) {
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
		tick := time.NewTicker(x.o.LockTimeout / 10)
		defer tick.Stop()
		for {
			if found := blockers(ctx, conn, pid); found != "" {
				*by = found
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

// blocker is a session that is in the way.
type blocker struct {
	pid                      int32
	role, application, since string
}

// targets are where blockerColumns go.
func (b *blocker) targets() []any { return []any{&b.pid, &b.role, &b.application, &b.since} }

func (b blocker) String() string {
	text := fmt.Sprintf("pid %d, role %s", b.pid, b.role)
	if b.application != "" {
		text += ", application " + b.application
	}
	if b.since != "" {
		text += ", in a transaction since " + b.since
	}
	return text
}

func blockers(ctx context.Context, conn *pgx.Conn, pid uint32) string {
	var out []string
	_ = each(ctx, conn, func(rows pgx.Rows) error {
		var b blocker
		if err := rows.Scan(b.targets()...); err != nil {
			return err
		}
		out = append(out, b.String())
		return nil
	}, sqlBlockers, int32(pid))
	return strings.Join(out, "; ")
}
