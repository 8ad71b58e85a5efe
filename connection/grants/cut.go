package grants

import (
	"fmt"
	"slices"
	"strings"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/sqltext"
)

// kept are the roles whose privileges and memberships no statement for a DBA
// may touch: those that hold our grants, and those that act for us. Who reaches
// one without being meant to does so by a membership that somebody else gave,
// and that is what has to go.
func (e *evaluator) isKept(oid uint32) bool { return oid != 0 && e.kept[oid] }

func (e *evaluator) findKept(t connection.Target, ledger map[string]MadeRole) {
	e.kept, e.wants = map[uint32]bool{}, map[uint32]map[string]bool{}
	for _, oid := range append([]uint32{e.cat.account, e.cat.ownerRole, e.cat.viewsRole}, e.cat.makers...) {
		e.kept[oid] = oid != 0
	}
	for name, made := range ledger {
		if r := e.cat.names[name]; r != nil && made.Kind != RoleLogin && (made.OID == 0 || made.OID == r.oid) {
			e.kept[r.oid] = true
		}
	}
	for _, s := range e.want.sets {
		if r := e.cat.names[s.role]; r != nil && e.kept[r.oid] {
			e.wants[r.oid] = map[string]bool{}
			for _, m := range s.members {
				e.wants[r.oid][m] = true
			}
		}
	}
	e.prefix = t.Prefix
}

// meant reports whether a membership is one that we want, or that comes with
// acting for us.
func (e *evaluator) meant(m membership) bool {
	if !e.isKept(m.role) {
		return false
	}
	member := e.cat.name(m.member)
	switch {
	case m.member == e.cat.account, m.member == e.cat.ownerRole, slices.Contains(e.cat.makers, m.member):
		return true
	case e.wants[m.role] != nil:
		return e.wants[m.role][member]
	}
	// A way: sets and ways are members of it.
	return e.isKept(m.member) && strings.HasPrefix(member, e.prefix)
}

// cut finds the memberships that have to go so that a login no longer reaches a
// role, without taking anything from who is meant to.
func (e *evaluator) cut(login, target uint32) []membership {
	from := map[uint32]bool{login: true}
	queue := []uint32{login}
	for ; len(queue) > 0; queue = queue[1:] {
		for _, m := range e.cat.memberOf[queue[0]] {
			if !from[m.role] {
				from[m.role] = true
				queue = append(queue, m.role)
			}
		}
	}
	if !from[target] || login == target {
		return nil
	}
	to := map[uint32]bool{target: true}
	for queue = []uint32{target}; len(queue) > 0; queue = queue[1:] {
		for _, m := range e.cat.members[queue[0]] {
			if from[m.member] && !to[m.member] {
				to[m.member] = true
				queue = append(queue, m.member)
			}
		}
	}
	var out []membership
	for role := range to {
		for _, m := range e.cat.members[role] {
			if to[m.member] && e.cuts(m, target, to) {
				out = append(out, m)
			}
		}
	}
	return out
}

// cuts reports whether a membership on the way to a role is the one to end: the
// last that is not meant.
func (e *evaluator) cuts(m membership, target uint32, to map[uint32]bool) bool {
	switch {
	case e.meant(m):
		return false
	case m.role == target || e.isKept(m.role):
		return true
	}
	return slices.ContainsFunc(e.cat.memberOf[m.role], func(next membership) bool { return to[next.role] && e.meant(next) })
}

// blameMembership tells of the memberships by which a crowd reaches a role.
func (e *evaluator) blameMembership(c *crowd, target uint32, privilege string) {
	if !e.once(told{crowd: c, database: -2, target: target}) {
		return
	}
	for i, login := range c.people {
		if login == 0 {
			continue
		}
		for _, m := range e.cut(login, target) {
			what := privilege
			if e.isKept(m.role) {
				what = membershipText(m)
			}
			e.out.causes.add(causeKey{database: -1, grantee: m.role, grantor: m.member, via: e.cat.name(m.grantor)}, 1, func() connection.Excess {
				return connection.Excess{Person: e.want.people[c.names[i]], Role: c.names[i], Privilege: what, Via: e.cat.path(login, m.role),
					Grantor: e.cat.name(m.grantor), Statement: e.revokeMembership(m)}
			})
		}
	}
}

func membershipText(m membership) string {
	if m.admin {
		return "membership WITH ADMIN OPTION"
	}
	return "membership"
}

// revokeMembership is the statement that ends a membership. From PostgreSQL 16
// on each grantor's grant is one of its own, and those that the member made by it
// stand in the way: they are ended before, and given anew by the DBA to who is no
// mapped person's.
func (e *evaluator) revokeMembership(m membership) string {
	return strings.Join(e.revokes(m, map[membership]bool{}), "; ")
}

func (e *evaluator) revokes(m membership, seen map[membership]bool) (out []string) {
	role, member := sqltext.Identifier(e.cat.name(m.role)), sqltext.Identifier(e.cat.name(m.member))
	if e.cat.version < 160000 {
		return []string{fmt.Sprintf("REVOKE %s FROM %s", role, member)}
	}
	seen[m] = true
	for _, d := range e.cat.members[m.role] {
		if !m.admin || d.grantor != m.member || seen[d] {
			continue
		}
		if !e.isKept(d.role) && !e.isGoverned(d.member) {
			out = append(out, fmt.Sprintf("GRANT %s TO %s WITH ADMIN %t, INHERIT %t, SET %t", role, sqltext.Identifier(e.cat.name(d.member)), d.admin, d.inherit, d.set))
		}
		out = append(out, e.revokes(d, seen)...)
	}
	return append(out, fmt.Sprintf("REVOKE %s FROM %s GRANTED BY %s", role, member, sqltext.Identifier(e.cat.name(m.grantor))))
}

// isGoverned reports whether a mapped person can act as a role.
func (e *evaluator) isGoverned(oid uint32) bool {
	if e.governed == nil {
		e.governed = map[uint32]bool{}
		for _, a := range e.want.accounts {
			if r := e.cat.names[a.Role]; r != nil {
				for _, id := range e.cat.closure(r.oid, func(membership) bool { return true }) {
					e.governed[id] = true
				}
			}
		}
	}
	return e.governed[oid]
}
