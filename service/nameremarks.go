package service

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// PolicyRemark is a remark on a policy, at what it is about.
type PolicyRemark struct {
	Policy string `json:"policy"`
	Remark
}

// nameRemarks tells of tables of connections that policies name and that were
// never seen, or have another name now, and of columns that were renamed. policies are names,
// nil: all; connection is a name, "": all.
func nameRemarks(ctx context.Context, q querier, policies []string, connection string) ([]PolicyRemark, error) {
	all, err := tableRemarks(ctx, q, policies, connection)
	if err != nil {
		return nil, err
	}
	columns, err := columnRemarks(ctx, q, policies, connection)
	return append(all, columns...), err
}

// Of a connection that was not looked at yet nothing is known to be missing.
func tableRemarks(ctx context.Context, q querier, policies []string, connection string) ([]PolicyRemark, error) {
	rows, err := q.Query(ctx, `WITH named AS MATERIALIZED (
			SELECT p.id, p.name AS policy, n.name, n.at - 1 AS at FROM portcullis.policies p, jsonb_array_elements_text(p.body -> 'on' -> 'data_sources') WITH ORDINALITY n (name, at)
			WHERE ($1::text[] IS NULL OR p.name = ANY ($1)) AND ($2 = '' OR starts_with(n.name, $2 || '.')))
		SELECT n.policy, n.at, n.name, EXISTS (SELECT FROM portcullis.connection_objects o WHERE o.full_name = n.name AND o.level = 'table' AND o.dropped IS NULL) AS seen, coalesce(f.now, '{}')
		FROM named n JOIN portcullis.connections c ON c.name = split_part(n.name, '.', 1) AND NOT c.deleting,
			LATERAL (SELECT array_agg(o.full_name ORDER BY o.full_name) AS now FROM portcullis.policy_followed f JOIN portcullis.connection_objects o ON o.id = f.object
				WHERE f.policy = n.id AND f.column_name = '' AND f.name = n.name AND o.full_name <> n.name AND o.dropped IS NULL) f
		WHERE (f.now IS NOT NULL OR NOT EXISTS (SELECT FROM portcullis.connection_objects o WHERE o.full_name = n.name AND o.level = 'table' AND o.dropped IS NULL))
			AND NOT EXISTS (SELECT FROM portcullis.data_sources d WHERE d.name = n.name) AND EXISTS (SELECT FROM portcullis.connection_objects o WHERE o.connection = c.id)
		ORDER BY 1, 2 LIMIT $3`, policies, connection, maxListed)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r PolicyRemark, err error) {
		var at int
		var name string
		var seen bool
		var now []string
		if err := row.Scan(&r.Policy, &at, &name, &seen, &now); err != nil {
			return r, err
		}
		r.Field = indexed("on.data_sources", at)
		switch {
		case len(now) == 0:
			r.Message = fmt.Sprintf("there is no table %s: the policy counts for nothing there before there is one", name)
		case seen:
			r.Message = fmt.Sprintf("names %s, which is %s now; another table has the name, and the policy is for both", name, someOf(now))
		default:
			r.Message = fmt.Sprintf("names %s, which is %s now: it still means it, write the new name", name, someOf(now))
		}
		return r, nil
	})
}

func columnRemarks(ctx context.Context, q querier, policies []string, connection string) ([]PolicyRemark, error) {
	rows, err := q.Query(ctx, `SELECT p.name, CASE p.kind WHEN 'filter' THEN 'filter' ELSE 'columns.names' END, f.name, f.column_name, array_agg(o.full_name ORDER BY o.full_name)
		FROM portcullis.policy_followed f JOIN portcullis.policies p ON p.id = f.policy
			JOIN portcullis.connection_objects o ON o.id = f.object AND o.dropped IS NULL JOIN portcullis.connections c ON c.id = o.connection AND NOT c.deleting
		WHERE f.column_name <> '' AND f.column_name <> f.name AND ($1::text[] IS NULL OR p.name = ANY ($1)) AND ($2 = '' OR c.name = $2)
			AND o.columns @> jsonb_build_array(jsonb_build_object('name', f.column_name))
			AND (p.body -> 'on' ?| '{all,tags}' OR p.body -> 'on' -> 'data_sources' ? o.full_name
				OR EXISTS (SELECT FROM portcullis.policy_followed t WHERE t.policy = p.id AND t.object = o.id AND t.column_name = ''))
		GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4 LIMIT $3`, policies, connection, maxListed)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r PolicyRemark, err error) {
		var was, is string
		var tables []string
		err = row.Scan(&r.Policy, &r.Field, &was, &is, &tables)
		r.Message = fmt.Sprintf("column %q of %s is %q now: it still means it, write the new name", was, someOf(tables), is)
		return r, err
	})
}

// someOf names three at most.
func someOf(names []string) string {
	if len(names) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), len(names)-3)
	}
	return strings.Join(names, ", ")
}
