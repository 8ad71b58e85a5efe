package service

import (
	"context"

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
		remove: func(ctx context.Context, c *change, s *Subscription) error {
			_, err := c.Exec(ctx, `DELETE FROM portcullis.subscriptions s USING portcullis.data_sources d, portcullis.people p
				WHERE s.data_source = d.id AND s.person_id = p.id AND d.name = $1 AND p.userid = $2 AND p.iamid = $3`, s.DataSource, s.UserID, s.IAMID)
			return err
		},
	}
}

func normalizeSubscription(s *Subscription) error {
	if s.IAMID == "" {
		s.IAMID = DefaultIAM
	}
	if err := checkName("data_source", s.DataSource, 256); err != nil {
		return err
	}
	if err := checkName("userid", s.UserID, 256); err != nil {
		return err
	}
	if s.Expires != nil {
		t := s.Expires.UTC().Truncate(1000)
		s.Expires = &t
	}
	return nil
}

func listSubscriptions(ctx context.Context, q querier, key []string) ([]Subscription, error) {
	rows, err := q.Query(ctx, `SELECT d.name, p.iamid, p.userid, s.expires
		FROM portcullis.subscriptions s JOIN portcullis.data_sources d ON d.id = s.data_source JOIN portcullis.people p ON p.id = s.person_id
		WHERE $1::text IS NULL OR d.name = $1 AND p.userid = $2 AND p.iamid = $3 ORDER BY 1, 2, 3`, part(key, 0), part(key, 1), part(key, 2))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (s Subscription, err error) {
		err = r.Scan(&s.DataSource, &s.IAMID, &s.UserID, &s.Expires)
		if s.Expires != nil {
			t := s.Expires.UTC()
			s.Expires = &t
		}
		return s, err
	})
}

func putSubscription(ctx context.Context, c *change, s, _ *Subscription) error {
	id, err := personID(ctx, c, "userid", s.IAMID, s.UserID)
	if err != nil {
		return err
	}
	tag, err := c.Exec(ctx, `INSERT INTO portcullis.subscriptions (data_source, person_id, expires)
		SELECT id, $2, $3 FROM portcullis.data_sources WHERE name = $1
		ON CONFLICT (data_source, person_id) DO UPDATE SET expires = EXCLUDED.expires`, s.DataSource, id, s.Expires)
	if err == nil && tag.RowsAffected() == 0 {
		return invalid("data_source", "there is no data source %q", s.DataSource)
	}
	return err
}
