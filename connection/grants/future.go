package grants

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/sqltext"
)

// Default privileges give people tables that are not made yet: from the moment
// somebody makes one, until the next crawl nobody looks. So they are told beforehand.

// future is what default privileges give of tables that a role makes.
type future struct {
	by     uint32
	schema string // "": of every schema
	acl    []entry
}

const sqlFuture = `SELECT f.defaclrole, coalesce(n.nspname::text, ''), ` + aclArrays + ` FROM pg_default_acl f LEFT JOIN pg_namespace n ON n.oid = f.defaclnamespace, ` +
	aclLateral + `(f.defaclacl) a WHERE a.grantee <> f.defaclrole) x WHERE f.defaclobjtype = 'r'`

func (d *database) readFuture(ctx context.Context, conn *pgx.Conn) error {
	return each(ctx, conn, func(rows pgx.Rows) error {
		var f future
		var acl aclColumns
		err := rows.Scan(append([]any{&f.by, &f.schema}, acl.targets()...)...)
		if err != nil {
			return err
		}
		f.acl, err = d.entries(&acl, "SELECT")
		d.future = append(d.future, f)
		return err
	}, sqlFuture)
}

// foresee tells what a crowd would reach of tables that are made from now on.
func (e *evaluator) foresee(at int, c *crowd) {
	d := e.want.databases[at]
	if len(d.future) == 0 || c.people[0] == 0 || !e.connects(d, c) {
		return
	}
	for _, f := range d.future {
		for _, a := range f.acl {
			if a.grantee != 0 && !slices.Contains(c.reach.roles, a.grantee) {
				continue
			}
			e.out.causes.add(causeKey{database: at, grantee: a.grantee, grantor: f.by, bits: a.bits, via: "future " + f.schema}, len(c.people), func() connection.Excess {
				return e.describeFuture(d, c, f, a)
			})
		}
	}
}

func (e *evaluator) describeFuture(d *database, c *crowd, f future, a entry) connection.Excess {
	names := onTable(a.bits | a.bits>>optionShift&tableBits).names()
	via, to := e.cat.path(c.people[0], a.grantee), sqltext.Identifier(e.cat.name(a.grantee))
	if a.grantee == 0 {
		via, to = []string{"PUBLIC"}, "PUBLIC"
	}
	in := ""
	if f.schema != "" {
		in = " IN SCHEMA " + sqltext.Identifier(f.schema)
	}
	x := e.excess(c, 0, strings.Join(names, ", ")+" on tables that are not made yet")
	x.Via = via
	x.Object, x.Grantor = connection.ObjectRef{Database: d.name, Schema: f.schema}, e.cat.name(f.by)
	x.Statement = fmt.Sprintf("ALTER DEFAULT PRIVILEGES FOR ROLE %s%s REVOKE %s ON TABLES FROM %s", sqltext.Identifier(e.cat.name(f.by)), in, strings.Join(names, ", "), to)
	return x
}
