package grants

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/sqltext"
)

// causes are what gives people more than the policies do, each once: the
// report names who reaches it and counts the others.
type causes struct {
	limit int
	more  bool // than the limit
	found map[causeKey]*connection.Excess
	order []causeKey
}

type causeKey struct {
	database int
	object   uint32 // 0: every table
	grantee  uint32
	grantor  uint32
	bits     bits
	via      string
}

// add tells whether there is room, or the cause is known already.
func (c *causes) add(key causeKey, people int, describe func() connection.Excess) {
	if x := c.found[key]; x != nil {
		x.People += people
		return
	}
	if len(c.order) >= c.limit {
		c.more = true
		return
	}
	if c.found == nil {
		c.found = map[causeKey]*connection.Excess{}
	}
	x := describe()
	x.People = people
	c.found[key] = &x
	c.order = append(c.order, key)
}

func (c *causes) list() []connection.Excess {
	out := make([]connection.Excess, 0, len(c.order))
	for _, x := range slices.Collect(maps.Values(c.found)) {
		out = append(out, *x)
	}
	slices.SortFunc(out, func(a, b connection.Excess) int {
		return cmp.Or(cmp.Compare(a.Person, b.Person), cmp.Compare(a.Object.Database, b.Object.Database), cmp.Compare(a.Object.Schema, b.Object.Schema),
			cmp.Compare(a.Object.Name, b.Object.Name), cmp.Compare(a.Privilege, b.Privilege), cmp.Compare(a.Statement, b.Statement))
	})
	return out
}

// wide are the bits that open every table of the instance.
const wide = asSuperuser | asRoleMaker | asReplication | asServerFiles | asBypassRLS

// once reports whether this is told for the first time: what opens many tables
// is one cause, and its people are counted once.
func (e *evaluator) once(what told) bool {
	if e.told[what] {
		return false
	}
	e.told[what] = true
	return true
}

// told is what was told of a crowd.
type told struct {
	crowd    *crowd
	database int
	target   uint32
	bits     bits
}

// blame finds what gives a crowd these bits of a table.
func (e *evaluator) blame(at int, t int32, c *crowd, beyond bits) {
	d := e.want.databases[at]
	k := &d.classes[d.tables[t].class]
	if len(e.out.causes.order) >= e.out.causes.limit {
		e.out.causes.more = true // or some of those that are listed
		return
	}
	if beyond&pastRows != 0 {
		beyond |= k.past & c.reach.bits // it is the predefined role that shows them
	}
	if e.blameWide(c, beyond) && beyond&(asSuperuser|asRoleMaker|asServerFiles) != 0 {
		return // whatever else there is makes no difference
	}
	for _, a := range k.acl {
		got := a.bits & beyond
		if a.via != "" {
			got &= a.notGiven(e.should) | throughFunction | throughHanging
			if got&pastRows != 0 {
				got |= a.bits & (byRelation | byFunction) // what it would be without rows that are hidden
			}
		}
		if got == 0 || a.grantee != 0 && !slices.Contains(c.reach.roles, a.grantee) || a.via == "" && a.grantee == k.owner {
			continue // what an owner has is told below
		}
		if e.isKept(a.grantee) {
			// What one of our roles holds as it should, somebody reaches by a membership.
			if own := got &^ e.beyondOurs(at, t, a, got); own != 0 {
				e.blameMembership(c, a.grantee, own.String())
				got &^= own
			}
		} else if a.via != "" && a.grantee == a.owner {
			e.blameOwner(c, at, told{database: at, target: a.owner, bits: got}, a.owner, got, d.tables[t].ref, a.via, "ALTER TABLE "+a.via)
			continue
		}
		if got != 0 {
			e.out.causes.add(causeKey{at, d.tables[t].ref.OID, a.grantee, a.grantor, got, a.via}, len(c.people), func() connection.Excess {
				return e.describe(d, k, t, c, a, got)
			})
		}
	}
	ref := d.tables[t].ref
	if beyond&asOwner != 0 {
		e.blameOwner(c, at, told{database: at, target: ref.OID, bits: asOwner}, k.owner, asOwner, ref, "", "ALTER TABLE "+quoteTable(ref.Schema, ref.Name))
	}
	if beyond&asSchemaOwner != 0 {
		e.blameOwner(c, at, told{database: at, target: k.schema.oid, bits: asSchemaOwner}, k.schema.owner, asSchemaOwner,
			connection.ObjectRef{Database: d.name, Schema: k.schema.name}, "", "ALTER SCHEMA "+sqltext.Identifier(k.schema.name))
	}
	if beyond&asDatabaseOwner != 0 {
		e.blameOwner(c, at, told{database: at, bits: asDatabaseOwner}, d.owner, asDatabaseOwner, connection.ObjectRef{Database: d.name}, "", "ALTER DATABASE "+sqltext.Identifier(d.name))
	}
}

// beyondOurs is what one of our roles holds of a table, or of a relation on the
// way to it, that it should not.
func (e *evaluator) beyondOurs(at int, t int32, a entry, got bits) bits {
	name := e.cat.name(a.grantee)
	i := slices.IndexFunc(e.want.sets, func(s wantedSet) bool { return s.role == name })
	if i < 0 {
		if e.maker(a.grantee) {
			return 0 // it passes on what it has
		}
		return got
	}
	holds := func(table int32) bits {
		if _, ok := slices.BinarySearch(e.want.sets[i].tables[at], table); !ok {
			return 0
		}
		return e.want.sets[i].bits
	}
	switch {
	case a.via == "":
		return got &^ holds(t).within()
	case a.by < 0:
		return got
	}
	return got & a.ways(holds(a.by))
}

// blameOwner tells of an owner, and of those who can act as it.
func (e *evaluator) blameOwner(c *crowd, at int, what told, owner uint32, b bits, ref connection.ObjectRef, via, statement string) {
	if what.crowd = c; !e.once(what) {
		return
	}
	i := slices.Index(c.people, owner)
	if i >= 0 || e.isKept(owner) { // up to PostgreSQL 15 members make our roles own things
		i = max(i, 0)
		e.out.causes.add(causeKey{database: at, object: ref.OID, grantee: owner, bits: b, via: ref.Schema + via}, 1, func() connection.Excess {
			x := e.excess(c, i, b.String())
			x.Object, x.Statement = ref, statement+" OWNER TO CURRENT_USER"
			if via != "" {
				x.Via = []string{via}
			}
			return x
		})
	}
	e.blameMembership(c, owner, b.String())
}

// blameWide finds the roles whose attributes, or which as predefined roles, open
// every table.
func (e *evaluator) blameWide(c *crowd, beyond bits) bool {
	found := false
	for _, id := range c.reach.identities {
		got := e.cat.attributeBits(id) & beyond & wide
		if got == 0 {
			continue
		}
		found = true
		if !e.once(told{crowd: c, database: -1, target: id, bits: got}) {
			continue
		}
		if i := slices.Index(c.people, id); i >= 0 {
			e.out.causes.add(causeKey{database: -1, grantee: id, bits: got}, 1, func() connection.Excess {
				x := e.excess(c, i, got.String())
				x.Statement = fmt.Sprintf("ALTER ROLE %s %s", sqltext.Identifier(e.cat.name(id)), without(got))
				return x
			})
		}
		e.blameMembership(c, id, got.String())
	}
	for _, r := range c.reach.roles {
		if got := e.cat.predefinedBits(r) & beyond; got != 0 {
			found = true
			e.blameMembership(c, r, got.String())
		}
	}
	return found
}

func without(attributes bits) string {
	var out []string
	for bit, name := range map[bits]string{asSuperuser: "NOSUPERUSER", asRoleMaker: "NOCREATEROLE", asReplication: "NOREPLICATION", asBypassRLS: "NOBYPASSRLS"} {
		if attributes&bit != 0 {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func (e *evaluator) excess(c *crowd, i int, privilege string) connection.Excess {
	return connection.Excess{Person: e.want.people[c.names[i]], Role: c.names[i], Privilege: privilege}
}

// describe tells of one entry of an ACL, with the statement that ends it.
func (e *evaluator) describe(d *database, k *class, t int32, c *crowd, a entry, got bits) connection.Excess {
	ref := d.tables[t].ref
	x := e.excess(c, 0, got.String())
	x.Via = e.cat.path(c.people[0], a.grantee)
	if a.grantee == 0 {
		x.Via = []string{"PUBLIC"}
	}
	x.Object, x.Grantor = ref, e.cat.name(a.grantor)
	switch {
	case got&byCode != 0:
		x.Via, x.Statement = append(x.Via, a.via), fmt.Sprintf("ALTER FUNCTION %s OWNER TO %s", a.via, sqltext.Identifier(e.cat.name(k.owner)))
		return x
	case got&byKey != 0:
		x.Via, x.Statement = append(x.Via, a.via), "ALTER TABLE "+a.via
		return x
	}
	if a.via == "" {
		x.Statement = strings.Join(e.revokeOnTable(d, k, t, a, got), "; ")
		return x
	}
	x.Via = append(x.Via, a.via)
	r := revocation{object: "TABLE " + a.via, owner: a.owner, schema: d.schemas[a.schema], acl: d.onTheWay[a.via]}
	for _, t := range throughs {
		if got&t[1] != 0 {
			r.privileges |= t[0]
		}
	}
	if got&pastRows != 0 {
		r.privileges |= k.pastBy(a)
	}
	if got&byRule != 0 {
		r.privileges |= a.need
	}
	what := strings.Join(r.privileges.names(), ", ")
	if got&throughFunction != 0 {
		r.object, what = "FUNCTION "+a.via, "EXECUTE"
	}
	x.Statement = strings.Join(e.revokePrivileges(r, what, a, nil), "; ")
	return x
}

// pastBy are the privileges on the relation on the way by which the grantee of an
// entry gets past the policies of the tables: told once, whichever it is.
func (k *class) pastBy(a entry) (out bits) {
	for _, b := range k.acl {
		if b.bits&pastRows != 0 && b.via == a.via && b.grantee == a.grantee && b.grantor == a.grantor {
			out |= b.need
		}
	}
	return out
}

// revokeOnTable are the statements that revoke what is too much on a table, and
// no more: who has a privilege rightly loses its grant option alone.
func (e *evaluator) revokeOnTable(d *database, k *class, t int32, a entry, got bits) (out []string) {
	ref := d.tables[t].ref
	r := revocation{object: "TABLE " + quoteTable(ref.Schema, ref.Name), owner: k.owner, schema: k.schema, acl: k.acl}
	if r.privileges = onTable(got); r.privileges != 0 {
		out = e.revokePrivileges(r, strings.Join(r.privileges.names(), ", "), a, nil)
	}
	options := got >> optionShift & tableBits
	if got&someOption != 0 { // revoking on a table takes the columns along
		options |= onTable(columnBits)
	}
	if r.privileges = options &^ onTable(got); r.privileges != 0 {
		out = append(out, e.revokePrivileges(r, "GRANT OPTION FOR "+strings.Join(r.privileges.names(), ", "), a, nil)...)
	}
	return out
}

// revocation is what is revoked, and where.
type revocation struct {
	object     string
	owner      uint32
	schema     *schema // nil: not known
	acl        []entry // of the object
	privileges bits
}

// revokePrivileges are the statements that revoke what one grantor gave, after
// what the grantee passed on, which would stand in the way. Only who granted
// can revoke, and a superuser is taken for the owner.
func (e *evaluator) revokePrivileges(r revocation, what string, a entry, seen []uint32) (out []string) {
	to := "PUBLIC"
	if a.grantee != 0 {
		to = sqltext.Identifier(e.cat.name(a.grantee))
		seen = append(seen, a.grantee)
		for _, passed := range r.acl {
			if passed.via != "" || passed.grantor != a.grantee || a.grantor == a.grantee || onTable(passed.bits)&r.privileges == 0 {
				continue
			}
			if passed.grantee == a.grantee || !slices.Contains(seen, passed.grantee) {
				if passed.grantee != a.grantee {
					out = append(out, e.keeps(r, passed)...)
				}
				out = append(out, e.revokePrivileges(r, strings.TrimPrefix(what, "GRANT OPTION FOR "), passed, seen)...)
			}
		}
	}
	statement := fmt.Sprintf("REVOKE %s ON %s FROM %s", what, r.object, to)
	if a.grantor != r.owner && a.grantor != 0 {
		grantor := sqltext.Identifier(e.cat.name(a.grantor))
		statement = fmt.Sprintf("SET ROLE %s; %s; RESET ROLE", grantor, statement)
		if r.schema != nil && !e.looksInto(r.schema, a.grantor) { // the name could not be looked up
			in := sqltext.Identifier(r.schema.name)
			statement = fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s; %s; REVOKE USAGE ON SCHEMA %s FROM %s", in, grantor, statement, in, grantor)
		}
	}
	return append(out, statement)
}

// keeps are the statements by which a role that is nobody's, an application's say,
// has from the DBA what it has from somebody who loses it.
func (e *evaluator) keeps(r revocation, passed entry) (out []string) {
	if passed.grantee == 0 || e.isKept(passed.grantee) || e.isGoverned(passed.grantee) {
		return nil
	}
	give := func(what bits, option string) {
		if what != 0 {
			out = append(out, fmt.Sprintf("GRANT %s ON %s TO %s%s", strings.Join(what.names(), ", "), r.object, sqltext.Identifier(e.cat.name(passed.grantee)), option))
		}
	}
	held, options := passed.bits&r.privileges&tableBits, passed.bits>>optionShift
	give(held&^options, "")
	give(held&options, " WITH GRANT OPTION")
	return out
}

// looksInto reports whether a role has USAGE of a schema.
func (e *evaluator) looksInto(s *schema, role uint32) bool {
	r := e.cat.roles[role]
	held := e.cat.inherits(role)
	return r != nil && r.super || slices.Contains(held, s.owner) || slices.ContainsFunc(s.acl, func(a entry) bool {
		return a.bits&canSelect != 0 && (a.grantee == 0 || slices.Contains(held, a.grantee))
	})
}

// tellGiven tells what relations that the policies give a crowd do with a table
// that they hide from it, or do not give it.
func (e *evaluator) tellGiven(at int, t int32, c *crowd, given bits) {
	d := e.want.databases[at]
	for _, a := range d.classes[d.tables[t].class].acl {
		got := a.bits & given &^ a.notGiven(e.should)
		if got == 0 || a.by < 0 || a.grantee != 0 && !slices.Contains(c.reach.roles, a.grantee) {
			continue
		}
		x := e.excess(c, 0, got.String())
		x.Kind, x.Object, x.Via = connection.FindingGiven, d.tables[t].ref, []string{a.via}
		hidden := e.partOf(c, at, t)
		switch {
		case a.isTable && got&byRelation != 0 && e.should[t] == 0:
			x.Object, x.Via = d.tables[a.by].ref, []string{quoteTable(d.tables[t].ref.Schema, d.tables[t].ref.Name)}
			x.Privilege = "SELECT of rows of a partition or child without a subscription to that"
		case !a.isTable && got&(byRelation|pastRows) != 0 && hidden != nil:
			x.Privilege = "SELECT of what is hidden by " + strings.Join(hidden.policies, ", ")
		case got&byRule != 0:
		default:
			continue
		}
		if e.once(told{crowd: c, database: at, target: x.Object.OID, bits: got&byRelation | bits(a.by)<<32}) {
			e.out.given.add(causeKey{database: at, object: x.Object.OID, bits: got & (byRelation | byRule), via: a.via}, len(c.people), func() connection.Excess { return x })
		}
	}
}

// partOf is a part of which a table is, for a crowd; nil: none.
func (e *evaluator) partOf(c *crowd, at int, t int32) *wantedPart {
	for _, i := range c.parts {
		if p := &e.want.parts[i]; p.tables[at][t] {
			return p
		}
	}
	return nil
}

// unlimited are the findings that no GRANT can end, in the words of tables that
// cannot be enforced.
func unlimited(list []connection.Excess) (out []string) {
	more := 0
	for _, x := range list {
		for _, bit := range []bits{asSuperuser, asRoleMaker, asBypassRLS, asReplication, asServerFiles, asOwner, asSchemaOwner, asDatabaseOwner} {
			if x.Kind == "" && x.Person != "" && strings.Contains(", "+x.Privilege+", ", ", "+otherNames[bit]+", ") {
				if len(out) == 100 {
					more++
					break
				}
				out = append(out, fmt.Sprintf("%s, for %s (%s): no GRANT limits %s; a DBA runs: %s", x.Object.Place(), x.Person, x.Role, x.Privilege, x.Statement))
				break
			}
		}
	}
	if more > 0 {
		out = append(out, fmt.Sprintf("and %d more that no GRANT limits: see findings", more))
	}
	return out
}
