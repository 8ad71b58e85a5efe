package views

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/parts"
	"portcullis.dev/portcullis/internal/sqltext"
)

// Made is a view that stands: Roles see their part through it.
type Made struct {
	Base  connection.ObjectRef
	View  connection.ObjectRef
	Roles []string
}

// Outcome is how the views of a database stand.
type Outcome struct {
	parts.Outcome
	Made  []Made
	Empty bool // nothing of ours is left
}

// Apply makes the views of one database equal to what is wanted. First, in one
// transaction, who sees what: that waits for nobody's lock. Then each view that is
// to be another, in a transaction of its own; who holds a lock delays that one
// only, and people whose shape the view has already go on seeing it. conn is
// a session of the system account in that database.
func Apply(ctx context.Context, conn *pgx.Conn, o parts.Options, database string, tables []Table) (Outcome, error) {
	a := &applier{o: o, database: database, conn: conn}
	if err := a.apply(ctx, tables); err != nil {
		return Outcome{}, fmt.Errorf("views in database %q: %w", database, err)
	}
	return a.out, nil
}

type applier struct {
	o        parts.Options
	database string
	conn     *pgx.Conn
	out      Outcome
}

func (a *applier) apply(ctx context.Context, tables []Table) error {
	ready, err := a.ready(ctx)
	if err != nil {
		return err
	}
	if !ready {
		for _, t := range tables {
			a.out.Refuse(t.Ref, "views are not set up in this database", "what "+a.o.Target.ScriptCommand(a.database)+" --views prints")
		}
		return nil
	}
	var jobs []job
	err = a.transaction(ctx, parts.Briefly, func(tx pgx.Tx) (err error) {
		var content *pgx.Batch
		if jobs, content, err = a.fillAll(ctx, tx, tables); err != nil {
			return err
		}
		return tx.SendBatch(ctx, content).Close()
	})
	if err != nil {
		return err
	}
	if err := a.define(ctx, jobs); err != nil {
		return err
	}
	if len(tables) > 0 {
		return nil
	}
	return a.transaction(ctx, parts.Briefly, func(tx pgx.Tx) error { return a.cleanUp(ctx, tx) })
}

// readySQL tells whether the account may act as the owner of views ($1), whether
// the script was run here, whether views of that owner stand, and to whom the
// schema belongs if to somebody who is none of ours. The function runs as its owner: it
// must be a DBA, not somebody who made the schema first.
const readySQL = `SELECT coalesce(pg_has_role(r.oid, 'MEMBER'), false) AND NOT r.rolsuper AND NOT r.rolcanlogin AND NOT r.rolcreaterole,
		EXISTS (SELECT FROM pg_namespace n JOIN pg_proc p ON p.pronamespace = n.oid AND p.proowner = n.nspowner AND p.prosecdef
				AND p.proname = 'make_schema' AND p.pronargs = 1 AND p.proargtypes[0] = 'oid'::regtype
			WHERE n.nspname = $2 AND has_schema_privilege(r.oid, n.oid, 'USAGE') AND has_function_privilege(r.oid, p.oid, 'EXECUTE')
				AND 4 = (SELECT count(*) FROM pg_class c WHERE c.relnamespace = n.oid AND c.relowner = n.nspowner AND c.relkind = 'r'
					AND c.relname IN ('made', 'person', 'slot', 'key') AND NOT c.relhasrules AND NOT c.relrowsecurity
					AND has_table_privilege(r.oid, c.oid, 'SELECT') AND has_table_privilege(r.oid, c.oid, 'INSERT')
					AND has_table_privilege(r.oid, c.oid, 'UPDATE') AND has_table_privilege(r.oid, c.oid, 'DELETE'))),
		EXISTS (SELECT FROM pg_class c WHERE c.relkind = 'v' AND c.relowner = r.oid),
		EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = $2),
		coalesce((SELECT d.rolname::text FROM pg_namespace n JOIN pg_roles d ON d.oid = n.nspowner
			WHERE n.nspname = $2 AND NOT d.rolsuper AND (d.oid = r.oid OR d.rolname = current_user OR NOT pg_has_role(d.oid, r.oid, 'MEMBER'))), '')
	FROM pg_roles r WHERE r.rolname = $1`

// ready tells whether views can be made here. Where some stand that cannot be
// changed any more that is an error, since nobody's part of a table could be taken away.
func (a *applier) ready(ctx context.Context) (bool, error) {
	var acts, installed, stands, there bool
	var foreign string
	err := a.conn.QueryRow(ctx, readySQL, a.o.Target.ViewsOwner(), storeSchema).Scan(&acts, &installed, &stands, &there, &foreign)
	a.out.Empty = !there
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return false, nil
	case err != nil:
		return false, err
	case foreign != "":
		return false, &connection.Error{Code: "foreign_schema", Message: fmt.Sprintf("schema %s belongs to %s, who is no DBA that ran the script", storeSchema, sqltext.Identifier(foreign)),
			Hint: "Drop or rename it if it is not known to you, then run what " + a.o.Target.ScriptCommand(a.database) + " --views prints."}
	case stands && !(acts && installed):
		return false, &connection.Error{Code: "views_not_ready", Message: fmt.Sprintf("views of %s stand there, and %s can no longer change them", a.o.Target.ViewsOwner(), a.o.Target.Username),
			Hint: "Run again what " + a.o.Target.ScriptCommand(a.database) + " --views prints."}
	}
	return acts && installed, nil
}

// Ready tells whether views can be made in a database. conn is a session of the system account there.
func Ready(ctx context.Context, conn *pgx.Conn, t connection.Target) (bool, error) {
	a := &applier{o: parts.Options{Target: t}, conn: conn}
	return a.ready(ctx)
}

// transaction runs f as the owner of views.
func (a *applier) transaction(ctx context.Context, wait time.Duration, f func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, a.conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}, func(tx pgx.Tx) error {
		if _, err := tx.Conn().PgConn().Exec(ctx, parts.Settings(wait)+"; SET LOCAL ROLE "+sqltext.Identifier(a.o.Target.ViewsOwner())).ReadAll(); err != nil {
			return err
		}
		if err := f(tx); err != nil {
			return err
		}
		return a.o.Allowed(ctx)
	})
}

// cleanUp drops our schemas once nothing of ours is in them.
func (a *applier) cleanUp(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `SELECT n.nspname::text FROM pg_namespace n WHERE n.nspowner = current_user::regrole AND starts_with(n.nspname, $1)
		AND NOT EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid)`, schemaPrefix)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, name := range names {
		if refused, err := attempt(ctx, tx, "DROP SCHEMA "+sqltext.Identifier(name)); err != nil && refused == nil {
			return err
		}
	}
	return tx.QueryRow(ctx, "SELECT NOT EXISTS (SELECT FROM portcullis_views.made)").Scan(&a.out.Empty)
}

// attempt runs a statement that may fail for the sake of others: then it tells
// what the instance said. Without that the error is of the session.
func attempt(ctx context.Context, tx pgx.Tx, sql string) (refused *pgconn.PgError, err error) {
	inner, err := tx.Begin(ctx)
	if err != nil {
		return nil, err
	}
	if _, err = inner.Exec(ctx, sql); err == nil {
		return nil, inner.Commit(ctx)
	}
	if refused = parts.Refused(err); refused != nil {
		if broken := inner.Rollback(ctx); broken != nil {
			return nil, broken
		}
	}
	return refused, err
}
