package service

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/mapping"
	"portcullis.dev/portcullis/policy"
)

// seen makes a connection and lets it see databases, as a crawl does.
type seen struct {
	f  *fixture
	id string
	c  Connection
}

func see(t *testing.T, f *fixture, name string, databases ...connection.Database) *seen {
	t.Helper()
	v := Connection{Name: name, Host: "127.0.0.1", Port: 1, TLS: connection.TLSDisable, Username: "system", Mapping: &mapping.Automatic{Attribute: "userid"}, systemID: name}
	if err := normalizeConnection(&v); err != nil {
		t.Fatal(err)
	}
	if _, err := f.store.Change(t.Context(), "test", func(c *change) error {
		_, err := connectionKind().save(t.Context(), c, &v)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	c, err := f.store.connectionNamed(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	s := &seen{f: f, id: c.ID, c: c}
	s.crawl(t, databases...)
	return s
}

// storeOnly is a store that no service works on.
func storeOnly(t *testing.T) *fixture {
	t.Helper()
	key, _ := newKey(t)
	store, err := Open(t.Context(), newDatabase(t), key, "engine", startLog(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return &fixture{t: t, key: key, store: store}
}

func (s *seen) crawl(t *testing.T, databases ...connection.Database) {
	t.Helper()
	s.crawlBut(t, nil, databases...)
}

// crawlBut is a crawl that leaves databases out.
func (s *seen) crawlBut(t *testing.T, leftOut []uint32, databases ...connection.Database) {
	t.Helper()
	fence, err := s.f.store.takeLease(t.Context(), s.id, "test")
	if err != nil {
		t.Fatal(err)
	}
	w := newCrawlStore(s.f.store, s.c, fence)
	w.leftOut = leftOut
	for _, db := range databases {
		for _, schema := range db.Schemas {
			if schema.Objects == nil {
				continue
			}
			if err := w.visit(t.Context(), db, schema); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.finish(t.Context(), databases); err != nil {
		t.Fatal(err)
	}
}

func (s *seen) desired(t interface{ Fatal(...any) }, now time.Time) desired {
	var d desired
	ctx := s.f.t.Context()
	c, err := s.f.store.connectionNamed(ctx, s.c.Name)
	if err != nil {
		t.Fatal(err)
	}
	roles := []mapping.Role{}
	people, err := listPeople(ctx, s.f.store.pool, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range people {
		roles = append(roles, mapping.Role{Name: p.UserID, Login: true})
	}
	err = s.f.store.read(ctx, func(tx pgx.Tx, snap *snapshot) error {
		d, _, _, err = s.f.store.desired(ctx, tx, snap, c, c.target(), roles, nil, now)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func table(oid uint32, name string, columns ...string) connection.Object {
	o := connection.Object{OID: oid, Name: name, Kind: connection.KindTable, Owner: "owner", Columns: []connection.Column{}}
	for i, c := range columns {
		kind := "text"
		if c == "amount" {
			kind = "numeric"
		}
		o.Columns = append(o.Columns, connection.Column{Number: int16(i + 1), Name: c, Type: kind})
	}
	return o
}

func database(oid uint32, name string, schemas ...connection.Schema) connection.Database {
	return connection.Database{OID: oid, Name: name, Owner: "owner", Schemas: schemas}
}

func schema(oid uint32, name string, objects ...connection.Object) connection.Schema {
	if objects == nil {
		objects = []connection.Object{}
	}
	return connection.Schema{OID: oid, Name: name, Owner: "owner", Digest: fmt.Sprint(oid, name, objects), Objects: objects}
}

// TestWantedEqualsTheEvaluator draws policies, people, tags and subscriptions:
// a person is in a set of a table exactly where the evaluator, asked for that
// person and table alone, allows it without filter and mask.
func TestWantedEqualsTheEvaluator(t *testing.T) {
	f := storeOnly(t)
	s := see(t, f, "shop", database(1, "app",
		schema(10, "public", table(100, "orders", "id", "email", "amount"), table(101, "people", "id", "email"), table(102, "notes", "id", "note")),
		schema(11, "odd.name", table(103, "or\"ders", "id", "amount"), table(104, "plain", "id"))))
	names := []string{"shop.app.public.orders", "shop.app.public.people", "shop.app.public.notes", `shop.app."odd.name"."or""ders"`, `shop.app."odd.name".plain`}
	rapid.Check(t, func(r *rapid.T) {
		state := drawState(r, names)
		if _, err := f.store.Apply(t.Context(), "test", state, false); err != nil {
			r.Fatal(err)
		}
		now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
		compareWithEvaluator(r, f, s, names, now)
	})
}

func drawState(r *rapid.T, names []string) State {
	groups := []Group{{Name: "a"}, {Name: "b"}}
	var people []Person
	for i := range 4 {
		p := Person{UserID: fmt.Sprintf("p%d", i), Groups: rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b"}), 0, 2, rapid.ID).Draw(r, "groups")}
		if rapid.Bool().Draw(r, "attribute") {
			p.Attributes = map[string][]string{"region": {rapid.SampledFrom([]string{"north", "south"}).Draw(r, "region")}}
		}
		if rapid.IntRange(0, 5).Draw(r, "status") == 0 {
			p.Status = policy.StatusDisabled
		}
		people = append(people, p)
	}
	tag := rapid.SampledFrom([]string{"PII", "PII.Email", "Sales"})
	var objects []ObjectSettings
	for _, name := range append(slices.Clone(names), "shop.app", "shop.app.public") {
		o := ObjectSettings{Name: name, Tags: rapid.SliceOfNDistinct(tag, 0, 2, rapid.ID).Draw(r, "tags")}
		if strings.HasSuffix(name, "orders") || strings.HasSuffix(name, "people") {
			o.Columns = []ColumnTags{{Name: "email", Tags: rapid.SliceOfNDistinct(tag, 0, 2, rapid.ID).Draw(r, "column tags")}}
		}
		if len(o.Tags) > 0 || len(o.Columns) > 0 && len(o.Columns[0].Tags) > 0 {
			objects = append(objects, o)
		}
	}
	who := rapid.SampledFrom([]*policy.Who{{Everyone: true}, {Group: "a"}, {Group: "b"}, {Not: &policy.Who{Group: "a"}}, {Attribute: &policy.AttributeValue{Name: "region", Value: "north"}},
		{Person: &policy.PersonID{IAMID: "local", UserID: "p1"}}})
	on := rapid.Custom(func(r *rapid.T) policy.Target {
		switch rapid.IntRange(0, 2).Draw(r, "on") {
		case 0:
			return policy.Target{All: true}
		case 1:
			return policy.Target{Tags: []string{tag.Draw(r, "tag")}}
		}
		return policy.Target{DataSources: []string{rapid.SampledFrom(names).Draw(r, "name")}}
	})
	var policies []Policy
	for i := range rapid.IntRange(0, 5).Draw(r, "policies") {
		p := Policy{Name: fmt.Sprintf("policy %d", i), On: on.Draw(r, "on")}
		switch rapid.IntRange(0, 4).Draw(r, "kind") {
		case 0, 1:
			p.Kind, p.Who, p.Access = policy.KindSubscription, who.Draw(r, "who"), rapid.SampledFrom([]policy.Access{"", policy.AccessRead, policy.AccessWrite}).Draw(r, "access")
		case 2:
			p.Kind, p.Filter = policy.KindFilter, rapid.SampledFrom([]string{"email = @username", "@isInGroups('a')", "@isInGroups('a') OR amount > 3", "@hasAttribute('region', 'north')", "@columnTagged('PII') = 'x'"}).Draw(r, "filter")
		default:
			p.Kind, p.Mask, p.Final = policy.KindMask, &policy.Mask{Kind: policy.MaskNull}, rapid.Bool().Draw(r, "final")
			p.Columns = rapid.SampledFrom([]*policy.ColumnChoice{{Names: []string{"email"}}, {Tags: []string{"PII"}}, {Tags: []string{"PII.Email"}}, {Names: []string{"amount"}}}).Draw(r, "columns")
			p.On = policy.Target{All: p.On.All, Tags: p.On.Tags}
			if !p.On.All && p.On.Tags == nil {
				p.On.All = true
			}
		}
		if p.Kind != policy.KindSubscription && rapid.Bool().Draw(r, "excepted") {
			p.Except = who.Draw(r, "except")
		}
		policies = append(policies, p)
	}
	subscriptions := []Subscription{}
	for _, p := range people {
		for _, name := range names {
			if rapid.IntRange(0, 6).Draw(r, "subscribed") > 0 {
				continue
			}
			sub := Subscription{DataSource: name, UserID: p.UserID, Access: rapid.SampledFrom([]policy.Access{policy.AccessRead, policy.AccessWrite}).Draw(r, "access")}
			if rapid.Bool().Draw(r, "expires") {
				at := time.Date(rapid.IntRange(2029, 2031).Draw(r, "year"), 1, 1, 0, 0, 0, 0, time.UTC)
				sub.Expires = &at
			}
			subscriptions = append(subscriptions, sub)
		}
	}
	return State{Groups: &groups, People: &people, ConnectionObjects: &objects, Policies: &policies, Subscriptions: &subscriptions}
}

func compareWithEvaluator(r *rapid.T, f *fixture, s *seen, names []string, now time.Time) {
	ctx := f.t.Context()
	got := reached(s.desired(r, now))
	people, err := listPeople(ctx, f.store.pool, nil)
	if err != nil {
		r.Fatal(err)
	}
	var policies []policy.Policy
	if err := f.store.read(ctx, func(_ pgx.Tx, snap *snapshot) error { policies = snap.policies; return nil }); err != nil {
		r.Fatal(err)
	}
	subscriptions, err := listSubscriptions(ctx, f.store.pool, nil)
	if err != nil {
		r.Fatal(err)
	}
	for _, name := range names {
		ds := s.dataSource(r, name)
		for i := range people {
			for _, a := range []connection.Access{connection.Read, connection.Write} {
				want := evaluated(people[i].subject(), ds, policies, subscriptions, a, now)
				if key := string(a) + " " + people[i].UserID + " " + name; got[key] != want {
					r.Fatalf("%s: wanted natively %t, the evaluator says %t", key, got[key], want)
				}
			}
		}
	}
}

// evaluated asks the evaluator with only the subscriptions of one access, or of write for read.
func evaluated(p *policy.Person, ds *policy.DataSource, policies []policy.Policy, subscriptions []Subscription, a connection.Access, now time.Time) bool {
	q := policy.Question{Person: p, DataSource: ds, DataSourceID: ds.ID, Now: now}
	for _, pol := range policies {
		if pol.Kind != policy.KindSubscription || a == connection.Read || pol.Access == policy.AccessWrite {
			q.Policies = append(q.Policies, pol)
		}
	}
	for _, sub := range subscriptions {
		if sub.DataSource == ds.Name && (a == connection.Read || sub.Access == policy.AccessWrite) {
			one := policy.Subscription{DataSource: ds.ID, Person: policy.PersonID{IAMID: sub.IAMID, UserID: sub.UserID}}
			if sub.Expires != nil {
				one.Expires = *sub.Expires
			}
			q.Subscriptions = append(q.Subscriptions, one)
		}
	}
	d := policy.Evaluate(q)
	return d.Allowed && d.Filter == nil && len(d.Masks) == 0
}

// dataSource reads a table whole, with the tags of all levels.
func (s *seen) dataSource(r *rapid.T, name string) *policy.DataSource {
	ctx := s.f.t.Context()
	o, err := s.f.store.Object(ctx, s.c.Name, name)
	if err != nil {
		r.Fatal(err)
	}
	ds := &policy.DataSource{ID: o.ID, Name: o.Name, Tags: o.Tags}
	for _, parent := range []string{"shop.app", name[:strings.LastIndex(name, ".")]} {
		above, err := s.f.store.Object(ctx, s.c.Name, parent)
		if err != nil {
			r.Fatal(err)
		}
		ds.Tags = append(ds.Tags, above.Tags...)
	}
	for _, c := range o.Columns {
		ds.Columns = append(ds.Columns, policy.TaggedColumn{Column: policy.Column{Name: c.Name, Type: c.Type}, Tags: c.Tags})
	}
	return ds
}

// reached lists "access person table" of what is wanted; write implies read.
func reached(d desired) map[string]bool {
	out := map[string]bool{}
	for _, set := range d.want.Sets {
		for _, ref := range set.Tables {
			for _, role := range set.Members {
				key := role + " " + fullName("shop", ref.Database, ref.Schema, ref.Name)
				out[string(set.Access)+" "+key] = true
				out[string(connection.Read)+" "+key] = true
			}
		}
	}
	return out
}
