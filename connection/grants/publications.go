package grants

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/sqltext"
)

// published is an entry of a publication: whoever may log in with REPLICATION
// receives what changes in its tables, without any privilege on them.
type published struct {
	publication, owner string
	scope              byte // 'a': all tables, 's': a schema, 't': a table
	of                 uint32
}

const (
	sqlPublished = `SELECT p.pubname::text, pg_get_userbyid(p.pubowner)::text, 'a'::text, 0::oid FROM pg_publication p WHERE p.puballtables
		UNION ALL SELECT p.pubname::text, pg_get_userbyid(p.pubowner)::text, 't', r.prrelid FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid`
	sqlPublishedSchemas = `
		UNION ALL SELECT p.pubname::text, pg_get_userbyid(p.pubowner)::text, 's', n.pnnspid FROM pg_publication p JOIN pg_publication_namespace n ON n.pnpubid = p.oid` // from PostgreSQL 15 on
)

func (d *database) readPublications(ctx context.Context, conn *pgx.Conn, c *catalog) error {
	query := sqlPublished
	if c.version >= 150000 {
		query += sqlPublishedSchemas
	}
	return d.bounded(ctx, conn, publishedAtMost, "entries of publications", func(rows pgx.Rows) error {
		var p published
		var scope string
		if err := rows.Scan(&p.publication, &p.owner, &scope, &p.of); err != nil {
			return err
		}
		p.scope = scope[0]
		d.published = append(d.published, p)
		return nil
	}, query+" ORDER BY 1, 3, 4", "SELECT count(*) FROM ("+query+") q")
}

// receivers are the roles, beside superusers, that may receive publications.
func (c *catalog) receivers() string {
	var names []string
	for name, r := range c.names {
		if r.replication && r.login && !r.super {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// publications are findings: no GRANT limits what a publication hands on.
func publications(v *view) []connection.Excess {
	who := v.cat.receivers()
	if who == "" {
		return nil
	}
	var out []connection.Excess
	for _, d := range v.want.databases {
		for _, p := range d.published {
			x := connection.Excess{Role: who, Privilege: "REPLICATION", Via: []string{"publication " + sqltext.Identifier(p.publication)}, Grantor: p.owner,
				Object: connection.ObjectRef{Database: d.name, OID: p.of, Schema: "*", Name: "*"}, Statement: "ALTER PUBLICATION " + sqltext.Identifier(p.publication)}
			at, known := d.byOID[p.of]
			switch schema := d.schemas[p.of]; {
			case p.scope == 'a' && len(d.tables) > 0:
				x.Statement = "DROP PUBLICATION " + sqltext.Identifier(p.publication)
			case p.scope == 's' && schema != nil && slices.ContainsFunc(d.tables, func(t table) bool { return t.ref.Schema == schema.name }):
				x.Object.Schema = schema.name
				x.Statement += " DROP TABLES IN SCHEMA " + sqltext.Identifier(schema.name)
			case p.scope == 't' && known && !slices.ContainsFunc(out, func(o connection.Excess) bool { return o.Object == d.tables[at].ref && slices.Equal(o.Via, x.Via) }):
				x.Object = d.tables[at].ref
				x.Statement += " DROP TABLE " + quoteTable(x.Object.Schema, x.Object.Name)
			default:
				continue
			}
			out = append(out, x)
		}
	}
	return out
}
