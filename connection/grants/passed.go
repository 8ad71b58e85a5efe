package grants

import (
	"slices"
	"strings"
)

// passedMemberships are the statements that end what a member of a role granted
// by an ADMIN option that stands in our name.
func (e *evaluator) passedMemberships(p *planner, role uint32, member string) (out []string) {
	for _, m := range e.cat.members[role] {
		if _, ours := p.revocable(m); !ours || !m.admin || e.cat.version < 160000 || e.cat.name(m.member) != member {
			continue
		}
		for _, d := range e.cat.members[role] {
			if d.grantor == m.member {
				out = append(out, e.revokes(d, map[membership]bool{m: true})...)
			}
		}
	}
	return out
}

// passedPrivileges are the statements that revoke what a role of ours passed on
// of what is to be revoked from it.
func (e *evaluator) passedPrivileges(c change, role uint32) (out []string) {
	r, ok := e.revocation(c)
	if !ok {
		return nil
	}
	seen := []uint32{role}
	for _, a := range r.acl {
		if a.via == "" && a.grantor == role && onTable(a.bits)&r.privileges != 0 {
			what := r
			if what.privileges &= onTable(a.bits); c.action == revokeTable {
				c.privileges = what.privileges.names()
			}
			out = append(out, e.revokePrivileges(what, strings.Join(c.privileges, ", "), a, seen)...)
		}
	}
	return out
}

// revocation is what a change revokes, and the ACL where it does.
func (e *evaluator) revocation(c change) (r revocation, ok bool) {
	i := slices.IndexFunc(e.want.databases, func(d *database) bool { return d.name == c.object.Database && !d.unreadable })
	if i < 0 {
		return r, false
	}
	d := e.want.databases[i]
	kind, name := c.target()
	r.object, r.privileges = strings.ToUpper(kind)+" "+name, canSelect // as USAGE and CONNECT are read
	switch c.action {
	case revokeDatabase:
		r.owner, r.acl = d.owner, d.acl
		return r, true
	case revokeSchema:
		s := d.schemas[c.object.OID]
		if s == nil {
			return r, false
		}
		r.owner, r.acl = s.owner, s.acl
		return r, true
	}
	r.privileges = 0
	for _, name := range c.privileges {
		b, _ := parsePrivilege(name)
		r.privileges |= b
	}
	if at, ok := d.byOID[c.object.OID]; ok && d.tables[at].class >= 0 {
		k := &d.classes[d.tables[at].class]
		r.owner, r.schema, r.acl = k.owner, k.schema, k.acl
		return r, true
	}
	for _, s := range d.strays {
		if s.OID == c.object.OID {
			r.owner, r.schema, r.acl = s.owner, d.named[s.Schema], s.acl
			return r, true
		}
	}
	return r, false
}
