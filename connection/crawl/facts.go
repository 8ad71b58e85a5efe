package crawl

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/sqltext"
)

// facts of a database that decide what is enforceable in it.
type facts struct {
	database uint32
	target   connection.Target
	mode     connection.Mode
	grantor  uint32 // OID of the role whose privileges the grants come from, 0: there is none
	name     string // of that role
	broker   bool   // its list is there and may be read
	closed   bool   // CONNECT cannot be granted, and not everybody has it
	views    string // role that owns views, its schemas are not listed
	mark     string // part of each digest: with other facts, what was read is stale
}

func readFacts(ctx context.Context, conn *pgx.Conn, t connection.Target) (facts, error) {
	f := facts{target: t, mode: t.Mode, views: t.ViewsOwner()}
	var grantor *uint32
	if err := conn.QueryRow(ctx, factsSQL, pgx.QueryExecModeExec, t.Mode == connection.ModeBroker, t.OwnerRole()).Scan(&f.database, &grantor, &f.broker); err != nil {
		return f, err
	}
	if grantor != nil {
		f.grantor = *grantor
		if err := conn.QueryRow(ctx, `SELECT pg_get_userbyid($1), NOT (has_database_privilege($1, $2::oid, 'CONNECT WITH GRANT OPTION')
			OR has_database_privilege('public', $2::oid, 'CONNECT'))`, pgx.QueryExecModeExec, f.grantor, f.database).Scan(&f.name, &f.closed); err != nil {
			return f, err
		}
	}
	f.mark = fmt.Sprintf("%.1s%t%t", f.mode, f.readable(), f.closed)
	return f, nil
}

// readable reports whether there is a broker with a list.
func (f facts) readable() bool { return f.broker && f.grantor != 0 }

// sql completes a query for the mode.
func (f facts) sql(query string) string {
	unlisted := "false"
	if f.mode == connection.ModeBroker {
		unlisted = "true"
		if f.readable() {
			unlisted = unlistedSQL
		}
	}
	return strings.NewReplacer("{{unlisted}}", unlisted, "{{views}}", sqltext.Literal(f.views)).Replace(query)
}
