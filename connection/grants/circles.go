package grants

import (
	"fmt"
	"slices"
	"strings"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/sqltext"
)

// circular tells what keeps a role from getting a member: PostgreSQL refuses a
// membership while the role is itself, directly or through others, a member of who
// is to join it. What of that we can revoke is gone before any membership is granted.
func (o *obstacles) circular(role, member *role) *connection.Error {
	way := o.cat.way(role.oid, member.oid, func(membership) bool { return true })
	var through, statements []string
	for _, m := range o.planner.ending(way, role.oid, member.oid) {
		statements = append(statements, o.judge().revokeMembership(m))
	}
	if len(statements) == 0 {
		return nil
	}
	for _, m := range way[:len(way)-1] {
		through = append(through, sqltext.Identifier(o.cat.name(m.role)))
	}
	e := &connection.Error{Code: "circular_membership",
		Message: fmt.Sprintf("role %s is a member of %s, which therefore cannot become its member", sqltext.Identifier(role.name), sqltext.Identifier(member.name)),
		Hint:    "A DBA takes back what others granted: " + strings.Join(statements, "; ")}
	if len(through) > 0 {
		e.Detail = "It is one through " + strings.Join(through, ", ") + "."
	}
	return e
}

// ending are the memberships to end so that a role is no longer a member of
// another one: those in our roles before others, since they have to go anyway.
// nil: all of a way there is ours, and still to be revoked.
func (p *planner) ending(way []membership, role, of uint32) (out []membership) {
	for len(way) > 0 {
		foreign := slices.DeleteFunc(slices.Clone(way), p.granted)
		if len(foreign) == 0 {
			return nil
		}
		end := foreign[0]
		if i := slices.IndexFunc(foreign, func(m membership) bool { return p.holds(m.role) }); i >= 0 {
			end = foreign[i]
		}
		out = append(out, end)
		way = p.cat.way(role, of, func(m membership) bool { return !slices.Contains(out, m) })
	}
	return out
}

// granted reports whether a membership would be there without others, too.
func (p *planner) granted(m membership) bool {
	return p.holds(m.role) && slices.ContainsFunc(p.cat.members[m.role], func(same membership) bool {
		_, ours := p.revocable(same)
		return same.member == m.member && (ours || p.isMaker(m.member))
	})
}

// holds reports whether a role is one of ours that hold grants.
func (p *planner) holds(oid uint32) bool {
	made, ok := p.ledger[p.cat.name(oid)]
	return ok && made.Kind != RoleLogin && (made.OID == 0 || made.OID == oid)
}
