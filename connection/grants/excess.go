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

// blame finds what gives a crowd these bits of a table.
func (e *evaluator) blame(at int, t int32, c *crowd, beyond bits) {
	d := e.want.databases[at]
	k := &d.classes[d.tables[t].class]
	if len(e.out.causes.order) >= e.out.causes.limit && e.out.causes.limit > 0 {
		return
	}
	if e.blameWide(c, beyond) && beyond&(asSuperuser|asRoleMaker|asServerFiles) != 0 {
		return // whatever else there is makes no difference
	}
	for _, a := range k.acl {
		if got := a.bits & beyond; got != 0 && (a.grantee == 0 || slices.Contains(c.reach.roles, a.grantee)) {
			e.out.causes.add(causeKey{at, d.tables[t].ref.OID, a.grantee, a.grantor, got, a.via}, len(c.people), func() connection.Excess {
				return e.describe(d, k, t, c, a, got)
			})
		}
	}
	for _, o := range []struct {
		bit       bits
		owner     uint32
		statement string
	}{
		{asOwner, k.owner, "ALTER TABLE " + quoteTable(d.tables[t].ref.Schema, d.tables[t].ref.Name)},
		{asSchemaOwner, k.schema.owner, "ALTER SCHEMA " + sqltext.Identifier(k.schema.name)},
		{asDatabaseOwner, d.owner, "ALTER DATABASE " + sqltext.Identifier(d.name)},
	} {
		if beyond&o.bit == 0 {
			continue
		}
		ref := d.tables[t].ref
		if o.bit != asOwner {
			ref = connection.ObjectRef{Database: d.name, Schema: k.schema.name}
		}
		e.out.causes.add(causeKey{database: at, object: ref.OID, grantee: o.owner, bits: o.bit, via: k.schema.name}, len(c.people), func() connection.Excess {
			x := e.excess(c, o.bit.String(), e.cat.path(c.people[0], o.owner))
			x.Object = ref
			x.Statement = o.statement + " OWNER TO CURRENT_USER"
			if x.Via != nil {
				x.Statement = e.leaveStatement(c.people[0], o.owner)
			}
			return x
		})
	}
}

// blameWide finds the roles whose attributes, or which as predefined roles, open
// every table.
func (e *evaluator) blameWide(c *crowd, beyond bits) bool {
	found := false
	for _, id := range c.reach.identities {
		if got := e.cat.attributeBits(id) & beyond & wide; got != 0 {
			found = true
			e.addWide(c, id, got, fmt.Sprintf("ALTER ROLE %s %s", sqltext.Identifier(e.cat.name(id)), without(got)))
		}
	}
	for _, r := range c.reach.roles {
		if got := e.cat.predefinedBits(r) & beyond; got != 0 {
			found = true
			e.addWide(c, r, got, e.leaveStatement(c.people[0], r))
		}
	}
	return found
}

func (e *evaluator) addWide(c *crowd, id uint32, got bits, statement string) {
	e.out.causes.add(causeKey{database: -1, grantee: id, grantor: c.people[0], bits: got}, len(c.people), func() connection.Excess {
		x := e.excess(c, got.String(), e.cat.path(c.people[0], id))
		x.Statement = statement
		return x
	})
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

func (e *evaluator) excess(c *crowd, privilege string, via []string) connection.Excess {
	return connection.Excess{Person: e.want.people[c.names[0]], Role: c.names[0], Privilege: privilege, Via: via}
}

// describe tells of one entry of an ACL, with the statement that ends it.
func (e *evaluator) describe(d *database, k *class, t int32, c *crowd, a entry, got bits) connection.Excess {
	ref := d.tables[t].ref
	via := e.cat.path(c.people[0], a.grantee)
	if a.grantee == 0 {
		via = []string{"PUBLIC"}
	}
	x := e.excess(c, got.String(), via)
	x.Object, x.Grantor = ref, e.cat.name(a.grantor)
	if a.via != "" {
		x.Via = append(x.Via, a.via)
	}
	to := "PUBLIC"
	if a.grantee != 0 {
		to = sqltext.Identifier(e.cat.name(a.grantee))
	}
	object := "TABLE " + quoteTable(ref.Schema, ref.Name)
	privileges := onTable(got | got>>optionShift&tableBits).names()
	what := strings.Join(privileges, ", ")
	switch {
	case got&byRelation != 0:
		object, what = "TABLE "+a.via, "SELECT"
	case got&byFunction != 0:
		object, what = "FUNCTION "+a.via, "EXECUTE"
	case got&tableBits == 0 && got&columnBits == 0:
		what = "GRANT OPTION FOR " + what
	}
	x.Statement = fmt.Sprintf("REVOKE %s ON %s FROM %s", what, object, to)
	if a.grantor != k.owner && a.via == "" && a.grantor != 0 {
		// Only who granted can revoke, and a superuser is taken for the owner.
		x.Statement = fmt.Sprintf("SET ROLE %s; %s; RESET ROLE", sqltext.Identifier(e.cat.name(a.grantor)), x.Statement)
	}
	return x
}

// leaveStatement takes the last membership off the way to a role.
func (e *evaluator) leaveStatement(login, target uint32) string {
	path := e.cat.path(login, target)
	if len(path) == 0 {
		return ""
	}
	member := e.cat.name(login)
	if len(path) > 1 {
		member = path[len(path)-2]
	}
	return fmt.Sprintf("REVOKE %s FROM %s", sqltext.Identifier(path[len(path)-1]), sqltext.Identifier(member))
}
