package grants

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/sqltext"
)

// plan is what has to be changed on an instance, in the order in which it is.
type plan struct {
	version  int
	mode     connection.Mode
	roles    []change            // made, reset; memberships revoked
	tables   map[string][]change // by database: revoked, then granted
	joins    []change            // memberships granted
	drops    []change            // roles dropped
	refused  []refusal
	lacking  map[string][]string // reason: tables
	settled  map[string]string   // digest of what is wanted, by role
	touched  map[string]int      // changes by role
	forget   []string            // roles of the ledger that are gone and not wanted
	announce []MadeRole          // to be put into the ledger before anything is made
}

// refusal is a role that cannot be had.
type refusal struct {
	role string
	err  *connection.Error
}

// empty reports whether there is nothing to do, in the ledger either.
func (p *plan) empty() bool {
	n := len(p.roles) + len(p.joins) + len(p.drops) + len(p.announce) + len(p.forget)
	for _, list := range p.tables {
		n += len(list)
	}
	return n == 0
}

func (p *plan) changes() []change {
	out := slices.Clone(p.roles)
	for _, name := range slices.Sorted(maps.Keys(p.tables)) {
		out = append(out, p.tables[name]...)
	}
	return append(append(out, p.joins...), p.drops...)
}

// desiredRole is a role of ours as it is wanted.
type desiredRole struct {
	kind    RoleKind
	of      string
	members []string // sorted
}

// planner compares. It only reads.
type planner struct {
	*plan
	cat    *catalog
	want   *wanted
	ledger map[string]MadeRole
	target connection.Target
	roles  map[string]*desiredRole
	asRole uint32            // who grants roles, where nobody else is known to
	have   map[string]*role  // wanted roles that are there
	mine   map[uint32]string // roles that hold grants and are there, wanted or not
	grants []change          // of the database at hand
	making map[string]bool   // roles that this plan makes
	makes  map[string]bool   // people's roles that may be made
	told   map[string]bool   // roles that cannot be members, and were said so
	barred map[string]bool   // ways that cannot be granted yet
	admins map[string]uint32 // memo of maker
}

// compare works out the difference, of the roles of these sets or, where within
// is nil, of all; nothing but its arguments decides.
func compare(t connection.Target, cat *catalog, w *wanted, ledger map[string]MadeRole, within map[string]bool) *plan {
	p := &planner{
		plan: &plan{version: cat.version, mode: t.Mode, tables: map[string][]change{}, lacking: map[string][]string{},
			settled: map[string]string{}, touched: map[string]int{}},
		cat: cat, want: w, ledger: ledger, target: t, roles: map[string]*desiredRole{}, have: map[string]*role{}, mine: map[uint32]string{}, told: map[string]bool{}, barred: map[string]bool{}, making: map[string]bool{}, makes: map[string]bool{},
		admins: map[string]uint32{},
	}
	for _, a := range w.accounts {
		p.makes[a.Role] = a.Make
	}
	p.asRole = p.rolesAs()
	p.desireRoles()
	if within != nil {
		p.narrow(within)
	}
	p.sortMembers()
	p.compareRoles()
	p.findMine()
	p.compareMembers()
	for at, d := range w.databases {
		p.compareTables(at, d)
		p.compareSchemas(d)
		p.compareDatabase(d)
		p.tables[d.name] = append(p.tables[d.name], p.grants...)
		p.grants = nil
	}
	p.compareDrops()
	p.byMaker()
	p.digest(within)
	return p.plan
}

func (p *planner) desireRoles() {
	for _, s := range p.want.sets {
		ways := map[string]bool{}
		unknown := false // whether it holds tables
		for at, tables := range s.tables {
			d := p.want.databases[at]
			unknown = unknown || d.unreadable
			for _, i := range tables {
				if k := d.tables[i].class; k >= 0 {
					ways[p.way(d, d.classes[k].schema)] = true
				}
			}
		}
		if len(ways) == 0 && !unknown {
			continue // made at first need
		}
		p.roles[s.role] = &desiredRole{kind: RoleSet, of: s.id, members: p.eligible(s.members)}
		for w := range ways {
			p.roles[w].members = append(p.roles[w].members, s.role)
		}
	}
}

func (p *planner) sortMembers() {
	for _, r := range p.roles {
		slices.Sort(r.members)
		r.members = slices.Compact(r.members)
	}
}

// way is the role that holds USAGE on a schema. ACLs are bounded in size and
// sets are not, so sets are members of it instead of being granted USAGE.
func (p *planner) way(d *database, s *schema) string {
	name, through := schemaRole(p.target.Prefix, d.oid, s.oid), databaseRole(p.target.Prefix, d.oid)
	if p.roles[name] == nil {
		p.roles[name] = &desiredRole{kind: RoleSchema, of: d.name + "." + s.name}
		if p.roles[through] == nil {
			p.roles[through] = &desiredRole{kind: RoleDatabase, of: d.name}
		}
		p.roles[through].members = append(p.roles[through].members, name)
	}
	return name
}

// eligible are the members that can be: they exist or may be made, can log in
// and are neither superusers, who reach everything, nor roles of ours.
func (p *planner) eligible(members []string) []string {
	var out []string
	for _, name := range members {
		r := p.cat.names[name]
		why := ""
		switch {
		case p.target.Ours(name) || r != nil && r.oid == p.cat.account:
			why = "it is not a person's"
		case r == nil && !p.mayMake(name):
			why = "there is no such role, and it may not be made"
		case r != nil && !r.login:
			why = "it cannot log in"
		case r == nil || !r.super:
			out = append(out, name)
		}
		if why != "" && !p.told[name] {
			p.told[name] = true
			p.lacking[why] = append(p.lacking[why], "role "+sqltext.Identifier(name))
		}
	}
	return out
}

func (p *planner) mayMake(name string) bool {
	if !p.target.MakeRoles || name == "" || len(name) > 63 || strings.HasPrefix(name, "pg_") {
		return false
	}
	return p.makes[name]
}

func (p *planner) compareRoles() {
	for _, name := range slices.Sorted(maps.Keys(p.roles)) {
		p.compareRole(name, p.roles[name].kind, p.roles[name].of)
	}
	logins := map[string]bool{}
	for _, r := range p.roles {
		if r.kind != RoleSet {
			continue
		}
		for _, m := range r.members {
			if p.cat.names[m] == nil {
				logins[m] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(logins)) {
		p.compareRole(name, RoleLogin, p.want.people[name])
	}
}

// compareRole sees to it that a role is there and ours.
func (p *planner) compareRole(name string, kind RoleKind, of string) {
	made, known := p.ledger[name]
	now := p.cat.names[name]
	if now != nil && p.ours(made, known, now) {
		p.have[name] = now
		if made.OID == 0 {
			made.OID = now.oid
			p.announce = append(p.announce, made)
		}
		if kind != RoleLogin && (now.login || now.createRole || !now.inherit) {
			p.add(&p.plan.roles, change{action: resetRole, as: p.maker(name), role: name})
		}
		return
	}
	if now != nil {
		delete(p.roles, name)
		id := sqltext.Identifier(name)
		hint := fmt.Sprintf("If nobody needs it: DROP ROLE %s; or ALTER ROLE %[1]s RENAME TO another name.", id)
		if strings.HasPrefix(now.comment, "Portcullis [") {
			hint = fmt.Sprintf("A connection that was forgotten left it, and its members keep what it was granted. A DBA takes that back, "+
				"in each database by DROP OWNED BY %s where it owns nothing, then runs: DROP ROLE %[1]s", id)
		}
		p.refused = append(p.refused, refusal{name, &connection.Error{Code: "role_not_ours",
			Message: fmt.Sprintf("role %s is there already and was not made for this connection", id),
			Detail:  "It is left alone, and nothing is granted to it.", Hint: hint}})
		return
	}
	if p.renamed(name, made) {
		return
	}
	again := made.Settled
	if !known || made.OID != 0 {
		made = MadeRole{Name: name, Kind: kind, For: of, Mark: mark(p.target, name)}
	}
	made.Settled = again
	p.announce = append(p.announce, made)
	p.making[name] = true
	p.add(&p.plan.roles, change{action: makeRole, as: p.maker(name), role: name, login: kind == RoleLogin, comment: roleComment(made)})
}

// renamed refuses a role of ours that has another name by now: making it anew
// would leave the old one with all that it holds.
func (p *planner) renamed(name string, made MadeRole) bool {
	now := p.cat.roles[made.OID]
	if now == nil || now.name == name {
		return false
	}
	delete(p.roles, name)
	p.refused = append(p.refused, refusal{name, &connection.Error{Code: "role_renamed",
		Message: fmt.Sprintf("role %s was renamed to %s", sqltext.Identifier(name), sqltext.Identifier(now.name)),
		Detail:  "What it holds is left as it is.", Hint: fmt.Sprintf("ALTER ROLE %s RENAME TO %s", sqltext.Identifier(now.name), sqltext.Identifier(name))}})
	return true
}

// ours reports whether a role that is there is the one of the ledger: by OID, or
// by its mark if it was made and the ledger did not hear of it any more.
func (p *planner) ours(made MadeRole, known bool, now *role) bool {
	if !known {
		return false
	}
	if made.OID == 0 {
		return strings.Contains(now.comment, made.Mark)
	}
	return made.OID == now.oid
}

// findMine lists the roles that hold our grants, those that are no longer
// wanted too.
func (p *planner) findMine() {
	for name, made := range p.ledger {
		now := p.cat.names[name]
		switch {
		case made.Kind == RoleLogin && now != nil && made.OID == 0 && p.ours(made, true, now):
			made.OID = now.oid
			p.announce = append(p.announce, made)
		case made.Kind == RoleLogin:
		case now != nil && p.ours(made, true, now):
			p.mine[now.oid] = name
		case p.roles[name] != nil || p.isRefused(name) || p.renamed(name, made):
		default:
			p.forget = append(p.forget, name)
		}
	}
	slices.Sort(p.forget)
}

func (p *planner) isRefused(name string) bool {
	return slices.ContainsFunc(p.refused, func(r refusal) bool { return r.role == name })
}

// roleComment begins with the mark: what follows may be cut.
func roleComment(m MadeRole) string {
	of := map[RoleKind]string{RoleSet: "access of ", RoleSchema: "way to schema ", RoleDatabase: "way to database ", RoleLogin: "login of "}[m.Kind]
	return fmt.Sprintf("Portcullis [%s]: %s%s", m.Mark, of, m.For)
}

// mark is the same for two engines that make one role at the same time: what
// the one makes, the other knows.
func mark(t connection.Target, role string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %d %q", t.Name, t.Host, t.Port, role))
	return hex.EncodeToString(sum[:16])
}

func (p *planner) add(list *[]change, c change) {
	p.touched[c.role]++
	c.drift = p.ledger[c.role].Settled != "" && c.action != dropRole
	*list = append(*list, c)
}

// digest remembers what is wanted of each role and can be had, and takes the mark
// of drift off changes of roles of which something else was before: what becomes
// grantable is nobody's change by hand.
func (p *planner) digest(within map[string]bool) {
	sums := map[string][]string{}
	for name, r := range p.roles {
		sums[name] = append(sums[name], strings.Join(r.members, "\x00"))
		if p.barred[name] {
			sums[name] = append(sums[name], "barred")
		}
	}
	for _, s := range p.want.sets {
		if p.roles[s.role] == nil {
			continue
		}
		for at, d := range p.want.databases {
			if len(s.tables[at]) == 0 {
				continue // not every round looks at every database
			}
			h := sha256.New()
			for _, i := range s.tables[at] {
				if d.tables[i].class >= 0 && !d.tables[i].lacking {
					fmt.Fprintln(h, d.tables[i].ref.OID)
				}
			}
			sums[s.role] = append(sums[s.role], fmt.Sprintf("%d %x", d.oid, h.Sum(nil)))
		}
	}
	for name, parts := range sums {
		if within != nil && !within[name] {
			continue // a way, of which members are kept as they are, right or wrong
		}
		slices.Sort(parts[1:])
		sum := sha256.Sum256([]byte(strings.Join(parts, "\x01")))
		p.settled[name] = hex.EncodeToString(sum[:])
	}
	same := func(list []change) {
		for i := range list {
			list[i].drift = list[i].drift && p.ledger[list[i].role].Settled == p.settled[list[i].role]
		}
	}
	same(p.plan.roles)
	same(p.joins)
	for _, list := range p.tables {
		same(list)
	}
}
