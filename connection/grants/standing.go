package grants

import (
	"encoding/binary"
	"slices"

	"portcullis.dev/portcullis/connection"
)

// standing is what people effectively reach against what the policies give.
// People who reach the same are counted once, and so are tables of a class: a
// thousand people and a hundred thousand tables are a few sums.
type standing struct {
	equal, exceeds, lacks int
	unenforceable         int // of those that lack
	causes                causes
	given                 causes // what relations that the policies give show of others
}

// crowd is people for whom everything that matters is the same.
type crowd struct {
	people []uint32 // roles; 0: the role is not there
	names  []string // of the roles
	reach  reach
	login  []uint32 // whose privileges count when the session begins
	sets   []int32  // that they should be members of
	parts  []int32  // of which they may see a part only
}

// item is one entry of the ACL of a class, by grantee.
type item struct {
	class int32
	entry *entry
}

// evaluator works out the verdicts.
type evaluator struct {
	cat      *catalog
	want     *wanted
	relevant map[uint32]bool
	index    []map[uint32][]item          // by database
	usage    []map[uint32]map[uint32]bool // schemas that a role has USAGE of, by database
	pair     func(database int, role string, table int32, actual, should bits)
	out      standing

	kept     map[uint32]bool            // see cut.go
	prefix   string                     // of roles of ours
	wants    map[uint32]map[string]bool // members that sets should have
	governed map[uint32]bool            // memo of isGoverned
	told     map[told]bool

	// Of judge, used again: zero in between, and empty.
	should, actual  []bits
	tables, classes []int32
}

// zeroed is a buffer that whoever used it before left zero.
func zeroed(buffer *[]bits, n int) []bits {
	if cap(*buffer) < n {
		*buffer = make([]bits, n)
	}
	*buffer = (*buffer)[:n]
	return *buffer
}

// maker reports whether a role acts for us, and holds nothing of a set.
func (e *evaluator) maker(oid uint32) bool {
	return oid == e.cat.account || oid == e.cat.ownerRole || oid == e.cat.viewsRole || slices.Contains(e.cat.makers, oid)
}

// evaluate compares for every account and table. pair, if given, hears of each.
func evaluate(v *view, t connection.Target, limit int, pair func(database int, role string, table int32, actual, should bits)) standing {
	cat, w := v.cat, v.want
	e := &evaluator{cat: cat, want: w, pair: pair, relevant: map[uint32]bool{}, told: map[told]bool{}}
	e.out.causes.limit, e.out.given.limit = limit, limit
	e.findKept(t, v.ledger)
	for oid := range cat.roles {
		e.relevant[oid] = cat.attributeBits(oid)|cat.predefinedBits(oid) != 0
	}
	for at := range w.databases {
		e.indexDatabase(at)
	}
	for _, c := range e.crowds() {
		for at := range w.databases {
			e.judge(at, c)
			e.foresee(at, c)
		}
	}
	return e.out
}

func (e *evaluator) indexDatabase(at int) {
	d := e.want.databases[at]
	index, usage := map[uint32][]item{}, map[uint32]map[uint32]bool{}
	for i := range d.classes {
		k := &d.classes[i]
		for j := range k.acl {
			index[k.acl[j].grantee] = append(index[k.acl[j].grantee], item{int32(i), &k.acl[j]})
		}
		e.addOwner(index, int32(i), k.owner, asOwner)
		e.addOwner(index, int32(i), k.schema.owner, asSchemaOwner)
		e.addOwner(index, int32(i), d.owner, asDatabaseOwner)
	}
	for _, s := range d.schemas {
		for _, a := range append([]entry{{grantee: s.owner}}, s.acl...) { // the owner can grant it to itself
			if usage[a.grantee] == nil {
				usage[a.grantee] = map[uint32]bool{}
			}
			usage[a.grantee][s.oid] = true
		}
	}
	for _, a := range d.acl {
		e.relevant[a.grantee] = true
	}
	for oid := range index {
		e.relevant[oid] = true
	}
	for oid := range usage {
		e.relevant[oid] = true
	}
	e.index, e.usage = append(e.index, index), append(e.usage, usage)
}

func (e *evaluator) addOwner(index map[uint32][]item, class int32, owner uint32, b bits) {
	index[owner] = append(index[owner], item{class, &entry{grantee: owner, grantor: owner, bits: b, by: -1}})
}

// crowds groups the accounts.
func (e *evaluator) crowds() []*crowd {
	member := map[string][]int32{}
	for i, s := range e.want.sets {
		for _, m := range s.members {
			member[m] = append(member[m], int32(i))
		}
	}
	parts := map[string][]int32{}
	for i, p := range e.want.parts {
		for _, m := range p.roles {
			parts[m] = append(parts[m], int32(i))
		}
	}
	known := map[string]*crowd{}
	var out []*crowd
	seen := map[string]bool{}
	for _, a := range e.want.accounts {
		if seen[a.Role] {
			continue
		}
		seen[a.Role] = true
		c := crowd{sets: member[a.Role], parts: parts[a.Role]}
		var oid uint32
		if r := e.cat.names[a.Role]; r != nil && r.login {
			oid = r.oid
			c.reach = e.cat.reach(oid)
			c.login = e.cat.inherits(oid)
		}
		key := e.key(&c, oid)
		if known[key] == nil {
			known[key] = &c
			out = append(out, &c)
		}
		known[key].people = append(known[key].people, oid)
		known[key].names = append(known[key].names, a.Role)
	}
	return out
}

// key is equal for people who cannot differ in any verdict: roles without any
// privilege, most people's own among them, do not count.
func (e *evaluator) key(c *crowd, oid uint32) string {
	var b []byte
	put := func(list []uint32) {
		var kept []uint32
		for _, r := range list {
			if e.relevant[r] {
				kept = append(kept, r)
			}
		}
		slices.Sort(kept)
		for _, r := range kept {
			b = binary.AppendUvarint(b, uint64(r))
		}
		b = append(b, 0)
	}
	put(c.reach.roles)
	put(c.login)
	b = binary.AppendUvarint(b, uint64(c.reach.bits))
	for _, s := range c.sets {
		b = binary.AppendUvarint(b, uint64(s)+1)
	}
	b = append(b, 0)
	for _, p := range c.parts {
		b = binary.AppendUvarint(b, uint64(p)+1)
	}
	if oid == 0 {
		b = append(b, '-')
	}
	return string(b)
}

// judge compares what a crowd reaches in a database with what it should. Most
// crowds should reach few tables, and reach few: only those are looked at.
func (e *evaluator) judge(at int, c *crowd) {
	d := e.want.databases[at]
	should, actual := zeroed(&e.should, len(d.tables)), zeroed(&e.actual, len(d.classes))
	tables, classes := e.tables[:0], e.classes[:0] // that this crowd should reach, and may reach
	for _, s := range c.sets {
		for _, t := range e.want.sets[s].tables[at] {
			if should[t] == 0 {
				tables = append(tables, t)
			}
			should[t] |= e.want.sets[s].bits
			if e.want.sets[s].rows {
				should[t] |= onlyRows
			}
		}
	}
	var everywhere bits
	if e.connects(d, c) {
		everywhere = c.reach.bits
		for _, r := range append([]uint32{0}, c.reach.roles...) {
			for _, i := range e.index[at][r] {
				if actual[i.class] == 0 && i.entry.bits != 0 {
					classes = append(classes, i.class)
				}
				actual[i.class] |= i.entry.bits
			}
		}
	}
	if everywhere != 0 {
		classes = upTo(len(d.classes))
	}
	for _, i := range classes {
		k := &d.classes[i]
		if everywhere&k.past != 0 { // by a predefined role
			actual[i] |= pastRows
		}
		if actual[i] = reached(actual[i], everywhere, k, e.usable(at, c, k.schema.oid)); actual[i] == 0 {
			continue
		}
		for _, t := range k.tables {
			if should[t] == 0 {
				tables = append(tables, t)
			}
		}
	}
	if e.pair != nil {
		tables = upTo(len(d.tables))
	}
	e.out.equal += len(c.people) * (len(d.tables) - len(tables))
	for _, t := range tables {
		e.judgeTable(at, c, t, should, actual)
	}
	for _, t := range tables {
		should[t] = 0
	}
	for _, i := range classes {
		actual[i] = 0
	}
	e.tables, e.classes = tables, classes
}

func upTo(n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(i)
	}
	return out
}

// usable reports whether a crowd has USAGE of a schema under any role.
func (e *evaluator) usable(at int, c *crowd, schema uint32) bool {
	return e.usage[at][0][schema] || slices.ContainsFunc(c.reach.roles, func(r uint32) bool { return e.usage[at][r][schema] })
}

func (e *evaluator) judgeTable(at int, c *crowd, t int32, should, actual []bits) {
	d := e.want.databases[at]
	var has bits
	k := d.tables[t].class
	if k >= 0 {
		has = actual[k]
	}
	if should[t]&onlyRows == 0 {
		has &^= pastRows
	}
	if has == should[t]&^onlyRows && e.pair == nil {
		e.out.equal += len(c.people)
		return
	}
	if way := has & throughRelation &^ should[t].within(); way != 0 {
		others := e.byOthers(at, c, k, should)
		if c.reach.bits&d.classes[k].past != 0 {
			others |= pastRows
		}
		if given := way &^ others; given != 0 {
			has &^= given
			e.tellGiven(at, t, c, given)
		}
	}
	if e.pair != nil {
		for _, name := range c.names {
			e.pair(at, name, t, has, should[t])
		}
	}
	switch beyond := has &^ should[t].within(); {
	case beyond != 0:
		e.out.exceeds += len(c.people)
		e.blame(at, t, c, beyond)
	case should[t]&^onlyRows&^has != 0:
		e.out.lacks += len(c.people)
		if d.tables[t].lacking || d.tables[t].told {
			e.out.unenforceable += len(c.people)
		}
	default:
		e.out.equal += len(c.people)
	}
}

// connects reports whether a login can open a session in a database: before
// SET ROLE, so what it inherits counts.
func (e *evaluator) connects(d *database, c *crowd) bool {
	if c.login == nil {
		return false
	}
	if c.reach.bits&asSuperuser != 0 && e.cat.roles[c.people[0]].super {
		return true
	}
	if public(d.acl, canSelect) || slices.Contains(c.login, d.owner) {
		return true
	}
	for _, a := range d.acl {
		if a.bits&canSelect != 0 && slices.Contains(c.login, a.grantee) {
			return true
		}
	}
	return false
}

// reached is what someone can do with the tables of a class. Without USAGE of
// the schema privileges cannot be used; with it under any role they can: a
// statement prepared under one role runs under another.
func reached(granted, everywhere bits, k *class, usable bool) bits {
	if everywhere&(canSelect|canInsert) != 0 {
		// pg_read_all_data and pg_write_all_data have USAGE of all schemas.
	} else if !usable {
		granted &= asSchemaOwner | asDatabaseOwner | throughRelation | throughFunction | throughHanging
	}
	if !k.rowSecurity || (granted|everywhere)&(tableBits|columnBits|asOwner) == 0 {
		everywhere &^= asBypassRLS // it opens no table
	}
	has := granted | everywhere
	if has&asOwner != 0 || everywhere&(asSuperuser|asRoleMaker|asServerFiles) != 0 {
		has |= canSelect | canInsert | canUpdate | canDelete | canTruncate
	}
	return has
}

// byOthers are the ways to a table through relations that the policies do not
// give a crowd for that.
func (e *evaluator) byOthers(at int, c *crowd, class int32, should []bits) (others bits) {
	for _, a := range e.want.databases[at].classes[class].acl {
		if a.bits&throughRelation != 0 && (a.grantee == 0 || slices.Contains(c.reach.roles, a.grantee)) {
			others |= a.notGiven(should)
		}
	}
	return others
}

// notGiven are the ways of an entry that the policies do not open, by those on
// the relation on the way.
func (a *entry) notGiven(should []bits) bits {
	if a.by < 0 {
		return a.bits & throughRelation
	}
	return a.ways(should[a.by])
}

// ways are those of an entry for which some privilege on the relation on the
// way is missing.
func (a *entry) ways(have bits) bits {
	out := a.bits & throughRelation
	for _, t := range amounting {
		if have&t[0] != 0 {
			out &^= t[1]
		}
	}
	if have&a.need == a.need {
		out &^= byRule
	}
	return out
}
