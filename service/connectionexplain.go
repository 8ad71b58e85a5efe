package service

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"portcullis.dev/portcullis/policy"
)

// withTable adds one table of a connection to what a decision reads, as if it
// were a data source of the engine. Tables are no part of a snapshot: an
// instance has 100,000 of them. nil: there is no such table.
func (snap *snapshot) withTable(ctx context.Context, q querier, name string) (*snapshot, *policy.DataSource, error) {
	var id pgtype.UUID
	var connection string
	var tags, host, database, schema []string
	var columns, columnTags []byte
	var between bool
	ds := &policy.DataSource{HashKey: []byte("explained, not computed")}
	err := q.QueryRow(ctx, `SELECT o.id, c.id::text, o.full_name, c.name, s.name, o.name, c.tags, d.tags, s.tags, o.tags, o.columns, o.column_tags, `+elsewhereSQL+`
		FROM `+tablesSQL+` JOIN portcullis.connections c ON c.id = o.connection
		WHERE o.level = 'table' AND o.dropped IS NULL AND NOT c.deleting AND (o.full_name = $1 OR o.id::text = $1) LIMIT 1`, name).
		Scan(&id, &connection, &ds.Name, &ds.Source, &ds.RemoteSchema, &ds.RemoteTable, &host, &database, &schema, &tags, &columns, &columnTags, &between)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if between {
		e := conflict("data_source", "%s is being renamed: nobody is given it before a crawl has written that completely", ds.Name)
		e.Hint = "Ask again in a moment, or after portcullis connection sync " + ds.Source
		return nil, nil, e
	}
	ds.ID = uuidText(id.Bytes)
	for _, list := range [][]string{host, database, schema} {
		tags = append(tags, list...)
	}
	ds.Tags = sortedSet(tags)
	if ds.Columns, err = policyColumns(columns, columnTags); err != nil {
		return nil, nil, err
	}
	rows, err := q.Query(ctx, `SELECT p.iamid, p.userid, s.access, coalesce(s.expires, 'infinity') FROM portcullis.connection_subscriptions s
		JOIN portcullis.people p ON p.id = s.person_id WHERE s.object = $1`, id)
	if err != nil {
		return nil, nil, err
	}
	subscribed, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (sub policy.Subscription, err error) {
		sub.DataSource = ds.ID
		var expires pgtype.Timestamptz
		err = r.Scan(&sub.Person.IAMID, &sub.Person.UserID, &sub.Access, &expires)
		sub.Expires = expires.Time // zero where it is infinite
		return sub, err
	})
	if err != nil {
		return nil, nil, err
	}
	f, err := loadFollowed(ctx, q, connection)
	if err != nil {
		return nil, nil, err
	}
	above, err := tablesAbove(ctx, q, id, f)
	if err != nil {
		return nil, nil, err
	}
	f.onto(id.Bytes, ds.Columns)
	one := *snap
	ds, one.policies = inheriting(ds, above, f.policies(snap.policies))
	one.dataSources = map[string]*policy.DataSource{ds.ID: ds}
	one.subscribed = map[string][]policy.Subscription{ds.ID: subscribed}
	return &one, ds, nil
}

// tablesAbove are those that a table is a partition or child of, as policies read them.
func tablesAbove(ctx context.Context, q querier, table pgtype.UUID, f followed) (above []*policy.DataSource, err error) {
	rows, err := q.Query(ctx, `WITH RECURSIVE above AS (
			SELECT p.id, p.parents, s.parent AS database, p.connection FROM portcullis.connection_objects o JOIN portcullis.connection_objects s ON s.id = o.parent
				JOIN portcullis.connection_objects p ON p.connection = o.connection AND p.level = 'table' AND p.oid = ANY (o.parents) AND p.dropped IS NULL
				JOIN portcullis.connection_objects ps ON ps.id = p.parent AND ps.parent = s.parent
			WHERE o.id = $1
			UNION SELECT p.id, p.parents, a.database, a.connection FROM above a
				JOIN portcullis.connection_objects p ON p.connection = a.connection AND p.level = 'table' AND p.oid = ANY (a.parents) AND p.dropped IS NULL
				JOIN portcullis.connection_objects ps ON ps.id = p.parent AND ps.parent = a.database)
		SELECT o.id, o.full_name, c.name, s.name, o.name, c.tags || d.tags || s.tags || o.tags, o.columns, o.column_tags
		FROM above a JOIN portcullis.connection_objects o ON o.id = a.id JOIN portcullis.connection_objects s ON s.id = o.parent
			JOIN portcullis.connection_objects d ON d.id = s.parent JOIN portcullis.connections c ON c.id = o.connection`, table)
	if err != nil {
		return nil, err
	}
	var id pgtype.UUID
	var columns, columnTags []byte
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (*policy.DataSource, error) {
		ds := &policy.DataSource{}
		err := r.Scan(&id, &ds.Name, &ds.Source, &ds.RemoteSchema, &ds.RemoteTable, &ds.Tags, &columns, &columnTags)
		if err == nil {
			ds.Columns, err = policyColumns(columns, columnTags)
			f.onto(id.Bytes, ds.Columns)
		}
		return ds, err
	})
}
