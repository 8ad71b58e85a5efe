package grants

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// By-paths are the ways to a table's rows that need no privilege on the table:
// views and materialised views with their owner's rights, tables that it is a
// partition or child of, and SECURITY DEFINER functions. Each becomes an entry
// in the ACL of the table's class.

const (
	// Pairs of a relation and one whose rows it shows, however many views are in
	// between. Views that act with the rights of whoever asks open nothing, and
	// those of the owner of views show to each person what the policies let them see.
	sqlReaders = `WITH RECURSIVE direct AS (
			SELECT DISTINCT r.ev_class AS reader, d.refobjid AS relation FROM pg_rewrite r
				JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
				JOIN pg_class v ON v.oid = r.ev_class AND v.relkind IN ('v', 'm') AND v.relowner <> $1
				WHERE r.rulename = '_RETURN' AND d.refobjid <> r.ev_class AND r.ev_class >= 16384 AND d.refobjid >= 16384
			UNION SELECT inhparent, inhrelid FROM pg_inherits),
		reads AS (SELECT reader, relation FROM direct UNION SELECT d.reader, r.relation FROM direct d JOIN reads r ON r.reader = d.relation)
		SELECT reader, relation FROM reads JOIN pg_class c ON c.oid = relation AND c.relkind IN ('r', 'p', 'v', 'm', 'f')`
	sqlReaderACLs = `SELECT c.oid, c.relowner, c.relnamespace, c.relname::text, ` + aclArrays + ` FROM pg_class c, ` +
		aclLateral + `(coalesce(c.relacl, acldefault('r', c.relowner))) a WHERE a.privilege_type = 'SELECT') x
		WHERE c.oid = ANY ($1) AND NOT (c.relkind = 'v' AND coalesce(c.reloptions::text, '') ~* 'security_invoker=(true|on|1|yes)')`
	sqlFunctions = `SELECT p.oid::regprocedure::text, p.pronamespace, p.proowner, p.prosrc,
			ARRAY(SELECT d.refobjid FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_class'::regclass),
			` + aclArrays + ` FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace, ` +
		aclLateral + `(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.privilege_type = 'EXECUTE') x
		WHERE p.prosecdef AND p.oid >= 16384 AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
			AND n.nspname <> 'portcullis_broker' LIMIT 10000`
)

func (d *database) readByPaths(ctx context.Context, conn *pgx.Conn, c *catalog) error {
	if len(d.tables) == 0 {
		return nil
	}
	readers := map[uint32][]int32{}
	err := each(ctx, conn, func(rows pgx.Rows) error {
		var reader, relation uint32
		err := rows.Scan(&reader, &relation)
		if at, ok := d.byOID[relation]; ok && d.tables[at].class >= 0 {
			readers[reader] = append(readers[reader], at)
		}
		return err
	}, sqlReaders, c.viewsRole)
	if err != nil {
		return err
	}
	if err := d.addReaders(ctx, conn, readers); err != nil {
		return err
	}
	return d.addFunctions(ctx, conn, c)
}

func (d *database) addReaders(ctx context.Context, conn *pgx.Conn, readers map[uint32][]int32) error {
	oids := make([]uint32, 0, len(readers))
	for oid := range readers {
		oids = append(oids, oid)
	}
	slices.Sort(oids)
	return each(ctx, conn, func(rows pgx.Rows) error {
		var oid, owner, in uint32
		var name string
		var acl aclColumns
		err := rows.Scan(append([]any{&oid, &owner, &in, &name}, acl.targets()...)...)
		if err != nil {
			return err
		}
		entries, err := d.entries(&acl, "SELECT")
		if err != nil || d.schemas[in] == nil {
			return err
		}
		by := int32(-1)
		if at, ok := d.byOID[oid]; ok {
			by = at
		}
		for _, at := range readers[oid] {
			k := d.own(at)
			for _, e := range withOwner(entries, d.owned(owner)) {
				k.acl = append(k.acl, entry{grantee: e.grantee, grantor: e.grantor, bits: byRelation,
					via: quoteTable(d.schemas[in].name, name), by: by})
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

var wordForm = regexp.MustCompile(`"(?:[^"]|"")+"|[\pL_][\pL\pN_$]*`)

// words are the identifiers in the text of a function.
func words(text string) map[string]bool {
	out := map[string]bool{}
	for _, w := range wordForm.FindAllString(text, -1) {
		if w[0] == '"' {
			out[strings.ReplaceAll(w[1:len(w)-1], `""`, `"`)] = true
		} else {
			out[strings.ToLower(w)] = true
		}
	}
	return out
}

// addFunctions finds the functions that mention a table and whose owner can
// read it. Text that is put together at run time mentions nothing: a function is
// then found only if it depends on the table.
func (d *database) addFunctions(ctx context.Context, conn *pgx.Conn, c *catalog) error {
	var named map[string][]int32 // made at the first function: most databases have none
	return each(ctx, conn, func(rows pgx.Rows) error {
		var name, source string
		var in, owner uint32
		var depends []uint32
		var acl aclColumns
		err := rows.Scan(append([]any{&name, &in, &owner, &source, &depends}, acl.targets()...)...)
		if err != nil {
			return err
		}
		for i := range acl.privileges {
			acl.privileges[i] = "SELECT"
		}
		entries, err := d.entries(&acl, "SELECT")
		if err != nil {
			return err
		}
		if named == nil {
			named = map[string][]int32{}
			for i, t := range d.tables {
				named[t.ref.Name] = append(named[t.ref.Name], int32(i))
			}
		}
		reads := map[int32]bool{}
		for _, oid := range depends {
			if at, ok := d.byOID[oid]; ok {
				reads[at] = true
			}
		}
		for w := range words(source) {
			for _, at := range named[w] {
				reads[at] = true
			}
		}
		for at := range reads {
			if d.tables[at].class < 0 || !d.canRead(c, d.owned(owner), at) {
				continue
			}
			k := d.own(at)
			for _, e := range entries {
				k.acl = append(k.acl, entry{grantee: e.grantee, grantor: e.grantor, bits: byFunction, via: name, by: -1})
			}
		}
		return nil
	}, sqlFunctions)
}

func (d *database) canRead(c *catalog, who uint32, at int32) bool {
	k := &d.classes[d.tables[at].class]
	r := c.reach(who)
	if r.bits&(asSuperuser|canSelect) != 0 || slices.Contains(r.roles, k.owner) {
		return true
	}
	for _, e := range k.acl {
		if e.bits&(canSelect|someSelect) != 0 && (e.grantee == 0 || slices.Contains(r.roles, e.grantee)) {
			return true
		}
	}
	return false
}
