package service

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/rows"
	"portcullis.dev/portcullis/connection/views"
	"portcullis.dev/portcullis/policy"
)

// wanting works out what the policies want of one instance. A grant shows a
// table as it is, so it goes only to people to whom no filter and no mask
// applies there: the others are withheld, with the reason.
type wanting struct {
	connection Connection
	tables     *nativeTables
	policies   []policy.Policy
	people     map[policy.PersonID]*policy.Person
	roles      map[policy.PersonID]string // of those who are mapped
	now        time.Time
	viewKey    []byte // of hash masks, where the connection has views
	followed   followed

	shapes   map[string]*shape
	sets     map[string]*connection.AccessSet
	members  map[string]map[string]bool  // by set
	without  map[string][]*policy.Person // by set: who may not see its tables as they are
	withheld map[string]*Withheld
	partial  map[[16]byte]map[policy.PersonID]bool // who may see a part of which table, and whether they may write
	expires  time.Time                             // when the answer changes by itself; zero: never

	kinShape map[*nativeTable]*shape  // of tables with kin; nil: shown to nobody
	shaped   map[string]*shapedTables // by shape, where views may show what these hide
	unviewed []ViewStatus             // tables of which some people cannot have a view
	unrowed  []RowsStatus             // tables that cannot have row-level security
}

// shape is what hides something of a table: tables with the same shape show
// themselves to the same people.
type shape struct {
	key      string
	example  *policy.DataSource
	policies []*policy.Policy
	hidden   bool     // from everyone
	beside   []*shape // what kin of the table hide beyond that
	plain    map[policy.PersonID]bool
}

// Withheld says that tables are not granted to people who may only see a part of them.
type Withheld struct {
	Policies []string `json:"policies"` // the filters and masks
	People   []string `json:"people"`   // at most a hundred
	Tables   []string `json:"tables"`   // at most a hundred
	Count    int      `json:"count"`    // of tables
}

// desired is what the policies want of a connection at one policy version.
type desired struct {
	want     connection.Want
	withheld []Withheld
	views    map[string][]views.Table // by database
	unviewed []ViewStatus             // tables of which some people cannot have a view
	rows     map[string][]rows.Table  // by database, of tables that have no view
	unrowed  []RowsStatus             // tables that cannot have row-level security
	expires  time.Time
}

// everything but who and what matters is filled in by the caller.
func (w *wanting) compute(ctx context.Context, q querier, subscriptions map[[16]byte][]policy.Subscription) (desired, error) {
	w.shapes, w.sets, w.members, w.withheld = map[string]*shape{}, map[string]*connection.AccessSet{}, map[string]map[string]bool{}, map[string]*Withheld{}
	w.without, w.shaped = map[string][]*policy.Person{}, map[string]*shapedTables{}
	subscribing := w.subscribing()
	full := func(list []nativeTable) (map[[16]byte][]policy.TaggedColumn, error) {
		return w.allColumnsWhere(ctx, q, list, w.needsColumns)
	}
	if err := w.kinShapes(full, subscribing); err != nil {
		return desired{}, err
	}
	for chunk := range slices.Chunk(w.tables.list, objectsAtOnce) {
		columns, err := full(chunk)
		if err != nil {
			return desired{}, err
		}
		for i := range chunk {
			w.table(&chunk[i], columns[chunk[i].id], subscribing, subscriptions[chunk[i].id])
		}
	}
	d := w.result()
	err := w.showParts(ctx, q, w.viewKey, subscriptions, &d)
	d.unviewed, d.unrowed = w.unviewed, w.unrowed
	return d, err
}

// subscriber is a subscription policy with the people it takes in.
type subscriber struct {
	policy  *policy.Policy
	people  []*policy.Person
	invalid bool // nobody can tell whom it means: it denies where it applies
}

func (w *wanting) subscribing() []subscriber {
	var out []subscriber
	for i := range w.policies {
		p := &w.policies[i]
		if p.Kind != policy.KindSubscription {
			continue
		}
		s := subscriber{policy: p}
		for id := range w.roles {
			ok, err := p.Who.Matches(w.people[id])
			if err != nil {
				s.invalid = true
				break
			}
			if ok {
				s.people = append(s.people, w.people[id])
			}
		}
		slices.SortFunc(s.people, func(a, b *policy.Person) int { return comparePeople(a.PersonID, b.PersonID) })
		out = append(out, s)
	}
	return out
}

func comparePeople(a, b policy.PersonID) int {
	return cmp.Or(strings.Compare(a.IAMID, b.IAMID), strings.Compare(a.UserID, b.UserID))
}

// needsColumns tells whether some policy may read columns without tags.
func (w *wanting) needsColumns(t *nativeTable) bool {
	var self []*policy.DataSource
	for i := range w.policies {
		p := &w.policies[i]
		if p.Kind == policy.KindSubscription || p.Kind == policy.KindMask && len(p.Columns.Names) == 0 {
			continue
		}
		if self == nil {
			self = w.sources(append([]*nativeTable{t}, w.tables.kin.ancestors(t)...))
		}
		if slices.ContainsFunc(self, p.On.Matches) {
			return true
		}
	}
	return false
}

func (w *wanting) allColumnsWhere(ctx context.Context, q querier, tables []nativeTable, which func(*nativeTable) bool) (map[[16]byte][]policy.TaggedColumn, error) {
	var ids [][16]byte
	for i := range tables {
		if which(&tables[i]) {
			ids = append(ids, tables[i].id)
		}
	}
	if ids == nil {
		return nil, nil
	}
	return allColumns(ctx, q, ids, w.followed)
}

// table puts one table into the sets of those who may see all of it.
func (w *wanting) table(t *nativeTable, columns []policy.TaggedColumn, subscribing []subscriber, individual []policy.Subscription) {
	if t.between {
		return
	}
	ds := t.dataSource(w.connection.Name)
	if columns != nil {
		ds.Columns = columns
	}
	var matching []*subscriber
	for i := range subscribing {
		s := &subscribing[i]
		if !s.policy.On.Matches(ds) {
			continue
		}
		if s.invalid {
			return
		}
		matching = append(matching, s)
	}
	nobody := len(matching) == 0 && len(individual) == 0
	if nobody && !w.viewsGiven() {
		return
	}
	var sh *shape
	if _, hasKin := w.kinShape[t]; hasKin {
		sh = w.amongKin(t)
	} else {
		sh = w.shapeOf(t, ds)
	}
	if sh == nil {
		return
	}
	w.remember(t, sh)
	if nobody {
		return
	}
	for _, s := range matching {
		w.add(setID("policy", s.policy.ID, s.policy.Access, sh.key), nativeAccess(s.policy.Access), t, sh, s.people)
	}
	for _, a := range []policy.Access{policy.AccessRead, policy.AccessWrite} {
		if people := w.selected(individual, a); people != nil {
			w.add(setID("table", uuidText(t.id), a, ""), nativeAccess(a), t, sh, people)
		}
	}
}

func setID(what, id string, a policy.Access, shape string) string {
	text := what + ":" + id + ":" + string(nativeAccess(a))
	if shape != "" {
		text += ":" + shape
	}
	return text
}

func nativeAccess(a policy.Access) connection.Access {
	if a == policy.AccessWrite {
		return connection.Write
	}
	return connection.Read
}

// selected are the mapped people with a subscription of their own that is in force.
func (w *wanting) selected(list []policy.Subscription, a policy.Access) []*policy.Person {
	var people []*policy.Person
	for _, s := range list {
		if _, mapped := w.roles[s.Person]; !mapped || nativeAccess(s.Access) != nativeAccess(a) {
			continue
		}
		if !s.Expires.IsZero() {
			if !s.Expires.After(w.now) {
				continue
			}
			if w.expires.IsZero() || s.Expires.Before(w.expires) {
				w.expires = s.Expires
			}
		}
		people = append(people, w.people[s.Person])
	}
	return people
}

// shapeOf finds what hides something of a table; nil: a policy cannot be understood, nobody gets it.
func (w *wanting) shapeOf(t *nativeTable, ds *policy.DataSource) *shape {
	ds, policies := inheriting(ds, w.sources(w.tables.kin.ancestors(t)), w.policies)
	shaping, hidden, err := policy.Shaping(ds, policies)
	if err != nil {
		return nil
	}
	key := ""
	if len(shaping) > 0 || hidden {
		key = shapeKey(ds, shaping, hidden)
	}
	sh := w.shapes[key]
	if sh == nil {
		sh = &shape{key: key, example: ds, policies: shaping, hidden: hidden, plain: map[policy.PersonID]bool{}}
		w.shapes[key] = sh
	}
	return sh
}

// remember keeps which tables hide something, where views may show it.
func (w *wanting) remember(t *nativeTable, sh *shape) {
	if sh.key == "" || !w.viewsGiven() {
		return
	}
	if w.shaped[sh.key] == nil {
		w.shaped[sh.key] = &shapedTables{shape: sh}
	}
	w.shaped[sh.key].tables = append(w.shaped[sh.key].tables, t.ref)
}

// shapeKey is the same for tables that the same policies shape alike. Filters
// read columns, masks do not: who is excepted from a mask depends on people only.
func shapeKey(ds *policy.DataSource, shaping []*policy.Policy, hidden bool) string {
	h := sha256.New()
	enc := json.NewEncoder(h)
	_ = enc.Encode(hidden) // a hash takes everything
	filtered := false
	for _, p := range shaping {
		_ = enc.Encode(p.ID)
		filtered = filtered || p.Kind == policy.KindFilter
	}
	if filtered {
		_ = enc.Encode(ds.Columns)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func digestOfText(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}

func (w *wanting) shows(sh *shape, p *policy.Person) bool {
	if len(sh.policies) == 0 && len(sh.beside) == 0 {
		return !sh.hidden
	}
	plain, known := sh.plain[p.PersonID]
	if !known {
		plain = !sh.hidden && policy.Plain(p, sh.example, sh.policies) && w.besideShow(sh, p)
		sh.plain[p.PersonID] = plain
	}
	return plain
}

// add puts a table and those of people who may see all of it into a set.
func (w *wanting) add(id string, a connection.Access, t *nativeTable, sh *shape, people []*policy.Person) {
	set := w.sets[id]
	if set == nil {
		set = &connection.AccessSet{ID: id, Access: a}
		w.sets[id] = set
		w.members[id] = map[string]bool{}
		for _, p := range people {
			if w.shows(sh, p) {
				w.members[id][w.roles[p.PersonID]] = true
			} else {
				w.withhold(sh, p)
				w.without[id] = append(w.without[id], p)
			}
		}
	}
	set.Tables = append(set.Tables, t.ref)
	if !t.cannot {
		w.partially(t, sh, w.without[id], a)
	}
	if h := w.withheld[sh.key]; h != nil {
		h.table(fullName(w.connection.Name, t.ref.Database, t.ref.Schema, t.ref.Name))
	}
}

const maxExamples = 100

func (w *wanting) withhold(sh *shape, p *policy.Person) {
	h := w.withheld[sh.key]
	if h == nil {
		h = &Withheld{Policies: sh.names()}
		w.withheld[sh.key] = h
	}
	if name := p.IAMID + "/" + p.UserID; len(h.People) < maxExamples && !slices.Contains(h.People, name) {
		h.People = append(h.People, name)
	}
}

func (h *Withheld) table(name string) {
	if len(h.Tables) > 0 && h.Tables[len(h.Tables)-1] == name {
		return
	}
	h.Count++
	if len(h.Tables) < maxExamples {
		h.Tables = append(h.Tables, name)
	}
}

// result is in a fixed order, without sets that give nobody anything.
func (w *wanting) result() desired {
	d := desired{expires: w.expires}
	for _, id := range sortedKeys(w.sets) {
		if len(w.members[id]) == 0 {
			continue
		}
		set := w.sets[id]
		set.Members = sortedKeys(w.members[id])
		d.want.Sets = append(d.want.Sets, *set)
	}
	for _, key := range sortedKeys(w.withheld) {
		d.withheld = append(d.withheld, *w.withheld[key])
	}
	d.want.Managed = make([]connection.ObjectRef, 0, len(w.tables.list))
	for i := range w.tables.list {
		d.want.Managed = append(d.want.Managed, w.tables.list[i].ref)
		if w.tables.list[i].cannot {
			d.want.Unenforceable = append(d.want.Unenforceable, w.tables.list[i].ref)
		}
	}
	d.want.Parts = w.parts()
	return d
}

// tableSubscriptions are the individual subscriptions to tables of a connection.
func tableSubscriptions(ctx context.Context, q querier, connectionID string) (map[[16]byte][]policy.Subscription, error) {
	rows, err := q.Query(ctx, `SELECT o.id, p.iamid, p.userid, s.access, s.expires FROM portcullis.connection_subscriptions s
		JOIN portcullis.connection_objects o ON o.id = s.object AND o.connection = $1 AND o.dropped IS NULL JOIN portcullis.people p ON p.id = s.person_id`, connectionID)
	if err != nil {
		return nil, err
	}
	out := map[[16]byte][]policy.Subscription{}
	var id pgtype.UUID
	var s policy.Subscription
	var expires *time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &s.Person.IAMID, &s.Person.UserID, &s.Access, &expires}, func() error {
		s.Expires = time.Time{}
		if expires != nil {
			s.Expires = *expires
		}
		out[id.Bytes] = append(out[id.Bytes], s)
		return nil
	})
	return out, err
}
