package grants

import (
	"context"
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
	sqlParents = `SELECT i.inhparent, i.inhrelid, p.relkind = 'p' FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent AND p.relkind IN ('r', 'p', 'f')`
	// Rules that act on other relations, with the rights of their relation's owner.
	sqlRules = `SELECT r.ev_class, c.relowner, r.ev_type::text, ARRAY(SELECT DISTINCT d.refobjid FROM pg_depend d WHERE d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
				AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class AND d.refobjid >= 16384)
		FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE r.ev_type <> '1' AND r.ev_enabled <> 'D' AND r.ev_class >= 16384`
	sqlReaderACLs = `SELECT c.oid, c.relowner, c.relkind::text, c.relnamespace, c.relname::text, ` + aclArrays + ` FROM pg_class c, ` + relationLateral + ` WHERE c.oid = ANY ($1)`
)

// relationPaths are what other relations do with tables, before it is known who
// may use them.
type relationPaths struct {
	d       *database
	c       *catalog
	views   map[uint32]*viewPath
	parents map[uint32][]childPath
	found   map[uint32]map[int32]map[bits]bits // by relation and table: what is reached, by what is needed for it
	under   map[uint32][]uint32                // views and parents through which a relation is written
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

func (d *database) readByPaths(ctx context.Context, conn *pgx.Conn, c *catalog) error {
	if len(d.tables) == 0 {
		return nil
	}
	p := &relationPaths{d: d, c: c, views: map[uint32]*viewPath{}, parents: map[uint32][]childPath{}, found: map[uint32]map[int32]map[bits]bits{}}
	if err := p.read(ctx, conn); err != nil {
		return err
	}
	for oid, v := range p.views {
		if !v.asInvoker {
			p.follow(oid, oid, 0, byRelation, canSelect, map[uint32]bool{})
			for _, t := range throughs[1:4] {
				p.follow(oid, oid, 0, t[1], t[0], map[uint32]bool{})
			}
		}
	}
	for oid, children := range p.parents {
		for _, ch := range children {
			for _, t := range throughs {
				if t[1] != byInsert || ch.routes {
					p.reach(oid, ch.child, noCheck, t[1], t[0], t[0], map[uint32]bool{oid: true})
				}
			}
		}
	}
	if err := p.readRules(ctx, conn); err != nil {
		return err
	}
	if err := p.readTriggers(ctx, conn); err != nil {
		return err
	}
	if err := p.grantees(ctx, conn); err != nil {
		return err
	}
	if err := d.addFunctions(ctx, conn, c); err != nil {
		return err
	}
	return d.addHanging(ctx, conn)
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

// noCheck is an acting role whose rights are not looked at.
const noCheck uint32 = 0

// follow notes what a view of top, or of a view in it, leads to. acting is
// whose rights count where the view takes those of whoever asks.
func (p *relationPaths) follow(top, view, acting uint32, through, need bits, seen map[uint32]bool) {
	v := p.views[view]
	if v == nil || seen[view] {
		return
	}
	seen[view] = true
	to := v.mentions
	if through != byRelation && through != byRule {
		if v.writes&through == 0 {
			return
		}
		to = v.bases
	}
	if !v.asInvoker {
		acting = v.owner
	}
	if v.stored {
		acting = noCheck // what its owner could read once is in it
	}
	for _, relation := range to {
		p.reach(top, relation, acting, through, need, need, seen)
	}
}

// reach notes that who has a privilege on top reaches a relation, and what that
// relation leads to, if the role that acts there has the privilege that this takes.
func (p *relationPaths) reach(top, relation, acting uint32, through, need, takes bits, seen map[uint32]bool) {
	if v := p.views[relation]; v != nil && through != byRelation && through != byRule && v.writes&through == 0 {
		return
	}
	if at, ok := p.d.byOID[relation]; ok && p.d.tables[at].class >= 0 {
		if acting != noCheck && !p.d.can(p.c, acting, at, takes) {
			return
		}
		if p.found[top] == nil {
			p.found[top] = map[int32]map[bits]bits{}
		}
		if p.found[top][at] == nil {
			p.found[top][at] = map[bits]bits{}
		}
		p.found[top][at][need] |= through
	}
	p.follow(top, relation, acting, through, need, seen)
	for _, ch := range p.parents[relation] {
		if !seen[ch.child] && (through != byInsert || ch.routes) {
			seen[ch.child] = true
			p.reach(top, ch.child, noCheck, through, need, takes, seen)
		}
	}
}

// anything is what a rule or trigger might do.
const anything = canSelect | canInsert | canUpdate | canDelete | canTruncate

func (p *relationPaths) readRules(ctx context.Context, conn *pgx.Conn) error {
	return each(ctx, conn, func(rows pgx.Rows) error {
		var relation, owner uint32
		var event string
		var mentions []uint32
		if err := rows.Scan(&relation, &owner, &event, &mentions); err != nil {
			return err
		}
		need := map[string]bits{"2": canUpdate, "3": canInsert, "4": canDelete}[event]
		for _, other := range mentions {
			p.act(relation, other, p.d.owned(owner), need, byItsRule)
		}
		return nil
	}, sqlRules)
}

// grantees adds entries for those who may use what was found.
func (p *relationPaths) grantees(ctx context.Context, conn *pgx.Conn) error {
	oids := make([]uint32, 0, len(p.found))
	for oid := range p.found {
		oids = append(oids, oid)
	}
	slices.Sort(oids)
	return each(ctx, conn, func(rows pgx.Rows) error {
		var oid, owner, in uint32
		var name, kind string
		var acl aclColumns
		err := rows.Scan(append([]any{&oid, &owner, &kind, &in, &name}, acl.targets()...)...)
		if err != nil {
			return err
		}
		entries, err := p.d.entries(&acl, "SELECT")
		if err != nil || p.d.schemas[in] == nil {
			return err
		}
		by := int32(-1)
		if at, ok := p.d.byOID[oid]; ok {
			by = at
		}
		owner = p.d.owned(owner)
		entries = withOwner(entries, owner)
		for at, ways := range p.found[oid] {
			k := p.d.own(at)
			for _, e := range entries {
				if e.grantee == owner && kind == "v" {
					continue // it acts with the owner's rights
				}
				for need, through := range ways {
					if e.grantee == owner || e.bits&need != 0 {
						k.acl = append(k.acl, entry{grantee: e.grantee, grantor: e.grantor, bits: through,
							via: quoteTable(p.d.schemas[in].name, name), by: by, owner: owner, schema: in, need: need, isTable: kind != "v" && kind != "m"})
					}
				}
			}
		}
		return nil
	}, sqlReaderACLs, oids)
}

// withOwner lists the grantees of an ACL, the owner among them even if the
// owner revoked from itself what it can grant to itself.
func withOwner(acl []entry, owner uint32) []entry {
	for _, e := range acl {
		if e.grantee == owner {
			return acl
		}
	}
	return append(slices.Clone(acl), entry{grantee: owner, grantor: owner})
}

// can reports whether a role has one of these privileges on a table, or on some of its columns.
func (d *database) can(c *catalog, who uint32, at int32, want bits) bool {
	for some, all := range map[bits]bits{someSelect: canSelect, someInsert: canInsert, someUpdate: canUpdate} {
		if want&all != 0 {
			want |= some
		}
	}
	k := &d.classes[d.tables[at].class]
	r := c.reach(who)
	if r.bits&(asSuperuser|want&tableBits) != 0 || slices.Contains(r.roles, k.owner) {
		return true
	}
	for _, e := range k.acl {
		if e.via == "" && e.bits&want != 0 && (e.grantee == 0 || slices.Contains(r.roles, e.grantee)) {
			return true
		}
	}
	return false
}
