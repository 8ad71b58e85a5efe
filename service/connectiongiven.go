package service

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// A state file says what it says of names. Where a table or a column was renamed
// and another one has its name since, a file that was not written anew would take
// the tags off what was renamed, and with them masks and filters. So an object
// remembers under which name its settings were stated, and loses none of them
// before somebody has stated them under the name that it has now.

// rename gives objects the full names that they have now.
func (w *crawlStore) rename(ctx context.Context, tx pgx.Tx, list []renaming) error {
	ids, names := make([]string, 0, len(list)), make([]string, 0, len(list))
	for _, r := range list {
		ids, names = append(ids, r.id), append(names, r.is)
	}
	_, err := tx.Exec(ctx, `WITH n AS MATERIALIZED (
			SELECT q.id, o.level, o.full_name AS was, q.now FROM unnest($2::uuid[], $3::text[]) q (id, now),
				LATERAL (SELECT level, full_name FROM portcullis.connection_objects WHERE id = q.id OFFSET 0) o WHERE o.full_name <> q.now),
		again AS (DELETE FROM portcullis.connection_former f USING n WHERE f.connection = $1 AND f.object = n.id AND f.name = n.now),
		noted AS (
			INSERT INTO portcullis.connection_former (connection, name, object) SELECT $1, n.was, n.id FROM n
			WHERE NOT EXISTS (SELECT FROM portcullis.connection_objects b WHERE b.connection = $1 AND b.level = n.level AND b.full_name = n.was AND b.id <> n.id AND b.dropped IS NULL OFFSET 0)
			ON CONFLICT DO NOTHING)
		UPDATE portcullis.connection_objects o SET full_name = n.now, last_seen = now(),
			given_as = CASE WHEN o.enforce IS NOT NULL OR o.tags <> '{}' OR o.column_tags <> '{}' THEN nullif(coalesce(o.given_as, n.was), n.now) END
		FROM n WHERE o.id = n.id`, w.connection.ID, ids, names)
	return err
}

// givenSettings are those of an object, with the names that they were stated for.
type givenSettings struct {
	ObjectSettings
	columns map[string]string // by present name
}

// keepsGiven refuses settings that take something off an object which it got under another name.
func keepsGiven(ctx context.Context, q querier, stated *ObjectSettings) error {
	var had givenSettings
	var enforce *bool
	var tags map[string][]string
	err := q.QueryRow(ctx, `SELECT coalesce(given_as, ''), columns_given_as, enforce, tags, column_tags FROM portcullis.connection_objects
		WHERE full_name = $1 AND dropped IS NULL AND (given_as IS NOT NULL OR columns_given_as <> '{}')`, stated.Name).Scan(&had.Was, &had.columns, &enforce, &had.Tags, &tags)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read what was said of %s: %w", stated.Name, err)
	}
	had.Name, had.State = stated.Name, stateText(enforce)
	for _, name := range sortedKeys(tags) {
		had.Columns = append(had.Columns, ColumnTags{Name: name, Tags: tags[name]})
	}
	return had.keptBy(stated)
}

func (g *givenSettings) keptBy(stated *ObjectSettings) error {
	if g.Was != "" {
		for _, tag := range g.Tags {
			if !slices.Contains(stated.Tags, tag) {
				return g.lost("tags", fmt.Sprintf("would lose the tag %q, which it got as %s", tag, g.Was))
			}
		}
		if g.State == stateDisable && stated.State != stateDisable {
			return g.lost("state", fmt.Sprintf("would no longer be disabled, which it became as %s", g.Was))
		}
	}
	for _, c := range g.Columns {
		was, got := g.columns[c.Name], "as a column of "+g.Was
		if was != "" {
			got = fmt.Sprintf("as %q", was)
		} else if g.Was == "" {
			continue
		}
		at := slices.IndexFunc(stated.Columns, func(s ColumnTags) bool { return s.Name == c.Name })
		for _, tag := range c.Tags {
			if at < 0 || !slices.Contains(stated.Columns[at].Tags, tag) {
				e := g.lost("columns", fmt.Sprintf("would lose the tag %q, which it got %s", tag, got))
				e.Message = fmt.Sprintf("the column %q of %s", c.Name, e.Message)
				return e
			}
		}
	}
	return nil
}

func (g *givenSettings) lost(field, what string) *Error {
	e := invalid(field, "%s %s", g.Name, what)
	e.Hint = fmt.Sprintf("It was renamed since. State the settings of %s as they are (portcullis connection show tells them); once that was done under its present name they can be changed.", g.Name)
	return e
}
