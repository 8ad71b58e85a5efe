package service

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/policy"
)

const defaultTolerance = "5m0s"

func dataSourceKind() *kind[DataSource] {
	return &kind[DataSource]{
		name: "data_sources", permission: policy.PermissionSourceAdmin, keyFields: []string{"name"},
		nodeMethods: []string{"GET", "PUT", "DELETE"},

		key:       func(d *DataSource) []string { return []string{d.Name} },
		normalize: normalizeDataSource,
		public:    publicDataSource,
		list:      listDataSources,
		put:       putDataSource,
		settle:    settleDataSource,
		verify:    verifyDataSource,
		gone:      func(d *DataSource) removed { return removed{dataSource: d.Name} },
		remove: func(ctx context.Context, c *change, d *DataSource) error {
			if err := c.mayChange(d.Name, d.RegisteredBy); err != nil {
				return err
			}
			_, err := c.Exec(ctx, "DELETE FROM portcullis.data_sources WHERE name = $1", d.Name)
			return err
		},
	}
}

func normalizeDataSource(d *DataSource) error {
	if d.ID != "" {
		id, err := uuid.Parse(d.ID)
		if err != nil {
			return invalid("id", "%q is not a uuid", d.ID)
		}
		d.ID = id.String()
	}
	if err := checkName("name", d.Name, 256); err != nil {
		return err
	}
	if name := canonicalName(d.Name); name != d.Name { // policies could not name it
		return invalid("name", "between dots only a part that holds a dot or a quote is quoted: write %s", name)
	}
	if d.LocalName == "" {
		d.LocalName = d.Name
	}
	if err := checkIdentifier("local_name", d.LocalName); err != nil {
		return err
	}
	if err := checkName("source", d.Source, 63); err != nil {
		return err
	}
	if err := checkText("remote_schema", d.RemoteSchema, 256); err != nil {
		return err
	}
	if err := checkName("remote_table", d.RemoteTable, 256); err != nil {
		return err
	}
	if d.LatencyTolerance == "" {
		d.LatencyTolerance = defaultTolerance
	}
	t, err := time.ParseDuration(d.LatencyTolerance)
	if err != nil || t < 0 || t > policy.MaxTolerance {
		return invalid("latency_tolerance", "%q is not a duration between 0s and 24h, such as 30s or 5m", d.LatencyTolerance)
	}
	d.LatencyTolerance = t.Truncate(time.Millisecond).String()
	if d.Tags, err = normalizeTags("tags", d.Tags); err != nil {
		return err
	}
	seen := map[string]bool{}
	for i := range d.Columns {
		c := &d.Columns[i]
		field := fmt.Sprintf("columns[%d]", i)
		if err := checkName(field+".name", c.Name, 256); err != nil {
			return err
		}
		if seen[c.Name] {
			return invalid(field+".name", "column %q is listed twice", c.Name)
		}
		seen[c.Name] = true
		if c.Tags, err = normalizeTags(field+".tags", c.Tags); err != nil {
			return err
		}
	}
	d.Synced, d.SyncError, d.RegisteredBy = false, "", ""
	return nil
}

func normalizeTags(field string, tags []string) ([]string, error) {
	for i, t := range tags {
		at := fmt.Sprintf("%s[%d]", field, i)
		if err := checkName(at, t, 256); err != nil {
			return nil, err
		}
		if err := policy.CheckTag(t); err != nil {
			return nil, invalid(at, "%v", err)
		}
	}
	return sortedSet(tags), nil
}

// publicDataSource keeps what a request states: of columns that were only
// learned nothing remains.
func publicDataSource(d DataSource) DataSource {
	d.Synced, d.SyncError, d.RegisteredBy = false, "", ""
	var stated []Column
	for _, c := range d.Columns {
		if len(c.Tags) > 0 || c.Unconfirmed {
			c.Type = ""
			stated = append(stated, c)
		}
	}
	sort.Slice(stated, func(i, j int) bool { return stated[i].Name < stated[j].Name })
	d.Columns = stated
	return d
}

const selectDataSources = `
SELECT d.id::text, d.name, d.source, d.remote_schema, d.remote_table, d.local_name, d.tags, d.discoverable, d.tolerance_ms, d.contact, d.owner, d.unmanaged, d.registered_by,
       d.synced IS NOT NULL AND d.sync_error IS NULL, coalesce(d.sync_error, ''),
       coalesce((SELECT json_agg(json_build_object('name', c.name, 'type', c.type, 'tags', c.tags, 'unconfirmed', NOT c.confirmed) ORDER BY c.ordinal, c.name)
                 FROM portcullis.columns c WHERE c.data_source = d.id), '[]')
FROM portcullis.data_sources d `

func listDataSources(ctx context.Context, q querier, key []string) ([]DataSource, error) {
	rows, err := q.Query(ctx, selectDataSources+`WHERE $1::text IS NULL OR d.name = $1 OR d.id::text = $1 ORDER BY d.name`, part(key, 0))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (d DataSource, err error) {
		var ms int64
		var columns []byte
		if err := r.Scan(&d.ID, &d.Name, &d.Source, &d.RemoteSchema, &d.RemoteTable, &d.LocalName, &d.Tags, &d.Discoverable, &ms, &d.Contact, &d.Owner, &d.Unmanaged, &d.RegisteredBy,
			&d.Synced, &d.SyncError, &columns); err != nil {
			return d, err
		}
		d.LatencyTolerance = (time.Duration(ms) * time.Millisecond).String()
		d.Tags = sortedSet(d.Tags)
		err = json.Unmarshal(columns, &d.Columns)
		for i := range d.Columns {
			d.Columns[i].Tags = sortedSet(d.Columns[i].Tags)
		}
		return d, err
	})
}

// settleDataSource takes over the id where the request states none.
func settleDataSource(ctx context.Context, c *change, d *DataSource) error {
	var id string
	if err := c.QueryRow(ctx, "SELECT id::text FROM portcullis.data_sources WHERE name = $1", d.Name).Scan(&id); err != nil {
		return err
	}
	if d.ID == "" {
		d.ID = id
	}
	if d.ID != id {
		return conflict("id", "data source %q has id %s", d.Name, id)
	}
	return nil
}

func putDataSource(ctx context.Context, c *change, d, old *DataSource) error {
	if err := mayPutDataSource(c, d, old); err != nil {
		return err
	}
	if err := checkStatedColumns(d, old); err != nil {
		return err
	}
	if d.ID == "" {
		d.ID = uuid.NewString()
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	sealed, err := c.store.key.Seal(key)
	if err != nil {
		return err
	}
	tolerance, err := time.ParseDuration(d.LatencyTolerance)
	if err != nil {
		return invalid("latency_tolerance", "%q is not a duration", d.LatencyTolerance)
	}
	var known bool
	if err := c.QueryRow(ctx, "SELECT EXISTS (SELECT FROM portcullis.sources WHERE name = $1)", d.Source).Scan(&known); err != nil {
		return err
	}
	if !known {
		return invalid("source", "there is no source %q", d.Source)
	}
	if d.Tags == nil {
		d.Tags = []string{}
	}
	_, err = c.Exec(ctx, `INSERT INTO portcullis.data_sources
		(id, name, source, remote_schema, remote_table, local_name, tags, discoverable, tolerance_ms, contact, owner, unmanaged, sealed_hash_key, registered_by)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
		ON CONFLICT (name) DO UPDATE SET source = EXCLUDED.source, remote_schema = EXCLUDED.remote_schema, remote_table = EXCLUDED.remote_table,
			local_name = EXCLUDED.local_name, tags = EXCLUDED.tags, discoverable = EXCLUDED.discoverable, tolerance_ms = EXCLUDED.tolerance_ms,
			contact = EXCLUDED.contact, owner = EXCLUDED.owner, unmanaged = EXCLUDED.unmanaged`,
		d.ID, d.Name, d.Source, d.RemoteSchema, d.RemoteTable, d.LocalName, d.Tags, d.Discoverable, tolerance.Milliseconds(), d.Contact, d.Owner, d.Unmanaged, sealed, c.node)
	if err != nil {
		return err
	}
	d.Tags = sortedSet(d.Tags)
	if old != nil && (old.Source != d.Source || old.RemoteSchema != d.RemoteSchema || old.RemoteTable != d.RemoteTable) {
		// Another table: nothing that was learned holds.
		if _, err := c.Exec(ctx, "DELETE FROM portcullis.columns WHERE data_source = $1", d.ID); err != nil {
			return err
		}
		if _, err := c.Exec(ctx, "UPDATE portcullis.data_sources SET synced = NULL WHERE id = $1", d.ID); err != nil {
			return err
		}
	}
	return putColumns(ctx, c, d)
}

// verifyDataSource refuses an owner who does not exist.
func verifyDataSource(ctx context.Context, c *change, d *DataSource) error {
	if d.Owner == "" {
		return nil
	}
	if _, known := c.owners[d.Owner]; known {
		return nil
	}
	if err := checkReferences(ctx, c, []policy.Reference{{Field: "owner", UserID: d.Owner}}); err != nil {
		return err
	}
	if c.owners == nil {
		c.owners = map[string]struct{}{}
	}
	c.owners[d.Owner] = struct{}{}
	return nil
}

// checkStatedColumns refuses tags of a column that the source, as it was last
// seen, does not have.
func checkStatedColumns(d, old *DataSource) error {
	if old == nil || !old.Synced || old.Source != d.Source || old.RemoteSchema != d.RemoteSchema || old.RemoteTable != d.RemoteTable {
		return nil
	}
	for i, stated := range d.Columns {
		if !slices.ContainsFunc(old.Columns, func(c Column) bool { return c.Name == stated.Name && c.Type != "" }) {
			return invalid(indexed("columns", i)+".name", "data source %q has no column %q", d.Name, stated.Name)
		}
	}
	return nil
}

// mayPutDataSource lets a node's key register tables that its administrator made.
func mayPutDataSource(c *change, d, old *DataSource) error {
	switch {
	case c.node == "":
		return nil
	case old != nil:
		if err := c.mayChange(d.Name, old.RegisteredBy); err != nil {
			return err
		}
	}
	if !d.Unmanaged {
		return invalid("unmanaged", "must be true: a node's key registers foreign tables that its administrator made")
	}
	return nil
}

// putColumns keeps learned types and takes over the stated tags. Columns that
// are not stated lose their tags; those never seen at the source go.
func putColumns(ctx context.Context, c *change, d *DataSource) error {
	names := make([]string, 0, len(d.Columns))
	for i, col := range d.Columns {
		names = append(names, col.Name)
		tags := col.Tags
		if tags == nil {
			tags = []string{}
		}
		if _, err := c.Exec(ctx, `INSERT INTO portcullis.columns (data_source, name, ordinal, type, tags, confirmed) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (data_source, name) DO UPDATE SET tags = EXCLUDED.tags, confirmed = EXCLUDED.confirmed,
				type = CASE WHEN portcullis.columns.type = '' THEN EXCLUDED.type ELSE portcullis.columns.type END`,
			d.ID, col.Name, i+1, col.Type, tags, !col.Unconfirmed); err != nil {
			return constraint(fmt.Sprintf("columns[%d]", i), err)
		}
	}
	if _, err := c.Exec(ctx, "DELETE FROM portcullis.columns WHERE data_source = $1 AND type = '' AND name <> ALL ($2::text[])", d.ID, names); err != nil {
		return err
	}
	_, err := c.Exec(ctx, "UPDATE portcullis.columns SET tags = '{}' WHERE data_source = $1 AND name <> ALL ($2::text[]) AND tags <> '{}'", d.ID, names)
	return err
}
