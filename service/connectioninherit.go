package service

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// inherit gives objects that now have a name what was said of that name: the
// settings that waited for it, else those of the object that had it before. A
// table that is made anew each night would otherwise lose its tags, and with
// them its masks. Access by individual subscription is not inherited, nor by a policy that
// names the object that still is there by another name than the one it gave up.
func (w *crawlStore) inherit(ctx context.Context, tx pgx.Tx, ids []string) error {
	h, err := w.heritage(ctx, tx, ids)
	if err != nil {
		return err
	}
	if len(h.waited) > 0 {
		if _, err := takeWaiting(ctx, tx, w.connection.ID, h.waited); err != nil {
			return err
		}
	}
	if len(h.ids) > 0 {
		if _, err := tx.Exec(ctx, `WITH last AS MATERIALIZED (
				SELECT l.id, l.was, n.full_name, b.dropped FROM unnest($1::uuid[], $2::uuid[]) AS l (id, was)
					JOIN portcullis.connection_objects n ON n.id = l.id JOIN portcullis.connection_objects b ON b.id = l.was),
			meant AS (
				INSERT INTO portcullis.policy_followed (policy, object, column_name, name)
				SELECT f.policy, l.id, f.column_name, f.name FROM last l JOIN portcullis.policy_followed f ON f.object = l.was JOIN portcullis.policies p ON p.id = f.policy
				WHERE p.kind <> 'subscription' OR l.dropped IS NOT NULL OR f.name = l.full_name ON CONFLICT DO NOTHING)
			UPDATE portcullis.connection_objects n SET enforce = b.enforce, tags = b.tags, owners = b.owners, column_tags = b.column_tags,
				given_as = nullif(coalesce(b.given_as, b.full_name), n.full_name), columns_given_as = CASE WHEN b.dropped IS NULL THEN '{}' ELSE b.columns_given_as END
			FROM last l JOIN portcullis.connection_objects b ON b.id = l.was
			WHERE n.id = l.id AND n.enforce IS NULL AND n.tags = '{}' AND n.column_tags = '{}'`, h.ids, h.was); err != nil {
			return err
		}
	}
	if len(h.former) == 0 {
		return nil
	}
	_, err = tx.Exec(ctx, `DELETE FROM portcullis.connection_former f USING portcullis.connection_objects o
		WHERE f.connection = $1 AND f.name = o.full_name AND o.id <> f.object AND o.id = ANY ($2::uuid[])`, w.connection.ID, h.former)
	return err
}

// takeWaiting gives objects the settings that wait for their names, nil: all objects,
// and returns how many got some. What was renamed loses none for it that it had:
// else who owns a table could choose a name for which others were stated.
func takeWaiting(ctx context.Context, tx pgx.Tx, connection string, ids []string) (int64, error) {
	const merged = `(SELECT coalesce(jsonb_object_agg(name, tags), '{}') FROM (SELECT key AS name, jsonb_agg(DISTINCT tag ORDER BY tag) AS tags
		FROM (SELECT * FROM jsonb_each(o.column_tags) UNION ALL SELECT * FROM jsonb_each(w.column_tags)) c (key, value), jsonb_array_elements(value) tag GROUP BY 1) m)`
	tag, err := tx.Exec(ctx, `WITH taken AS (
			UPDATE portcullis.connection_objects o SET owners = w.owners,
				enforce = CASE WHEN o.given_as IS NOT NULL AND NOT o.enforce THEN false ELSE w.enforce END,
				tags = CASE WHEN o.given_as IS NULL THEN w.tags ELSE ARRAY(SELECT unnest(o.tags || w.tags) AS tag GROUP BY 1 ORDER BY 1) END,
				column_tags = CASE WHEN o.given_as IS NULL THEN w.column_tags ELSE `+merged+` END,
				columns_given_as = CASE WHEN o.given_as IS NULL THEN '{}' ELSE o.columns_given_as END
			FROM portcullis.connection_waiting w
			WHERE w.connection = $1 AND o.connection = $1 AND o.full_name = w.full_name AND o.dropped IS NULL AND ($2::uuid[] IS NULL OR o.id = ANY ($2))
			RETURNING o.full_name)
		DELETE FROM portcullis.connection_waiting w USING taken t WHERE w.connection = $1 AND w.full_name = t.full_name`, connection, ids)
	return tag.RowsAffected(), err
}

// heritage is what was said of the names that objects have now.
type heritage struct {
	ids, was []string // objects, each with the last one that had its name
	waited   []string // objects for which settings wait
	former   []string // objects that have a former name of others
}

// heritage looks each object up by itself, since there may be a thousand of a hundred thousand.
func (w *crawlStore) heritage(ctx context.Context, tx pgx.Tx, ids []string) (h heritage, err error) {
	rows, err := tx.Query(ctx, `SELECT o.id::text, coalesce(l.was::text, ''), waits, taken
		FROM unnest($2::uuid[]) AS i (id), LATERAL (SELECT id, level, full_name FROM portcullis.connection_objects WHERE id = i.id AND dropped IS NULL OFFSET 0) o
			LEFT JOIN LATERAL (SELECT was FROM (
					SELECT b.id AS was, b.dropped FROM portcullis.connection_objects b WHERE b.connection = $1 AND b.level = o.level AND b.full_name = o.full_name AND b.id <> o.id
					UNION ALL
					SELECT b.id, b.dropped FROM portcullis.connection_former f JOIN portcullis.connection_objects b ON b.id = f.object
						WHERE f.connection = $1 AND f.name = o.full_name AND f.object <> o.id) had
				ORDER BY dropped DESC NULLS FIRST LIMIT 1) l ON true,
			LATERAL (SELECT EXISTS (SELECT FROM portcullis.connection_waiting w WHERE w.connection = $1 AND w.full_name = o.full_name OFFSET 0) AS waits,
				EXISTS (SELECT FROM portcullis.connection_former f WHERE f.connection = $1 AND f.name = o.full_name AND f.object <> o.id OFFSET 0) AS taken) s
		WHERE l.was IS NOT NULL OR waits OR taken`, w.connection.ID, ids)
	if err != nil {
		return h, err
	}
	var id, was string
	var waits, taken bool
	_, err = pgx.ForEachRow(rows, []any{&id, &was, &waits, &taken}, func() error {
		if was != "" {
			h.ids, h.was = append(h.ids, id), append(h.was, was)
		}
		if waits {
			h.waited = append(h.waited, id)
		}
		if taken {
			h.former = append(h.former, id)
		}
		return nil
	})
	return h, err
}
