package service

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/policy"
)

// What a policy names is a table or a column, and not whatever has the name:
// an owner who renames it must not take it out of a filter or a mask. So a crawl
// that finds something renamed notes for each policy that names it that it is
// still meant. What gets the name later is meant too, as it gets the tags.

// renaming is a table that was renamed, moved, or of which columns were.
type renaming struct {
	id      string
	was, is string // full names
	moved   bool   // from another schema
	columns map[string]string
	tags    map[string][]string // of columns, moved along; nil: as they were
	given   map[string]string   // the names that these tags were stated for
}

// renamings compares tables as a crawl found them with those of the store, by OID.
func (w *crawlStore) renamings(ctx context.Context, tx pgx.Tx, database uint32, schema string, found []byte) ([]renaming, error) {
	rows, err := tx.Query(ctx, `SELECT o.id::text, o.full_name, r.full_name, o.parent <> $4, o.columns, r.columns, o.column_tags, o.columns_given_as
		FROM jsonb_to_recordset($3::jsonb) AS r (oid bigint, full_name text, columns jsonb)
			JOIN portcullis.connection_objects o ON o.connection = $1 AND o.oid = r.oid AND o.level = 'table' AND o.dropped IS NULL
			JOIN portcullis.connection_objects s ON s.id = o.parent JOIN portcullis.connection_objects d ON d.id = s.parent AND d.oid = $2
		WHERE o.full_name <> r.full_name OR o.parent <> $4 OR o.columns IS DISTINCT FROM r.columns AND EXISTS (
			SELECT FROM `+elementsSQL("o.columns")+` a
				JOIN `+elementsSQL("r.columns")+` b ON b -> 'number' = a -> 'number' AND b ->> 'name' <> a ->> 'name')`,
		w.connection.ID, database, found, schema)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanRenaming)
}

func scanRenaming(row pgx.CollectableRow) (r renaming, err error) {
	var before, after []connection.Column
	var tags map[string][]string
	var given map[string]string
	if err := row.Scan(&r.id, &r.was, &r.is, &r.moved, &before, &after, &tags, &given); err != nil {
		return r, err
	}
	was := map[int16]string{}
	for _, c := range before {
		was[c.Number] = c.Name
	}
	r.columns = map[string]string{}
	for _, c := range after {
		if old, known := was[c.Number]; known && old != c.Name {
			r.columns[old] = c.Name
		}
	}
	r.moveTags(tags, given)
	return r, nil
}

// moveTags moves tags to the new names of columns. A name that is still there keeps
// its tags as well: they were given to the name.
func (r *renaming) moveTags(tags map[string][]string, given map[string]string) {
	out, as := maps.Clone(tags), maps.Clone(given)
	for old := range r.columns {
		delete(as, old)
	}
	changed := false
	for old, now := range r.columns {
		if len(tags[old]) == 0 {
			continue
		}
		changed = true
		out[now] = sortedSet(append(slices.Clone(tags[old]), out[now]...))
		if as[now] = cmp.Or(given[old], old); as[now] == now {
			delete(as, now)
		}
	}
	if changed {
		r.tags, r.given = out, as
	}
}

// holdPolicies keeps policies as they are until the end of the transaction: one
// that is made meanwhile would name what is being renamed and not be noted. It
// comes before anything is written, as in whoever changes policies.
func holdPolicies(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, "SELECT FROM portcullis.policy_version FOR SHARE")
	return err
}

// follow notes who still means what was renamed, and then renames it.
func (w *crawlStore) follow(ctx context.Context, tx pgx.Tx, schema string, list []renaming) error {
	if err := holdPolicies(ctx, tx); err != nil {
		return err
	}
	if err := followTables(ctx, tx, list); err != nil {
		return err
	}
	if err := followColumns(ctx, tx, list); err != nil {
		return err
	}
	if err := moveColumnTags(ctx, tx, list); err != nil {
		return err
	}
	if slices.ContainsFunc(list, func(r renaming) bool { return r.moved }) { // ALTER TABLE … SET SCHEMA: the same object
		// The schema that it left is read again: it may be back there before a crawl is complete.
		if _, err := tx.Exec(ctx, `UPDATE portcullis.connection_objects s SET digest = '' FROM portcullis.connection_objects o
			WHERE o.id = ANY ($2::uuid[]) AND o.parent <> $1 AND s.id = o.parent AND s.digest <> ''`, schema, idsOf(list)); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "UPDATE portcullis.connection_objects SET parent = $1 WHERE id = ANY ($2::uuid[]) AND parent <> $1", schema, idsOf(list)); err != nil {
			return err
		}
	}
	return w.rename(ctx, tx, list)
}

func idsOf(list []renaming) []string {
	ids := make([]string, 0, len(list))
	for _, r := range list {
		ids = append(ids, r.id)
	}
	return ids
}

// settle has tables follow schemas and databases that were renamed: what has not the
// name of its place yet is shown to nobody.
func (w *crawlStore) settle(ctx context.Context, schemas []string) error {
	rows, err := w.store.pool.Query(ctx, "SELECT o.id::text FROM "+tablesSQL+" WHERE s.id = ANY ($1::uuid[]) AND o.dropped IS NULL AND "+elsewhereSQL, schemas)
	if err != nil {
		return err
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(tables, w.atOnce) {
		w.changed = true
		if err := w.transaction(ctx, func(tx pgx.Tx) error { return w.settleTables(ctx, tx, chunk) }); err != nil {
			return err
		}
	}
	return nil
}

func (w *crawlStore) settleTables(ctx context.Context, tx pgx.Tx, tables []string) error {
	rows, err := tx.Query(ctx, "SELECT o.id::text, o.full_name, "+placeSQL+" FROM "+tablesSQL+" WHERE o.id = ANY ($1::uuid[])", tables)
	if err != nil {
		return err
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r renaming, err error) { return r, row.Scan(&r.id, &r.was, &r.is) })
	if err != nil {
		return err
	}
	if err := w.follow(ctx, tx, "", list); err != nil {
		return err
	}
	return w.inherit(ctx, tx, tables)
}

// placeSQL is the full name of a table o by the place where it is, and elsewhereSQL
// whether it has another one: the schema s or the database d was renamed, and not all that
// goes by names has followed. Tags of what had the new name before may be lacking then, too.
var (
	placeSQL     = "d.full_name || '.' || " + quotedSQL("s.name") + " || '.' || " + quotedSQL("o.name")
	elsewhereSQL = "(s.digest = '' AND o.full_name <> " + placeSQL + ")"
)

const tablesSQL = `portcullis.connection_objects o JOIN portcullis.connection_objects s ON s.id = o.parent JOIN portcullis.connection_objects d ON d.id = s.parent`

// quotedSQL is a part of a name as connection.FullName writes it.
func quotedSQL(name string) string {
	return `CASE WHEN ` + name + ` ~ '[."]' THEN '"' || replace(` + name + `, '"', '""') || '"' ELSE ` + name + ` END`
}

// moveColumnTags has tags of columns follow these.
func moveColumnTags(ctx context.Context, tx pgx.Tx, list []renaming) error {
	type moved struct {
		ID    string              `json:"id"`
		Tags  map[string][]string `json:"tags"`
		Given map[string]string   `json:"given"`
	}
	var all []moved
	for _, r := range list {
		if r.tags != nil {
			all = append(all, moved{r.id, r.tags, r.given})
		}
	}
	if all == nil {
		return nil
	}
	_, err := tx.Exec(ctx, `UPDATE portcullis.connection_objects o SET column_tags = n.tags, columns_given_as = n.given
		FROM jsonb_to_recordset($1::jsonb) AS n (id uuid, tags jsonb, given jsonb) WHERE o.id = n.id`, all)
	return err
}

func followTables(ctx context.Context, tx pgx.Tx, list []renaming) error {
	var ids, was []string
	for _, r := range list {
		if r.was != r.is {
			ids, was = append(ids, r.id), append(was, r.was)
		}
	}
	if ids == nil {
		return nil
	}
	_, err := tx.Exec(ctx, `INSERT INTO portcullis.policy_followed (policy, object, column_name, name)
		SELECT p.id, r.id, '', n FROM portcullis.policies p, jsonb_array_elements_text(p.body -> 'on' -> 'data_sources') n, unnest($1::uuid[], $2::text[]) AS r (id, was)
		WHERE r.was = n ON CONFLICT DO NOTHING`, ids, was)
	return err
}

func followColumns(ctx context.Context, tx pgx.Tx, list []renaming) error {
	var ids, was, is []string
	for _, r := range list {
		for _, old := range sortedKeys(r.columns) {
			ids, was, is = append(ids, r.id), append(was, old), append(is, r.columns[old])
		}
	}
	if ids == nil {
		return nil
	}
	const renamed = "(SELECT unnest($1::uuid[]) AS id, unnest($2::text[]) AS was, unnest($3::text[]) AS is) r"
	// A column that has its name back needs none of its former ones for it.
	if _, err := tx.Exec(ctx, "DELETE FROM portcullis.policy_followed f USING "+renamed+" WHERE f.object = r.id AND f.column_name = r.was AND f.name = r.is", ids, was, is); err != nil {
		return err
	}
	policies, names, err := columnsNamed(ctx, tx)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO portcullis.policy_followed (policy, object, column_name, name)
		SELECT f.policy, f.object, r.is, f.name FROM portcullis.policy_followed f JOIN `+renamed+` ON f.object = r.id AND f.column_name = r.was WHERE f.name <> r.is
		UNION SELECT p.policy, r.id, r.is, r.was FROM `+renamed+` JOIN (SELECT unnest($4::uuid[]) AS policy, unnest($5::text[]) AS name) p ON p.name = r.was
		ON CONFLICT DO NOTHING`, ids, was, is, policies, names)
	return err
}

// columnsNamed are the policies that name columns, each with one of these.
func columnsNamed(ctx context.Context, q querier) (policies, names []string, err error) {
	list, err := listPolicies(ctx, q, nil)
	for i := range list {
		for _, name := range list[i].columnNames() {
			policies, names = append(policies, list[i].ID), append(names, name)
		}
	}
	return policies, names, err
}

// columnNames are those that the policy states.
func (p *Policy) columnNames() []string {
	m := p.model(0)
	return sortedSet(append(m.Filter.Columns(), m.Columns.Names...))
}

// forgetFollowed drops what a policy no longer names.
func forgetFollowed(ctx context.Context, c *change, p *Policy) error {
	_, err := c.Exec(ctx, "DELETE FROM portcullis.policy_followed WHERE policy = $1 AND name <> ALL (CASE WHEN column_name = '' THEN $2::text[] ELSE $3::text[] END)",
		p.ID, listOrEmpty(p.On.DataSources), listOrEmpty(p.columnNames()))
	return err
}

// followed is what policies still mean, at one connection.
type followed struct {
	tables  map[string][]string // by policy: present names
	columns map[[16]byte]map[string][]policy.FormerName
}

func loadFollowed(ctx context.Context, q querier, connectionID string) (followed, error) {
	f := followed{tables: map[string][]string{}, columns: map[[16]byte]map[string][]policy.FormerName{}}
	rows, err := q.Query(ctx, `SELECT f.policy::text, f.object, o.full_name, f.column_name, f.name FROM portcullis.policy_followed f
		JOIN portcullis.connection_objects o ON o.id = f.object JOIN portcullis.policies p ON p.id = f.policy
		WHERE o.connection = $1 AND CASE p.kind WHEN 'subscription' THEN o.dropped IS NULL AND NOT EXISTS (SELECT FROM portcullis.connection_objects b
				WHERE b.connection = o.connection AND b.level = 'table' AND b.full_name = o.full_name AND b.id <> o.id AND b.dropped IS NULL)
			ELSE o.dropped IS NULL OR o.hidden END
		ORDER BY 1, 3, 4, 5`, connectionID)
	if err != nil {
		return f, err
	}
	var id pgtype.UUID
	var by, table, column, name string
	_, err = pgx.ForEachRow(rows, []any{&by, &id, &table, &column, &name}, func() error {
		if column == "" {
			f.tables[by] = append(f.tables[by], table)
			return nil
		}
		if f.columns[id.Bytes] == nil {
			f.columns[id.Bytes] = map[string][]policy.FormerName{}
		}
		f.columns[id.Bytes][column] = append(f.columns[id.Bytes][column], policy.FormerName{Policy: by, Name: name})
		return nil
	})
	return f, err
}

// policies name the tables by the names that they have now, too.
func (f *followed) policies(list []policy.Policy) []policy.Policy {
	if len(f.tables) == 0 {
		return list
	}
	list = slices.Clone(list)
	for i := range list {
		if more := f.tables[list[i].ID]; more != nil {
			list[i].On.DataSources = append(slices.Clone(list[i].On.DataSources), more...)
		}
	}
	return list
}

// onto gives the columns of a table the names that policies still mean them by.
func (f *followed) onto(id [16]byte, columns []policy.TaggedColumn) {
	of := f.columns[id]
	for i := range columns {
		columns[i].Former = of[columns[i].Name]
	}
}

// among is onto for columns that may be those with tags only: it adds the others that have former names.
func (f *followed) among(id [16]byte, columns []policy.TaggedColumn) []policy.TaggedColumn {
	of := f.columns[id]
	if of == nil {
		return columns
	}
	columns = slices.Clone(columns)
	f.onto(id, columns)
	for _, name := range sortedKeys(of) {
		if !slices.ContainsFunc(columns, func(c policy.TaggedColumn) bool { return c.Name == name }) {
			columns = append(columns, policy.TaggedColumn{Column: policy.Column{Name: name}, Former: of[name]})
		}
	}
	return columns
}

// renamedTo are the tables that had a name before which none has now.
func renamedTo(ctx context.Context, q querier, name string) ([]string, error) {
	rows, err := q.Query(ctx, `SELECT o.full_name FROM portcullis.connection_former f JOIN portcullis.connections c ON c.id = f.connection AND NOT c.deleting
			JOIN portcullis.connection_objects o ON o.id = f.object AND o.dropped IS NULL
		WHERE c.name = $2 AND f.name = $1 ORDER BY 1`, name, firstPart(name))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// notRenamed refuses the name of something that has another one now.
func notRenamed(ctx context.Context, q querier, field, name string) error {
	now, err := renamedTo(ctx, q, name)
	if err != nil || len(now) == 0 {
		return err
	}
	e := invalid(field, "%s was renamed: it is %s now", name, now[0])
	e.Hint = fmt.Sprintf("Write %s. Whatever gets the old name later begins with the same settings.", now[0])
	return e
}
