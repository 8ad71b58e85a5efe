package grants

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"portcullis.dev/portcullis/connection"
)

// Up to PostgreSQL 15 every member may SET ROLE to a set, and a session that did
// keeps the set's privileges after the membership is revoked, until it ends. So
// each session of the member that was open then lingers. What a session is and
// since when are hidden from most roles; whose it is, is not.

const sqlLingering = `SELECT pid, usename::text FROM pg_stat_activity
	WHERE usename = ANY ($1) AND (backend_start IS NULL OR backend_start <= $2)`

// holder is a session, as the instance names it to everybody.
type holder struct {
	pid  int32
	role string
}

// lingering lists the sessions of people who lost a membership in this round,
// and those of rounds before that are still there.
func (e *Engine) lingering(ctx context.Context, s *sessions, v *view, x *executor) ([]connection.LingeringSession, error) {
	if v.cat.version >= 160000 {
		return nil, nil
	}
	lost := map[string][]string{} // roles of ours, by who left them
	if x != nil {
		for _, c := range x.left {
			if v.holdsWithout(c.role, c.member) {
				lost[c.member] = append(lost[c.member], c.role)
			}
		}
	}
	before := map[holder]connection.LingeringSession{}
	people := slices.Collect(maps.Keys(lost))
	for _, l := range e.o.Lingering {
		l.Roles = slices.DeleteFunc(slices.Clone(l.Roles), func(set string) bool { return !v.holdsWithout(set, l.Role) })
		if len(l.Roles) > 0 {
			before[holder{l.PID, l.Role}] = l
			people = append(people, l.Role)
		}
	}
	if len(people) == 0 {
		return nil, nil
	}
	open, err := e.sessionsOf(ctx, s, people)
	if err != nil {
		return nil, err
	}
	var out []connection.LingeringSession
	for _, h := range open {
		l, known := before[h]
		if !known {
			l = connection.LingeringSession{PID: h.pid, Role: h.role, Since: e.o.Now(), Statement: fmt.Sprintf("SELECT pg_terminate_backend(%d)", h.pid)}
		}
		l.Roles = append(l.Roles, lost[h.role]...)
		if slices.Sort(l.Roles); len(l.Roles) > 0 { // else it began after what was revoked
			l.Roles = slices.Compact(l.Roles)
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b connection.LingeringSession) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.PID, b.PID))
	})
	return out, nil
}

// holdsWithout reports whether a role of ours is there and somebody is no member
// of it: what was dropped holds nothing that a session could keep.
func (v *view) holdsWithout(set, member string) bool {
	now := v.cat.names[set]
	return now != nil && !slices.ContainsFunc(v.cat.members[now.oid], func(m membership) bool { return v.cat.name(m.member) == member })
}

func (e *Engine) sessionsOf(ctx context.Context, s *sessions, people []string) (open []holder, err error) {
	conn, err := s.get(ctx, e.o.Target.Database)
	if err != nil {
		return nil, err
	}
	err = each(ctx, conn, func(rows pgx.Rows) error {
		var h holder
		if err := rows.Scan(&h.pid, &h.role); err != nil {
			return err
		}
		open = append(open, h)
		return nil
	}, sqlLingering, people, e.o.Now())
	if err != nil {
		return nil, remote("looking for open sessions", err)
	}
	return open, nil
}
