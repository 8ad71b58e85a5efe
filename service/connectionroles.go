package service

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/mapping"
)

// readRoles reads what mapping must know of the roles of an instance. Members
// that are our own roles or the system account do not count: they log nobody in.
func (c *Connections) readRoles(ctx context.Context, t connection.Target, connectionID string) ([]mapping.Role, error) {
	owners, err := c.store.remoteOwners(ctx, connectionID)
	if err != nil {
		return nil, err
	}
	conn, err := c.reach.dialer().Connect(ctx, t, t.Database)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, `
		WITH RECURSIVE inside (role, member) AS (
			SELECT m.roleid, m.member FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member
			WHERE r.rolname <> $1 AND NOT starts_with(r.rolname, $2) AND NOT EXISTS (SELECT FROM pg_roles g WHERE g.oid = m.roleid AND NOT g.rolcanlogin)
			UNION SELECT i.role, m.member FROM inside i JOIN pg_auth_members m ON m.roleid = i.member)
		SELECT r.rolname, r.oid, r.rolcanlogin, r.rolsuper, r.rolbypassrls, r.rolcreaterole, (SELECT count(DISTINCT member) FROM inside i WHERE i.role = r.oid),
			EXISTS (SELECT FROM pg_roles g WHERE g.rolname = 'rds_iam' AND pg_has_role(r.oid, g.oid, 'MEMBER'))
		FROM pg_roles r`, t.Username, t.Prefix)
	if err != nil {
		return nil, fmt.Errorf("read the roles of the instance: %w", err)
	}
	roles := []mapping.Role{}
	var r mapping.Role
	_, err = pgx.ForEachRow(rows, []any{&r.Name, &r.OID, &r.Login, &r.Superuser, &r.BypassRLS, &r.CreateRole, &r.Members, &r.IAM}, func() error {
		r.Owner = owners[r.Name]
		roles = append(roles, r)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the roles of the instance: %w", err)
	}
	return roles, nil
}

// remoteOwners are the roles that own tables of a connection.
func (s *Store) remoteOwners(ctx context.Context, connectionID string) (map[string]bool, error) {
	rows, err := s.pool.Query(ctx, "SELECT DISTINCT remote_owner FROM portcullis.connection_objects WHERE connection = $1 AND level = 'table' AND dropped IS NULL", connectionID)
	if err != nil {
		return nil, err
	}
	owners := map[string]bool{}
	var name string
	_, err = pgx.ForEachRow(rows, []any{&name}, func() error {
		owners[name] = true
		return nil
	})
	return owners, err
}
