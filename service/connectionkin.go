package service

import (
	"fmt"
	"slices"
	"strings"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/policy"
)

// kin are the tables of a connection that are partitions or children of others,
// or have some, those among them that are not enforced on too. PostgreSQL checks
// a query against the privileges on the table that it names, and on no other: who
// reads a parent reads the rows of all below it, and who reads a partition reads
// the same rows as through its parent. So a table shows itself to a person only
// if nothing is hidden from that person above it or below.
type kin struct {
	others []nativeTable // not enforced on
	byKey  map[kinKey]*nativeTable
	below  map[kinKey][]*nativeTable
}

type kinKey struct {
	database string
	oid      uint32
}

func keyOf(t *nativeTable) kinKey { return kinKey{t.ref.Database, t.ref.OID} }

// newKin finds who is kin to whom; nil: nobody is.
func newKin(list, others []nativeTable) *kin {
	k := &kin{others: others, byKey: map[kinKey]*nativeTable{}, below: map[kinKey][]*nativeTable{}}
	above := map[kinKey]bool{}
	each := func(f func(*nativeTable)) {
		for i := range list {
			f(&list[i])
		}
		for i := range others {
			f(&others[i])
		}
	}
	each(func(t *nativeTable) {
		for _, p := range t.parents {
			above[kinKey{t.ref.Database, p}] = true
		}
	})
	if len(above) == 0 {
		return nil
	}
	each(func(t *nativeTable) {
		if len(t.parents) > 0 || above[keyOf(t)] {
			k.byKey[keyOf(t)] = t
		}
		for _, p := range t.parents {
			at := kinKey{t.ref.Database, p}
			k.below[at] = append(k.below[at], t)
		}
	})
	return k
}

// ancestors of a table, the nearest first.
func (k *kin) ancestors(t *nativeTable) []*nativeTable {
	if k == nil || len(t.parents) == 0 {
		return nil
	}
	return closure(t, func(at *nativeTable) (up []*nativeTable) {
		for _, p := range at.parents {
			if parent := k.byKey[kinKey{at.ref.Database, p}]; parent != nil {
				up = append(up, parent)
			}
		}
		return up
	})
}

func (k *kin) descendants(t *nativeTable) []*nativeTable {
	if k == nil || len(k.below[keyOf(t)]) == 0 {
		return nil
	}
	return closure(t, func(at *nativeTable) []*nativeTable { return k.below[keyOf(at)] })
}

func closure(t *nativeTable, next func(*nativeTable) []*nativeTable) []*nativeTable {
	seen, out := map[*nativeTable]bool{t: true}, []*nativeTable{t}
	for i := 0; i < len(out); i++ {
		for _, n := range next(out[i]) {
			if !seen[n] {
				seen[n] = true
				out = append(out, n)
			}
		}
	}
	return out[1:]
}

// complete reports whether all parents of a table are known. While a crawl is
// interrupted one may not be, and then nobody can tell what is said of it.
func (k *kin) complete(t *nativeTable) bool {
	return !slices.ContainsFunc(t.parents, func(p uint32) bool { return k.byKey[kinKey{t.ref.Database, p}] == nil })
}

// inheriting is a data source as filters and masks see it, with the policies
// that apply: what is said of a table, and of its columns by their names, is said
// of its partitions and children. Subscriptions are not inherited.
func inheriting(ds *policy.DataSource, above []*policy.DataSource, policies []policy.Policy) (*policy.DataSource, []policy.Policy) {
	if len(above) == 0 {
		return ds, policies
	}
	one := *ds
	one.Columns = slices.Clone(ds.Columns)
	for _, a := range above {
		for _, c := range a.Columns {
			at := slices.IndexFunc(one.Columns, func(own policy.TaggedColumn) bool { return own.Name == c.Name })
			if at < 0 {
				if len(c.Tags) > 0 { // ds may hold columns with tags only
					one.Columns = append(one.Columns, c)
				}
				continue
			}
			if len(c.Former) > 0 {
				one.Columns[at].Former = append(slices.Clone(one.Columns[at].Former), c.Former...)
			}
			if len(c.Tags) > 0 {
				one.Columns[at].Tags = sortedSet(append(slices.Clone(one.Columns[at].Tags), c.Tags...))
			}
		}
	}
	var wide []policy.Policy
	for i := range policies {
		p := &policies[i]
		if p.Kind == policy.KindSubscription || p.On.Matches(&one) || !slices.ContainsFunc(above, p.On.Matches) {
			continue
		}
		if wide == nil {
			wide = slices.Clone(policies)
		}
		wide[i].On = policy.Target{All: true}
	}
	if wide == nil {
		wide = policies
	}
	return &one, wide
}

// sources are tables as policies read them.
func (w *wanting) sources(tables []*nativeTable) []*policy.DataSource {
	out := make([]*policy.DataSource, 0, len(tables))
	for _, t := range tables {
		ds := t.dataSource(w.connection.Name)
		ds.Columns = w.followed.among(t.id, ds.Columns)
		out = append(out, ds)
	}
	return out
}

// kinShapes computes what hides something of each table that has kin, before
// any of them is given to somebody.
func (w *wanting) kinShapes(full func([]nativeTable) (map[[16]byte][]policy.TaggedColumn, error), subscribing []subscriber) error {
	w.kinShape = map[*nativeTable]*shape{}
	if w.tables.kin == nil {
		return nil
	}
	for chunk := range slices.Chunk(slices.Collect(func(yield func(*nativeTable) bool) {
		for _, t := range w.tables.kin.byKey {
			if !yield(t) {
				return
			}
		}
	}), objectsAtOnce) {
		list := make([]nativeTable, 0, len(chunk))
		for _, t := range chunk {
			list = append(list, *t)
		}
		columns, err := full(list)
		if err != nil {
			return err
		}
		for _, t := range chunk {
			ds := t.dataSource(w.connection.Name)
			if c := columns[t.id]; c != nil {
				ds.Columns = c
			}
			denied := t.between || !w.tables.kin.complete(t) || slices.ContainsFunc(subscribing, func(s subscriber) bool { return s.invalid && s.policy.On.Matches(ds) })
			if w.kinShape[t] = w.shapeOf(t, ds); denied {
				w.kinShape[t] = nil
			}
		}
	}
	return nil
}

// amongKin is the shape of a table with what its kin hide beyond it. nil: one
// of them shows itself to nobody.
func (w *wanting) amongKin(t *nativeTable) *shape {
	own := w.kinShape[t]
	if own == nil {
		return nil
	}
	var beside []*shape
	seen := map[string]bool{own.key: true}
	for _, other := range append(w.tables.kin.ancestors(t), w.tables.kin.descendants(t)...) {
		sh := w.kinShape[other]
		if sh == nil {
			return nil
		}
		if seen[sh.key] {
			continue
		}
		seen[sh.key] = true
		if more := w.beyond(sh, own); more != nil {
			beside = append(beside, more)
		}
	}
	if len(beside) == 0 {
		return own
	}
	slices.SortFunc(beside, func(a, b *shape) int { return strings.Compare(a.key, b.key) })
	key := own.key
	for _, b := range beside {
		key += "+" + b.key
	}
	key = digestOfText(key)
	if w.shapes[key] == nil {
		one := *own
		one.key, one.beside, one.plain = key, beside, map[policy.PersonID]bool{}
		w.shapes[key] = &one
	}
	return w.shapes[key]
}

// beyond is what a shape hides that another does not; nil: nothing.
func (w *wanting) beyond(sh, own *shape) *shape {
	more := &shape{example: sh.example, hidden: sh.hidden && !own.hidden, plain: map[policy.PersonID]bool{}}
	for _, p := range sh.policies {
		if !slices.ContainsFunc(own.policies, func(o *policy.Policy) bool { return o.ID == p.ID }) {
			more.policies = append(more.policies, p)
		}
	}
	if len(more.policies) == 0 && !more.hidden {
		return nil
	}
	more.key = digestOfText(sh.key + "-" + own.key)
	if known := w.shapes[more.key]; known != nil {
		return known
	}
	w.shapes[more.key] = more
	return more
}

// besideShow reports whether the kin of a shape hide nothing more from a person.
func (w *wanting) besideShow(sh *shape, p *policy.Person) bool {
	return !slices.ContainsFunc(sh.beside, func(b *shape) bool { return !w.shows(b, p) })
}

// besideReason says what kin of a table hide something from a person.
func (w *wanting) besideReason(sh *shape, p *policy.Person) string {
	var names []string
	for _, b := range sh.beside {
		if !w.shows(b, p) {
			names = append(names, b.example.Name)
		}
	}
	return fmt.Sprintf("%s/%s may see a part only of %s, whose rows it shows", p.IAMID, p.UserID, strings.Join(names, ", "))
}

// viewsGiven reports whether policies may give views, which can show what tables hide.
func (w *wanting) viewsGiven() bool {
	return slices.Contains(w.connection.Kinds, connection.KindView) || slices.Contains(w.connection.Kinds, connection.KindMaterialised)
}

// parts are the tables that show mapped people a part, with these people.
func (w *wanting) parts() []connection.Part {
	var out []connection.Part
	for _, key := range sortedKeys(w.shaped) {
		part := connection.Part{Tables: w.shaped[key].tables, Policies: w.shaped[key].shape.names()}
		for id := range w.roles {
			if !w.shows(w.shaped[key].shape, w.people[id]) {
				part.Roles = append(part.Roles, w.roles[id])
			}
		}
		if len(part.Roles) > 0 {
			slices.Sort(part.Roles)
			out = append(out, part)
		}
	}
	return out
}

// shapedTables are tables with one shape that hides something.
type shapedTables struct {
	shape  *shape
	tables []connection.ObjectRef
}

// names of the policies of a shape, those of kin with the table they are on.
func (sh *shape) names() []string {
	var out []string
	for _, p := range sh.policies {
		out = append(out, p.Name)
	}
	for _, b := range sh.beside {
		for _, p := range b.policies {
			out = append(out, p.Name+" (on "+b.example.Name+", whose rows it shows)")
		}
	}
	return out
}
