package grants

import (
	"math"
	"slices"
)

// A walk goes from a relation to all that a statement on it reads or writes with
// somebody else's rights: through views, to partitions and children, and by what
// rules, triggers and foreign keys do then, which may set off others.

// Whose rights are looked at.
const (
	noCheck uint32 = 0              // nobody's
	asks    uint32 = math.MaxUint32 // those of whoever runs the statement, and has them anyway
)

// moves is beside privileges: rows go from one partition to another.
const moves bits = 1 << 63

// naming is how a statement comes to a relation.
type naming int

const (
	named   naming = iota
	only           // ONLY, as foreign keys write tables
	asChild        // of what is named: its rules do not count
)

// step is where a walk is, and how it came there.
type step struct {
	relation uint32
	how      naming
	acting   uint32 // whose rights on the relation count
	user     uint32 // as whom triggers run that act as whoever writes,
	later    uint32 // and those that come when the statement is done
	acted    bool   // by a rule, a trigger or a foreign key
}

type walk struct {
	p     *relationPaths
	seen  map[step]bits
	noted map[int32]noted
	todo  []visit // no recursion: ways may be as long as a database has relations
	cut   bool    // steps were used up
}

// visit is a relation that is read or written.
type visit struct {
	at    step
	verbs bits
}

// noted is what a walk reaches of a table.
type noted struct {
	direct, acted bits
	past          bool // with rights for which the policies of the table do not count
}

func (p *relationPaths) newWalk() *walk {
	return &walk{p: p, seen: map[step]bits{}, noted: map[int32]noted{}}
}

// walkFrom finds what each privilege on a relation leads to; false: not all.
func (p *relationPaths) walkFrom(top uint32) (ended bool) {
	r, starts := p.relations[top], p.starts(top)
	ended = true
	for _, t := range throughs {
		if starts&t[0] == 0 {
			continue
		}
		w := p.newWalk()
		w.visit(step{relation: top, acting: asks, user: asks, later: asks}, t[0])
		ended = w.run() && ended
		for at, n := range w.noted {
			if p.d.tables[at].ref.OID == top || !n.past && !p.matters(r, at, t[0]) {
				continue
			}
			found := opening{at: at, need: t[0]}
			if n.direct&t[0] != 0 {
				found.through |= t[1]
			}
			if n.acted != 0 {
				found.through |= byRule
			}
			if found.through != 0 && n.past {
				found.through |= pastRows
			}
			if found.through != 0 {
				p.found[top] = append(p.found[top], found)
			}
		}
	}
	return ended
}

// starts are the privileges on a relation that may lead somewhere.
func (p *relationPaths) starts(top uint32) (out bits) {
	if p.views[top] != nil || len(p.parents[top]) > 0 {
		return anything
	}
	for _, a := range p.acts[top] {
		out |= a.events
	}
	return out
}

// matters reports whether somebody else than the owner of a table has a privilege
// on a relation that leads to it: most keys are between tables of one owner.
func (p *relationPaths) matters(r *relation, at int32, need bits) bool {
	owner := p.d.classes[p.d.tables[at].class].owner
	if r.owner != owner {
		return true
	}
	for _, e := range r.acl {
		if e.via == "" && e.grantee != owner && e.bits&onColumns(need) != 0 {
			return true
		}
	}
	return false
}

// visit goes on to a relation that is read or written, with the rights that are
// there and as far as nobody was there before.
func (w *walk) visit(at step, verbs bits) {
	p := w.p
	if p.steps == 0 {
		w.cut = true
		return
	}
	p.steps--
	r, leads := p.relations[at.relation]
	table, known := p.d.byOID[at.relation]
	known = known && p.d.tables[table].class >= 0
	if !known && !leads {
		return
	}
	if at.acting != asks && at.acting != noCheck {
		if known {
			k := &p.d.classes[p.d.tables[table].class]
			verbs = p.may(at.acting, k.owner, k.acl, verbs)
		} else {
			verbs = p.may(at.acting, r.owner, r.acl, verbs)
		}
	}
	if fresh := verbs &^ w.seen[at]; fresh != 0 {
		w.seen[at] |= fresh
		if known {
			w.note(at, table, p.views[at.relation], fresh)
		}
		w.todo = append(w.todo, visit{at, fresh})
	}
}

// run follows all that comes after the visits so far, unless the steps are used
// up: then what was noted is true and not all, and it returns false.
func (w *walk) run() bool {
	for len(w.todo) > 0 && !w.cut {
		next := w.todo[len(w.todo)-1]
		w.todo = w.todo[:len(w.todo)-1]
		if v := w.p.views[next.at.relation]; v != nil {
			w.throughView(next.at, v, next.verbs)
		}
		w.setOff(next.at, next.verbs)
		w.children(next.at, next.verbs)
	}
	return !w.cut
}

func (w *walk) note(at step, table int32, v *viewPath, verbs bits) {
	n := w.noted[table]
	verbs &= anything
	if at.acted {
		n.acted |= verbs
	} else if v == nil {
		n.direct |= verbs
	} else {
		n.direct |= verbs & (canSelect | v.privileges())
	}
	n.past = n.past || w.p.d.tables[table].rows && w.p.passes(at.acting, table)
	w.noted[table] = n
}

// passes reports whether the policies of a table do not count for who acts there.
func (p *relationPaths) passes(acting uint32, table int32) bool {
	switch acting {
	case asks:
		return false
	case noCheck:
		return true
	}
	r := p.c.roles[acting]
	return r != nil && (r.super || r.bypassRLS) || slices.Contains(p.c.inherits(acting), p.d.classes[p.d.tables[table].class].owner)
}

// privileges are those by which a view is written by itself.
func (v *viewPath) privileges() (out bits) {
	for _, t := range throughs {
		if v.writes&t[1] != 0 {
			out |= t[0]
		}
	}
	return out
}

func (w *walk) throughView(at step, v *viewPath, verbs bits) {
	next := at
	next.how = named
	switch {
	case v.stored:
		next.acting = noCheck // what its owner could read once is in it
	case !v.asInvoker:
		next.acting = v.owner
	case at.acting == asks:
		return // they need the privilege below
	}
	if verbs&canSelect != 0 {
		for _, next.relation = range v.mentions {
			w.visit(next, canSelect)
		}
	}
	if written := verbs & v.privileges(); written != 0 {
		for _, next.relation = range v.bases {
			w.visit(next, written)
		}
	}
}

func (w *walk) children(at step, verbs bits) {
	next := at
	next.how, next.acting = asChild, noCheck
	for _, ch := range w.p.parents[at.relation] {
		if at.how == only && !ch.routes {
			continue
		}
		to := verbs & (canSelect | canUpdate | canDelete | canTruncate)
		if ch.routes {
			to |= verbs & (canInsert | moves)
			if verbs&canUpdate != 0 {
				to |= moves
			}
		}
		next.relation = ch.child
		w.visit(next, to)
	}
}

// setOff follows what writing a relation sets off.
func (w *walk) setOff(at step, verbs bits) {
	for i := range w.p.acts[at.relation] {
		a := &w.p.acts[at.relation][i]
		did := verbs
		if verbs&moves != 0 && (a.by == byTrigger || w.p.c.version < 150000) {
			did |= canInsert | canDelete
		}
		if a.events&did == 0 || a.by == byItsRule && at.how == asChild {
			continue
		}
		next := at
		next.how, next.acted, next.acting = named, true, a.acting
		switch a.by {
		case byItsKey: // checked are the rights of the table's owner, who has them or can take them
			next.how, next.acting, next.user = only, noCheck, a.acting
			if w.p.c.version >= 180000 {
				next.later = a.acting
			}
		case byTrigger:
			switch {
			case a.text.definer:
				next.acting = a.text.owner
			case a.after:
				next.acting = at.later
			default:
				next.acting = at.user
			}
			if next.acting == asks {
				continue // they need the privilege there
			}
			next.user, next.later = next.acting, next.acting
		}
		if a.text == nil {
			next.relation = a.target
			w.visit(next, a.does)
			continue
		}
		for _, next.relation = range w.p.mentioned(a.text) {
			if next.relation != at.relation {
				w.visit(next, a.does)
			}
		}
	}
}
