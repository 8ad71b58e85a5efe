package service

import (
	"context"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
)

// What is put where crawls do not look (into a schema called portcullis_views, say)
// counts as dropped, and is hidden as long as it is there: it comes back with its
// settings and policies. By its OID alone it would not be known: those of what
// was dropped are used again.

// reappear makes hidden objects present again whose rows a condition on o chooses,
// unless one that did not know this table has written them anew. $1 is the connection.
func (w *crawlStore) reappear(ctx context.Context, tx pgx.Tx, which string, args ...any) error {
	_, err := tx.Exec(ctx, `UPDATE portcullis.connection_objects o SET dropped = NULL, hidden = false WHERE o.connection = $1 AND o.hidden AND `+which+`
		AND NOT EXISTS (SELECT FROM portcullis.connection_objects n WHERE n.connection = $1 AND n.oid = o.oid AND n.level = o.level AND n.dropped IS NULL AND n.parent IS NOT DISTINCT FROM o.parent)`,
		append([]any{w.connection.ID}, args...)...)
	return err
}

// hide tells which objects of a database are there and left out, of those that
// are gone since this transaction began or were hidden before.
func (w *crawlStore) hide(ctx context.Context, tx pgx.Tx, database string, left connection.LeftOut) error {
	_, err := tx.Exec(ctx, `UPDATE portcullis.connection_objects o SET hidden = NOT o.hidden FROM portcullis.connection_objects p
		WHERE o.connection = $1 AND (o.hidden OR o.dropped = now()) AND p.id = o.parent AND (o.level = 'schema' AND p.id = $2 OR o.level = 'table' AND p.parent = $2)
			AND o.hidden <> (o.oid = ANY (CASE o.level WHEN 'schema' THEN $3::bigint[] ELSE $4::bigint[] END))`, w.connection.ID, database, listOrEmpty(left.Schemas), listOrEmpty(left.Tables))
	return err
}

// hideDatabases is hide for databases, with all that is in them: nobody looks there.
func (w *crawlStore) hideDatabases(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `WITH RECURSIVE d AS (
			SELECT id, oid = ANY ($2::bigint[]) AS there FROM portcullis.connection_objects WHERE connection = $1 AND level = 'database' AND dropped IS NOT NULL
			UNION ALL SELECT o.id, d.there FROM portcullis.connection_objects o JOIN d ON o.parent = d.id)
		UPDATE portcullis.connection_objects o SET hidden = d.there FROM d
		WHERE o.id = d.id AND o.hidden <> d.there AND (o.hidden OR o.dropped = now())`, w.connection.ID, listOrEmpty(w.leftOut))
	return err
}
