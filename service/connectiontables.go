package service

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/policy"
)

// nativeTable is a table under enforcement, as small as the work allows:
// instances have 100,000 of them.
type nativeTable struct {
	id      [16]byte
	ref     connection.ObjectRef
	tags    []string              // with those of schema, database and connection
	columns []policy.TaggedColumn // those with tags only
	cannot  bool                  // our grants cannot be made here
	parents []uint32              // OIDs of the tables that it is a partition or child of
	between bool                  // two names: it is where another was before, and what is said of it is not complete
}

// nativeTables are the tables of one connection at one version of its objects.
type nativeTables struct {
	version int64
	list    []nativeTable
	lacking []string // those that cannot be enforced, with the reason
	kin     *kin     // nil: none of them has parents or children
}

// dataSource is what target and evaluator read of the table.
func (t *nativeTable) dataSource(connection string) *policy.DataSource {
	return &policy.DataSource{
		ID: uuidText(t.id), Name: fullName(connection, t.ref.Database, t.ref.Schema, t.ref.Name),
		Source: connection, RemoteSchema: t.ref.Schema, RemoteTable: t.ref.Name, Columns: t.columns, Tags: t.tags,
	}
}

func uuidText(id [16]byte) string { return uuid.UUID(id).String() }

// loadNativeTables reads the tables on which a connection is enforced; had are those read before. What is
// hidden still hides from its kin what it did.
func loadNativeTables(ctx context.Context, q querier, connectionID string, had *nativeTables) (*nativeTables, error) {
	now := &nativeTables{}
	if err := q.QueryRow(ctx, "SELECT objects_version FROM portcullis.connections WHERE id = $1", connectionID).Scan(&now.version); err != nil {
		return nil, err
	}
	if had != nil && had.version == now.version {
		return had, nil
	}
	rows, err := q.Query(ctx, `SELECT o.id, d.name, s.name, o.name, o.oid, c.tags, d.tags, s.tags, o.tags, o.columns, o.column_tags, o.not_enforceable, o.fix, o.parents, `+elsewhereSQL+`, e.enforced
		FROM `+tablesSQL+`
			JOIN portcullis.connections c ON c.id = o.connection,
			LATERAL (SELECT o.kind = ANY (c.kinds) AND coalesce(o.enforce, s.enforce, d.enforce, c.enforce) AND o.dropped IS NULL AS enforced) e
		WHERE o.connection = $1 AND o.level = 'table' AND (o.dropped IS NULL OR o.hidden AND d.dropped IS NULL) AND o.oid > 0 AND (e.enforced OR o.parents <> '{}' OR o.oid IN (
			SELECT unnest(k.parents) FROM portcullis.connection_objects k WHERE k.connection = $1 AND k.dropped IS NULL AND k.parents <> '{}'))
		ORDER BY d.name, s.name, o.name`, connectionID)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	r := tableReader{names: map[string]string{}, tags: map[string][]string{}}
	var others []nativeTable
	for rows.Next() {
		t, why, enforced, err := r.scan(rows)
		if err != nil {
			return nil, err
		}
		if !enforced {
			others = append(others, t)
			continue
		}
		now.list = append(now.list, t)
		if why != "" && len(now.lacking) < maxListed {
			now.lacking = append(now.lacking, fullName(t.ref.Database, t.ref.Schema, t.ref.Name)+": "+why)
		}
	}
	now.kin = newKin(now.list, others)
	return now, rows.Err()
}

// maxListed bounds lists in a status.
const maxListed = 1000

// tableReader shares what tables have in common.
type tableReader struct {
	names map[string]string
	tags  map[string][]string
}

func (r *tableReader) scan(rows pgx.Rows) (t nativeTable, why string, enforced bool, err error) {
	var id pgtype.UUID
	var host, database, schema, own []string
	var columns, columnTags []byte
	var fix string
	if err := rows.Scan(&id, &t.ref.Database, &t.ref.Schema, &t.ref.Name, &t.ref.OID, &host, &database, &schema, &own, &columns, &columnTags, &why, &fix, &t.parents, &t.between, &enforced); err != nil {
		return t, "", false, err
	}
	t.id, t.cannot = id.Bytes, why != ""
	if why != "" && fix != "" {
		why += "; a DBA runs: " + strings.ReplaceAll(fix, "\n", " ")
	}
	t.ref.Database, t.ref.Schema = r.name(t.ref.Database), r.name(t.ref.Schema)
	t.tags = r.set(host, database, schema, own)
	if len(columnTags) > 2 { // not {}
		t.columns, err = taggedColumns(columns, columnTags)
	}
	return t, why, enforced, err
}

func (r *tableReader) name(s string) string {
	if known, ok := r.names[s]; ok {
		return known
	}
	r.names[s] = s
	return s
}

func (r *tableReader) set(lists ...[]string) []string {
	var all []string
	for _, l := range lists {
		all = append(all, l...)
	}
	if len(all) == 0 {
		return nil
	}
	all = sortedSet(all)
	key := strings.Join(all, "\x00")
	if known, ok := r.tags[key]; ok {
		return known
	}
	r.tags[key] = all
	return all
}

// taggedColumns are the columns with tags.
func taggedColumns(columns, tags []byte) ([]policy.TaggedColumn, error) {
	all, err := policyColumns(columns, tags)
	if err != nil {
		return nil, err
	}
	var tagged []policy.TaggedColumn
	for _, c := range all {
		if len(c.Tags) > 0 {
			tagged = append(tagged, c)
		}
	}
	return tagged, nil
}

// policyColumns are all columns as policies read them. Tags of a column that
// is not there any more count for nothing.
func policyColumns(columns, tags []byte) ([]policy.TaggedColumn, error) {
	var list []connection.Column
	var byName map[string][]string
	if columns != nil {
		if err := json.Unmarshal(columns, &list); err != nil {
			return nil, fmt.Errorf("stored columns: %w", err)
		}
	}
	if err := json.Unmarshal(tags, &byName); err != nil {
		return nil, fmt.Errorf("stored tags: %w", err)
	}
	out := make([]policy.TaggedColumn, 0, len(list))
	for _, c := range list {
		out = append(out, policy.TaggedColumn{Column: policy.Column{Name: c.Name, Type: c.Type}, Tags: byName[c.Name]})
	}
	return out, nil
}

// allColumns reads the complete columns of tables, by id.
func allColumns(ctx context.Context, q querier, ids [][16]byte, f followed) (map[[16]byte][]policy.TaggedColumn, error) {
	list := make([]pgtype.UUID, 0, len(ids))
	for _, id := range ids {
		list = append(list, pgtype.UUID{Bytes: id, Valid: true})
	}
	rows, err := q.Query(ctx, "SELECT id, columns, column_tags FROM portcullis.connection_objects WHERE id = ANY ($1)", list)
	if err != nil {
		return nil, err
	}
	out := make(map[[16]byte][]policy.TaggedColumn, len(ids))
	var id pgtype.UUID
	var columns, tags []byte
	_, err = pgx.ForEachRow(rows, []any{&id, &columns, &tags}, func() (err error) {
		out[id.Bytes], err = policyColumns(columns, tags)
		f.onto(id.Bytes, out[id.Bytes])
		return err
	})
	return out, err
}
