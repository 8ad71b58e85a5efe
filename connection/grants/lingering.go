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

// Up to PostgreSQL 15 every member may SET ROLE to a set, and a session that did
// keeps the set's privileges after the membership is revoked, until it ends. So
// each session of the member that was open then stays pending. What a session is
// and since when are hidden from most roles; whose it is, is not.

const sqlLingering = `SELECT pid, usename::text FROM pg_stat_activity
	WHERE usename = ANY ($1) AND (backend_start IS NULL OR backend_start <= $2)`

func lingeringStatement(pid int32, role string) string {
	return fmt.Sprintf("SELECT pg_terminate_backend(%d) -- a session of %s", pid, sqltext.Identifier(role))
}

// lingering lists the sessions of people who lost a membership in this round,
// and those of rounds before that are still there.
func (e *Engine) lingering(ctx context.Context, s *sessions, v *view, x *executor) ([]connection.Pending, error) {
	if v.cat.version >= 160000 {
		return nil, nil
	}
	lost := map[string]bool{}
	if x != nil {
		for _, c := range x.left {
			lost[c.member] = true
		}
	}
	before := map[string]connection.Pending{}
	for _, p := range e.o.Pending {
		if _, role, ok := strings.Cut(p.Statement, " -- a session of "); ok {
			before[p.Statement] = p
			lost[strings.ReplaceAll(strings.Trim(role, `"`), `""`, `"`)] = true
		}
	}
	if len(lost) == 0 {
		return nil, nil
	}
	conn, err := s.get(ctx, e.o.Target.Database)
	if err != nil {
		return nil, err
	}
	var out []connection.Pending
	now := e.o.Now()
	err = each(ctx, conn, func(rows pgx.Rows) error {
		var pid int32
		var role string
		if err := rows.Scan(&pid, &role); err != nil {
			return err
		}
		text := lingeringStatement(pid, role)
		p, known := before[text]
		if !known {
			if x == nil || !slices.ContainsFunc(x.left, func(c change) bool { return c.member == role }) {
				return nil // began after what was revoked
			}
			p = connection.Pending{Statement: text, Revoke: true, Since: now, Error: &connection.Error{Code: "session_open",
				Message: fmt.Sprintf("a session of %s is older than the revoke", sqltext.Identifier(role)),
				Detail:  "If it did SET ROLE to a role of ours, it keeps that role's privileges until it ends: PostgreSQL 15 and older have no way to forbid that.",
				Hint:    "End the session, or wait until the person does."}}
		}
		out = append(out, p)
		return nil
	}, sqlLingering, slices.Sorted(maps.Keys(lost)), now)
	if err != nil {
		return nil, remote("looking for open sessions", err)
	}
	slices.SortFunc(out, func(a, b connection.Pending) int { return strings.Compare(a.Statement, b.Statement) })
	return out, nil
}
