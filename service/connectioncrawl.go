package service

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/crawl"
)

// crawlStore writes what one crawl found. Schemas are written as they come, so
// that memory does not grow with the instance; what is gone is told only once
// its database was read completely.
type crawlStore struct {
	store      *Store
	connection Connection
	fence      int64
	visited    map[uint32][]visitedSchema // by database
	leftOut    []uint32                   // databases
	changed    bool                       // something that enforcement reads is another than before
}

// visitedSchema remembers which tables of a schema are there.
type visitedSchema struct {
	id   string // of its row
	oids []int64
}

func newCrawlStore(s *Store, c Connection, fence int64) *crawlStore {
	return &crawlStore{store: s, connection: c, fence: fence, visited: map[uint32][]visitedSchema{}}
}

// transaction runs f while the lease is ours, and keeps it so until the end.
func (w *crawlStore) transaction(ctx context.Context, f func(tx pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, w.store.pool, func(tx pgx.Tx) error {
		if err := holdLease(ctx, tx, w.connection.ID, w.fence); err != nil {
			return err
		}
		return f(tx)
	})
}

// digests are those that the next crawl compares with.
func (w *crawlStore) digests(ctx context.Context) (crawl.Digests, error) {
	rows, err := w.store.pool.Query(ctx, `SELECT d.oid, s.oid, s.digest FROM portcullis.connection_objects s JOIN portcullis.connection_objects d ON d.id = s.parent
		WHERE s.connection = $1 AND s.level = 'schema' AND s.dropped IS NULL AND d.dropped IS NULL AND s.digest <> ''`, w.connection.ID)
	if err != nil {
		return nil, err
	}
	digests := crawl.Digests{}
	var database, schema uint32
	var digest string
	_, err = pgx.ForEachRow(rows, []any{&database, &schema, &digest}, func() error {
		if digests[database] == nil {
			digests[database] = map[uint32]string{}
		}
		digests[database][schema] = digest
		return nil
	})
	return digests, err
}

const objectsAtOnce = 1000

// visit writes the objects of one schema that changed.
func (w *crawlStore) visit(ctx context.Context, db connection.Database, schema connection.Schema) error {
	return w.transaction(ctx, func(tx pgx.Tx) error {
		name := fullName(w.connection.Name, db.Name, schema.Name)
		oids := make([]int64, 0, len(schema.Objects))
		for _, o := range schema.Objects {
			oids = append(oids, int64(o.OID))
		}
		if err := w.reappear(ctx, tx, `o.level = 'table' AND o.oid = ANY ($2::bigint[]) AND EXISTS (SELECT FROM portcullis.connection_objects s
			JOIN portcullis.connection_objects d ON d.id = s.parent WHERE s.id = o.parent AND d.oid = $3)`, oids, db.OID); err != nil {
			return err
		}
		renamed, err := w.renamings(ctx, tx, db, name, schema.Objects)
		if err != nil {
			return err
		}
		if len(renamed) > 0 {
			if err := holdPolicies(ctx, tx); err != nil {
				return err
			}
			if err := follow(ctx, tx, renamed); err != nil {
				return err
			}
		}
		database, _, err := w.level(ctx, tx, "database", nil, db.OID, db.Name, db.Owner, fullName(w.connection.Name, db.Name))
		if err != nil {
			return err
		}
		id, _, err := w.level(ctx, tx, "schema", &database, schema.OID, schema.Name, schema.Owner, name)
		if err != nil {
			return err
		}
		w.visited[db.OID] = append(w.visited[db.OID], visitedSchema{id, oids})
		w.changed = true
		for chunk := range slices.Chunk(schema.Objects, objectsAtOnce) {
			if err := w.tables(ctx, tx, database, id, name, chunk); err != nil {
				return err
			}
		}
		return w.inherit(ctx, tx, "o.parent = $2 OR o.id IN ($2, $3)", id, database)
	})
}

// level writes a database or a schema and returns its row, and whether it had another name before.
func (w *crawlStore) level(ctx context.Context, tx pgx.Tx, level string, parent *string, oid uint32, name, owner, full string) (id string, renamed bool, err error) {
	if _, err := tx.Exec(ctx, `UPDATE portcullis.connection_objects SET oid = $4
		WHERE connection = $1 AND parent IS NOT DISTINCT FROM $2 AND level = $3 AND name = $5 AND oid < 0 AND dropped IS NULL`, w.connection.ID, parent, level, oid, name); err != nil {
		return "", false, err
	}
	if err := w.reappear(ctx, tx, "o.parent IS NOT DISTINCT FROM $2 AND o.oid = $3 AND o.level = $4", parent, oid, level); err != nil {
		return "", false, err
	}
	if renamed, err = w.rename(ctx, tx, `SELECT id, $5 FROM portcullis.connection_objects
		WHERE connection = $1 AND parent IS NOT DISTINCT FROM $2 AND oid = $3 AND level = $4 AND dropped IS NULL`, parent, oid, level, full); err != nil {
		return "", false, err
	}
	err = tx.QueryRow(ctx, `INSERT INTO portcullis.connection_objects AS o (id, connection, parent, level, oid, name, full_name, remote_owner)
		VALUES (gen_random_uuid(), $1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (connection, coalesce(parent, connection), oid) WHERE dropped IS NULL
			DO UPDATE SET name = EXCLUDED.name, remote_owner = EXCLUDED.remote_owner, last_seen = now()
		RETURNING id::text`, w.connection.ID, parent, level, oid, name, full, owner).Scan(&id)
	return id, renamed, err
}

// tableRow is a table as the store takes it.
type tableRow struct {
	OID            uint32                `json:"oid"`
	Name           string                `json:"name"`
	FullName       string                `json:"full_name"`
	Kind           connection.ObjectKind `json:"kind"`
	Owner          string                `json:"remote_owner"`
	Comment        string                `json:"comment"`
	Labels         []string              `json:"labels"`
	Columns        []connection.Column   `json:"columns"`
	Parents        []uint32              `json:"parents"`
	NotEnforceable string                `json:"not_enforceable"`
	Fix            string                `json:"fix"`
}

func (w *crawlStore) tables(ctx context.Context, tx pgx.Tx, database, schema, schemaName string, objects []connection.Object) error {
	rows := make([]tableRow, 0, len(objects))
	oids := make([]int64, 0, len(objects))
	for _, o := range objects {
		oids = append(oids, int64(o.OID))
		rows = append(rows, tableRow{o.OID, o.Name, schemaName + "." + fullName(o.Name), o.Kind, o.Owner, o.Comment, listOrEmpty(o.Labels), o.Columns, listOrEmpty(o.Parents), o.NotEnforceable, o.Fix})
	}
	body, err := json.Marshal(rows)
	if err != nil {
		return err
	}
	// Another instance in the place of the one that was: the same names.
	if _, err := tx.Exec(ctx, `UPDATE portcullis.connection_objects o SET oid = r.oid FROM jsonb_to_recordset($2::jsonb) AS r (oid bigint, name text)
		WHERE o.parent = $1 AND o.oid < 0 AND o.name = r.name AND o.dropped IS NULL`, schema, body); err != nil {
		return err
	}
	// ALTER TABLE … SET SCHEMA: the same object.
	if _, err := tx.Exec(ctx, `UPDATE portcullis.connection_objects o SET parent = $2 FROM portcullis.connection_objects s
		WHERE o.parent = s.id AND s.parent = $1 AND s.id <> $2 AND o.connection = $4 AND o.dropped IS NULL AND o.oid = ANY ($3::bigint[])`, database, schema, oids, w.connection.ID); err != nil {
		return err
	}
	if _, err := w.rename(ctx, tx, `SELECT o.id, r.full_name FROM jsonb_to_recordset($2::jsonb) AS r (oid bigint, full_name text)
		JOIN portcullis.connection_objects o ON o.connection = $1 AND o.parent = $3 AND o.oid = r.oid AND o.dropped IS NULL`, body, schema); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO portcullis.connection_objects AS o (id, connection, parent, level, oid, name, full_name, kind, remote_owner, comment, labels, columns, parents, not_enforceable, fix)
		SELECT gen_random_uuid(), $1, $2::uuid, 'table', r.oid, r.name, r.full_name, r.kind, r.remote_owner, r.comment, r.labels, r.columns, r.parents, r.not_enforceable, r.fix
		FROM jsonb_to_recordset($3::jsonb) AS r (oid bigint, name text, full_name text, kind text, remote_owner text, comment text, labels text[], columns jsonb, parents bigint[],
			not_enforceable text, fix text)
		ON CONFLICT (connection, coalesce(parent, connection), oid) WHERE dropped IS NULL
			DO UPDATE SET name = EXCLUDED.name, kind = EXCLUDED.kind, remote_owner = EXCLUDED.remote_owner,
				comment = EXCLUDED.comment, labels = EXCLUDED.labels, columns = EXCLUDED.columns, parents = EXCLUDED.parents,
				not_enforceable = EXCLUDED.not_enforceable, fix = EXCLUDED.fix, last_seen = now()
			WHERE (o.name, o.kind, o.remote_owner, o.comment, o.labels, o.columns, o.parents, o.not_enforceable, o.fix) IS DISTINCT FROM
				(EXCLUDED.name, EXCLUDED.kind, EXCLUDED.remote_owner, EXCLUDED.comment, EXCLUDED.labels, EXCLUDED.columns, EXCLUDED.parents, EXCLUDED.not_enforceable, EXCLUDED.fix)`, w.connection.ID, schema, body)
	return err
}

// inherit gives objects that now have a name what was said of that name: the
// settings that waited for it, else those of the object that had it before. A
// table that is made anew each night would otherwise lose its tags, and with
// them its masks. Access by individual subscription is not inherited, nor by a policy that
// names the object that still is there by another name than the one it gave up. which
// narrows the objects o that this transaction wrote down, for the indexes' sake.
func (w *crawlStore) inherit(ctx context.Context, tx pgx.Tx, which string, args ...any) error {
	args = append([]any{w.connection.ID}, args...)
	if _, err := tx.Exec(ctx, `WITH taken AS (
			UPDATE portcullis.connection_objects o SET enforce = w.enforce, tags = w.tags, owners = w.owners, column_tags = w.column_tags, given_as = NULL, columns_given_as = '{}'
			FROM portcullis.connection_waiting w
			WHERE w.connection = $1 AND o.connection = $1 AND o.full_name = w.full_name AND o.dropped IS NULL AND o.last_seen = now() AND (`+which+`)
			RETURNING o.full_name)
		DELETE FROM portcullis.connection_waiting w USING taken t WHERE w.connection = $1 AND w.full_name = t.full_name`, args...); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `WITH o AS MATERIALIZED (
			SELECT o.id, o.level, o.full_name FROM portcullis.connection_objects o WHERE o.connection = $1 AND o.last_seen = now() AND o.dropped IS NULL AND (`+which+`)),
		had AS (
			SELECT o.id, b.id AS was, b.dropped FROM o JOIN portcullis.connection_objects b ON b.connection = $1 AND b.level = o.level AND b.full_name = o.full_name AND b.id <> o.id
			UNION ALL
			SELECT o.id, b.id, b.dropped FROM o JOIN portcullis.connection_former f ON f.connection = $1 AND f.name = o.full_name AND f.object <> o.id
				JOIN portcullis.connection_objects b ON b.id = f.object),
		last AS MATERIALIZED (SELECT DISTINCT ON (id) id, was, dropped FROM had ORDER BY id, dropped DESC NULLS FIRST),
		meant AS (
			INSERT INTO portcullis.policy_followed (policy, object, column_name, name)
			SELECT f.policy, l.id, f.column_name, f.name FROM last l JOIN o ON o.id = l.id JOIN portcullis.policy_followed f ON f.object = l.was
			JOIN portcullis.policies p ON p.id = f.policy
			WHERE p.kind <> 'subscription' OR l.dropped IS NOT NULL OR f.name = o.full_name ON CONFLICT DO NOTHING)
		UPDATE portcullis.connection_objects n SET enforce = b.enforce, tags = b.tags, owners = b.owners, column_tags = b.column_tags,
			given_as = nullif(coalesce(b.given_as, b.full_name), n.full_name), columns_given_as = CASE WHEN b.dropped IS NULL THEN '{}' ELSE b.columns_given_as END
		FROM last l JOIN portcullis.connection_objects b ON b.id = l.was
		WHERE n.id = l.id AND n.enforce IS NULL AND n.tags = '{}' AND n.column_tags = '{}'`, args...); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `DELETE FROM portcullis.connection_former f USING portcullis.connection_objects o
		WHERE f.connection = $1 AND f.name = o.full_name AND o.connection = $1 AND o.id <> f.object AND o.last_seen = now() AND o.dropped IS NULL AND (`+which+`)`, args...)
	return err
}

// finish writes the levels above tables and what is gone.
func (w *crawlStore) finish(ctx context.Context, databases []connection.Database) error {
	seen := make([]int64, 0, len(databases))
	for _, db := range databases {
		seen = append(seen, int64(db.OID))
		if err := w.transaction(ctx, func(tx pgx.Tx) error { return w.finishDatabase(ctx, tx, db) }); err != nil {
			return err
		}
	}
	return w.transaction(ctx, func(tx pgx.Tx) error {
		if err := w.drop(ctx, tx, "level = 'database' AND connection = $1 AND oid <> ALL ($2::bigint[])", w.connection.ID, seen); err != nil {
			return err
		}
		if err := w.hideDatabases(ctx, tx); err != nil || !w.changed {
			return err
		}
		_, err := tx.Exec(ctx, "UPDATE portcullis.connections SET objects_version = objects_version + 1 WHERE id = $1", w.connection.ID)
		return err
	})
}

func (w *crawlStore) finishDatabase(ctx context.Context, tx pgx.Tx, db connection.Database) error {
	full := fullName(w.connection.Name, db.Name)
	if err := w.holdIfRenamed(ctx, tx, db); err != nil {
		return err
	}
	id, renamed, err := w.level(ctx, tx, "database", nil, db.OID, db.Name, db.Owner, full)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "UPDATE portcullis.connection_objects SET error = $2 WHERE id = $1", id, jsonOrNil(db.Err)); err != nil || db.Err != nil {
		return err
	}
	schemas := make([]int64, 0, len(db.Schemas))
	for _, s := range db.Schemas {
		schemas = append(schemas, int64(s.OID))
		row, schemaRenamed, err := w.level(ctx, tx, "schema", &id, s.OID, s.Name, s.Owner, fullName(w.connection.Name, db.Name, s.Name))
		if err != nil {
			return err
		}
		if renamed || schemaRenamed {
			if err := w.renameTables(ctx, tx, row); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, "UPDATE portcullis.connection_objects SET digest = $2 WHERE id = $1 AND digest <> $2", row, s.Digest); err != nil {
			return err
		}
	}
	if err := w.drop(ctx, tx, "level = 'schema' AND parent = $1 AND oid <> ALL ($2::bigint[])", id, schemas); err != nil {
		return err
	}
	for _, v := range w.visited[db.OID] {
		if err := w.dropTables(ctx, tx, v.id, v.oids); err != nil {
			return err
		}
	}
	if err := w.hide(ctx, tx, id, db.LeftOut); err != nil {
		return err
	}
	return w.inherit(ctx, tx, "o.parent = $2 OR o.id = $2", id)
}

// holdIfRenamed keeps policies as they are where names of tables will change with those above.
func (w *crawlStore) holdIfRenamed(ctx context.Context, tx pgx.Tx, db connection.Database) error {
	oids, names := make([]int64, 0, len(db.Schemas)), make([]string, 0, len(db.Schemas))
	for _, s := range db.Schemas {
		oids, names = append(oids, int64(s.OID)), append(names, fullName(w.connection.Name, db.Name, s.Name))
	}
	var renamed bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM unnest($3::bigint[], $4::text[]) AS n (oid, full_name)
			JOIN portcullis.connection_objects s ON s.connection = $1 AND s.oid = n.oid AND s.level = 'schema' AND s.dropped IS NULL AND s.full_name <> n.full_name
			JOIN portcullis.connection_objects d ON d.id = s.parent AND d.oid = $2)`, w.connection.ID, db.OID, oids, names).Scan(&renamed); err != nil || !renamed {
		return err
	}
	return holdPolicies(ctx, tx)
}

// renameTables makes the names of tables in a schema anew from the schema's.
func (w *crawlStore) renameTables(ctx context.Context, tx pgx.Tx, schema string) error {
	w.changed = true
	if err := followTables(ctx, tx, "SELECT o.id, o.full_name AS was FROM portcullis.connection_objects o WHERE o.parent = $1 AND o.dropped IS NULL", schema); err != nil {
		return err
	}
	_, err := w.rename(ctx, tx, `SELECT t.id, s.full_name || '.' || CASE WHEN t.name ~ '[."]' THEN '"' || replace(t.name, '"', '""') || '"' ELSE t.name END
		FROM portcullis.connection_objects t JOIN portcullis.connection_objects s ON s.id = t.parent WHERE s.connection = $1 AND s.id = $2 AND t.dropped IS NULL`, schema)
	return err
}

// dropTables marks the tables of a schema that are no longer there. There may be
// thousands of schemas, and the lease cannot be renewed before the transaction ends.
func (w *crawlStore) dropTables(ctx context.Context, tx pgx.Tx, schema string, there []int64) error {
	tag, err := tx.Exec(ctx, "UPDATE portcullis.connection_objects SET dropped = now() WHERE parent = $1 AND level = 'table' AND dropped IS NULL AND oid <> ALL ($2::bigint[])", schema, there)
	if tag.RowsAffected() > 0 {
		w.changed = true
	}
	return err
}

// drop marks what is no longer there, with all that was in it.
func (w *crawlStore) drop(ctx context.Context, tx pgx.Tx, which string, args ...any) error {
	tag, err := tx.Exec(ctx, `WITH RECURSIVE gone AS (
			SELECT id FROM portcullis.connection_objects WHERE dropped IS NULL AND `+which+`
			UNION ALL SELECT o.id FROM portcullis.connection_objects o JOIN gone g ON o.parent = g.id WHERE o.dropped IS NULL)
		UPDATE portcullis.connection_objects o SET dropped = now() FROM gone g WHERE o.id = g.id`, args...)
	if tag.RowsAffected() > 0 {
		w.changed = true
	}
	return err
}
