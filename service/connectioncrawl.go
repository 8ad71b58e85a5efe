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
// that memory does not grow with the instance, and in short transactions, so that
// nobody waits long for one; what is gone is told only once its database was read
// completely. A crawl may end after each of them: a schema has no digest while
// what is in it may not be as it was seen.
type crawlStore struct {
	store      *Store
	connection Connection
	fence      int64
	atOnce     int                        // objects in a transaction
	databases  *levels                    // of the store; nil: not read yet
	schemas    map[uint32]*levels         // by database
	hidden     bool                       // some objects are hidden
	visited    map[uint32][]visitedSchema // by database
	leftOut    []uint32                   // databases
	changed    bool                       // something that enforcement reads is another than before
}

// visitedSchema remembers which tables of a schema are there.
type visitedSchema struct {
	id    string // of its row
	name  string // full name
	adopt bool   // it has tables that are known by their names only
	oids  []int64
}

func newCrawlStore(s *Store, c Connection, fence int64) *crawlStore {
	return &crawlStore{store: s, connection: c, fence: fence, atOnce: objectsAtOnce, schemas: map[uint32]*levels{}, visited: map[uint32][]visitedSchema{}}
}

// transaction runs f, again where others who change something were in the way.
func (w *crawlStore) transaction(ctx context.Context, f func(tx pgx.Tx) error) error {
	return w.store.underLease(ctx, w.connection.ID, w.fence, f)
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
	if err := w.load(ctx); err != nil {
		return err
	}
	var database, of level
	at := visitedSchema{name: fullName(w.connection.Name, db.Name, schema.Name)}
	first := schema.Objects[:min(w.atOnce, len(schema.Objects))]
	err := w.transaction(ctx, func(tx pgx.Tx) (err error) {
		if database, of, err = w.place(ctx, tx, db, schema); err != nil {
			return err
		}
		if at.id = of.id; !of.made {
			if at.adopt, err = adoptable(ctx, tx, w.connection.ID, of.id); err != nil {
				return err
			}
		}
		return w.tables(ctx, tx, db, at, first)
	})
	if err != nil {
		return err
	}
	w.changed = true
	w.remember(database, of)
	for chunk := range slices.Chunk(schema.Objects[len(first):], w.atOnce) {
		if err := w.transaction(ctx, func(tx pgx.Tx) error { return w.tables(ctx, tx, db, at, chunk) }); err != nil {
			return err
		}
	}
	at.oids = make([]int64, 0, len(schema.Objects))
	for _, o := range schema.Objects {
		at.oids = append(at.oids, int64(o.OID))
	}
	w.visited[db.OID] = append(w.visited[db.OID], at)
	return nil
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

// tables writes some tables of a schema. Policies are held only where that is needed.
func (w *crawlStore) tables(ctx context.Context, tx pgx.Tx, db connection.Database, at visitedSchema, objects []connection.Object) error {
	rows := make([]tableRow, 0, len(objects))
	oids := make([]int64, 0, len(objects))
	for _, o := range objects {
		oids = append(oids, int64(o.OID))
		rows = append(rows, tableRow{o.OID, o.Name, at.name + "." + fullName(o.Name), o.Kind, o.Owner, o.Comment, listOrEmpty(o.Labels), o.Columns, listOrEmpty(o.Parents), o.NotEnforceable, o.Fix})
	}
	body, err := json.Marshal(rows)
	if err != nil {
		return err
	}
	var anew []string // those that get a name here
	if w.hidden {
		if anew, err = w.reappear(ctx, tx, db.OID, oids); err != nil {
			return err
		}
	}
	if at.adopt { // another instance in the place of the one that was: the same names
		if _, err := tx.Exec(ctx, `UPDATE portcullis.connection_objects o SET oid = r.oid FROM jsonb_to_recordset($2::jsonb) AS r (oid bigint, name text)
			WHERE o.parent = $1 AND o.oid < 0 AND o.name = r.name AND o.dropped IS NULL`, at.id, body); err != nil {
			return err
		}
	}
	renamed, err := w.renamings(ctx, tx, db.OID, at.id, body)
	if err != nil {
		return err
	}
	if len(renamed) > 0 {
		if err := w.follow(ctx, tx, at.id, renamed); err != nil {
			return err
		}
	}
	written, err := w.upsert(ctx, tx, at.id, body)
	if err != nil {
		return err
	}
	for _, r := range renamed {
		anew = append(anew, r.id)
	}
	if anew = append(anew, written...); len(anew) == 0 {
		return nil
	}
	return w.inherit(ctx, tx, anew)
}

// upsert writes tables and returns those that the store did not have.
func (w *crawlStore) upsert(ctx context.Context, tx pgx.Tx, schema string, body []byte) (anew []string, err error) {
	rows, err := tx.Query(ctx, `INSERT INTO portcullis.connection_objects AS o (id, connection, parent, level, oid, name, full_name, kind, remote_owner, comment, labels, columns, parents, not_enforceable, fix)
		SELECT gen_random_uuid(), $1, $2::uuid, 'table', r.oid, r.name, r.full_name, r.kind, r.remote_owner, r.comment, r.labels, r.columns, r.parents, r.not_enforceable, r.fix
		FROM jsonb_to_recordset($3::jsonb) AS r (oid bigint, name text, full_name text, kind text, remote_owner text, comment text, labels text[], columns jsonb, parents bigint[],
			not_enforceable text, fix text)
		ON CONFLICT (connection, coalesce(parent, connection), oid) WHERE dropped IS NULL
			DO UPDATE SET name = EXCLUDED.name, kind = EXCLUDED.kind, remote_owner = EXCLUDED.remote_owner,
				comment = EXCLUDED.comment, labels = EXCLUDED.labels, columns = EXCLUDED.columns, parents = EXCLUDED.parents,
				not_enforceable = EXCLUDED.not_enforceable, fix = EXCLUDED.fix, last_seen = now()
			WHERE (o.name, o.kind, o.remote_owner, o.comment, o.labels, o.columns, o.parents, o.not_enforceable, o.fix) IS DISTINCT FROM
				(EXCLUDED.name, EXCLUDED.kind, EXCLUDED.remote_owner, EXCLUDED.comment, EXCLUDED.labels, EXCLUDED.columns, EXCLUDED.parents, EXCLUDED.not_enforceable, EXCLUDED.fix)
		RETURNING o.id::text, o.first_seen = now()`, w.connection.ID, schema, body)
	if err != nil {
		return nil, err
	}
	var id string
	var made bool
	_, err = pgx.ForEachRow(rows, []any{&id, &made}, func() error {
		if made {
			anew = append(anew, id)
		}
		return nil
	})
	return anew, err
}

// finish writes the levels above tables and what is gone.
func (w *crawlStore) finish(ctx context.Context, databases []connection.Database) error {
	if err := w.load(ctx); err != nil {
		return err
	}
	seen := make([]int64, 0, len(databases))
	for _, db := range databases {
		seen = append(seen, int64(db.OID))
		if err := w.finishDatabase(ctx, db); err != nil {
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

// dropTables marks the tables of a schema that are no longer there. There may be
// thousands of schemas, and the lease cannot be renewed before the transaction ends.
func (w *crawlStore) dropTables(ctx context.Context, tx pgx.Tx, schema string, there []int64) error {
	return w.mark(ctx, tx, "UPDATE portcullis.connection_objects SET dropped = now() WHERE parent = $1 AND level = 'table' AND dropped IS NULL AND oid <> ALL ($2::bigint[])", schema, there)
}

// drop marks what is no longer there, with all that was in it.
func (w *crawlStore) drop(ctx context.Context, tx pgx.Tx, which string, args ...any) error {
	return w.mark(ctx, tx, `WITH RECURSIVE gone AS (
			SELECT id FROM portcullis.connection_objects WHERE dropped IS NULL AND `+which+`
			UNION ALL SELECT o.id FROM portcullis.connection_objects o JOIN gone g ON o.parent = g.id WHERE o.dropped IS NULL)
		UPDATE portcullis.connection_objects o SET dropped = now() FROM gone g WHERE o.id = g.id`, args...)
}

// mark runs an update of what enforcement reads.
func (w *crawlStore) mark(ctx context.Context, tx pgx.Tx, update string, args ...any) error {
	tag, err := tx.Exec(ctx, update, args...)
	w.changed = w.changed || tag.RowsAffected() > 0
	return err
}
