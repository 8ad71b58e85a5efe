package service

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
)

// level is a database or a schema as the store has it.
type level struct {
	id, name, full, owner string
	oid                   int64  // below zero: known by its name only
	digest                string // of a schema; "": what is in it may not be as it was seen
	hidden                bool
	made                  bool // by this crawl
}

// levels are the databases of a connection, or the schemas of a database.
type levels struct {
	present map[uint32]level
	odd     []level // hidden, or known by their names only
}

const selectLevels = `SELECT id::text, name, full_name, remote_owner, oid, digest, hidden FROM portcullis.connection_objects
	WHERE connection = $1 AND parent IS NOT DISTINCT FROM $2 AND level = $3 AND (dropped IS NULL OR hidden)`

func readLevels(ctx context.Context, q querier, connection string, parent *string, kind string) (*levels, error) {
	rows, err := q.Query(ctx, selectLevels, connection, parent, kind)
	if err != nil {
		return nil, err
	}
	l := &levels{present: map[uint32]level{}}
	var at level
	_, err = pgx.ForEachRow(rows, []any{&at.id, &at.name, &at.full, &at.owner, &at.oid, &at.digest, &at.hidden}, func() error {
		l.put(at)
		return nil
	})
	return l, err
}

func (l *levels) put(at level) {
	l.odd = slices.DeleteFunc(l.odd, func(o level) bool { return o.id == at.id })
	if at.hidden || at.oid < 0 {
		l.odd = append(l.odd, at)
		return
	}
	l.present[uint32(at.oid)] = at
}

// find is what the store has of a level; its zero value: nothing. In another
// instance in the place of the one that was the same names count, and what is
// hidden comes back.
func (l *levels) find(oid uint32, name string) level {
	if at, ok := l.present[oid]; ok {
		return at
	}
	for _, same := range []func(level) bool{
		func(o level) bool { return o.oid < 0 && !o.hidden && o.name == name },
		func(o level) bool { return o.hidden && o.oid == int64(oid) },
	} {
		if i := slices.IndexFunc(l.odd, same); i >= 0 {
			return l.odd[i]
		}
	}
	return level{}
}

// load reads the databases of the store once, and whether anything is hidden.
// Nobody else writes that as long as the lease is ours.
func (w *crawlStore) load(ctx context.Context) (err error) {
	if w.databases != nil {
		return nil
	}
	if err := w.store.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM portcullis.connection_objects WHERE connection = $1 AND hidden)", w.connection.ID).Scan(&w.hidden); err != nil {
		return err
	}
	w.databases, err = readLevels(ctx, w.store.pool, w.connection.ID, nil, "database")
	return err
}

// schemasOf reads those of a database once.
func (w *crawlStore) schemasOf(ctx context.Context, q querier, database level) (*levels, error) {
	oid := uint32(database.oid)
	if w.schemas[oid] != nil {
		return w.schemas[oid], nil
	}
	l, err := readLevels(ctx, q, w.connection.ID, &database.id, "schema")
	if err == nil {
		w.schemas[oid] = l
	}
	return l, err
}

// place writes the database and the schema of objects that follow.
func (w *crawlStore) place(ctx context.Context, tx pgx.Tx, db connection.Database, schema connection.Schema) (database, of level, err error) {
	if database, err = w.database(ctx, tx, db); err != nil {
		return database, of, err
	}
	schemas, err := w.schemasOf(ctx, tx, database)
	if err != nil {
		return database, of, err
	}
	had := schemas.find(schema.OID, schema.Name)
	of, err = w.level(ctx, tx, "schema", &database.id, had, level{oid: int64(schema.OID), name: schema.Name, owner: schema.Owner, full: fullName(w.connection.Name, db.Name, schema.Name)})
	return database, of, err
}

// database writes a database. Its tables have a name of another place until each
// was followed there, so what is in its schemas is not as it was seen.
func (w *crawlStore) database(ctx context.Context, tx pgx.Tx, db connection.Database) (level, error) {
	had := w.databases.find(db.OID, db.Name)
	now, err := w.level(ctx, tx, "database", nil, had, level{oid: int64(db.OID), name: db.Name, owner: db.Owner, full: fullName(w.connection.Name, db.Name)})
	if err != nil || had.id == "" || had.full == now.full {
		return now, err
	}
	if schemas := w.schemas[db.OID]; schemas != nil {
		for oid, s := range schemas.present {
			s.digest = ""
			schemas.present[oid] = s
		}
	}
	_, err = tx.Exec(ctx, "UPDATE portcullis.connection_objects SET digest = '' WHERE connection = $1 AND parent = $2 AND digest <> ''", w.connection.ID, now.id)
	return now, err
}

// remember keeps what was committed.
func (w *crawlStore) remember(database level, schemas ...level) {
	w.databases.put(database)
	for _, s := range schemas {
		w.schemas[uint32(database.oid)].put(s)
	}
}

// level writes a database or a schema unless the store has it as it is, had.
func (w *crawlStore) level(ctx context.Context, tx pgx.Tx, kind string, parent *string, had, now level) (level, error) {
	if now.id, now.made = had.id, had.made; now == had {
		return now, nil
	}
	now.digest = ""
	if had.id == "" {
		now.made = true
		if err := tx.QueryRow(ctx, `INSERT INTO portcullis.connection_objects (id, connection, parent, level, oid, name, full_name, remote_owner)
			VALUES (gen_random_uuid(), $1, $2, $3, $4, $5, $6, $7) RETURNING id::text`, w.connection.ID, parent, kind, now.oid, now.name, now.full, now.owner).Scan(&now.id); err != nil {
			return now, err
		}
		return now, w.inherit(ctx, tx, []string{now.id})
	}
	if _, err := tx.Exec(ctx, `UPDATE portcullis.connection_objects SET oid = $2, name = $3, remote_owner = $4, digest = '', dropped = NULL, hidden = false, last_seen = now()
		WHERE id = $1`, now.id, now.oid, now.name, now.owner); err != nil || had.full == now.full && !had.hidden {
		return now, err
	}
	if err := w.rename(ctx, tx, []renaming{{id: now.id, is: now.full}}); err != nil {
		return now, err
	}
	return now, w.inherit(ctx, tx, []string{now.id})
}

// adoptable tells whether a schema has tables that are known by their names only.
func adoptable(ctx context.Context, q querier, connection, schema string) (yes bool, err error) {
	err = q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM portcullis.connection_objects
		WHERE connection = $1 AND coalesce(parent, connection) = $2 AND oid < 0 AND dropped IS NULL)`, connection, schema).Scan(&yes)
	return yes, err
}

// finishDatabase writes the levels above tables, has the tables below what was
// renamed follow, and drops what is gone. Of a database that could not be read
// nothing is known but its name.
func (w *crawlStore) finishDatabase(ctx context.Context, db connection.Database) error {
	var database level
	var schemas []level
	var behind []string
	err := w.transaction(ctx, func(tx pgx.Tx) (err error) {
		if database, schemas, err = w.levelsOf(ctx, tx, db); err != nil {
			return err
		}
		if behind = w.behind(db, schemas); db.Err != nil || len(behind) > 0 {
			return nil
		}
		return w.close(ctx, tx, db, database.id, schemas)
	})
	if err != nil {
		return err
	}
	w.remember(database, schemas...)
	if len(behind) == 0 {
		return nil
	}
	if err := w.settle(ctx, behind); err != nil || db.Err != nil {
		return err
	}
	return w.transaction(ctx, func(tx pgx.Tx) error { return w.close(ctx, tx, db, database.id, schemas) })
}

// levelsOf writes a database with its schemas; of one that was not read, those it had.
func (w *crawlStore) levelsOf(ctx context.Context, tx pgx.Tx, db connection.Database) (database level, schemas []level, err error) {
	if database, err = w.database(ctx, tx, db); err != nil {
		return database, nil, err
	}
	if _, err := tx.Exec(ctx, "UPDATE portcullis.connection_objects SET error = $2, last_seen = now() WHERE id = $1", database.id, jsonOrNil(db.Err)); err != nil {
		return database, nil, err
	}
	had, err := w.schemasOf(ctx, tx, database)
	if err != nil {
		return database, nil, err
	}
	found := db.Schemas
	if db.Err != nil {
		found = had.asLastSeen()
	}
	for _, s := range found {
		is := had.find(s.OID, s.Name)
		now := level{oid: int64(s.OID), name: s.Name, owner: s.Owner, full: fullName(w.connection.Name, db.Name, s.Name), digest: is.digest}
		if now, err = w.level(ctx, tx, "schema", &database.id, is, now); err != nil {
			return database, nil, err
		}
		schemas = append(schemas, now)
	}
	return database, schemas, nil
}

func (l *levels) asLastSeen() (list []connection.Schema) {
	for oid, s := range l.present {
		list = append(list, connection.Schema{OID: oid, Name: s.name, Owner: s.owner})
	}
	return list
}

// behind are the schemas of which tables may have the name of another place.
func (w *crawlStore) behind(db connection.Database, schemas []level) (ids []string) {
	for _, s := range schemas {
		written := db.Err == nil && slices.ContainsFunc(w.visited[db.OID], func(v visitedSchema) bool { return v.id == s.id })
		if s.digest == "" && !s.made && !written {
			ids = append(ids, s.id)
		}
	}
	return ids
}

// close writes that a database was read completely.
func (w *crawlStore) close(ctx context.Context, tx pgx.Tx, db connection.Database, database string, schemas []level) error {
	there := make([]int64, 0, len(db.Schemas))
	var ids, digests []string
	for i, s := range db.Schemas {
		there = append(there, int64(s.OID))
		if schemas[i].digest != s.Digest {
			ids, digests = append(ids, schemas[i].id), append(digests, s.Digest)
		}
	}
	if ids != nil {
		if _, err := tx.Exec(ctx, `UPDATE portcullis.connection_objects o SET digest = n.digest FROM unnest($1::uuid[], $2::text[]) AS n (id, digest) WHERE o.id = n.id`, ids, digests); err != nil {
			return err
		}
	}
	if err := w.drop(ctx, tx, "level = 'schema' AND parent = $1 AND oid <> ALL ($2::bigint[])", database, there); err != nil {
		return err
	}
	for _, v := range w.visited[db.OID] {
		if err := w.dropTables(ctx, tx, v.id, v.oids); err != nil {
			return err
		}
	}
	return w.hide(ctx, tx, database, db.LeftOut)
}
