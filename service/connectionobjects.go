package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/policy"
)

// Object is a database, schema or table of a connection as last seen.
type Object struct {
	ID       string                `json:"id"`
	Name     string                `json:"name"`  // connection.database.schema.table
	Level    string                `json:"level"` // database, schema, table
	OID      uint32                `json:"oid"`
	Kind     connection.ObjectKind `json:"kind,omitempty"` // of tables
	Owner    string                `json:"remote_owner,omitempty"`
	Comment  string                `json:"comment,omitempty"`
	Labels   []string              `json:"labels,omitempty"`
	State    string                `json:"state"`    // enable, disable, inherit
	Enforced bool                  `json:"enforced"` // what that comes to, with the levels above and the kind
	Tags     []string              `json:"tags,omitempty"`
	Owners   []Owner               `json:"owners,omitempty"`

	InheritedTags   []string       `json:"inherited_tags,omitempty"`   // of the levels above, which count too
	InheritedOwners []Owner        `json:"inherited_owners,omitempty"` // of the levels above, the nearest first
	Columns         []ObjectColumn `json:"columns,omitempty"`          // of a table read by itself

	NotEnforceable string `json:"not_enforceable,omitempty"` // why our grants cannot be made here
	Fix            string `json:"fix,omitempty"`             // what a DBA runs to change that

	FirstSeen time.Time         `json:"first_seen"`
	LastSeen  time.Time         `json:"last_seen"` // of databases: the last crawl; below: the last that differed
	Dropped   *time.Time        `json:"dropped,omitempty"`
	Error     *connection.Error `json:"error,omitempty"` // of databases: the last crawl failed
}

// ObjectColumn is a column as last seen, with its tags.
type ObjectColumn struct {
	connection.Column
	Tags []string `json:"tags,omitempty"`
}

// ObjectSettings are what people say about an object. Settings of an object
// that was not seen yet wait for it.
type ObjectSettings struct {
	Name    string       `json:"name"`            // connection.database, …schema, …table
	State   string       `json:"state,omitempty"` // enable, disable, inherit (default)
	Tags    []string     `json:"tags,omitempty"`
	Owners  []Owner      `json:"owners,omitempty"`
	Columns []ColumnTags `json:"columns,omitempty"` // of a table
	Was     string       `json:"was,omitempty"`     // its name when this was stated, where that is another one; not for requests
}

// ColumnTags are the tags of a column.
type ColumnTags struct {
	Name string   `json:"name"`
	Tags []string `json:"tags"`
	Was  string   `json:"was,omitempty"` // as that of ObjectSettings
}

func (o *ObjectSettings) empty() bool {
	return o.State == stateInherit && len(o.Tags) == 0 && len(o.Owners) == 0 && len(o.Columns) == 0
}

func objectSettingsKind() *kind[ObjectSettings] {
	return &kind[ObjectSettings]{
		name: "connection_objects", permission: policy.PermissionGovernance, keyFields: []string{"name"},
		key:       func(o *ObjectSettings) []string { return []string{o.Name} },
		normalize: normalizeObjectSettings,
		public:    func(o ObjectSettings) ObjectSettings { return o },
		list:      listObjectSettings,
		put:       func(ctx context.Context, c *change, o, _ *ObjectSettings) error { return putObjectSettings(ctx, c, o) },
		verify: func(ctx context.Context, c *change, o *ObjectSettings) error {
			return checkReferences(ctx, c, ownerReferences(o.Owners))
		},
		remove: func(ctx context.Context, c *change, o *ObjectSettings) error {
			return putObjectSettings(ctx, c, &ObjectSettings{Name: o.Name, State: stateInherit})
		},
	}
}

func normalizeObjectSettings(o *ObjectSettings) error {
	if err := checkName("name", o.Name, 1024); err != nil {
		return err
	}
	o.Name, o.Was = connection.Canonical(o.Name), ""
	if o.State == "" {
		o.State = stateInherit
	}
	if o.State != stateEnable && o.State != stateDisable && o.State != stateInherit {
		return invalid("state", "must be enable, disable or inherit, not %q", o.State)
	}
	var err error
	if o.Tags, err = normalizeTags("tags", o.Tags); err != nil {
		return err
	}
	seen := map[string]bool{}
	for i := range o.Columns {
		c := &o.Columns[i]
		at := indexed("columns", i)
		if err := checkName(at+".name", c.Name, 256); err != nil {
			return err
		}
		if seen[c.Name] {
			return invalid(at+".name", "column %q is listed twice", c.Name)
		}
		seen[c.Name] = true
		c.Was = ""
		if c.Tags, err = normalizeTags(at+".tags", c.Tags); err != nil {
			return err
		}
	}
	o.Columns = slices.DeleteFunc(o.Columns, func(c ColumnTags) bool { return len(c.Tags) == 0 })
	slices.SortFunc(o.Columns, func(a, b ColumnTags) int { return strings.Compare(a.Name, b.Name) })
	if len(o.Columns) == 0 {
		o.Columns = nil
	}
	if o.empty() {
		return invalid("state", "the entry says nothing: delete it to inherit everything")
	}
	return normalizeOwners(o.Owners)
}

// listObjectSettings lists settings that say something, of present objects and of those that wait.
func listObjectSettings(ctx context.Context, q querier, key []string) ([]ObjectSettings, error) {
	if key != nil {
		key = []string{connection.Canonical(key[0])}
	}
	rows, err := q.Query(ctx, `SELECT o.full_name, o.enforce, o.tags, o.owners, o.column_tags, coalesce(o.given_as, ''), o.columns_given_as FROM portcullis.connection_objects o
			JOIN portcullis.connections c ON c.id = o.connection AND NOT c.deleting
		WHERE o.dropped IS NULL AND ($1::text IS NULL OR o.full_name = $1) AND (o.enforce IS NOT NULL OR o.tags <> '{}' OR o.owners <> '[]' OR o.column_tags <> '{}')
		UNION ALL
		SELECT w.full_name, w.enforce, w.tags, w.owners, w.column_tags, '', '{}' FROM portcullis.connection_waiting w
			JOIN portcullis.connections c ON c.id = w.connection AND NOT c.deleting
		WHERE $1::text IS NULL OR w.full_name = $1 ORDER BY 1`, part(key, 0))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (o ObjectSettings, err error) {
		var enforce *bool
		var columns map[string][]string
		var given map[string]string
		if err := r.Scan(&o.Name, &enforce, &o.Tags, &o.Owners, &columns, &o.Was, &given); err != nil {
			return o, err
		}
		o.State = stateText(enforce)
		o.Tags = sortedSet(o.Tags)
		if len(o.Owners) == 0 {
			o.Owners = nil
		}
		for _, name := range sortedKeys(columns) {
			o.Columns = append(o.Columns, ColumnTags{Name: name, Tags: columns[name], Was: given[name]})
		}
		return o, nil
	})
}

func stateText(enforce *bool) string {
	switch {
	case enforce == nil:
		return stateInherit
	case *enforce:
		return stateEnable
	}
	return stateDisable
}

func stateValue(text string) *bool {
	if text == stateInherit {
		return nil
	}
	v := text == stateEnable
	return &v
}

func putObjectSettings(ctx context.Context, c *change, o *ObjectSettings) error {
	columns := map[string][]string{}
	for _, col := range o.Columns {
		if len(col.Tags) > 0 {
			columns[col.Name] = col.Tags
		}
	}
	if err := keepsGiven(ctx, c, o); err != nil {
		return err
	}
	args := []any{o.Name, stateValue(o.State), listOrEmpty(o.Tags), listOrEmpty(o.Owners), columns}
	var id string
	err := c.QueryRow(ctx, `UPDATE portcullis.connection_objects SET enforce = $2, tags = $3, owners = $4, column_tags = $5, given_as = NULL, columns_given_as = '{}'
		WHERE full_name = $1 AND dropped IS NULL RETURNING connection::text`, args...).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return waitForObject(ctx, c, o, args)
	}
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, "UPDATE portcullis.connections SET objects_version = objects_version + 1 WHERE id = $1", id)
	return err
}

// waitForObject keeps settings until the object is seen.
func waitForObject(ctx context.Context, c *change, o *ObjectSettings, args []any) error {
	id, err := connectionOf(ctx, c, o.Name)
	if err != nil {
		return err
	}
	if id == "" {
		return invalid("name", "there is no connection %q: names are connection.database.schema.table", firstPart(o.Name))
	}
	if o.empty() { // removed
		_, err = c.Exec(ctx, "DELETE FROM portcullis.connection_waiting WHERE connection = $1 AND full_name = $2", id, o.Name)
		return err
	}
	if err := notRenamed(ctx, c, "name", o.Name); err != nil {
		return err
	}
	if c.waits == nil {
		c.waits = map[string]struct{}{}
	}
	c.waits[id] = struct{}{}
	_, err = c.Exec(ctx, `INSERT INTO portcullis.connection_waiting (full_name, enforce, tags, owners, column_tags, connection) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (connection, full_name) DO UPDATE SET enforce = EXCLUDED.enforce, tags = EXCLUDED.tags, owners = EXCLUDED.owners, column_tags = EXCLUDED.column_tags`,
		append(args, id)...)
	return err
}

// settleWaiting gives settings to objects that a crawl has written since they began
// to wait. The crawl saw nothing of them, so they would wait for good. It writes
// nothing while others lock its lease.
func (c *change) settleWaiting(ctx context.Context) error {
	for _, id := range sortedKeys(c.waits) {
		if _, err := c.Exec(ctx, "SELECT FROM portcullis.connection_leases WHERE connection = $1 FOR NO KEY UPDATE", id); err != nil {
			return err
		}
		taken, err := takeWaiting(ctx, c, id, nil)
		if err != nil {
			return err
		}
		if taken == 0 {
			continue
		}
		if _, err := c.Exec(ctx, "UPDATE portcullis.connections SET objects_version = objects_version + 1 WHERE id = $1", id); err != nil {
			return err
		}
	}
	return nil
}

// connectionOf is the id of the connection that a name begins with, "" if there is none.
func connectionOf(ctx context.Context, q querier, name string) (id string, err error) {
	err = q.QueryRow(ctx, "SELECT id::text FROM portcullis.connections WHERE name = $1 AND NOT deleting", firstPart(name)).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return id, err
}

func firstPart(name string) string {
	for i := range name {
		if name[i] == '.' {
			return name[:i]
		}
	}
	return name
}

// ObjectFilter chooses objects of a connection.
type ObjectFilter struct {
	Level   string // "": all
	Under   string // full name of a database or schema: only what is in it
	Text    string // part of the name
	Dropped bool   // also what is no longer there
	After   string // full name and id of the last one seen
	AfterID string
	Limit   int
}

const selectObjects = `
SELECT o.id::text, o.full_name, o.level, greatest(o.oid, 0), o.kind, o.remote_owner, o.comment, o.labels, o.enforce,
       coalesce(o.enforce, p.enforce, g.enforce, c.enforce) AND o.dropped IS NULL AND (o.level <> 'table' OR o.kind = ANY (c.kinds)),
       o.tags, o.owners, coalesce(p.tags, '{}') || coalesce(g.tags, '{}') || c.tags, coalesce(p.owners, '[]') || coalesce(g.owners, '[]') || c.owners, o.not_enforceable, o.fix, o.first_seen, o.last_seen, o.dropped, o.error
FROM portcullis.connection_objects o JOIN portcullis.connections c ON c.id = o.connection
    LEFT JOIN portcullis.connection_objects p ON p.id = o.parent LEFT JOIN portcullis.connection_objects g ON g.id = p.parent `

// Objects lists objects of a connection in the order of their names.
func (s *Store) Objects(ctx context.Context, name string, f ObjectFilter) ([]Object, error) {
	if f.AfterID == "" {
		f.AfterID = uuid.Nil.String()
	}
	rows, err := s.pool.Query(ctx, selectObjects+`WHERE c.name = $1 AND ($2 = '' OR o.level = $2) AND ($3 = '' OR o.full_name = $3 OR starts_with(o.full_name, $3 || '.'))
		AND ($4 = '' OR strpos(lower(o.full_name), lower($4)) > 0) AND ($5 OR o.dropped IS NULL) AND (o.full_name, o.id) > ($6, $7::uuid)
		ORDER BY o.full_name, o.id LIMIT $8`, name, f.Level, f.Under, f.Text, f.Dropped, f.After, f.AfterID, f.Limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanObject)
}

func scanObject(r pgx.CollectableRow) (o Object, err error) {
	var enforce *bool
	err = r.Scan(&o.ID, &o.Name, &o.Level, &o.OID, &o.Kind, &o.Owner, &o.Comment, &o.Labels, &enforce, &o.Enforced,
		&o.Tags, &o.Owners, &o.InheritedTags, &o.InheritedOwners, &o.NotEnforceable, &o.Fix, &o.FirstSeen, &o.LastSeen, &o.Dropped, &o.Error)
	o.State = stateText(enforce)
	o.InheritedTags = sortedSet(slices.DeleteFunc(o.InheritedTags, func(t string) bool { return slices.Contains(o.Tags, t) }))
	return o, err
}

// Object reads one object of a connection by id or full name, with its columns.
func (s *Store) Object(ctx context.Context, name, key string) (Object, error) {
	rows, err := s.pool.Query(ctx, selectObjects+`WHERE c.name = $1 AND (o.id::text = $2 OR o.full_name = $2) ORDER BY o.dropped DESC NULLS FIRST LIMIT 1`, name, connection.Canonical(key))
	if err != nil {
		return Object{}, err
	}
	o, err := pgx.CollectExactlyOneRow(rows, scanObject)
	if errors.Is(err, pgx.ErrNoRows) {
		return o, notFound("object", key)
	}
	if err != nil {
		return o, err
	}
	var raw []byte
	var tags map[string][]string
	if err := s.pool.QueryRow(ctx, "SELECT columns, column_tags FROM portcullis.connection_objects WHERE id = $1", o.ID).Scan(&raw, &tags); err != nil {
		return o, err
	}
	o.Columns, err = columnsWithTags(raw, tags)
	return o, err
}

func columnsWithTags(raw []byte, tags map[string][]string) ([]ObjectColumn, error) {
	var columns []connection.Column
	if raw != nil {
		if err := json.Unmarshal(raw, &columns); err != nil {
			return nil, fmt.Errorf("stored columns: %w", err)
		}
	}
	out := make([]ObjectColumn, 0, len(columns))
	for _, c := range columns {
		out = append(out, ObjectColumn{Column: c, Tags: tags[c.Name]})
	}
	return out, nil
}

// elementsSQL reads the elements of a column of JSON: it is null where nothing was
// stated, and the columns of a table that has none are JSON's null.
func elementsSQL(column string) string {
	return "jsonb_array_elements(CASE WHEN jsonb_typeof(" + column + ") = 'array' THEN " + column + " ELSE '[]' END)"
}
