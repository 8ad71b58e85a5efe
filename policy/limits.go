package policy

import (
	"fmt"
	"strings"
)

// Limits bound what one person takes from one source. 0: no bound.
type Limits struct {
	Statements int64 `json:"statements,omitempty"` // running at once
	Rows       int64 `json:"rows,omitempty"`       // shown to one statement
	Bytes      int64 `json:"bytes,omitempty"`      // of values shown to one statement
	Seconds    int64 `json:"seconds,omitempty"`    // that one statement keeps the source busy
}

// String lists the bounds there are.
func (l Limits) String() string {
	var parts []string
	for _, p := range []struct {
		most int64
		of   string
	}{{l.Statements, "statements at once"}, {l.Rows, "rows"}, {l.Bytes, "bytes"}, {l.Seconds, "seconds"}} {
		if p.most > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.most, p.of))
		}
	}
	return strings.Join(parts, ", ")
}

// LimitRule states limits of a source: for everyone (neither Group nor
// Person), for the members of a group, or for one person. nil: says nothing.
type LimitRule struct {
	Group  string
	Person *PersonID

	Statements, Rows, Bytes, Seconds *int64
}

// LimitsFor are the limits of the person. Of what is stated for everyone and
// for their groups the tightest counts; what is stated for the person
// themselves replaces it, 0 lifts it.
func LimitsFor(p *Person, rules []LimitRule) Limits {
	return Limits{
		Statements: p.limit(rules, func(r *LimitRule) *int64 { return r.Statements }),
		Rows:       p.limit(rules, func(r *LimitRule) *int64 { return r.Rows }),
		Bytes:      p.limit(rules, func(r *LimitRule) *int64 { return r.Bytes }),
		Seconds:    p.limit(rules, func(r *LimitRule) *int64 { return r.Seconds }),
	}
}

func (p *Person) limit(rules []LimitRule, field func(*LimitRule) *int64) int64 {
	common := int64(0)
	for i := range rules {
		r := &rules[i]
		stated := field(r)
		switch {
		case stated == nil:
		case r.Person != nil:
			if *r.Person == p.PersonID {
				return *stated
			}
		case r.Group == "" || p.inGroup(r.Group):
			common = tighter(common, *stated)
		}
	}
	return common
}

// Tighter keeps the tighter of each.
func (l Limits) Tighter(other Limits) Limits {
	return Limits{
		Statements: tighter(l.Statements, other.Statements),
		Rows:       tighter(l.Rows, other.Rows),
		Bytes:      tighter(l.Bytes, other.Bytes),
		Seconds:    tighter(l.Seconds, other.Seconds),
	}
}

func tighter(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// limits are those of the person; where somebody acts as another, of both.
func (q Question) limits() Limits {
	l := LimitsFor(q.Person, q.Limits)
	if q.Impersonator != nil {
		l = l.Tighter(LimitsFor(q.Impersonator, q.Limits))
	}
	return l
}
