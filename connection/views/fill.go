package views

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/parts"
	"portcullis.dev/portcullis/internal/sqltext"
)

// standing is a view that was made before, as the catalogs have it now.
type standing struct {
	base, view   uint32
	digest       string // of what it was to be
	shapes       []int64
	filled       string // what is written for it, as content.sum
	people       int
	schema, name string
	ours         bool // there, and of the owner of views
	intact       bool // nobody changed it, and the columns that it reads are those of then
	columns      []string
}

// keptSQL is a digest of a view c and of the columns that it reads of base,
// from catalogs alone: pg_get_viewdef would wait for locks of the table.
func keptSQL(base string) string {
	return `encode(sha256(convert_to(concat_ws('/', c.relowner, c.reloptions::text,
		(SELECT string_agg(concat_ws('/', r.rulename, r.ev_type, r.ev_enabled, r.is_instead, r.ev_qual::text, r.ev_action::text), ',' ORDER BY r.rulename)
			FROM pg_rewrite r WHERE r.ev_class = c.oid),
		(SELECT string_agg(concat_ws('/', a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attcollation), ',' ORDER BY a.attnum)
			FROM pg_attribute a WHERE a.attrelid = ` + base + ` AND a.attnum IN (SELECT d.refobjsubid FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
				WHERE d.classid = 'pg_rewrite'::regclass AND r.ev_class = c.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid))), getdatabaseencoding())), 'hex')`
}

var standingSQL = `SELECT m.base, m.view, m.digest, m.shapes, m.filled, (SELECT count(*) FROM portcullis_views.person p WHERE p.base = m.base),
		coalesce(n.nspname::text, ''), coalesce(c.relname::text, ''), c.oid IS NOT NULL,
		coalesce(n.nspowner = c.relowner AND c.reloptions @> ARRAY['security_barrier=true'] AND m.kept = ` + keptSQL("m.base") + `, false),
		ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)
	FROM portcullis_views.made m LEFT JOIN pg_class c ON c.oid = m.view AND c.relkind = 'v' AND c.relowner = current_user::regrole
		LEFT JOIN pg_namespace n ON n.oid = c.relnamespace`

func readStanding(ctx context.Context, tx pgx.Tx) (map[uint32]*standing, error) {
	rows, err := tx.Query(ctx, standingSQL)
	if err != nil {
		return nil, err
	}
	out := map[uint32]*standing{}
	_, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (*standing, error) {
		s := &standing{}
		err := r.Scan(&s.base, &s.view, &s.digest, &s.shapes, &s.filled, &s.people, &s.schema, &s.name, &s.ours, &s.intact, &s.columns)
		out[s.base] = s
		return s, err
	})
	return out, err
}

// base is a table as the owner of views finds it.
type base struct {
	there, may, secured bool
	kind                string
	schema              uint32
}

func readBases(ctx context.Context, tx pgx.Tx, tables []Table) (map[uint32]base, error) {
	oids, names, schemas := make([]uint32, len(tables)), make([]string, len(tables)), make([]string, len(tables))
	for i, t := range tables {
		oids[i], names[i], schemas[i] = t.Ref.OID, t.Ref.Name, t.Ref.Schema
	}
	rows, err := tx.Query(ctx, `SELECT w.oid, coalesce(c.relname = w.name AND n.nspname = w.schema, false),
			coalesce(has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE'), false), coalesce(c.relrowsecurity, false),
			coalesce(c.relkind::text, ''), coalesce(n.oid, 0)::oid
		FROM unnest($1::oid[], $2::text[], $3::text[]) w(oid, name, schema) LEFT JOIN pg_class c ON c.oid = w.oid LEFT JOIN pg_namespace n ON n.oid = c.relnamespace`, oids, names, schemas)
	if err != nil {
		return nil, err
	}
	out := map[uint32]base{}
	var oid uint32
	var b base
	_, err = pgx.ForEachRow(rows, []any{&oid, &b.there, &b.may, &b.secured, &b.kind, &b.schema}, func() error { out[oid] = b; return nil })
	return out, err
}

// unreadable says why there can be no view of a table.
func (b base) unreadable(t Table, owner string) (reason, fix string) {
	owner = sqltext.Identifier(owner)
	schema := sqltext.Identifier(t.Ref.Schema)
	switch {
	case !b.there:
		return "the table is gone or has another name", ""
	case b.kind == "v":
		// What it reads is its owner's choice from one moment to the next, or who asks may not read it at all.
		return "it is a view: there are views of tables only", ""
	case b.secured:
		// The owner of views bypasses policies: they would run with its rights, and not for whoever asks.
		return "row-level security is on: its policies would not mean who asks", ""
	case !b.may:
		return "the owner of views may not read the table", fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON %s.%s TO %s;", schema, owner, schema, sqltext.Identifier(t.Ref.Name), owner)
	}
	return "", ""
}

// content is what is written for a view.
type content struct {
	sum     string
	members []seer
	keyed   bool
	roles   []string
}

type seer struct {
	role   uint32
	number int64
	slots  [][]string
}

// contentOf lists who sees which shape with which values. Roles that are not
// there see nothing. With before, a view that was made for other people, only
// they do whose shape it has.
func contentOf(t Table, v *view, roles map[string]uint32, before *standing) content {
	c := content{keyed: v.keyed}
	sum := sha256.New()
	for _, m := range v.members {
		oid, there := roles[m.role]
		number := m.shape.number
		if before != nil && there {
			number, there = m.shape.among(t.Columns, before.columns)
			there = there && slices.Contains(before.shapes, number)
		}
		if !there {
			continue
		}
		fmt.Fprintf(sum, "%d %d %q\n", oid, number, m.slots)
		c.members = append(c.members, seer{oid, number, m.slots})
		c.roles = append(c.roles, m.role)
	}
	if v.keyed {
		inner, _ := blocks(t.HashKey)
		fmt.Fprintf(sum, "%x", inner)
	}
	c.sum = hex.EncodeToString(sum.Sum(nil))
	return c
}

// write replaces what is written for a view.
func (c content) write(b *pgx.Batch, t Table) {
	forget(b, t.Ref.OID)
	for _, m := range c.members {
		b.Queue("INSERT INTO portcullis_views.person VALUES ($1, $2, $3)", t.Ref.OID, m.role, m.number)
		for i, list := range m.slots {
			b.Queue("INSERT INTO portcullis_views.slot VALUES ($1, $2, $3, $4)", t.Ref.OID, m.role, i+1, list)
		}
	}
	if c.keyed {
		inner, outer := blocks(t.HashKey)
		b.Queue("INSERT INTO portcullis_views.key VALUES ($1, $2, $3)", t.Ref.OID, inner, outer)
	}
	b.Queue("UPDATE portcullis_views.made SET filled = $2 WHERE base = $1", t.Ref.OID, c.sum)
}

// forget makes a view show nobody anything.
func forget(b *pgx.Batch, base uint32) {
	for _, table := range []string{"person", "slot", "key"} {
		b.Queue("DELETE FROM portcullis_views."+table+" WHERE base = $1", base)
	}
	b.Queue("UPDATE portcullis_views.made SET filled = '' WHERE base = $1 AND filled <> ''", base)
}

// fillAll works out what is to be written of who sees what through the views that
// stand, and what is to be done to views. It locks no view and no table of others.
func (a *applier) fillAll(ctx context.Context, tx pgx.Tx, tables []Table) (jobs []job, batch *pgx.Batch, err error) {
	stand, err := readStanding(ctx, tx)
	if err != nil {
		return nil, nil, err
	}
	bases, err := readBases(ctx, tx, tables)
	if err != nil {
		return nil, nil, err
	}
	var names []string
	for _, t := range tables {
		for _, p := range t.People {
			names = append(names, p.Role)
		}
	}
	roles, err := parts.RoleOIDs(ctx, tx, names)
	if err != nil {
		return nil, nil, err
	}
	batch = &pgx.Batch{}
	for _, t := range tables {
		s, b := stand[t.Ref.OID], bases[t.Ref.OID]
		delete(stand, t.Ref.OID)
		v, refused := compile(t)
		a.out.Refused = append(a.out.Refused, refused...)
		if reason, fix := b.unreadable(t, a.o.Target.ViewsOwner()); reason != "" {
			a.out.Refuse(t.Ref, reason, fix)
			forget(batch, t.Ref.OID)
			continue
		}
		j := newJob(t, v, b, roles)
		switch {
		case s == nil:
			forget(batch, t.Ref.OID)
		case !s.intact:
			forget(batch, t.Ref.OID)
			j.before = s
		case s.digest == j.digest:
			s.refill(batch, t, j.content)
			a.out.Made = append(a.out.Made, Made{Base: t.Ref, View: j.ref(s.view), Roles: j.content.roles})
			continue
		default:
			now := contentOf(t, v, roles, s)
			s.refill(batch, t, now)
			j.before = s
			j.without = len(j.content.roles) - len(now.roles)
			j.meanwhile = &Made{Base: t.Ref, View: connection.ObjectRef{Database: t.Ref.Database, Schema: s.schema, Name: s.name, OID: s.view}, Roles: j.content.roles}
		}
		jobs = append(jobs, j)
	}
	for _, s := range stand {
		forget(batch, s.base)
		jobs = append(jobs, job{before: s})
	}
	slices.SortFunc(jobs, func(x, y job) int { return int(int64(x.base()) - int64(y.base())) })
	return jobs, batch, nil
}

func (s *standing) refill(b *pgx.Batch, t Table, c content) {
	if s.filled != c.sum || s.people != len(c.members) {
		c.write(b, t)
	}
}
