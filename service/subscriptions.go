package service

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/policy"
)

func subscriptionKind() *kind[Subscription] {
	return &kind[Subscription]{
		name: "subscriptions", permission: policy.PermissionGovernance, keyFields: []string{"data_source", "userid", "iamid"},
		key:       func(s *Subscription) []string { return []string{s.DataSource, s.UserID, s.IAMID} },
		normalize: normalizeSubscription,
		public:    func(s Subscription) Subscription { return s },
		list:      listSubscriptions,
		put:       putSubscription,
		remove:    removeSubscription,
	}
}

func normalizeSubscription(s *Subscription) error {
	if s.IAMID == "" {
		s.IAMID = DefaultIAM
	}
	if s.Access == "" {
		s.Access = policy.AccessRead
	}
	if err := checkAccess(s.Access); err != nil {
		return err
	}
	if err := checkName("data_source", s.DataSource, 1024); err != nil {
		return err
	}
	s.DataSource = canonicalName(s.DataSource)
	if err := checkName("userid", s.UserID, 256); err != nil {
		return err
	}
	if s.Expires != nil {
		t := s.Expires.UTC().Truncate(1000)
		s.Expires = &t
	}
	return nil
}

func checkAccess(a policy.Access) error {
	if a != policy.AccessRead && a != policy.AccessWrite {
		return invalid("access", "must be read or write, not %q", a)
	}
	return nil
}

func listSubscriptions(ctx context.Context, q querier, key []string) ([]Subscription, error) {
	if key != nil {
		key = []string{canonicalName(key[0]), key[1], key[2]}
	}
	rows, err := q.Query(ctx, `SELECT d.name, p.iamid, p.userid, s.access, s.expires
		FROM portcullis.subscriptions s JOIN portcullis.data_sources d ON d.id = s.data_source JOIN portcullis.people p ON p.id = s.person_id
		WHERE $1::text IS NULL OR d.name = $1 AND p.userid = $2 AND p.iamid = $3
		UNION ALL
		SELECT o.full_name, p.iamid, p.userid, s.access, s.expires
		FROM portcullis.connection_subscriptions s JOIN portcullis.connection_objects o ON o.id = s.object AND o.dropped IS NULL
			JOIN portcullis.connections c ON c.id = o.connection AND NOT c.deleting JOIN portcullis.people p ON p.id = s.person_id
		WHERE $1::text IS NULL OR o.full_name = $1 AND p.userid = $2 AND p.iamid = $3 ORDER BY 1, 2, 3`, part(key, 0), part(key, 1), part(key, 2))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (s Subscription, err error) {
		err = r.Scan(&s.DataSource, &s.IAMID, &s.UserID, &s.Access, &s.Expires)
		if s.Expires != nil {
			t := s.Expires.UTC()
			s.Expires = &t
		}
		return s, err
	})
}

// putSubscription is one statement where all is there: states may hold tens of thousands.
func putSubscription(ctx context.Context, c *change, s, _ *Subscription) error {
	tag, err := c.Exec(ctx, `WITH p AS (SELECT id FROM portcullis.people WHERE iamid = $2 AND userid = $3),
			d AS (SELECT id FROM portcullis.data_sources WHERE name = $1),
			o AS (SELECT o.id FROM portcullis.connection_objects o JOIN portcullis.connections c ON c.id = o.connection AND NOT c.deleting
				WHERE o.full_name = $1 AND o.level = 'table' AND o.dropped IS NULL AND NOT EXISTS (SELECT FROM d) LIMIT 1),
			own AS (INSERT INTO portcullis.subscriptions AS s (data_source, person_id, access, expires) SELECT d.id, p.id, $4, $5 FROM d, p
				ON CONFLICT (data_source, person_id) DO UPDATE SET access = EXCLUDED.access, expires = EXCLUDED.expires RETURNING 1),
			remote AS (INSERT INTO portcullis.connection_subscriptions AS s (object, person_id, access, expires) SELECT o.id, p.id, $4, $5 FROM o, p
				ON CONFLICT (object, person_id) DO UPDATE SET access = EXCLUDED.access, expires = EXCLUDED.expires RETURNING 1)
		SELECT FROM own UNION ALL SELECT FROM remote`, s.DataSource, s.IAMID, s.UserID, s.Access, s.Expires)
	if err != nil || tag.RowsAffected() > 0 {
		return err
	}
	if _, err := personID(ctx, c, "userid", s.IAMID, s.UserID); err != nil {
		return err
	}
	if _, err := tableNamed(ctx, c, s.DataSource); err != nil {
		return err
	}
	return conflict("data_source", "the table %q has been found at this moment: try again", s.DataSource)
}

// tableNamed is the id of a table of a connection by its full name.
func tableNamed(ctx context.Context, q querier, name string) (id string, err error) {
	err = q.QueryRow(ctx, `SELECT o.id::text FROM portcullis.connection_objects o JOIN portcullis.connections c ON c.id = o.connection AND NOT c.deleting
		WHERE o.full_name = $1 AND o.level = 'table' AND o.dropped IS NULL LIMIT 1`, name).Scan(&id)
	if !errors.Is(err, pgx.ErrNoRows) {
		return id, err
	}
	if err := notRenamed(ctx, q, "data_source", name); err != nil {
		return "", err
	}
	e := invalid("data_source", "there is no data source %q", name)
	if known, err := connectionOf(ctx, q, name); err != nil {
		return "", err
	} else if known != "" {
		e.Hint = "Tables of a connection are known once it was crawled: portcullis connection sync --wait " + firstPart(name)
	}
	return "", e
}

func removeSubscription(ctx context.Context, c *change, s *Subscription) error {
	if _, err := c.Exec(ctx, `DELETE FROM portcullis.subscriptions s USING portcullis.data_sources d, portcullis.people p
		WHERE s.data_source = d.id AND s.person_id = p.id AND d.name = $1 AND p.userid = $2 AND p.iamid = $3`, s.DataSource, s.UserID, s.IAMID); err != nil {
		return err
	}
	_, err := c.Exec(ctx, `DELETE FROM portcullis.connection_subscriptions s USING portcullis.connection_objects o, portcullis.people p
		WHERE s.object = o.id AND s.person_id = p.id AND o.full_name = $1 AND o.dropped IS NULL AND p.userid = $2 AND p.iamid = $3`, s.DataSource, s.UserID, s.IAMID)
	return err
}
