package service

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// governedRole is what every SQL account is a member of.
const governedRole = "bodata_user"

// engineAccount is a SQL account as it is to be.
type engineAccount struct {
	role     string
	verifier *string
	oid      *int64
	synced   bool
}

func (e *Engine) syncAccounts(ctx context.Context, conn *pgx.Conn) error {
	if role, err := readRole(ctx, conn, governedRole); err != nil || role == nil {
		return errors.Join(err, errors.New("the engine has no role "+governedRole+": CREATE EXTENSION portcullis makes it"))
	}
	rows, err := e.store.pool.Query(ctx, "SELECT role, verifier, role_oid, synced FROM portcullis.sql_accounts WHERE node = $1 ORDER BY role", e.cfg.Node)
	if err != nil {
		return err
	}
	accounts, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (a engineAccount, err error) {
		return a, r.Scan(&a.role, &a.verifier, &a.oid, &a.synced)
	})
	if err != nil {
		return err
	}
	var failed error
	for _, a := range accounts {
		if err := e.syncAccount(ctx, conn, a); err != nil {
			failed = errors.Join(failed, fmt.Errorf("SQL account %q: %w", a.role, err))
		}
	}
	return errors.Join(failed, e.dropAccounts(ctx, conn))
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// engineRole is a role as it is.
type engineRole struct {
	oid      uint32
	powerful bool // more than an ordinary login
	member   bool // of bodata_user
	login    bool
	password *string
}

func readRole(ctx context.Context, conn *pgx.Conn, name string) (*engineRole, error) {
	var r engineRole
	err := conn.QueryRow(ctx, `SELECT a.oid, a.rolsuper OR a.rolcreaterole OR a.rolcreatedb OR a.rolreplication OR a.rolbypassrls,
			EXISTS (SELECT FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = a.oid AND g.rolname = $2), a.rolcanlogin, a.rolpassword
		FROM pg_authid a WHERE a.rolname = $1`, name, governedRole).Scan(&r.oid, &r.powerful, &r.member, &r.login, &r.password)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return &r, err
}

// syncAccount makes one role. A role that is there already is taken over only
// if it is an ordinary member of bodata_user.
func (e *Engine) syncAccount(ctx context.Context, conn *pgx.Conn, a engineAccount) error {
	role, err := readRole(ctx, conn, a.role)
	if err != nil {
		return err
	}
	switch {
	case role == nil:
		if _, err := conn.Exec(ctx, "CREATE ROLE "+quote(a.role)+" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS IN ROLE "+governedRole); err != nil {
			return err
		}
		if role, err = readRole(ctx, conn, a.role); err != nil || role == nil {
			return errors.Join(err, errors.New("the role vanished"))
		}
	case role.powerful || !role.member:
		return errors.New("the engine has a role of this name that is not an ordinary member of " + governedRole)
	case !role.login:
		if _, err := conn.Exec(ctx, "ALTER ROLE "+quote(a.role)+" LOGIN"); err != nil {
			return err
		}
	}
	if a.verifier != nil && (role.password == nil || *role.password != *a.verifier) {
		if _, err := conn.Exec(ctx, "ALTER ROLE "+quote(a.role)+" PASSWORD '"+*a.verifier+"'"); err != nil {
			return errors.New("the password could not be set")
		}
	}
	if a.synced && a.oid != nil && *a.oid == int64(role.oid) {
		return nil
	}
	_, err = e.store.Change(ctx, "service", func(c *change) error {
		_, err := c.Exec(ctx, "UPDATE portcullis.sql_accounts SET role_oid = $3, synced = true WHERE node = $1 AND role = $2", e.cfg.Node, a.role, int64(role.oid))
		return err
	})
	return err
}

// dropAccounts takes away the roles of accounts that were deleted. A role that
// owns something stays, without login, password and membership.
func (e *Engine) dropAccounts(ctx context.Context, conn *pgx.Conn) error {
	rows, err := e.store.pool.Query(ctx, "SELECT role FROM portcullis.dropped_accounts WHERE node = $1", e.cfg.Node)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := e.dropAccount(ctx, conn, name); err != nil {
			return fmt.Errorf("drop SQL account %q: %w", name, err)
		}
		if _, err := e.store.pool.Exec(ctx, "DELETE FROM portcullis.dropped_accounts WHERE node = $1 AND role = $2", e.cfg.Node, name); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) dropAccount(ctx context.Context, conn *pgx.Conn, name string) error {
	role, err := readRole(ctx, conn, name)
	if err != nil || role == nil || role.powerful || !role.member {
		return err
	}
	if _, err := conn.Exec(ctx, "DROP ROLE "+quote(name)); err == nil {
		return nil
	}
	if _, err := conn.Exec(ctx, "ALTER ROLE "+quote(name)+" NOLOGIN PASSWORD NULL"); err != nil {
		return err
	}
	e.log.Warn("a deleted SQL account owns objects: its role stays without login", "role", name)
	_, err = conn.Exec(ctx, "REVOKE "+governedRole+" FROM "+quote(name))
	return err
}
