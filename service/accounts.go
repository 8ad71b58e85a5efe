package service

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/internal/scram"
	"portcullis.dev/portcullis/policy"
)

func (s *Store) accountKind() *kind[Account] {
	return &kind[Account]{
		name: "sql_accounts", permission: policy.PermissionUserAdmin, keyFields: []string{"role", "node"},
		key:       func(a *Account) []string { return []string{a.Role, a.Node} },
		normalize: s.normalizeAccount,
		public: func(a Account) Account {
			a.Password, a.PasswordFile, a.Synced = nil, "", false
			return a
		},
		list:   listAccounts,
		put:    putAccount,
		settle: settleAccount,
		remove: removeAccount,
	}
}

func (s *Store) normalizeAccount(a *Account) error {
	if a.Node == "" {
		a.Node = s.node
	}
	if a.IAMID == "" {
		a.IAMID = DefaultIAM
	}
	if err := checkName("node", a.Node, 256); err != nil {
		return err
	}
	if err := checkIdentifier("role", a.Role); err != nil {
		return err
	}
	lower := strings.ToLower(a.Role)
	if strings.HasPrefix(lower, "pg_") || reservedRoles[lower] {
		return invalid("role", "the name %q is reserved", a.Role)
	}
	if err := checkName("userid", a.UserID, 256); err != nil {
		return err
	}
	if a.PasswordFile != "" {
		return invalid("password_file", "is for state files: send password")
	}
	if a.Password != nil && *a.Password == "" {
		return invalid("password", "must not be empty")
	}
	a.Synced = false
	return nil
}

var reservedRoles = map[string]bool{
	"bodata_user": true, "portcullis_exempt": true, "postgres": true, "public": true, "none": true,
	"current_user": true, "current_role": true, "session_user": true,
}

func listAccounts(ctx context.Context, q querier, key []string) ([]Account, error) {
	rows, err := q.Query(ctx, `SELECT a.node, a.role, p.iamid, p.userid, a.synced
		FROM portcullis.sql_accounts a JOIN portcullis.people p ON p.id = a.person_id
		WHERE $1::text IS NULL OR a.role = $1 AND a.node = $2 ORDER BY a.node, a.role`, part(key, 0), part(key, 1))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (a Account, err error) {
		return a, r.Scan(&a.Node, &a.Role, &a.IAMID, &a.UserID, &a.Synced)
	})
}

func putAccount(ctx context.Context, c *change, a, _ *Account) error {
	id, err := personID(ctx, c, "userid", a.IAMID, a.UserID)
	if err != nil {
		return err
	}
	if _, err := c.Exec(ctx, "INSERT INTO portcullis.nodes (name) VALUES ($1) ON CONFLICT DO NOTHING", a.Node); err != nil {
		return err
	}
	var verifier *string
	if a.Password != nil {
		v, err := scram.Verifier(*a.Password)
		if err != nil {
			return invalid("password", "%v", err)
		}
		verifier = &v
	}
	if _, err := c.Exec(ctx, "DELETE FROM portcullis.dropped_accounts WHERE node = $1 AND role = $2", a.Node, a.Role); err != nil {
		return err
	}
	_, err = c.Exec(ctx, `INSERT INTO portcullis.sql_accounts (node, role, person_id, verifier) VALUES ($1, $2, $3, $4)
		ON CONFLICT (node, role) DO UPDATE SET person_id = EXCLUDED.person_id, synced = false,
			verifier = coalesce(EXCLUDED.verifier, portcullis.sql_accounts.verifier)`, a.Node, a.Role, id, verifier)
	return err
}

// settleAccount forgets a stated password that the stored verifier accepts.
func settleAccount(ctx context.Context, c *change, a *Account) error {
	if a.Password == nil {
		return nil
	}
	var verifier *string
	err := c.QueryRow(ctx, "SELECT verifier FROM portcullis.sql_accounts WHERE node = $1 AND role = $2", a.Node, a.Role).Scan(&verifier)
	if err != nil || verifier == nil {
		return err
	}
	if scram.Matches(*verifier, *a.Password) {
		a.Password = nil
	}
	return nil
}

func removeAccount(ctx context.Context, c *change, a *Account) error {
	if _, err := c.Exec(ctx, "INSERT INTO portcullis.dropped_accounts VALUES ($1, $2) ON CONFLICT DO NOTHING", a.Node, a.Role); err != nil {
		return err
	}
	_, err := c.Exec(ctx, "DELETE FROM portcullis.sql_accounts WHERE node = $1 AND role = $2", a.Node, a.Role)
	return err
}
