package service

import (
	"context"
	"fmt"
	"sort"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/policy"
)

// Limits bound what one person takes from a source.
type Limits struct {
	Statements *int64 `json:"statements,omitempty"` // running at once
	Rows       *int64 `json:"rows,omitempty"`       // shown to one statement
	Bytes      *int64 `json:"bytes,omitempty"`      // of values shown to one statement
	Seconds    *int64 `json:"seconds,omitempty"`    // that one statement keeps the source busy
}

// LimitsFor are limits of a group or of a person.
type LimitsFor struct {
	Group  string `json:"group,omitempty"`
	IAMID  string `json:"iamid,omitempty"`
	UserID string `json:"userid,omitempty"`

	Statements *int64 `json:"statements,omitempty"` // of a person: 0 lifts what holds for others
	Rows       *int64 `json:"rows,omitempty"`
	Bytes      *int64 `json:"bytes,omitempty"`
	Seconds    *int64 `json:"seconds,omitempty"`
}

func (l *LimitsFor) limits() Limits { return Limits{l.Statements, l.Rows, l.Bytes, l.Seconds} }

// who orders and tells entries apart: groups first.
func (l *LimitsFor) who() string {
	if l.Group != "" {
		return "g" + l.Group
	}
	return "p" + l.IAMID + "\x00" + l.UserID
}

// maxSeconds is a year: a longer bound is none.
const maxSeconds = 366 * 24 * 3600

// check reports the first number that is out of range, and limits that state none.
func (l Limits) check(at string, least int64) error {
	stated := false
	for _, f := range []struct {
		name  string
		value *int64
		most  int64
	}{{"statements", l.Statements, 10000}, {"rows", l.Rows, 1 << 62}, {"bytes", l.Bytes, 1 << 62}, {"seconds", l.Seconds, maxSeconds}} {
		if f.value == nil {
			continue
		}
		stated = true
		if *f.value < least || *f.value > f.most {
			return invalid(at+"."+f.name, "must be between %d and %d, not %d", least, f.most, *f.value)
		}
	}
	if !stated {
		return invalid(at, "states none of statements, rows, bytes, seconds")
	}
	return nil
}

func normalizeLimits(s *Source) error {
	if s.Limits != nil {
		if err := s.Limits.check("limits", 1); err != nil {
			return err
		}
	}
	seen := map[string]bool{}
	for i := range s.LimitsFor {
		l := &s.LimitsFor[i]
		at := fmt.Sprintf("limits_for[%d]", i)
		if err := l.normalize(at); err != nil {
			return err
		}
		if seen[l.who()] {
			return invalid(at, "is the second entry for the same group or person")
		}
		seen[l.who()] = true
	}
	sort.Slice(s.LimitsFor, func(i, j int) bool { return s.LimitsFor[i].who() < s.LimitsFor[j].who() })
	if len(s.LimitsFor) == 0 {
		s.LimitsFor = nil
	}
	return nil
}

func (l *LimitsFor) normalize(at string) error {
	switch {
	case (l.Group == "") == (l.UserID == ""):
		return invalid(at, "needs either group or userid")
	case l.Group != "" && l.IAMID != "":
		return invalid(at+".iamid", "belongs to userid, not to group")
	case l.Group != "":
		if err := checkText(at+".group", l.Group, 256); err != nil {
			return err
		}
		return l.limits().check(at, 1)
	}
	if l.IAMID == "" {
		l.IAMID = DefaultIAM
	}
	return l.limits().check(at, 0)
}

// putLimits replaces the limits of a source.
func putLimits(ctx context.Context, c *change, s *Source) error {
	if _, err := c.Exec(ctx, "DELETE FROM portcullis.limits WHERE source = $1", s.Name); err != nil {
		return err
	}
	insert := func(group *string, person *int64, l Limits) error {
		_, err := c.Exec(ctx, `INSERT INTO portcullis.limits (source, group_name, person_id, statements, rows, bytes, seconds)
			VALUES ($1, $2, $3, $4, $5, $6, $7)`, s.Name, group, person, l.Statements, l.Rows, l.Bytes, l.Seconds)
		return err
	}
	if s.Limits != nil {
		if err := insert(nil, nil, *s.Limits); err != nil {
			return err
		}
	}
	for i := range s.LimitsFor {
		l := &s.LimitsFor[i]
		at := fmt.Sprintf("limits_for[%d]", i)
		if l.Group != "" {
			if err := insert(&l.Group, nil, l.limits()); err != nil {
				return constraint(at+".group", err)
			}
			continue
		}
		id, err := personID(ctx, c, at+".userid", l.IAMID, l.UserID)
		if err != nil {
			return err
		}
		if err := insert(nil, &id, l.limits()); err != nil {
			return err
		}
	}
	return nil
}

// checkNoLimits refuses to delete a group whose limits would go with it.
func checkNoLimits(ctx context.Context, q querier, g *Group) error {
	var sources []string
	if err := q.QueryRow(ctx, "SELECT coalesce(array_agg(source ORDER BY source), '{}') FROM portcullis.limits WHERE group_name = $1", g.Name).Scan(&sources); err != nil {
		return err
	}
	if len(sources) == 0 {
		return nil
	}
	e := conflict("groups", "source %q (limits_for) names it", sources[0])
	e.Hint = "Take its limits away first, or in the same state file: its people would be free of them."
	return e
}

// readLimits adds their limits to sources; key as in listSources.
func readLimits(ctx context.Context, q querier, key []string, sources []Source) error {
	rows, err := q.Query(ctx, `SELECT l.source, coalesce(l.group_name, ''), coalesce(p.iamid, ''), coalesce(p.userid, ''), l.statements, l.rows, l.bytes, l.seconds
		FROM portcullis.limits l LEFT JOIN portcullis.people p ON p.id = l.person_id WHERE $1::text IS NULL OR l.source = $1`, part(key, 0))
	if err != nil {
		return err
	}
	byName := map[string]*Source{}
	for i := range sources {
		byName[sources[i].Name] = &sources[i]
	}
	var name string
	var l LimitsFor
	_, err = pgx.ForEachRow(rows, []any{&name, &l.Group, &l.IAMID, &l.UserID, &l.Statements, &l.Rows, &l.Bytes, &l.Seconds}, func() error {
		s := byName[name]
		switch {
		case s == nil: // made since the sources were read
		case l.Group == "" && l.UserID == "":
			all := l.limits()
			s.Limits = &all
		default:
			s.LimitsFor = append(s.LimitsFor, l)
		}
		l = LimitsFor{}
		return nil
	})
	for _, s := range byName {
		sort.Slice(s.LimitsFor, func(i, j int) bool { return s.LimitsFor[i].who() < s.LimitsFor[j].who() })
	}
	return err
}

// loadLimits are the rules of every source by its name.
func loadLimits(ctx context.Context, q querier) (map[string][]policy.LimitRule, error) {
	sources, err := listSources(ctx, q, nil)
	if err != nil {
		return nil, err
	}
	rules := map[string][]policy.LimitRule{}
	for _, s := range sources {
		if l := s.Limits; l != nil {
			rules[s.Name] = append(rules[s.Name], policy.LimitRule{Statements: l.Statements, Rows: l.Rows, Bytes: l.Bytes, Seconds: l.Seconds})
		}
		for _, l := range s.LimitsFor {
			r := policy.LimitRule{Group: l.Group, Statements: l.Statements, Rows: l.Rows, Bytes: l.Bytes, Seconds: l.Seconds}
			if l.UserID != "" {
				r.Person = &policy.PersonID{IAMID: l.IAMID, UserID: l.UserID}
			}
			rules[s.Name] = append(rules[s.Name], r)
		}
	}
	return rules, nil
}
