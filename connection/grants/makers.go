package grants

import (
	"cmp"
	"context"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"portcullis.dev/portcullis/connection"
)

// From PostgreSQL 16 on whoever makes a role is its member WITH ADMIN, and each
// GRANT, REVOKE, COMMENT and DROP of a role walks through all memberships of who
// runs it, anew after each change. One maker of n roles takes time in n². So
// there are several: the owner role, and those that setup made beside it, each
// of which handles the roles that it made.

// makerName is of the roles beside the owner role; $1 is the owner role.
const makerName = `'^' || $1 || '_[0-9]{2}$'`

const (
	// In broker mode a maker acts by a function of its own. One that somebody else
	// put in its place is not called.
	sqlMakers = `SELECT r.oid FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner
		WHERE p.pronamespace = to_regnamespace('portcullis_broker') AND p.oid = to_regprocedure('portcullis_broker.' || p.proname || '(jsonb)')
			AND (r.rolname = $1 OR r.rolname ~ (` + makerName + `)) AND p.proname = 'roles' || substr(r.rolname, char_length($1) + 1)
			AND p.prosecdef AND r.rolcreaterole AND NOT r.rolcanlogin AND has_function_privilege(p.oid, 'EXECUTE') ORDER BY r.rolname`
	// In grantor mode the account acts as a maker.
	sqlBecome = `SELECT r.oid FROM pg_roles r WHERE r.rolname ~ (` + makerName + `) AND r.rolcreaterole AND NOT r.rolcanlogin ORDER BY r.rolname`
)

// readMakers lists those under whom we can make roles, the owner role of broker
// mode among them.
func readMakers(ctx context.Context, conn *pgx.Conn, t connection.Target, c *catalog) (makers []uint32, err error) {
	query := sqlBecome
	if t.Mode == connection.ModeBroker {
		query = sqlMakers
	}
	mine := c.becomes(c.account)
	err = each(ctx, conn, func(rows pgx.Rows) error {
		var oid uint32
		err := rows.Scan(&oid)
		if t.Mode == connection.ModeBroker || slices.Contains(mine, oid) {
			makers = append(makers, oid)
		}
		return err
	}, query, t.OwnerRole())
	return makers, err
}

// makerFunction is the function of the broker that acts as a maker: "" is the
// owner role.
func makerFunction(t connection.Target, as string) string {
	return "roles" + strings.TrimPrefix(as, t.OwnerRole())
}

// rolesAs is who makes and joins roles where makers do not: the owner role,
// which the broker's function acts as and of which the account is a member in
// grantor mode, so that accounts can be rotated; without one the account itself.
func (p *planner) rolesAs() uint32 {
	owner := p.cat.roles[p.cat.ownerRole]
	if p.target.Mode == connection.ModeBroker {
		return p.cat.ownerRole
	}
	if owner != nil && owner.createRole && slices.Contains(p.cat.becomes(p.cat.account), owner.oid) {
		return owner.oid
	}
	return p.cat.account
}

// as is how a statement says who acts: nothing for the account itself, and
// nothing where the broker's functions do, unless it is one beside the first.
func (p *planner) as(who uint32) string {
	if who == p.cat.account || p.target.Mode == connection.ModeBroker && (who == p.cat.ownerRole || !slices.Contains(p.cat.makers, who)) {
		return ""
	}
	return p.cat.name(who)
}

// maker is who handles a role, as a statement says it.
func (p *planner) maker(role string) string {
	who, known := p.admins[role]
	if !known {
		who = p.makerOf(role)
		p.admins[role] = who
	}
	return p.as(who)
}

// makerOf is who made a role, or who is to make it.
func (p *planner) makerOf(role string) uint32 {
	var beside []uint32
	for _, m := range p.cat.makers {
		if m != p.cat.ownerRole {
			beside = append(beside, m)
		}
	}
	if p.cat.version < 160000 || len(beside) == 0 {
		return p.asRole
	}
	now := p.cat.names[role]
	if now == nil {
		h := fnv.New32a()
		_, _ = h.Write([]byte(role)) // a hash takes everything
		return beside[h.Sum32()%uint32(len(beside))]
	}
	for _, m := range p.cat.members[now.oid] {
		if m.admin && slices.Contains(beside, m.member) {
			return m.member
		}
	}
	return p.asRole
}

// isMaker reports whether a role is a member of ours only because it made them.
func (p *planner) isMaker(oid uint32) bool {
	return oid == p.cat.ownerRole || oid == p.cat.account || slices.Contains(p.cat.makers, oid)
}

// revocable reports whether we can revoke a membership, and as whom. Up to
// PostgreSQL 15 nobody's grant is their own.
func (p *planner) revocable(m membership) (by uint32, ok bool) {
	switch {
	case p.cat.version < 160000:
		return p.asRole, true
	case m.grantor == p.cat.ownerRole && p.target.Mode == connection.ModeBroker, slices.Contains(p.cat.makers, m.grantor):
		return m.grantor, true
	case p.target.Mode == connection.ModeBroker:
		return 0, false
	}
	return m.grantor, m.grantor == p.asRole || m.grantor == p.cat.account || p.cat.roles[p.cat.account].super
}

// byMaker sorts what is done on roles, so that who does it changes seldom;
// revokes come first.
func (p *planner) byMaker() {
	slices.SortStableFunc(p.plan.roles, func(a, b change) int {
		if a.revokes() != b.revokes() {
			return map[bool]int{true: -1, false: 1}[a.revokes()]
		}
		return cmp.Compare(a.as, b.as)
	})
	for _, list := range [][]change{p.joins, p.drops} {
		slices.SortStableFunc(list, func(a, b change) int { return cmp.Compare(a.as, b.as) })
	}
}

// brokers are the functions that handle roles.
func (c *catalog) brokers(t connection.Target) map[string]bool {
	out := map[string]bool{}
	if t.Mode == connection.ModeBroker {
		for _, m := range c.makers {
			out[makerFunction(t, c.name(m))] = true
		}
	}
	return out
}
