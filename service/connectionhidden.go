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

// reappear makes hidden tables of a database present again and returns them, but
// for those that one that did not know them has written anew.
func (w *crawlStore) reappear(ctx context.Context, tx pgx.Tx, database uint32, oids []int64) ([]string, error) {
	rows, err := tx.Query(ctx, `UPDATE portcullis.connection_objects o SET dropped = NULL, hidden = false FROM portcullis.connection_objects s, portcullis.connection_objects d
		WHERE o.connection = $1 AND o.hidden AND o.level = 'table' AND o.oid = ANY ($3::bigint[]) AND s.id = o.parent AND d.id = s.parent AND d.oid = $2
			AND NOT EXISTS (SELECT FROM portcullis.connection_objects n WHERE n.connection = $1 AND n.oid = o.oid AND n.level = 'table' AND n.dropped IS NULL AND n.parent = o.parent)
		RETURNING o.id::text`, w.connection.ID, database, oids)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// hide tells which objects of a database are there and left out, of those that
// are gone since this transaction began or were hidden before.
func (w *crawlStore) hide(ctx context.Context, tx pgx.Tx, database string, left connection.LeftOut) error {
	return w.mark(ctx, tx, `UPDATE portcullis.connection_objects o SET hidden = NOT o.hidden FROM portcullis.connection_objects p
		WHERE o.connection = $1 AND (o.hidden OR o.dropped = now()) AND p.id = o.parent AND (o.level = 'schema' AND p.id = $2 OR o.level = 'table' AND p.parent = $2)
			AND o.hidden <> (o.oid = ANY (CASE o.level WHEN 'schema' THEN $3::bigint[] ELSE $4::bigint[] END))`, w.connection.ID, database, listOrEmpty(left.Schemas), listOrEmpty(left.Tables))
}

// hideDatabases is hide for databases, with all that is in them: nobody looks there.
func (w *crawlStore) hideDatabases(ctx context.Context, tx pgx.Tx) error {
	return w.mark(ctx, tx, `WITH RECURSIVE d AS (
			SELECT id, oid = ANY ($2::bigint[]) AS there FROM portcullis.connection_objects WHERE connection = $1 AND level = 'database' AND dropped IS NOT NULL
			UNION ALL SELECT o.id, d.there FROM portcullis.connection_objects o JOIN d ON o.parent = d.id)
		UPDATE portcullis.connection_objects o SET hidden = d.there FROM d
		WHERE o.id = d.id AND o.hidden <> d.there AND (o.hidden OR o.dropped = now())`, w.connection.ID, listOrEmpty(w.leftOut))
}
