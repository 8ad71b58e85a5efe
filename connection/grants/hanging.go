package grants

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// What somebody could once hang on a table stays there when the privilege that it
// took is revoked: a function of theirs that triggers, checks, indexes, generated
// columns and policies give rows to, whose text they can change at any time; and
// a foreign key of a table of theirs, which tells by an error which keys exist.
const (
	sqlCode = `SELECT CASE d.classid
			WHEN 'pg_trigger'::regclass THEN (SELECT tgrelid FROM pg_trigger WHERE oid = d.objid)
			WHEN 'pg_constraint'::regclass THEN (SELECT conrelid FROM pg_constraint WHERE oid = d.objid)
			WHEN 'pg_class'::regclass THEN (SELECT indrelid FROM pg_index WHERE indexrelid = d.objid)
			WHEN 'pg_attrdef'::regclass THEN (SELECT adrelid FROM pg_attrdef WHERE oid = d.objid)
			WHEN 'pg_policy'::regclass THEN (SELECT polrelid FROM pg_policy WHERE oid = d.objid) END AS relation,
			p.proowner, p.oid::regprocedure::text
		FROM pg_proc p JOIN pg_depend d ON d.refclassid = 'pg_proc'::regclass AND d.refobjid = p.oid AND d.classid IN
			('pg_trigger'::regclass, 'pg_constraint'::regclass, 'pg_class'::regclass, 'pg_attrdef'::regclass, 'pg_policy'::regclass)
		WHERE p.oid >= 16384`
	sqlKeys = `SELECT k.confrelid, c.relowner, format('%I.%I DROP CONSTRAINT %I', n.nspname, c.relname, k.conname)
		FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_class t ON t.oid = k.confrelid AND t.relowner <> c.relowner WHERE k.contype = 'f'`
)

func (d *database) addHanging(ctx context.Context, conn *pgx.Conn) error {
	for _, hanging := range []struct {
		query string
		bits  bits
	}{{sqlCode, byCode}, {sqlKeys, byKey}} {
		err := each(ctx, conn, func(rows pgx.Rows) error {
			var relation *uint32 // null: of a domain, or gone by now
			var owner uint32
			var name string
			if err := rows.Scan(&relation, &owner, &name); err != nil || relation == nil {
				return err
			}
			at, ok := d.byOID[*relation]
			if owner = d.owned(owner); !ok || d.tables[at].class < 0 || d.classes[d.tables[at].class].owner == owner {
				return nil
			}
			k := d.own(at)
			k.acl = append(k.acl, entry{grantee: owner, grantor: owner, bits: hanging.bits, via: name, by: -1})
			return nil
		}, hanging.query)
		if err != nil {
			return err
		}
	}
	return nil
}
