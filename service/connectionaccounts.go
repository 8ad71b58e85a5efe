package service

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection/mapping"
	"portcullis.dev/portcullis/policy"
)

// MappedAccount is the account of one person on one connection, mapped by
// hand. Deleting it leaves the person to the connection's mapping.
type MappedAccount struct {
	Connection string        `json:"connection"`
	IAMID      string        `json:"iamid,omitempty"`
	UserID     string        `json:"userid"`
	State      mapping.State `json:"state,omitempty"`   // manual (default), none
	Account    string        `json:"account,omitempty"` // the role; for an IAM user or role its name or ARN
	Role       string        `json:"role,omitempty"`    // of the database, where account is an ARN and the names differ
	Kind       mapping.Kind  `json:"kind,omitempty"`    // role (default), iam_user, iam_role, identity_center
}

func mappedAccountKind() *kind[MappedAccount] {
	return &kind[MappedAccount]{
		name: "connection_accounts", permission: policy.PermissionUserAdmin, keyFields: []string{"connection", "userid", "iamid"},
		key:       func(a *MappedAccount) []string { return []string{a.Connection, a.UserID, a.IAMID} },
		normalize: normalizeMappedAccount,
		public:    func(a MappedAccount) MappedAccount { return a },
		list:      listMappedAccounts,
		put:       putMappedAccount,
		state: func(c *change, a *MappedAccount, asIs bool) {
			if !asIs { // else who joins under the name of an account would hold up every change of the section
				c.mapped = append(c.mapped, statedAccount{c.place, a})
			}
		},
		remove: func(ctx context.Context, c *change, a *MappedAccount) error {
			_, err := c.Exec(ctx, `DELETE FROM portcullis.connection_accounts a USING portcullis.connections c, portcullis.people p
				WHERE a.connection = c.id AND a.person_id = p.id AND c.name = $1 AND p.userid = $2 AND p.iamid = $3`, a.Connection, a.UserID, a.IAMID)
			return err
		},
	}
}

func normalizeMappedAccount(a *MappedAccount) error {
	if a.IAMID == "" {
		a.IAMID = DefaultIAM
	}
	if a.State == "" {
		a.State = mapping.Manual
	}
	if a.Kind == "" && a.State == mapping.Manual {
		a.Kind = mapping.KindRole
	}
	if err := checkIdentifier("connection", a.Connection); err != nil {
		return err
	}
	if err := checkName("userid", a.UserID, 256); err != nil {
		return err
	}
	switch a.State {
	case mapping.Manual:
		if !slices.Contains(mapping.Kinds(), a.Kind) {
			return invalid("kind", "must be one of %q, not %q", mapping.Kinds(), a.Kind)
		}
		return checkName("account", a.Account, 2048)
	case mapping.None:
		if a.Account != "" || a.Role != "" || a.Kind != "" {
			return invalid("state", "none goes without account, role and kind")
		}
		return nil
	}
	return invalid("state", "must be manual or none, not %q; delete the entry to leave the person to the connection's mapping", a.State)
}

func listMappedAccounts(ctx context.Context, q querier, key []string) ([]MappedAccount, error) {
	rows, err := q.Query(ctx, `SELECT c.name, p.iamid, p.userid, a.state, a.account, a.role, a.kind
		FROM portcullis.connection_accounts a JOIN portcullis.connections c ON c.id = a.connection AND NOT c.deleting JOIN portcullis.people p ON p.id = a.person_id
		WHERE $1::text IS NULL OR c.name = $1 AND p.userid = $2 AND p.iamid = $3 ORDER BY 1, 2, 3`, part(key, 0), part(key, 1), part(key, 2))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (a MappedAccount, err error) {
		return a, r.Scan(&a.Connection, &a.IAMID, &a.UserID, &a.State, &a.Account, &a.Role, &a.Kind)
	})
}

func putMappedAccount(ctx context.Context, c *change, a, _ *MappedAccount) error {
	person, err := personID(ctx, c, "userid", a.IAMID, a.UserID)
	if err != nil {
		return err
	}
	tag, err := c.Exec(ctx, `INSERT INTO portcullis.connection_accounts (connection, person_id, state, account, role, kind)
		SELECT id, $2, $3, $4, $5, $6 FROM portcullis.connections WHERE name = $1 AND NOT deleting
		ON CONFLICT (connection, person_id) DO UPDATE SET state = EXCLUDED.state, account = EXCLUDED.account, role = EXCLUDED.role, kind = EXCLUDED.kind`,
		a.Connection, person, a.State, a.Account, a.Role, a.Kind)
	if err == nil && tag.RowsAffected() == 0 {
		return invalid("connection", "there is no connection %q", a.Connection)
	}
	return err
}

// mappedEntries are the accounts of a connection that are mapped by hand.
func mappedEntries(ctx context.Context, q querier, connectionID string) ([]mapping.Entry, error) {
	rows, err := q.Query(ctx, `SELECT p.iamid, p.userid, a.state, a.account, a.role, a.kind
		FROM portcullis.connection_accounts a JOIN portcullis.people p ON p.id = a.person_id WHERE a.connection = $1`, connectionID)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (e mapping.Entry, err error) {
		return e, r.Scan(&e.Person.IAMID, &e.Person.UserID, &e.State, &e.Account, &e.Role, &e.Kind)
	})
}

// statedAccount is one that a request states, at its place in the state.
type statedAccount struct {
	place   string
	account *MappedAccount
}

// checkMapped refuses accounts that can be nobody's or are somebody else's: else
// both would lose what they have. A round looks again, since people and roles change.
func (c *change) checkMapped(ctx context.Context) error {
	mapped := c.mapped
	c.mapped = nil
	refusals := map[string]map[policy.PersonID]mapping.Problem{}
	for _, m := range mapped {
		if m.account.State != mapping.Manual {
			continue
		}
		of, known := refusals[m.account.Connection]
		if !known {
			var err error
			if of, err = mappingRefusals(ctx, c, m.account.Connection); err != nil {
				return err
			}
			refusals[m.account.Connection] = of
		}
		if p, refused := of[policy.PersonID{IAMID: m.account.IAMID, UserID: m.account.UserID}]; refused {
			e := invalid("account", "%q cannot be the account of %s/%s: %s", m.account.Account, m.account.IAMID, m.account.UserID, p.Message)
			if m.place == "" {
				return e
			}
			return withPrefix(m.place, e)
		}
	}
	return nil
}

func mappingRefusals(ctx context.Context, c *change, name string) (map[policy.PersonID]mapping.Problem, error) {
	list, err := listConnections(ctx, c, []string{name})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	people, emails, err := everybody(ctx, c)
	if err != nil {
		return nil, err
	}
	entries, err := mappedEntries(ctx, c, list[0].ID)
	if err != nil {
		return nil, err
	}
	return mapping.Refusals(mapping.Config{Automatic: list[0].Mapping, Manual: entries}, withEmails(people, emails),
		mapping.Instance{Prefix: list[0].Prefix, SystemAccount: list[0].Username}), nil
}
