package grants

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/internal/sqltext"
)

// errReplaced says that a statement met another object or role under the name
// that was meant, or changed nothing.
var errReplaced = errors.New("it was dropped, renamed or replaced meanwhile, or the account may not grant on it")

// sendDirectly runs all statements of a transaction, up to its commit, in one
// message and then looks whether they did what was meant.
func (x *executor) sendDirectly(ctx context.Context, conn *pgx.Conn, list []change, wait time.Duration) (int, error) {
	var text strings.Builder
	text.WriteString(begin(wait))
	starts := make([]int, len(list)) // statements before each change
	n, as := beginStatements, ""
	for i, c := range list {
		if c.as != as {
			as = c.as
			text.WriteString("; " + actAs(as))
			n++
		}
		starts[i] = n
		text.WriteString("; " + c.sql(x.version))
		n += c.statements()
	}
	if as != "" {
		text.WriteString("; " + actAs(""))
		n++
	}
	text.WriteString("; " + x.check(list))
	results := conn.PgConn().Exec(ctx, text.String())
	done := 0
	wrong := -2
	for results.NextResult() {
		r := results.ResultReader()
		for done == n && r.NextRow() && wrong == -2 {
			wrong, _ = strconv.Atoi(string(r.Values()[0]))
		}
		if _, err := r.Close(); err == nil {
			done++
		}
	}
	if err := results.Close(); err != nil {
		return place(err, starts, done), err
	}
	if wrong > -2 {
		return wrong, errReplaced
	}
	return -1, nil
}

// place is the change that a failed statement belongs to, or -1.
func place(err error, starts []int, done int) int {
	var e *pgconn.PgError
	if !errors.As(err, &e) || e.Severity == "FATAL" {
		return -1
	}
	at := -1
	for i, s := range starts {
		if s <= done {
			at = i
		}
	}
	return at
}

func actAs(as string) string {
	if as == "" {
		return "SET LOCAL ROLE NONE"
	}
	return "SET LOCAL ROLE " + sqltext.Identifier(as)
}

// check is a query for the numbers of the changes that did not do what was
// meant, -1 for one that cannot be told. Each statement looked its names up
// anew; so the rows that this transaction wrote must be those of the OIDs that
// were meant, and no others, and hold what was granted.
func (x *executor) check(list []change) string {
	rows := map[action][]string{}
	oids := map[string][]string{"pg_class": nil, "pg_namespace": nil}
	for i, c := range list {
		act := c.action
		switch act {
		case grantTable, revokeTable:
			oids["pg_class"] = append(oids["pg_class"], strconv.FormatUint(uint64(c.object.OID), 10))
		case grantSchema, revokeSchema:
			oids["pg_namespace"] = append(oids["pg_namespace"], strconv.FormatUint(uint64(c.object.OID), 10))
		case leaveAdmin, resetRole:
			act = leaveRole
		}
		rows[act] = append(rows[act], fmt.Sprintf("(%d, %d::oid, %s, %s, %d::oid, %d::oid, '{%s}'::text[], %s)", i, c.object.OID, sqltext.Literal(c.object.Schema),
			sqltext.Literal(c.object.Name), x.oids[c.role], x.oids[c.member], strings.Join(c.privileges, ","), sqltext.Literal(c.role)))
	}
	parts := []string{"SELECT NULL::int WHERE false"}
	for _, act := range slices.Sorted(maps.Keys(checks)) {
		if rows[act] != nil {
			parts = append(parts, "SELECT w.i FROM (VALUES "+strings.Join(rows[act], ", ")+
				") AS w(i, oid, schema, name, grantee, member, privileges, role) WHERE "+checks[act])
		}
	}
	for _, catalog := range slices.Sorted(maps.Keys(oids)) {
		if oids[catalog] != nil {
			parts = append(parts, fmt.Sprintf("SELECT -1 FROM %s WHERE xmin = pg_current_xact_id()::xid AND oid <> ALL ('{%s}'::oid[])",
				catalog, strings.Join(oids[catalog], ",")))
		}
	}
	return strings.Join(parts, " UNION ALL ")
}

// checks are the conditions under which a change did not do what was meant.
var checks = map[action]string{
	grantTable: "NOT EXISTS (SELECT FROM pg_class o JOIN pg_namespace n ON n.oid = o.relnamespace " +
		"WHERE o.oid = w.oid AND o.relname = w.name AND n.nspname = w.schema AND " + written + "(o.relacl) a WHERE a.grantee = w.grantee))",
	grantSchema: "NOT EXISTS (SELECT FROM pg_namespace o WHERE o.oid = w.oid AND o.nspname = w.schema AND " +
		written + "(o.nspacl) a WHERE a.grantee = w.grantee))",
	grantDatabase: "NOT EXISTS (SELECT FROM pg_database o WHERE o.oid = w.oid AND o.datname = w.name AND " +
		written + "(o.datacl) a WHERE a.grantee = w.grantee))",
	joinRole:  "NOT EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = w.grantee AND m.member = w.member)",
	leaveRole: "NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = w.grantee AND r.rolname = w.role)",
	dropRole:  "EXISTS (SELECT FROM pg_roles r WHERE r.oid = w.grantee)",
}

const written = "o.xmin = pg_current_xact_id()::xid AND w.privileges <@ ARRAY(SELECT a.privilege_type FROM aclexplode"
