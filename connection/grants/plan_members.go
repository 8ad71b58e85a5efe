package grants

import (
	"maps"
	"slices"

	"portcullis.dev/portcullis/connection"
)

// compareMembers compares who is a member of our roles with who should be.
func (p *planner) compareMembers() {
	names := map[string]bool{}
	for name := range p.roles {
		names[name] = true
	}
	for _, name := range p.mine {
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		p.compareMembersOf(name)
	}
}

func (p *planner) compareMembersOf(name string) {
	settled := map[string]bool{} // members whose membership is as it should be
	var should []string
	if r := p.roles[name]; r != nil {
		should = r.members
	}
	if now := p.cat.names[name]; now != nil && p.mine[now.oid] == name {
		for _, m := range p.cat.members[now.oid] {
			member := p.cat.name(m.member)
			if _, wanted := slices.BinarySearch(should, member); wanted {
				settled[member] = p.compareMembership(name, member, m) || settled[member]
			} else if by, ok := p.revocable(m); ok && !p.isMaker(m.member) {
				p.add(&p.plan.roles, p.leave(leaveRole, name, member, by))
			}
		}
	}
	for _, member := range should {
		if p.target.Ours(member) && p.roles[member] == nil {
			continue // refused
		}
		if !settled[member] && (p.cat.names[member] != nil || p.making[member]) {
			p.add(&p.joins, change{action: joinRole, as: p.maker(name), role: name, member: member})
		}
	}
}

// compareMembership mends the options of a membership that should be, and
// reports whether there is no need to grant it.
func (p *planner) compareMembership(name, member string, m membership) bool {
	by, ok := p.revocable(m)
	if !ok {
		return false // somebody else's, who may take it away
	}
	if m.admin {
		p.add(&p.plan.roles, p.leave(leaveAdmin, name, member, by))
	}
	return p.cat.version < 160000 || m.inherit && !m.set
}

func (p *planner) leave(a action, name, member string, by uint32) change {
	c := change{action: a, as: p.as(by), role: name, member: member}
	if p.cat.version >= 160000 && p.target.Mode != connection.ModeBroker {
		c.grantedBy = p.cat.name(by)
		if p.cat.roles[p.cat.account].super {
			c.as = ""
		}
	}
	return c
}

// compareDrops drops the roles that nobody wants any more, after all that they
// held was revoked.
func (p *planner) compareDrops() {
	for _, oid := range slices.Sorted(maps.Keys(p.mine)) {
		name := p.mine[oid]
		if p.roles[name] == nil {
			p.add(&p.drops, change{action: dropRole, as: p.maker(name), role: name})
		}
	}
}
