package grants

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"portcullis.dev/portcullis/connection"
)

// database is one database as its catalogs have it, with the tables that the
// policies know there.
type database struct {
	databaseRow
	tables     []table // those of the policies
	byOID      map[uint32]int32
	schemas    map[uint32]*schema
	named      map[string]*schema
	classes    []class
	strays     []stray
	future     []future
	broker     *brokerState // nil: none is installed
	unreadable bool
	published  []published
	incomplete []string           // what was not looked at, see incomplete.go
	onTheWay   map[string][]entry // ACLs of relations by which tables are reached, by name
	// ownerRole is pg_database_owner, whose one member, the owner of the
	// database at hand, no catalog lists: it is read as that owner.
	ownerRole uint32
}

func (d *database) owned(oid uint32) uint32 {
	if oid != 0 && oid == d.ownerRole {
		return d.owner
	}
	return oid
}

func (d *database) entries(acl *aclColumns, privilege string) ([]entry, error) {
	out, err := acl.entries(privilege)
	for i := range out {
		out[i].grantee, out[i].grantor = d.owned(out[i].grantee), d.owned(out[i].grantor)
	}
	return out, err
}

// table is one that the policies know.
type table struct {
	ref   connection.ObjectRef
	class int32 // -1: not there, or under another name
	pos   int32 // among the tables of the class
	wrong string

	rows    bool // policies of ours show some people some rows only
	told    bool // the crawl says why it cannot be granted on
	lacking bool // and so does the plan, of what is wanted
}

// class is tables of one schema with the same owner and the same ACL: of a
// hundred thousand tables there are few.
type class struct {
	owner       uint32
	schema      *schema
	rowSecurity bool
	past        bits // privileges on some relation by which it shows rows past its policies
	acl         []entry
	tables      []int32
}

type schema struct {
	oid, owner uint32
	name       string
	acl        []entry // USAGE is canSelect
}

// stray is a relation outside of the policies on which a role of ours has privileges.
type stray struct {
	connection.ObjectRef
	owner uint32
	acl   []entry
}

const (
	sqlSchemas = `SELECT n.oid, n.nspowner, n.nspname::text, ` + aclArrays + ` FROM pg_namespace n, ` + aclLateral + `(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
		WHERE a.privilege_type = 'USAGE') x`
	sqlWrong = `SELECT w.oid, CASE WHEN c.oid IS NULL THEN '' ELSE format('%I.%I', n.nspname, c.relname) END
		FROM unnest($1::oid[], $2::text[], $3::text[]) AS w(oid, schema, name)
		LEFT JOIN pg_class c ON c.oid = w.oid LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relname IS DISTINCT FROM w.name OR n.nspname IS DISTINCT FROM w.schema OR c.relkind NOT IN ('r', 'p', 'v', 'm', 'f')`
	sqlClasses = `SELECT g.owner, g.schema, g.security, g.tables, ` + aclArrays + ` FROM (
			SELECT relowner AS owner, relnamespace AS schema, relrowsecurity AS security, relacl AS acl, array_agg(oid) AS tables
			FROM pg_class WHERE oid = ANY ($1) GROUP BY relowner, relnamespace, relrowsecurity, relacl) g, ` +
		aclLateral + `(coalesce(g.acl, acldefault('r', g.owner))) a) x`
	sqlColumns = `SELECT c.oid, a.grantee, a.grantor, a.privilege_type, a.is_grantable
		FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid, aclexplode(t.attacl) a
		WHERE t.attacl IS NOT NULL AND NOT t.attisdropped AND t.attrelid = ANY ($1)`
	sqlStrays = `SELECT c.oid, n.nspname::text, c.relname::text, c.relowner, ` + aclArrays + ` FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, ` + relationLateral + `
		WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.oid IN (SELECT objid FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass
			AND refobjid = ANY ($1) AND classid = 'pg_class'::regclass AND deptype = 'a'
			AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())) AND c.oid <> ALL ($2)`
)

// read fills in what the catalogs say of the tables that the policies know, and
// of others that roles of ours can reach; and, where all is looked at, of the
// ways by which others reach them.
func (d *database) read(ctx context.Context, conn *pgx.Conn, c *catalog, ours []uint32, mode connection.Mode, all bool) error {
	if r := c.names[ownerOfDB]; r != nil {
		d.ownerRole = r.oid
	}
	if err := d.readSchemas(ctx, conn); err != nil {
		return remote("reading the schemas of "+d.name, err)
	}
	if err := d.readNames(ctx, conn); err != nil {
		return remote("reading the tables of "+d.name, err)
	}
	if err := d.readClasses(ctx, conn); err != nil {
		return remote("reading the privileges of "+d.name, err)
	}
	if all {
		if err := d.readOthers(ctx, conn, c); err != nil {
			return err
		}
	}
	if err := d.readStrays(ctx, conn, ours); err != nil {
		return remote("reading other privileges of "+d.name, err)
	}
	if mode == connection.ModeBroker {
		return d.readBroker(ctx, conn, c)
	}
	return nil
}

// readOthers reads by what, beside privileges, people reach tables.
func (d *database) readOthers(ctx context.Context, conn *pgx.Conn, c *catalog) error {
	if err := d.readByPaths(ctx, conn, c); err != nil {
		return remote("reading views and functions of "+d.name, err)
	}
	if err := d.readPublications(ctx, conn, c); err != nil {
		return remote("reading the publications of "+d.name, err)
	}
	if err := d.readFuture(ctx, conn); err != nil {
		return remote("reading default privileges of "+d.name, err)
	}
	return nil
}

func (d *database) readSchemas(ctx context.Context, conn *pgx.Conn) error {
	d.schemas, d.named = map[uint32]*schema{}, map[string]*schema{}
	return each(ctx, conn, func(rows pgx.Rows) error {
		s := &schema{}
		var acl aclColumns
		err := rows.Scan(append([]any{&s.oid, &s.owner, &s.name}, acl.targets()...)...)
		if err != nil {
			return err
		}
		s.owner = d.owned(s.owner)
		s.acl, err = d.entries(&acl, "USAGE")
		d.schemas[s.oid], d.named[s.name] = s, s
		return err
	}, sqlSchemas)
}

// readNames finds the tables that are gone, or that are no longer what the
// policies decided on.
func (d *database) readNames(ctx context.Context, conn *pgx.Conn) error {
	oids, schemas, names := make([]uint32, len(d.tables)), make([]string, len(d.tables)), make([]string, len(d.tables))
	for i, t := range d.tables {
		oids[i], schemas[i], names[i] = t.ref.OID, t.ref.Schema, t.ref.Name
	}
	return each(ctx, conn, func(rows pgx.Rows) error {
		var oid uint32
		var now string
		if err := rows.Scan(&oid, &now); err != nil {
			return err
		}
		t := &d.tables[d.byOID[oid]]
		t.wrong = "it was dropped"
		if now != "" {
			t.wrong = "it is " + now + " by now; the next crawl follows it"
		}
		return nil
	}, sqlWrong, oids, schemas, names)
}

func (d *database) oids() []uint32 {
	out := make([]uint32, len(d.tables))
	for i, t := range d.tables {
		out[i] = t.ref.OID
	}
	return out
}

func (d *database) readClasses(ctx context.Context, conn *pgx.Conn) error {
	for i := range d.tables {
		d.tables[i].class = -1
	}
	err := each(ctx, conn, func(rows pgx.Rows) error {
		var k class
		var in uint32
		var oids []uint32
		var acl aclColumns
		err := rows.Scan(append([]any{&k.owner, &in, &k.rowSecurity, &oids}, acl.targets()...)...)
		if err != nil {
			return err
		}
		if k.schema = d.schemas[in]; k.schema == nil {
			return nil // a schema made since; the next round sees it
		}
		k.owner = d.owned(k.owner)
		if k.acl, err = d.entries(&acl, "SELECT"); err != nil {
			return err
		}
		for _, oid := range oids {
			if at, ok := d.byOID[oid]; ok {
				d.tables[at].class, d.tables[at].pos = int32(len(d.classes)), int32(len(k.tables))
				k.tables = append(k.tables, at)
			}
		}
		d.classes = append(d.classes, k)
		return nil
	}, sqlClasses, d.oids())
	if err != nil {
		return err
	}
	return each(ctx, conn, func(rows pgx.Rows) error {
		var oid uint32
		e := entry{by: -1}
		var privilege string
		var grantable bool
		if err := rows.Scan(&oid, &e.grantee, &e.grantor, &privilege, &grantable); err != nil {
			return err
		}
		b, ok := parsePrivilege(privilege)
		if !ok {
			return nil
		}
		e.bits = map[bits]bits{canSelect: someSelect, canInsert: someInsert, canUpdate: someUpdate, canReference: someReference}[b]
		if grantable {
			e.bits |= someOption
		}
		k := d.own(d.byOID[oid])
		for i := range k.acl {
			if k.acl[i].grantee == e.grantee && k.acl[i].grantor == e.grantor && k.acl[i].by < 0 {
				k.acl[i].bits |= e.bits
				return nil
			}
		}
		k.acl = append(k.acl, e)
		return nil
	}, sqlColumns, d.oids())
}

// own gives a table a class of its own, so that more can be said of it.
func (d *database) own(at int32) *class {
	t := &d.tables[at]
	k := &d.classes[t.class]
	if len(k.tables) == 1 {
		return k
	}
	last := len(k.tables) - 1
	k.tables[t.pos] = k.tables[last]
	d.tables[k.tables[last]].pos = t.pos
	k.tables = k.tables[:last]
	apart := *k
	apart.acl = append([]entry(nil), k.acl...)
	apart.tables = []int32{at}
	t.class, t.pos = int32(len(d.classes)), 0
	d.classes = append(d.classes, apart)
	return &d.classes[t.class]
}

func (d *database) readStrays(ctx context.Context, conn *pgx.Conn, ours []uint32) error {
	return each(ctx, conn, func(rows pgx.Rows) error {
		s := stray{ObjectRef: connection.ObjectRef{Database: d.name}}
		var acl aclColumns
		err := rows.Scan(append([]any{&s.OID, &s.Schema, &s.Name, &s.owner}, acl.targets()...)...)
		if err != nil {
			return err
		}
		s.owner = d.owned(s.owner)
		s.acl, err = d.entries(&acl, "SELECT")
		d.strays = append(d.strays, s)
		return err
	}, sqlStrays, ours, d.oids())
}

// brokerState is the broker as it is installed in a database.
type brokerState struct {
	version int
	prefix  string
	owner   uint32
	schemas map[uint32]bool
	tables  map[uint32]bool
}

const (
	// Whoever owns the database could put other functions in the broker's place.
	// They are called only if they act as somebody else than the account, and the
	// list is read only if that runs nobody's code.
	sqlBroker = `SELECT p.proowner FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
		JOIN pg_proc a ON a.oid = to_regprocedure('portcullis_broker.about()') AND a.prosecdef AND a.proowner = p.proowner
		JOIN pg_class l ON l.oid = to_regclass('portcullis_broker.listed') AND l.relkind = 'r' AND NOT l.relrowsecurity
		WHERE p.oid = to_regprocedure('portcullis_broker.tables(jsonb)') AND p.prosecdef
			AND p.proowner <> (SELECT oid FROM pg_roles WHERE rolname = current_user)
			AND NOT EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = l.oid AND t.attnum > 0 AND t.atttypid NOT IN ('oid'::regtype, 'text'::regtype))
			AND has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE')`
	sqlAbout  = `SELECT (a->>'version')::int, a->>'prefix' FROM portcullis_broker.about() a`
	sqlListed = `SELECT l.schema_oid, l.relation_oid FROM portcullis_broker.listed l JOIN pg_namespace n ON n.oid = l.schema_oid AND n.nspname = l.schema_name
		LEFT JOIN pg_class c ON c.oid = l.relation_oid WHERE l.relation_oid = 0 OR c.relname = l.relation_name AND c.relnamespace = n.oid
		UNION ALL SELECT oid, 0 FROM pg_namespace WHERE nspowner = $1`
)

func (d *database) readBroker(ctx context.Context, conn *pgx.Conn, c *catalog) error {
	b := &brokerState{schemas: map[uint32]bool{}, tables: map[uint32]bool{}}
	err := conn.QueryRow(ctx, sqlBroker).Scan(&b.owner)
	if err == pgx.ErrNoRows {
		return nil
	}
	if err != nil {
		return remote("looking for the broker in "+d.name, err)
	}
	err = each(ctx, conn, func(rows pgx.Rows) error {
		var in, relation uint32
		err := rows.Scan(&in, &relation)
		if relation == 0 {
			b.schemas[in] = true
		} else {
			b.tables[relation] = true
		}
		return err
	}, sqlListed, c.viewsRole)
	if err != nil {
		return remote("reading what the broker lists in "+d.name, err)
	}
	// Last: nothing is read any more after what others wrote has run.
	if err := conn.QueryRow(ctx, sqlAbout).Scan(&b.version, &b.prefix); err != nil {
		return remote("asking the broker in "+d.name, err)
	}
	d.broker = b
	return nil
}

func (t table) String() string {
	return fmt.Sprintf("%s.%s", t.ref.Database, quoteTable(t.ref.Schema, t.ref.Name))
}
