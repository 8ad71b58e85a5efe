package grants

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/sqltext"
)

// A role of ours that nobody wants cannot be dropped while it owns something
// or others granted it something. Up to PostgreSQL 15 each member can make it
// own things. Once it has no members and nothing of ours, nobody reaches
// anything by it: it is told as left behind, and holds up nothing.

const (
	sqlOwned = `SELECT coalesce(d.datname::text, ''), CASE WHEN s.dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
			THEN coalesce(pg_describe_object(s.classid, s.objid, s.objsubid), '') ELSE '' END, s.deptype IN ('o', 'i')
		FROM pg_shdepend s LEFT JOIN pg_database d ON d.oid = s.dbid
		WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = $1 ORDER BY 1, 2 LIMIT 1000`
	describedAtMost = 20
)

// emptied reports whether a drop is all that is left to do of a role, and
// failed because something hangs on the role.
func (v *view) emptied(p *planner, c change, f *failure) bool {
	r := v.cat.names[c.role]
	if c.action != dropRole || f == nil || f.err.SQLState != dependentExist || r == nil {
		return false
	}
	if slices.ContainsFunc(v.plan.changes(), func(other change) bool { return other.role == c.role && other.action != dropRole }) {
		return false
	}
	return !slices.ContainsFunc(v.cat.members[r.oid], func(m membership) bool { return !p.isMaker(m.member) })
}

// leftBehind tells of a role that cannot be dropped, with what hangs on it. What
// becomes of that is for a DBA to decide.
func (e *Engine) leftBehind(ctx context.Context, s *sessions, v *view, role string) (connection.Excess, error) {
	x := connection.Excess{Kind: connection.FindingLeft, Role: role, Privilege: "left behind"}
	conn, err := s.get(ctx, e.o.Target.Database)
	if err != nil {
		return x, err
	}
	elsewhere := map[string]int{}
	owns := map[string]bool{} // databases in which it owns something, or has privileges
	n := 0
	err = each(ctx, conn, func(rows pgx.Rows) error {
		var database, what string
		var owned bool
		if err := rows.Scan(&database, &what, &owned); err != nil {
			return err
		}
		if database == "" {
			database = e.o.Target.Database
		}
		owns[database] = true
		n++
		switch {
		case what == "":
			elsewhere[database]++
		case len(x.Via) < describedAtMost && owned:
			x.Via = append(x.Via, "owner of "+what)
		case len(x.Via) < describedAtMost:
			x.Via = append(x.Via, "granted on "+what)
		}
		return nil
	}, sqlOwned, v.cat.names[role].oid)
	if err != nil {
		return x, remote("reading what a role owns", err)
	}
	for _, database := range slices.Sorted(maps.Keys(elsewhere)) {
		x.Via = append(x.Via, fmt.Sprintf("%d objects in database %s", elsewhere[database], database))
	}
	x.Privilege = fmt.Sprintf("left behind: %d objects hang on it", n)
	var statements []string
	for _, database := range slices.Sorted(maps.Keys(owns)) {
		statements = append(statements, fmt.Sprintf("\\connect %s\nREASSIGN OWNED BY %s TO CURRENT_USER; DROP OWNED BY %[2]s", sqltext.Identifier(database), sqltext.Identifier(role)))
	}
	x.Statement = strings.Join(append(statements, "DROP ROLE "+sqltext.Identifier(role)), ";\n")
	return x, nil
}
