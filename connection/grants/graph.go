package grants

import "slices"

// role as pg_roles has it.
type role struct {
	oid                                              uint32
	name                                             string
	super, createRole, login, replication, bypassRLS bool
	inherit, createDB                                bool
	comment                                          string // of roles that the ledger did not see yet
}

// membership is a row of pg_auth_members. Up to PostgreSQL 15 every membership
// can be set, and the member's own attribute says whether it is inherited.
type membership struct {
	role, member, grantor uint32
	admin, inherit, set   bool
}

// Predefined roles that count, by name: which exist depends on the version.
const (
	readAllData  = "pg_read_all_data"
	writeAllData = "pg_write_all_data"
	maintainAll  = "pg_maintain"
	ownerOfDB    = "pg_database_owner"
)

var serverFileRoles = []string{"pg_execute_server_program", "pg_read_server_files", "pg_write_server_files"}

// graph is the roles of an instance and who is a member of what.
type graph struct {
	version   int
	roles     map[uint32]*role
	names     map[string]*role
	members   map[uint32][]membership // by role
	memberOf  map[uint32][]membership // by member
	inherited map[uint32][]uint32     // memo of inherits
}

func newGraph(version int, roles []role, memberships []membership) *graph {
	g := &graph{version: version, roles: map[uint32]*role{}, names: map[string]*role{},
		members: map[uint32][]membership{}, memberOf: map[uint32][]membership{}, inherited: map[uint32][]uint32{}}
	for i := range roles {
		g.roles[roles[i].oid] = &roles[i]
		g.names[roles[i].name] = &roles[i]
	}
	for _, m := range memberships {
		g.members[m.role] = append(g.members[m.role], m)
		g.memberOf[m.member] = append(g.memberOf[m.member], m)
	}
	return g
}

func (g *graph) name(oid uint32) string {
	if oid == 0 {
		return "PUBLIC"
	}
	if r := g.roles[oid]; r != nil {
		return r.name
	}
	return ""
}

// inherits are the roles whose privileges a role has without SET ROLE, itself first.
func (g *graph) inherits(oid uint32) []uint32 {
	if known, ok := g.inherited[oid]; ok {
		return known
	}
	out := g.closure(oid, func(m membership) bool { return m.inherit })
	g.inherited[oid] = out
	return out
}

func (g *graph) closure(oid uint32, follow func(membership) bool) []uint32 {
	out := []uint32{oid}
	seen := map[uint32]bool{oid: true}
	for i := 0; i < len(out); i++ {
		for _, m := range g.memberOf[out[i]] {
			if follow(m) && !seen[m.role] {
				seen[m.role] = true
				out = append(out, m.role)
			}
		}
	}
	return out
}

// identities are the roles that a login can become, itself first: by SET ROLE,
// and by granting itself what it holds ADMIN of. Who holds ADMIN is a matter of
// inheritance on PostgreSQL 16 and later; before, ADMIN implies SET.
func (g *graph) identities(login uint32) []uint32 {
	out := []uint32{login}
	seen := map[uint32]bool{login: true}
	add := func(oid uint32) {
		if !seen[oid] {
			seen[oid] = true
			out = append(out, oid)
		}
	}
	for i := 0; i < len(out); i++ {
		for _, m := range g.memberOf[out[i]] {
			if m.set {
				add(m.role)
			}
		}
		for _, held := range g.inherits(out[i]) {
			for _, m := range g.memberOf[held] {
				if m.admin {
					add(m.role)
				}
			}
		}
	}
	return out
}

// becomes are the roles that a role can SET ROLE to as it is, itself first.
func (g *graph) becomes(oid uint32) []uint32 {
	return g.closure(oid, func(m membership) bool { return m.set })
}

// reach is all that a login can act with.
type reach struct {
	identities []uint32
	roles      []uint32 // whose privileges it can have, in the order found
	bits       bits     // ways around privileges that attributes and predefined roles open
}

func (g *graph) reach(login uint32) reach {
	r := reach{identities: g.identities(login)}
	seen := map[uint32]bool{}
	for _, id := range r.identities {
		for _, held := range g.inherits(id) {
			if !seen[held] {
				seen[held] = true
				r.roles = append(r.roles, held)
			}
		}
	}
	for _, id := range r.identities {
		r.bits |= g.attributeBits(id)
	}
	for _, held := range r.roles {
		r.bits |= g.predefinedBits(held)
	}
	return r
}

// attributeBits are what the attributes of a role open to whoever can become it.
func (g *graph) attributeBits(oid uint32) (b bits) {
	r := g.roles[oid]
	if r == nil {
		return 0
	}
	if r.super {
		b |= asSuperuser
	}
	if r.createRole && g.version < 160000 {
		b |= asRoleMaker
	}
	if r.replication {
		b |= asReplication
	}
	if r.bypassRLS {
		b |= asBypassRLS
	}
	return b
}

func (g *graph) predefinedBits(oid uint32) bits {
	name := g.name(oid)
	switch {
	case name == readAllData:
		return canSelect
	case name == writeAllData:
		return canInsert | canUpdate | canDelete
	case name == maintainAll:
		return canMaintain
	case slices.Contains(serverFileRoles, name):
		return asServerFiles
	}
	return 0
}

// path names the roles between a login and a role that it reaches, both left
// out if they are the same.
func (g *graph) path(login, target uint32) (out []string) {
	for _, m := range g.way(login, target, func(m membership) bool { return m.inherit || m.set || m.admin }) {
		out = append(out, g.name(m.role))
	}
	return out
}

// way is one of the shortest by which a role is a member of another one; nil:
// there is none.
func (g *graph) way(from, to uint32, follow func(membership) bool) []membership {
	by := map[uint32]membership{from: {}}
	for queue := []uint32{from}; len(queue) > 0 && by[to].role == 0; queue = queue[1:] {
		for _, m := range g.memberOf[queue[0]] {
			if _, seen := by[m.role]; !seen && follow(m) {
				by[m.role] = m
				queue = append(queue, m.role)
			}
		}
	}
	if from == to || by[to].role == 0 {
		return nil
	}
	var out []membership
	for at := to; at != from; at = by[at].member {
		out = append(out, by[at])
	}
	slices.Reverse(out)
	return out
}
