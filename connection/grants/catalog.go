package grants

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"portcullis.dev/portcullis/connection"
)

// catalog is an instance as its catalogs have it.
type catalog struct {
	*graph
	account   uint32 // the system account
	ownerRole uint32 // Target.OwnerRole, 0 if it is not there
	viewsRole uint32 // Target.ViewsOwner, 0 if it is not there
	// makers are the roles under which ours can be made, by OID: see makers.go.
	makers []uint32
	// elsewhere are the databases, by name, in which roles of ours have
	// privileges, wanted there or not.
	elsewhere []string
	listed    map[string]databaseRow
	limits    Limits
}

// databaseRow is a row of pg_database.
type databaseRow struct {
	oid, owner uint32
	name       string
	acl        []entry // CONNECT is canSelect, since that is all that counts
}

const (
	sqlSelf = `SELECT current_setting('server_version_num')::int, r.oid, coalesce(to_regrole(quote_ident($1))::oid, 0::oid),
			coalesce(to_regrole(quote_ident($2))::oid, 0::oid)
		FROM pg_roles r WHERE r.rolname = current_user`
	sqlRoles = `SELECT oid, rolname::text, rolsuper, rolcreaterole, rolcanlogin, rolreplication, rolbypassrls, rolinherit, rolcreatedb,
		CASE WHEN rolname = ANY ($1) THEN coalesce(shobj_description(oid, 'pg_authid'), '') ELSE '' END FROM pg_roles`
	sqlMembers = `SELECT m.roleid, m.member, m.grantor, m.admin_option, r.rolinherit, true
		FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member`
	sqlMembers16 = `SELECT roleid, member, grantor, admin_option, inherit_option, set_option FROM pg_auth_members`
	sqlDatabases = `SELECT d.oid, d.datdba, d.datname::text, ` + aclArrays + ` FROM pg_database d, ` + aclLateral + `(coalesce(d.datacl, acldefault('d', d.datdba))) a
		WHERE a.privilege_type = 'CONNECT') x WHERE d.datallowconn`
	sqlDependents = `SELECT DISTINCT d.datname::text FROM pg_shdepend s JOIN pg_database d
		ON d.oid = CASE WHEN s.classid = 'pg_database'::regclass THEN s.objid ELSE s.dbid END
		WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = ANY ($1) AND s.deptype = 'a' AND d.datallowconn ORDER BY 1`
)

// An ACL crosses as four arrays of equal length.
const (
	aclArrays  = `x.grantees, x.grantors, x.privileges, x.grantable`
	aclLateral = `LATERAL (SELECT coalesce(array_agg(a.grantee), '{}') AS grantees, coalesce(array_agg(a.grantor), '{}') AS grantors,
		coalesce(array_agg(a.privilege_type), '{}') AS privileges, coalesce(array_agg(a.is_grantable), '{}') AS grantable FROM aclexplode`
	// What the ACL of relation c and those of its columns say: on a column counts as on the relation.
	relationLateral = `LATERAL (
		SELECT coalesce(array_agg(a.grantee), '{}') AS grantees, coalesce(array_agg(a.grantor), '{}') AS grantors, coalesce(array_agg(a.privilege_type), '{}') AS privileges,
			coalesce(array_agg(a.is_grantable), '{}') AS grantable FROM (SELECT * FROM aclexplode(coalesce(c.relacl, acldefault('r', c.relowner)))
			UNION ALL SELECT e.* FROM pg_attribute t, aclexplode(t.attacl) e WHERE t.attrelid = c.oid AND t.attacl IS NOT NULL AND NOT t.attisdropped ORDER BY 2, 1) a) x`
)

type aclColumns struct {
	grantees, grantors []uint32
	privileges         []string
	grantable          []bool
}

func (c *aclColumns) targets() []any {
	return []any{&c.grantees, &c.grantors, &c.privileges, &c.grantable}
}

// renamed reads an ACL in which one other privilege counts as if it were SELECT.
func (c *aclColumns) entries(privilege string) ([]entry, error) {
	if privilege != "SELECT" {
		for i, p := range c.privileges {
			c.privileges[i] = map[bool]string{true: "SELECT", false: ""}[p == privilege]
		}
	}
	return foldACL(c.grantees, c.grantors, c.privileges, c.grantable)
}

// readInstance reads what is the same in every database, and in which of them
// the roles of these sets or, where within is nil, all of ours have privileges.
func readInstance(ctx context.Context, conn *pgx.Conn, t connection.Target, made map[string]MadeRole, within map[string]bool) (*catalog, error) {
	c := &catalog{listed: map[string]databaseRow{}}
	var version int
	if err := conn.QueryRow(ctx, sqlSelf, t.OwnerRole(), t.ViewsOwner()).Scan(&version, &c.account, &c.ownerRole, &c.viewsRole); err != nil {
		return nil, remote("reading the version", err)
	}
	unseen := []string{}
	for _, m := range made {
		if m.OID == 0 { // known by the mark in its comment, a person's too
			unseen = append(unseen, m.Name)
		}
	}

	var roles []role
	err := each(ctx, conn, func(rows pgx.Rows) error {
		var r role
		err := rows.Scan(&r.oid, &r.name, &r.super, &r.createRole, &r.login, &r.replication, &r.bypassRLS, &r.inherit, &r.createDB, &r.comment)
		roles = append(roles, r)
		return err
	}, sqlRoles, unseen)
	if err != nil {
		return nil, remote("reading the roles", err)
	}

	var memberships []membership
	query := sqlMembers
	if version >= 160000 {
		query = sqlMembers16
	}
	err = each(ctx, conn, func(rows pgx.Rows) error {
		var m membership
		err := rows.Scan(&m.role, &m.member, &m.grantor, &m.admin, &m.inherit, &m.set)
		memberships = append(memberships, m)
		return err
	}, query)
	if err != nil {
		return nil, remote("reading the memberships", err)
	}
	c.graph = newGraph(version, roles, memberships)
	if c.makers, err = readMakers(ctx, conn, t, c); err != nil {
		return nil, remote("looking for who makes roles", err)
	}

	err = each(ctx, conn, func(rows pgx.Rows) error {
		var d databaseRow
		var acl aclColumns
		if err := rows.Scan(append([]any{&d.oid, &d.owner, &d.name}, acl.targets()...)...); err != nil {
			return err
		}
		d.acl, err = acl.entries("CONNECT")
		c.listed[d.name] = d
		return err
	}, sqlDatabases)
	if err != nil {
		return nil, remote("reading the databases", err)
	}
	err = each(ctx, conn, func(rows pgx.Rows) error {
		var name string
		err := rows.Scan(&name)
		c.elsewhere = append(c.elsewhere, name)
		return err
	}, sqlDependents, c.holding(made, within))
	if err != nil {
		return nil, remote("reading what roles of ours hold", err)
	}
	return c, nil
}

// holding are the roles of which it matters in which databases they have
// privileges: those of the ledger, or those of these sets with their ways.
func (c *catalog) holding(made map[string]MadeRole, within map[string]bool) []uint32 {
	out := make([]uint32, 0, len(made))
	add := func(m MadeRole) {
		if m.OID != 0 {
			out = append(out, m.OID)
		}
		// One that was just made is in the ledger without OID.
		if r := c.names[m.Name]; r != nil && r.oid != m.OID {
			out = append(out, r.oid)
		}
	}
	if within == nil {
		for _, m := range made {
			add(m)
		}
		return out
	}
	for name := range within {
		r := c.names[name]
		if r == nil {
			continue
		}
		for _, held := range c.closure(r.oid, func(membership) bool { return true }) {
			if m, ok := made[c.name(held)]; ok {
				add(m)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// each runs a query and hands its rows over one by one.
func each(ctx context.Context, conn *pgx.Conn, row func(pgx.Rows) error, query string, args ...any) error {
	rows, err := conn.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// may reports whether a role, with what it inherits, owns an object or has the
// grant option of all these privileges from one grantee: PostgreSQL grants as
// one role only.
func (c *catalog) may(who uint32, owner uint32, acl []entry, want bits) bool {
	if r := c.roles[who]; r == nil {
		return false
	} else if r.super {
		return true
	}
	held := c.inherits(who)
	if slices.Contains(held, owner) {
		return true
	}
	options := map[uint32]bits{}
	for _, e := range acl {
		if e.by < 0 && e.via == "" && slices.Contains(held, e.grantee) {
			options[e.grantee] |= e.bits >> optionShift & tableBits
		}
	}
	for _, o := range options {
		if want&^o == 0 {
			return true
		}
	}
	return false
}

// enters reports whether a role has USAGE on a schema, without which no
// statement of it can name a table there.
func (c *catalog) enters(who uint32, s *schema) bool {
	if public(s.acl, canSelect) || c.may(who, s.owner, s.acl, canSelect) {
		return true
	}
	held := c.inherits(who)
	return slices.ContainsFunc(s.acl, func(e entry) bool { return e.bits&canSelect != 0 && slices.Contains(held, e.grantee) })
}

// public reports whether everybody has a privilege.
func public(acl []entry, want bits) bool {
	for _, e := range acl {
		if e.grantee == 0 && e.via == "" && e.bits&want == want {
			return true
		}
	}
	return false
}

func remote(doing string, err error) error { return fmt.Errorf("grants: %s: %w", doing, err) }
