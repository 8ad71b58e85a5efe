package grants

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/broker"
	"portcullis.dev/portcullis/internal/sqltext"
)

// held is what a role of ours holds on the tables of a class.
type held struct {
	class   int32
	entries []entry // one for each grantor
}

func (p *planner) compareTables(at int, d *database) {
	holds := map[string][]held{}
	for i := range d.classes {
		for _, e := range d.classes[i].acl {
			name, ok := p.mine[e.grantee]
			if !ok || e.via != "" {
				continue
			}
			list := holds[name]
			if n := len(list); n == 0 || list[n-1].class != int32(i) {
				list = append(list, held{class: int32(i)})
			}
			list[len(list)-1].entries = append(list[len(list)-1].entries, e)
			holds[name] = list
		}
	}
	wanted := make([]int32, len(d.tables)) // number of the set, from 1, that the table was last seen in
	for i, s := range p.want.sets {
		if p.roles[s.role] != nil {
			for _, t := range s.tables[at] {
				wanted[t] = int32(i + 1)
			}
			p.compareSet(d, s, int32(i+1), wanted, holds[s.role])
			delete(holds, s.role)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(holds)) { // roles that should hold no table
		p.compareSet(d, wantedSet{role: name}, math.MinInt32, wanted, holds[name])
	}
	for _, s := range d.strays {
		p.revokeEntries(d, s.ObjectRef, s.owner, s.acl)
	}
}

// compareSet compares what a role holds with what it should: wanted tells, by
// the number of the set, the tables that it should hold.
func (p *planner) compareSet(d *database, s wantedSet, number int32, wanted []int32, holds []held) {
	for _, h := range holds {
		k := &d.classes[h.class]
		var has bits
		for _, e := range h.entries {
			if _, ours := p.revokeAs(d, e.grantor, k.owner); ours || e.grantor == k.owner {
				has |= e.bits // others could take theirs away
			}
		}
		for _, t := range k.tables {
			ref := d.tables[t].ref
			if wanted[t] != number {
				p.revokeEntries(d, ref, k.owner, h.entries)
				continue
			}
			wanted[t] = -number // seen
			mended := p.revokeBeyond(d, ref, k, h.entries, s)
			if missing := s.bits &^ has; missing != 0 && !mended {
				p.grantTable(d, k, t, s, missing)
			}
		}
	}
	for d2, list := range s.tables {
		if p.want.databases[d2] != d {
			continue
		}
		for _, t := range list {
			if wanted[t] == number && d.tables[t].class >= 0 {
				p.grantTable(d, &d.classes[d.tables[t].class], t, s, s.bits)
			} else if wanted[t] == number {
				p.lack(d.tables[t].wrong, &d.tables[t])
			}
		}
	}
}

// revokeBeyond takes away what a role has beyond its access. The broker revokes
// all at once, and revoking on a table takes the columns along: what the role
// should have is granted anew in the same transaction.
func (p *planner) revokeBeyond(d *database, ref connection.ObjectRef, k *class, entries []entry, s wantedSet) bool {
	mended := false
	for _, e := range entries {
		if e.bits&^s.bits == 0 {
			continue
		}
		if as, ok := p.revokeAs(d, e.grantor, k.owner); ok {
			p.revoke(d, ref, as, s.role, e)
			mended = true
		}
	}
	if mended {
		if as, reason := p.grantAs(d, k, s.bits); reason == "" {
			p.addFirst(d, change{action: grantTable, as: as, role: s.role, object: ref, privileges: s.bits.names()})
		}
	}
	return mended
}

// revokeEntries takes away all that roles of ours hold of a table.
func (p *planner) revokeEntries(d *database, ref connection.ObjectRef, owner uint32, entries []entry) {
	for _, e := range entries {
		name, mine := p.mine[e.grantee]
		if !mine || e.via != "" {
			continue
		}
		if as, ok := p.revokeAs(d, e.grantor, owner); ok {
			p.revoke(d, ref, as, name, e)
		}
	}
}

func (p *planner) revoke(d *database, ref connection.ObjectRef, as, role string, e entry) {
	p.addFirst(d, change{action: revokeTable, as: as, role: role, object: ref, privileges: onTable(e.bits).names()})
}

// onTable are the table privileges that take privileges of any form along.
func onTable(b bits) bits {
	out := b & tableBits
	for some, all := range map[bits]bits{someSelect: canSelect, someInsert: canInsert, someUpdate: canUpdate, someReference: canReference} {
		if b&some != 0 {
			out |= all
		}
	}
	return out
}

// addFirst adds to what is done first in a database.
func (p *planner) addFirst(d *database, c change) {
	list := p.tables[d.name]
	p.add(&list, c)
	p.tables[d.name] = list
}

func (p *planner) grantTable(d *database, k *class, t int32, s wantedSet, missing bits) {
	as, reason := p.grantAs(d, k, s.bits)
	if reason == "" && p.target.Mode == connection.ModeBroker && !d.broker.schemas[k.schema.oid] && !d.broker.tables[d.tables[t].ref.OID] {
		reason = fmt.Sprintf("the broker does not list it; its owner runs: SELECT portcullis_broker.list_schema(%s)", sqltext.Literal(k.schema.name))
	}
	if reason != "" {
		p.lack(reason, &d.tables[t])
		return
	}
	p.add(&p.grants, change{action: grantTable, as: as, role: s.role, object: d.tables[t].ref, privileges: missing.names()})
}

func (p *planner) lack(reason string, t *table) {
	t.lacking = true
	if !t.told {
		p.lacking[reason] = append(p.lacking[reason], t.String())
	}
}

// grantAs is who can grant on the tables of a class, or the reason why nobody of
// ours can, with the statement that changes that.
func (p *planner) grantAs(d *database, k *class, want bits) (as, reason string) {
	if p.target.Mode == connection.ModeBroker {
		if reason := p.brokerLacks(d); reason != "" {
			return "", reason
		}
		if !p.cat.may(d.broker.owner, k.owner, k.acl, want) {
			return "", fmt.Sprintf("the broker in %s belongs to %s, which may not grant tables of %s; a DBA runs: GRANT %s TO %s", d.name,
				p.cat.name(d.broker.owner), p.cat.name(k.owner), sqltext.Identifier(p.cat.name(k.owner)), sqltext.Identifier(p.cat.name(d.broker.owner)))
		}
		return "", p.shutOut(d.broker.owner, k.schema)
	}
	for _, who := range p.grantors() {
		if p.cat.may(who, k.owner, k.acl, want) {
			return p.as(who), p.shutOut(who, k.schema)
		}
	}
	return "", fmt.Sprintf("the account lacks the grant option; %s runs: GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA %s TO %s WITH GRANT OPTION",
		p.cat.name(k.owner), sqltext.Identifier(k.schema.name), sqltext.Identifier(p.cat.name(p.grantors()[0])))
}

// shutOut is the reason why a role cannot name tables of a schema, "": it can.
func (p *planner) shutOut(who uint32, s *schema) string {
	if p.cat.enters(who, s) {
		return ""
	}
	return fmt.Sprintf("the account lacks USAGE on the schema; %s runs: GRANT USAGE ON SCHEMA %s TO %s WITH GRANT OPTION",
		p.cat.name(s.owner), sqltext.Identifier(s.name), sqltext.Identifier(p.cat.name(who)))
}

func (p *planner) brokerLacks(d *database) string {
	hint := "; the owner runs by psql what this prints: " + p.target.ScriptCommand(d.name)
	switch {
	case d.broker == nil:
		return "the broker is not installed in " + d.name + hint
	case d.broker.prefix != p.target.Prefix:
		return fmt.Sprintf("the broker in %s is for roles that begin with %s%s", d.name, d.broker.prefix, hint)
	case d.broker.version != broker.Version:
		return fmt.Sprintf("the broker in %s has version %d, and %d is needed%s", d.name, d.broker.version, broker.Version, hint)
	}
	return ""
}

// grantors are the roles that may hold grant options for us, the one that
// outlives accounts first.
func (p *planner) grantors() []uint32 {
	if p.asRole != p.cat.account {
		return []uint32{p.asRole, p.cat.account}
	}
	return []uint32{p.cat.account}
}

// revokeAs is who can revoke what a grantor granted: PostgreSQL lets nobody
// revoke somebody else's grants, and merges a superuser's with the owner's.
func (p *planner) revokeAs(d *database, grantor, owner uint32) (as string, ok bool) {
	if p.target.Mode == connection.ModeBroker {
		if d.broker == nil || d.broker.prefix != p.target.Prefix {
			return "", false
		}
		definer := p.cat.roles[d.broker.owner]
		asOwner := definer != nil && (definer.super || slices.Contains(p.cat.inherits(definer.oid), owner))
		return "", asOwner && grantor == owner || !asOwner && grantor == d.broker.owner
	}
	account := p.cat.roles[p.cat.account]
	for _, who := range p.grantors() {
		if grantor == who || grantor == owner && p.cat.may(who, owner, nil, 0) {
			return p.as(who), true
		}
	}
	if account.super || slices.Contains(p.cat.becomes(account.oid), grantor) {
		return p.as(grantor), true
	}
	return "", false
}

// compareSchemas sees to USAGE on the schemas that hold wanted tables.
func (p *planner) compareSchemas(d *database) {
	for _, oid := range slices.Sorted(maps.Keys(d.schemas)) {
		s := d.schemas[oid]
		p.compareWay(d, way{role: schemaRole(p.target.Prefix, d.oid, s.oid), owner: s.owner, acl: s.acl, what: "schema " + sqltext.Identifier(s.name),
			grant: grantSchema, revoke: revokeSchema, privilege: "USAGE", object: connection.ObjectRef{Database: d.name, OID: s.oid, Schema: s.name}})
	}
}

func (p *planner) compareDatabase(d *database) {
	p.compareWay(d, way{role: databaseRole(p.target.Prefix, d.oid), owner: d.owner, acl: d.acl, what: "database " + sqltext.Identifier(d.name),
		grant: grantDatabase, revoke: revokeDatabase, privilege: "CONNECT", object: connection.ObjectRef{Database: d.name, OID: d.oid, Name: d.name}})
}

// way is a schema or a database: what lies on the way to tables.
type way struct {
	role          string // that should hold the privilege, and nobody else of ours
	owner         uint32
	acl           []entry
	grant, revoke action
	privilege     string
	object        connection.ObjectRef
	what          string
}

func (p *planner) compareWay(d *database, w way) {
	var has bool
	for _, e := range w.acl {
		name, mine := p.mine[e.grantee]
		if !mine {
			continue
		}
		if name == w.role && p.roles[name] != nil && e.bits == canSelect {
			has = true
			continue
		}
		if as, ok := p.revokeAs(d, e.grantor, w.owner); ok {
			p.addFirst(d, change{action: w.revoke, as: as, role: name, privileges: []string{w.privilege}, object: w.object})
		}
	}
	if p.roles[w.role] != nil && !has {
		p.barred[w.role] = !p.grantWay(d, change{action: w.grant, role: w.role, privileges: []string{w.privilege}, object: w.object}, w.owner, w.acl, w.what)
	}
}

// grantWay grants what lies on the way to tables, where that can be done. Where
// everybody has it and we cannot grant it, there is nothing to do.
func (p *planner) grantWay(d *database, c change, owner uint32, acl []entry, what string) bool {
	who := p.grantors()
	if p.target.Mode == connection.ModeBroker {
		if p.brokerLacks(d) != "" || !p.brokerListsWay(d, c) {
			return false // said of its tables
		}
		who = []uint32{d.broker.owner}
	}
	for _, w := range who {
		if p.cat.may(w, owner, acl, canSelect) {
			c.as = p.as(w)
			p.add(&p.grants, c)
			return true
		}
	}
	if !public(acl, canSelect) {
		reason := fmt.Sprintf("%s may not grant %s on %s", p.cat.name(who[0]), c.privileges[0], what)
		p.lacking[reason] = append(p.lacking[reason], d.name)
	}
	return false
}

// brokerListsWay reports whether the broker would grant on a schema: it lists
// the schema or one of its tables.
func (p *planner) brokerListsWay(d *database, c change) bool {
	if p.target.Mode != connection.ModeBroker || c.action != grantSchema || d.broker.schemas[c.object.OID] {
		return true
	}
	for oid := range d.broker.tables {
		if at, ok := d.byOID[oid]; ok && d.tables[at].class >= 0 && d.classes[d.tables[at].class].schema.oid == c.object.OID {
			return true
		}
	}
	return false
}
