package grants

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
)

// By-paths are the ways to a table that need no privilege on the table: views
// and materialised views with their owner's rights, tables that it is a
// partition or child of, rules and triggers of other relations, and SECURITY
// DEFINER functions. Each becomes an entry in the ACL of the table's class.

const (
	// The views that act with their owner's rights, those of the owner of views
	// left out, since they show to each person what the policies let them see; what
	// each mentions; and, where it can be written by itself, by what statements
	// and what table is written then. Functions that tell this lock the view, and
	// its owner could keep them waiting: so it is taken from the query as
	// PostgreSQL keeps it, whose names hold no bare space. What comes last belongs to the
	// outermost query.
	sqlViews = `SELECT v.oid, v.relowner, v.relkind = 'm', coalesce(v.reloptions::text, '') ~* 'security_invoker=(true|on|1|yes)', w.how,
			ARRAY(SELECT DISTINCT d.refobjid FROM pg_depend d WHERE d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
				AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> v.oid AND d.refobjid >= 16384),
			CASE WHEN w.how <> 0 THEN ARRAY(SELECT DISTINCT m[1]::oid FROM regexp_matches(split_part(r.ev_action::text, ' :jointree {FROMEXPR', 1), ':relid ([0-9]+)', 'g') m
				WHERE m[1]::oid <> v.oid) ELSE '{}' END
		FROM pg_class v JOIN pg_rewrite r ON r.ev_class = v.oid AND r.rulename = '_RETURN', LATERAL (SELECT CASE WHEN v.relkind = 'v'
			AND split_part(r.ev_action::text, ' :rtable (', 1) ~ ':hasAggs false :hasWindowFuncs false :hasTargetSRFs false .* :cteList <>$'
			AND substring(r.ev_action::text FROM '.*( :groupClause .*)$') ~ '^ :groupClause <> .* :havingQual <> .* :distinctClause <> .* :limitOffset <> :limitCount <> .* :setOperations <> '
			THEN 28 & ~ coalesce((SELECT bit_or(1 << (CASE x.ev_type WHEN '2' THEN 2 WHEN '3' THEN 3 ELSE 4 END)) FROM pg_rewrite x
				WHERE x.ev_class = v.oid AND x.is_instead AND x.ev_type <> '1'), 0) & ~ coalesce((SELECT bit_or((t.tgtype & 16) / 4 | (t.tgtype & 4) * 2 | (t.tgtype & 8) * 2)
				FROM pg_trigger t WHERE t.tgrelid = v.oid AND t.tgtype & 64 <> 0), 0) ELSE 0 END AS how) w
		WHERE v.relkind IN ('v', 'm') AND v.oid >= 16384 AND v.relowner <> $1`
	sqlParents    = `SELECT i.inhparent, i.inhrelid, p.relkind = 'p' FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent AND p.relkind IN ('r', 'p', 'f')`
	sqlReaderACLs = `SELECT c.oid, c.relowner, c.relnamespace, c.relname::text, ` + aclArrays + ` FROM pg_class c, ` + relationLateral + ` WHERE c.oid = ANY ($1)`
)

// relationPaths are what relations do with each other, before it is known who
// may use them.
type relationPaths struct {
	d         *database
	c         *catalog
	views     map[uint32]*viewPath
	parents   map[uint32][]childPath
	acts      map[uint32][]effect // what writing a relation sets off
	relations map[uint32]*relation
	found     map[uint32][]opening
	byName    map[string][]uint32 // of relations, for functions that name them
	reaches   map[uint32]reach    // memo of reach
	steps     int                 // that walks may still take
}

// viewPath is a view, or a materialised one, that others may query.
type viewPath struct {
	owner             uint32
	stored, asInvoker bool
	mentions          []uint32
	writes            bits     // by what it can be written by itself
	bases             []uint32 // what is written then
}

type childPath struct {
	child  uint32
	routes bool // what is inserted into the parent may go there
}

// relation is one that leads to others: whose it is and who may use it.
type relation struct {
	owner, schema uint32
	name          string
	acl           []entry
}

// opening is what a privilege on a relation does with a table.
type opening struct {
	at            int32
	need, through bits
}

func (d *database) readByPaths(ctx context.Context, conn *pgx.Conn, c *catalog) error {
	if len(d.tables) == 0 {
		return nil
	}
	p := &relationPaths{d: d, c: c, steps: c.limits.Steps, views: map[uint32]*viewPath{}, parents: map[uint32][]childPath{}, acts: map[uint32][]effect{}, relations: map[uint32]*relation{}, found: map[uint32][]opening{}, reaches: map[uint32]reach{}}
	for _, read := range []func(context.Context, *pgx.Conn) error{p.read, p.readActs, p.readRelations} {
		if err := read(ctx, conn); err != nil {
			return err
		}
	}
	cut := 0
	for _, oid := range slices.Sorted(maps.Keys(p.relations)) {
		if !p.walkFrom(oid) {
			cut++
		}
	}
	p.tellCut(cut, len(p.relations), "views, parents and relations with rules, triggers or keys")
	p.grantees()
	if err := p.addFunctions(ctx, conn); err != nil {
		return err
	}
	return d.addHanging(ctx, conn)
}

// tellCut notes from how many of a kind no walk came to its end.
func (p *relationPaths) tellCut(cut, all int, what string) {
	if cut > 0 {
		p.d.incomplete = append(p.d.incomplete, fmt.Sprintf("from %d of %d %s no way was followed to its end, which would take more than %d steps", cut, all, what, p.c.limits.Steps))
	}
}

func (p *relationPaths) read(ctx context.Context, conn *pgx.Conn) error {
	err := each(ctx, conn, func(rows pgx.Rows) error {
		var oid uint32
		var how int32
		v := &viewPath{}
		err := rows.Scan(&oid, &v.owner, &v.stored, &v.asInvoker, &how, &v.mentions, &v.bases)
		v.owner = p.d.owned(v.owner)
		for command, b := range map[int]bits{2: byUpdate, 3: byInsert, 4: byDelete} {
			if how&(1<<command) != 0 {
				v.writes |= b
			}
		}
		if len(v.bases) != 1 {
			v.writes = 0
		}
		p.views[oid] = v
		return err
	}, sqlViews, p.c.viewsRole)
	if err != nil {
		return err
	}
	return each(ctx, conn, func(rows pgx.Rows) error {
		var parent uint32
		var ch childPath
		err := rows.Scan(&parent, &ch.child, &ch.routes)
		p.parents[parent] = append(p.parents[parent], ch)
		return err
	}, sqlParents)
}

// readRelations reads whose the relations are that lead to others, and who may
// use them: of the tables of the policies that is known.
func (p *relationPaths) readRelations(ctx context.Context, conn *pgx.Conn) error {
	var unknown []uint32
	add := func(oid uint32) {
		if p.relations[oid] != nil {
			return
		}
		if at, ok := p.d.byOID[oid]; ok && p.d.tables[at].class >= 0 {
			k, ref := &p.d.classes[p.d.tables[at].class], p.d.tables[at].ref
			p.relations[oid] = &relation{owner: k.owner, schema: k.schema.oid, name: ref.Name, acl: k.acl}
			return
		}
		p.relations[oid] = &relation{}
		unknown = append(unknown, oid)
	}
	for oid := range p.views {
		add(oid)
	}
	for oid := range p.parents {
		add(oid)
	}
	for oid := range p.acts {
		add(oid)
	}
	err := each(ctx, conn, func(rows pgx.Rows) error {
		var oid uint32
		r := &relation{}
		var acl aclColumns
		err := rows.Scan(append([]any{&oid, &r.owner, &r.schema, &r.name}, acl.targets()...)...)
		if err != nil {
			return err
		}
		r.owner = p.d.owned(r.owner)
		if r.acl, err = p.d.entries(&acl, "SELECT"); err == nil && p.d.schemas[r.schema] != nil {
			p.relations[oid] = r
		}
		return err
	}, sqlReaderACLs, unknown)
	for oid, r := range p.relations {
		if r.schema == 0 {
			delete(p.relations, oid) // made since; the next round sees it
		}
	}
	return err
}

// grantees adds entries for those who may use what was found.
func (p *relationPaths) grantees() {
	for oid, ways := range p.found {
		for _, w := range ways {
			if w.through&pastRows != 0 {
				p.d.own(w.at).past |= w.need
			}
		}
		r := p.relations[oid]
		via := quoteTable(p.d.schemas[r.schema].name, r.name)
		by := int32(-1)
		if at, ok := p.d.byOID[oid]; ok {
			by = at
		}
		v := p.views[oid]
		p.d.aclOf(via, r.acl)
		for _, e := range withOwner(r.acl, r.owner) {
			if e.via != "" || e.grantee == r.owner && v != nil && !v.stored {
				continue // a view acts with the owner's rights
			}
			acts := map[int32]bits{} // what of their privileges leads to each table by a rule, trigger or foreign key
			add := func(at int32, through, need bits) {
				k := p.d.own(at)
				k.acl = append(k.acl, entry{grantee: e.grantee, grantor: e.grantor, bits: through, via: via, by: by, owner: r.owner, schema: r.schema, need: need, isTable: v == nil})
			}
			for _, w := range ways {
				if e.grantee != r.owner && e.bits&onColumns(w.need) == 0 || e.grantee == p.d.classes[p.d.tables[w.at].class].owner {
					continue
				}
				if direct := w.through &^ byRule; direct != 0 {
					add(w.at, direct, w.need)
				}
				if w.through&byRule != 0 {
					acts[w.at] |= w.need
				}
			}
			for at, need := range acts {
				add(at, byRule, need)
			}
		}
	}
}

// aclOf keeps the ACL of a relation on the way, of which a DBA may have to revoke.
func (d *database) aclOf(via string, acl []entry) {
	if d.onTheWay == nil {
		d.onTheWay = map[string][]entry{}
	}
	d.onTheWay[via] = acl
}

// onColumns adds to privileges the same on some columns.
func onColumns(want bits) bits {
	for some, all := range map[bits]bits{someSelect: canSelect, someInsert: canInsert, someUpdate: canUpdate} {
		if want&all != 0 {
			want |= some
		}
	}
	return want
}

// withOwner lists the grantees of an ACL, the owner among them even if the
// owner revoked from itself what it can grant to itself.
func withOwner(acl []entry, owner uint32) []entry {
	for _, e := range acl {
		if e.grantee == owner && e.via == "" {
			return acl
		}
	}
	return append(slices.Clone(acl), entry{grantee: owner, grantor: owner})
}

// may are those of some privileges that a role has on a relation, or on some of its columns.
func (p *relationPaths) may(who uint32, owner uint32, acl []entry, want bits) (out bits) {
	r, ok := p.reaches[who]
	if !ok {
		r = p.c.reach(who)
		p.reaches[who] = r
	}
	if r.bits&asSuperuser != 0 || slices.Contains(r.roles, owner) {
		return want
	}
	out = r.bits & want
	for _, e := range acl {
		if e.via != "" || e.grantee != 0 && !slices.Contains(r.roles, e.grantee) {
			continue
		}
		for _, t := range throughs {
			if want&t[0] != 0 && e.bits&onColumns(t[0]) != 0 {
				out |= t[0]
			}
		}
	}
	return out
}
