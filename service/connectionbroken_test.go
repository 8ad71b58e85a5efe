package service

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/policy"
)

// TestACrawlThatBreaksOffOpensNothing: databases, schemas and tables were renamed,
// and the crawl that finds it ends after each of its transactions in turn, for
// lack of a service, or since a database cannot be read. Whatever it has written
// by then, what policies by names and tags hid stays hidden.
func TestACrawlThatBreaksOffOpensNothing(t *testing.T) {
	same := func(oid uint32, name string) connection.Schema {
		return connection.Schema{OID: oid, Name: name, Digest: "same"}
	}
	unread := connection.Database{OID: 1, Name: "app2", Err: &connection.Error{Code: "unreachable"}}
	everyone := &policy.Who{Everyone: true}
	all := Policy{Name: "all", Kind: policy.KindSubscription, On: policy.Target{All: true}, Who: everyone}
	rows := Policy{Name: "rows", Kind: policy.KindFilter, On: policy.Target{DataSources: []string{"NAME.app.public.orders", "NAME.app.still.orders", "NAME.app.later.orders"}}, Filter: "id = 'x'"}
	tagged := Policy{Name: "tagged", Kind: policy.KindMask, On: policy.Target{All: true}, Columns: &policy.ColumnChoice{Tags: []string{"PII"}}, Mask: &policy.Mask{Kind: policy.MaskNull}}
	some := Policy{Name: "some", Kind: policy.KindSubscription, On: policy.Target{DataSources: []string{"NAME.app.public.orders", "NAME.app.still.orders"}}, Who: everyone}
	sales := Policy{Name: "sales", Kind: policy.KindSubscription, On: policy.Target{Tags: []string{"Sales"}}, Who: everyone}
	f := storeOnly(t)
	commits := trackCommits(t, f.store)
	for name, c := range map[string]struct {
		policies []Policy
		settings []ObjectSettings
		before   []connection.Database
		after    []connection.Database
		hidden   []uint32 // tables, at any time
		shown    []uint32 // at the end
	}{
		"a database": {
			[]Policy{all, rows}, nil,
			[]connection.Database{database(1, "app", schema(10, "public", table(100, "orders", "id"), table(101, "plain", "id")), schema(11, "still", table(102, "orders", "id"), table(103, "plain", "id")), schema(12, "later", table(104, "orders", "id")))},
			[]connection.Database{database(1, "app2", schema(10, "public", table(100, "orders", "id"), table(101, "plain2", "id")), same(11, "still"), schema(12, "later", table(104, "orders", "id")))},
			[]uint32{100, 102, 104}, []uint32{101, 103},
		},
		"schemas and tables": {
			[]Policy{all, rows}, nil,
			[]connection.Database{database(1, "app", schema(10, "public", table(100, "orders", "id"), table(101, "plain", "id")), schema(11, "still", table(102, "orders", "id"), table(103, "plain", "id")), schema(12, "later", table(104, "orders", "id")))},
			[]connection.Database{database(1, "app", schema(10, "pub.lic", table(101, "plain", "id"), table(104, "orders2", "id")), same(11, "quiet"), schema(12, "later2", table(100, "orders1", "id")))},
			[]uint32{100, 102, 104}, []uint32{101, 103},
		},
		"a database that takes the name of one with tags": {
			[]Policy{some, tagged}, []ObjectSettings{{Name: "NAME.app.public.orders", Columns: []ColumnTags{{Name: "email", Tags: []string{"PII"}}}}, {Name: "NAME.app.still.orders", Columns: []ColumnTags{{Name: "email", Tags: []string{"PII"}}}}},
			[]connection.Database{database(1, "app", schema(10, "public", table(100, "orders", "email")), schema(11, "still", table(102, "orders", "email"))),
				database(2, "load", schema(20, "public", table(200, "orders", "email")), schema(21, "still", table(202, "orders", "email")))},
			[]connection.Database{database(2, "app", schema(20, "public", table(200, "orders", "email")), same(21, "still"))},
			[]uint32{100, 102, 200, 202}, nil,
		},
		"schemas that take the names of others with tags": {
			[]Policy{sales, tagged}, []ObjectSettings{{Name: "NAME.app.public", Tags: []string{"Sales"}}, {Name: "NAME.app.still", Tags: []string{"Sales"}},
				{Name: "NAME.app.public.orders", Columns: []ColumnTags{{Name: "email", Tags: []string{"PII"}}}}, {Name: "NAME.app.still.orders", Columns: []ColumnTags{{Name: "email", Tags: []string{"PII"}}}}},
			[]connection.Database{database(1, "app", schema(10, "public", table(100, "orders", "email")), schema(11, "still", table(102, "orders", "email")),
				schema(20, "load", table(199, "plain", "id"), table(200, "orders", "email")), schema(21, "load2", table(202, "orders", "email")))},
			[]connection.Database{database(1, "app", schema(20, "public", table(199, "plain", "id"), table(200, "orders", "email")), same(21, "still"))},
			[]uint32{100, 102, 200, 202}, []uint32{199},
		},
		"a table that takes the name of one with a subscription": {
			[]Policy{{Name: "one", Kind: policy.KindSubscription, On: policy.Target{DataSources: []string{"NAME.app.public.orders"}}, Who: everyone}}, nil,
			[]connection.Database{database(1, "app", schema(10, "public", table(99, "plain", "id"), table(100, "first", "id"), table(101, "orders", "id")))},
			[]connection.Database{database(1, "app2", schema(10, "public", table(99, "plain", "id"), table(100, "orders", "id"), table(101, "last", "id")))},
			[]uint32{99, 100}, []uint32{101},
		},
		"a database that cannot be read any more": {
			[]Policy{all, rows}, nil,
			[]connection.Database{database(1, "app", schema(10, "public", table(100, "orders", "id"), table(101, "plain", "id")))},
			[]connection.Database{unread},
			[]uint32{100}, []uint32{101},
		},
		"a database of which a part was read": {
			[]Policy{all, rows}, nil,
			[]connection.Database{database(1, "app", schema(10, "public", table(100, "orders", "id"), table(101, "plain", "id")), schema(11, "still", table(102, "orders", "id")))},
			[]connection.Database{database(1, "app2", schema(10, "public", table(100, "orders2", "id"))), unread},
			[]uint32{100, 102}, []uint32{101},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for n := int64(1); ; n++ {
				s := see(t, f, fmt.Sprint("shop", n))
				s.named(t, c.policies, c.settings)
				s.crawl(t, c.before...)
				ctx, cancel := context.WithCancel(t.Context())
				commits.after(n, cancel)
				err := s.crawlOnce(ctx, 1, c.after)
				commits.after(0, nil)
				s.shows(t, fmt.Sprintf("after %d transactions", n), c.hidden, nil)
				cancel()
				if err == nil {
					s.shows(t, "at the end", c.hidden, c.shown)
					break
				}
				// The next one finds the same, or cannot read what it was about.
				if n%2 == 0 && c.after[0].OID == 1 && c.after[0].Err == nil {
					s.crawl(t, unread)
					s.shows(t, fmt.Sprintf("unread after %d transactions", n), c.hidden, nil)
				}
				if err := s.crawlOnce(t.Context(), 1, c.after); err != nil {
					t.Fatal(err)
				}
				s.shows(t, fmt.Sprintf("completed after %d transactions", n), c.hidden, c.shown)
				s.placed(t)
				if _, err := f.store.forgetConnection(t.Context(), "test", s.c.Name, false); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// named applies policies and settings, NAME being the connection's.
func (s *seen) named(t *testing.T, policies []Policy, settings []ObjectSettings) {
	t.Helper()
	put := func(name string) string { return strings.Replace(name, "NAME", s.c.Name, 1) }
	policies, settings = slices.Clone(policies), slices.Clone(settings)
	for i := range policies {
		policies[i].On.DataSources = slices.Clone(policies[i].On.DataSources)
		for j, name := range policies[i].On.DataSources {
			policies[i].On.DataSources[j] = put(name)
		}
	}
	for i := range settings {
		settings[i].Name = put(settings[i].Name)
	}
	if _, err := s.f.store.Apply(t.Context(), "test", State{People: &[]Person{{UserID: "ana"}}, Policies: &policies, ConnectionObjects: &settings}, false); err != nil {
		t.Fatal(err)
	}
}

// placed makes sure that every table has the name of the place where it is.
func (s *seen) placed(t *testing.T) {
	t.Helper()
	var n int
	if err := s.f.store.pool.QueryRow(t.Context(), "SELECT count(*) FROM "+tablesSQL+" WHERE o.dropped IS NULL AND o.full_name <> "+placeSQL).Scan(&n); err != nil || n > 0 {
		t.Errorf("%d tables have another name than the place where they are (%v)", n, err)
	}
}

// crawlOnce is a crawl that may break off. A database that stands twice was read in part.
func (s *seen) crawlOnce(ctx context.Context, atOnce int, databases []connection.Database) error {
	fence, err := s.f.store.takeLease(ctx, s.id, "test")
	if err != nil {
		return err
	}
	w := newCrawlStore(s.f.store, s.c, fence)
	w.atOnce = atOnce
	last := map[uint32]connection.Database{}
	for _, db := range databases {
		for _, schema := range db.Schemas {
			if schema.Objects != nil {
				if err := w.visit(ctx, db, schema); err != nil {
					return err
				}
			}
		}
		last[db.OID] = db
	}
	databases = slices.DeleteFunc(slices.Clone(databases), func(db connection.Database) bool { return db.Err == nil && last[db.OID].Err != nil })
	return w.finish(ctx, databases)
}

// shows compares the tables that ana may read as they are, by OID.
func (s *seen) shows(t *testing.T, about string, hidden, shown []uint32) {
	t.Helper()
	got := map[uint32]bool{}
	for _, set := range s.desired(t, time.Now()).want.Sets {
		for _, ref := range set.Tables {
			got[ref.OID] = true
		}
	}
	for _, oid := range hidden {
		if got[oid] {
			t.Errorf("%s: ana reads table %d", about, oid)
		}
	}
	for _, oid := range shown {
		if !got[oid] {
			t.Errorf("%s: ana does not read table %d", about, oid)
		}
	}
}

// commitTracker calls a function once a number of transactions was committed.
type commitTracker struct {
	left atomic.Int64
	f    atomic.Pointer[func()]
}

// trackCommits has a store tell of its transactions.
func trackCommits(t *testing.T, s *Store) *commitTracker {
	t.Helper()
	c := &commitTracker{}
	cfg := s.pool.Config()
	cfg.ConnConfig.Tracer = c
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.pool.Close()
	s.pool = pool // closed with the store
	return c
}

func (c *commitTracker) after(n int64, f func()) { c.f.Store(&f); c.left.Store(n) }

type committing struct{}

func (c *commitTracker) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	return context.WithValue(ctx, committing{}, q.SQL == "commit")
}

func (c *commitTracker) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	if ctx.Value(committing{}) == true && c.left.Add(-1) == 0 {
		(*c.f.Load())()
	}
}
