package service

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/policy"
)

// TestRenamingIsNoWayOutOfPolicies: an owner renames a table under a filter, a
// column under a mask, and a schema; nobody reads more than before.
func TestRenamingIsNoWayOutOfPolicies(t *testing.T) {
	w := register(t, "ana", "ben")
	named := func(tables ...string) policy.Target { return policy.Target{DataSources: tables} }
	everyone := &policy.Who{Everyone: true}
	w.must("PUT", "/v1/connection_objects/shop.shop.sales", ObjectSettings{Name: "shop.shop.sales", Tags: []string{"Sales"}}, nil)
	w.must("POST", "/v1/state", State{Policies: &[]Policy{
		{Name: "all", Kind: policy.KindSubscription, On: policy.Target{Tags: []string{"Sales"}}, Who: everyone},
		{Name: "write", Kind: policy.KindSubscription, On: named("shop.shop.sales.orders"), Who: everyone, Access: policy.AccessWrite},
		{Name: "own", Kind: policy.KindFilter, On: named("shop.shop.sales.orders"), Filter: "email = @username", Except: &policy.Who{Person: &policy.PersonID{IAMID: DefaultIAM, UserID: "ben"}}},
		{Name: "hide", Kind: policy.KindMask, On: policy.Target{All: true}, Columns: &policy.ColumnChoice{Names: []string{"note"}}, Mask: &policy.Mask{Kind: policy.MaskNull}},
	}}, nil)
	w.soonCan("ben", writeOrders, true)
	closed := func(about string, tables ...string) ConnectionStatus {
		t.Helper()
		st := w.sync()
		for _, table := range tables {
			if w.can("ana", "SELECT * FROM "+table) {
				t.Errorf("%s: ana reads %s", about, table)
			}
		}
		return st
	}
	closed("before", "sales.orders", "sales.notes")
	runAt(t, w.pg, "ALTER TABLE sales.orders RENAME TO orders2; ALTER TABLE sales.notes RENAME COLUMN note TO text")
	st := closed("renamed", "sales.orders2", "sales.notes")
	if !w.can("ben", "INSERT INTO sales.orders2 VALUES (2, 'y')") {
		t.Error("ben lost what he may write")
	}
	if told := fmt.Sprint(st.Remarks); !strings.Contains(told, "shop.shop.sales.orders2 now") || !strings.Contains(told, `"text" now`) {
		t.Errorf("told: %s", told)
	}
	settings := ObjectSettings{Name: "shop.shop.sales.notes", Columns: []ColumnTags{{Name: "text", Tags: []string{"Private"}}}}
	w.must("POST", "/v1/state", State{ConnectionObjects: &[]ObjectSettings{{Name: "shop.shop.sales", Tags: []string{"Sales"}}, settings}}, nil)
	runAt(t, w.pg, "ALTER TABLE sales.notes RENAME COLUMN text TO body; ALTER TABLE sales.notes ADD COLUMN text text")
	closed("tagged column renamed, and another one has its name", "sales.notes")
	before := State{ConnectionObjects: &[]ObjectSettings{{Name: "shop.shop.sales", Tags: []string{"Sales"}}, settings}}
	if told := w.refused("POST", "/v1/state", before, 422); !strings.Contains(told, `\"body\" of shop.shop.sales.notes would lose the tag \"Private\", which it got as \"text`) {
		t.Errorf("the state of before the renaming is answered: %s", told)
	}
	runAt(t, w.pg, "ALTER TABLE sales.notes DROP COLUMN text; ALTER TABLE sales.notes RENAME COLUMN body TO text")
	closed("named back", "sales.notes")
	// Another table takes the name, and the settings; and the schema gets another one.
	runAt(t, w.pg, "CREATE TABLE sales.orders (id int, email text); SELECT portcullis_broker.list_schema('sales')")
	closed("taken", "sales.orders", "sales.orders2", "sales.notes")
	runAt(t, w.pg, "ALTER SCHEMA sales RENAME TO sold; ALTER TABLE sold.orders2 RENAME COLUMN email TO mail; SELECT portcullis_broker.list_schema('sold')")
	closed("schema renamed", "sold.orders", "sold.orders2", "sold.notes")
	if !w.can("ben", "SELECT * FROM sold.orders2") {
		t.Error("ben lost what no filter keeps from him")
	}
	// Where crawls do not look it is still the same, and when it comes back under other names, too.
	runAt(t, w.pg, "ALTER SCHEMA sold RENAME TO portcullis_views; ALTER TABLE portcullis_views.orders2 RENAME TO orders3")
	w.sync()
	runAt(t, w.pg, "CREATE SCHEMA back; ALTER TABLE portcullis_views.orders3 SET SCHEMA back; ALTER SCHEMA portcullis_views RENAME TO sold; SELECT portcullis_broker.list_schema('back')")
	closed("came back", "sold.orders", "back.orders3", "sold.notes")
	if !w.can("ben", "INSERT INTO back.orders3 VALUES (3, 'z')") || !w.can("ben", "SELECT * FROM sold.orders") {
		t.Error("ben lost what he may do when the tables came back")
	}
	var e Explanation
	if w.must("GET", "/v1/explain?user=ana&data_source=shop.shop.sold.notes", nil, &e); fmt.Sprint(e.Masks) != "[text: null by hide]" {
		t.Errorf("explained: %+v", e)
	}
}

// TestPoliciesFollowWhatIsRenamed says, step by step, whom which policies keep from
// which table.
func TestPoliciesFollowWhatIsRenamed(t *testing.T) {
	f := storeOnly(t)
	s := see(t, f, "shop", database(1, "app", schema(10, "public", table(100, "orders", "id", "email"), table(101, "other", "id", "email"))))
	apply := func(policies ...Policy) {
		t.Helper()
		if _, err := f.store.Apply(t.Context(), "test", State{People: &[]Person{{UserID: "ana"}}, Policies: &policies}, false); err != nil {
			t.Fatal(err)
		}
	}
	all := Policy{Name: "all", Kind: policy.KindSubscription, On: policy.Target{All: true}, Who: &policy.Who{Everyone: true}}
	filter := func(tables ...string) Policy {
		return Policy{Name: "rows", Kind: policy.KindFilter, On: policy.Target{DataSources: tables}, Filter: "id = 'x'"}
	}
	mask := Policy{Name: "mask", Kind: policy.KindMask, On: policy.Target{All: true}, Columns: &policy.ColumnChoice{Names: []string{"email"}}, Mask: &policy.Mask{Kind: policy.MaskNull}}
	shown := func(about, want string) {
		t.Helper()
		var names []string
		for _, set := range s.desired(t, time.Now()).want.Sets {
			for _, ref := range set.Tables {
				names = append(names, fullName(ref.Database, ref.Schema, ref.Name))
			}
		}
		slices.Sort(names)
		if got := strings.Join(slices.Compact(names), " "); got != want {
			t.Errorf("%s: ana reads %q, want %q", about, got, want)
		}
	}
	crawl := func(databases ...connection.Database) { t.Helper(); s.crawl(t, databases...) }

	apply(all, filter("shop.app.public.orders"))
	shown("at first", "app.public.other")
	crawl(database(1, "app", schema(10, "public", table(100, "renamed", "id", "email"), table(101, "other", "id", "email"))))
	shown("renamed", "app.public.other")
	reply, err := f.store.Apply(t.Context(), "test", State{Policies: &[]Policy{all, filter("shop.app.public.orders", "shop.app.public.tpyo", "shop.app.public.other")}}, true)
	if err != nil || fmt.Sprint(reply.Remarks) != "[{policies[1].on.data_sources[0] names shop.app.public.orders, which is shop.app.public.renamed now: it still means it, write the new name}"+
		" {policies[1].on.data_sources[1] there is no table shop.app.public.tpyo: the policy counts for nothing there before there is one}]" {
		t.Errorf("remarks %v, %v", reply.Remarks, err)
	}
	if _, err = f.store.Apply(t.Context(), "test", State{ConnectionObjects: &[]ObjectSettings{{Name: "shop.app.public.orders", Tags: []string{"T"}}}}, true); err == nil || !strings.Contains(err.Error(), "it is shop.app.public.renamed now") {
		t.Errorf("settings for the old name: %v", err)
	}
	crawl(database(1, "app", schema(10, "public", table(100, "again", "id", "email"), table(101, "other", "id", "email"), table(102, "orders", "id"))))
	shown("renamed again, another one under the name", "app.public.other")
	crawl(database(1, "app2", connection.Schema{OID: 10, Name: "moved", Digest: "same"}))
	shown("schema and database renamed", "app2.moved.other")
	crawl(database(1, "app2", schema(11, "elsewhere", table(100, "again", "id", "email")), schema(10, "moved", table(101, "other", "id", "email"), table(102, "orders", "id"))))
	shown("moved to another schema", "app2.moved.other")
	crawl(database(1, "app2", schema(11, "elsewhere", table(200, "again", "id", "email")), schema(10, "moved", table(101, "other", "id", "email"), table(102, "orders", "id"))))
	shown("dropped and made anew", "app2.moved.other")
	apply(all, filter("shop.app2.moved.orders"))
	shown("the policy names another one", "app2.elsewhere.again app2.moved.other")

	apply(all, mask)
	shown("a mask by name", "app2.moved.orders")
	crawl(database(1, "app2", schema(11, "elsewhere", table(200, "again", "id", "mail")), schema(10, "moved", table(101, "other", "id", "email"), table(102, "orders", "id"))))
	shown("column renamed", "app2.moved.orders")
	crawl(database(1, "app2", schema(11, "elsewhere", table(200, "again", "id", "post")), schema(10, "moved", table(101, "other", "email", "id"), table(102, "orders", "id"))))
	shown("column renamed again, two names swapped", "app2.moved.orders")
	crawl(database(1, "app2", schema(11, "elsewhere", table(300, "again", "post", "id")), schema(10, "moved", table(101, "other", "email", "id"), table(102, "orders", "id"))))
	shown("dropped and made anew", "app2.moved.orders")
	if policies := s.explained(t, "shop.app2.moved.other"); policies != "[email: null by mask id: null by mask]" {
		t.Errorf("swapped: %s", policies)
	}
	mask.Columns.Names = []string{"id"}
	apply(all, mask)
	crawl(database(1, "app2", schema(11, "elsewhere", table(300, "again", "post", "number")), schema(10, "moved", table(101, "other", "email", "number"), table(102, "orders", "number"))))
	shown("every column renamed", "")
	below := table(103, "below", "number")
	below.Parents = []uint32{102}
	crawl(database(1, "app2", schema(11, "elsewhere", table(300, "again", "post", "number")), schema(10, "moved", table(101, "other", "email", "number"), table(102, "orders", "number"), below)))
	if why := s.explained(t, "shop.app2.moved.below"); why != "[number: null by mask]" {
		t.Errorf("a child that was made when the column had been renamed: %s", why)
	}
	crawl(database(1, "app2", schema(11, "elsewhere", table(300, "again", "post", "number")), schema(10, "moved", table(101, "other", "email", "number"), table(102, "orders", "number"))))
	rows := filter("shop.app2.moved.orders")
	rows.Filter = "number = 'x'"
	apply(all, rows)
	crawl(database(1, "app2", schema(10, "moved", table(101, "other", "email", "number"), table(102, "orders", "amounts", "number"))))
	shown("a filter whose column was renamed, and another one has the name", "app2.moved.other")
	if why := s.explained(t, "shop.app2.moved.orders"); !strings.Contains(why, "nobody can tell which is meant") {
		t.Errorf("explained: %s", why)
	}
}

// TestNamesInPoliciesMayBeQuoted: as in settings, and those that were stored as they came, too.
func TestNamesInPoliciesMayBeQuoted(t *testing.T) {
	f := storeOnly(t)
	s := see(t, f, "shop", database(1, "app", schema(10, "public", table(100, "orders", "id"), table(101, `o.d"d`, "id"))))
	state := State{People: &[]Person{{UserID: "ana"}}, Policies: &[]Policy{
		{Name: "all", Kind: policy.KindSubscription, On: policy.Target{All: true}, Who: &policy.Who{Everyone: true}},
		{Name: "rows", Kind: policy.KindFilter, On: policy.Target{DataSources: []string{`shop."app"."public".orders`, `shop.app."public"."o.d""d"`}}, Filter: "id = 'x'"},
	}, Subscriptions: &[]Subscription{{DataSource: `shop.app."public"."orders"`, UserID: "ana"}}}
	hidden := func(about string) {
		t.Helper()
		if sets := s.desired(t, time.Now()).want.Sets; len(sets) != 0 {
			t.Errorf("%s: ana reads %+v", about, sets)
		}
	}
	if _, err := f.store.Apply(t.Context(), "test", state, false); err != nil {
		t.Fatal(err)
	}
	hidden("stated")
	if again, err := f.store.Apply(t.Context(), "test", state, false); err != nil || len(again.Differences) != 0 {
		t.Errorf("stated again: %+v, %v", again.Differences, err)
	}
	engine := State{Sources: &[]Source{{Name: "hr", Driver: "SQLite3", Database: "/hr.db"}}, DataSources: &[]DataSource{{Name: "hr.people.all", Source: "hr", RemoteTable: "all", LocalName: "people"}}}
	if _, err := f.store.Apply(t.Context(), "test", engine, false); err != nil {
		t.Fatal(err)
	}
	up, err := migrations.ReadFile("migrations/00017_policy_names.sql")
	if err != nil {
		t.Fatal(err)
	}
	sql, _, _ := strings.Cut(string(up), "-- +goose Down")
	version, _ := f.store.Version(t.Context())
	if _, err := f.store.pool.Exec(t.Context(), `WITH d AS (UPDATE portcullis.data_sources SET name = 'hr."people".all')
		UPDATE portcullis.policies SET body = jsonb_set(body, '{on,data_sources}', '["shop.\"app\".public.orders", "hr.\"people\".all", "shop.app.\"public\".\"o.d\"\"d\""]') WHERE name = 'rows'`); err != nil {
		t.Fatal(err)
	}
	if _, err := f.store.pool.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
	if now, err := f.store.Version(t.Context()); err != nil || now != version+1 {
		t.Errorf("version %d after %d, %v", now, version, err)
	}
	hidden("stored before")
	var names []string
	if err := f.store.pool.QueryRow(t.Context(), `SELECT array(SELECT jsonb_array_elements_text(body -> 'on' -> 'data_sources')) FROM portcullis.policies WHERE name = 'rows'`).Scan(&names); err != nil {
		t.Fatal(err)
	}
	if want := []string{"shop.app.public.orders", `hr."people".all`, `shop.app.public."o.d""d"`}; !slices.Equal(names, want) {
		t.Errorf("the policy names %q in place of %q", names, want)
	}
	(*engine.DataSources)[0].Name = `hr."people"`
	if _, err := f.store.Apply(t.Context(), "test", engine, true); err == nil || !strings.Contains(err.Error(), "write hr.people") {
		t.Errorf("a data source that no policy could name: %v", err)
	}
}

// explained is what a person would see of a table, or why nothing.
func (s *seen) explained(t *testing.T, name string) string {
	t.Helper()
	e, err := s.f.store.Explain(t.Context(), DefaultIAM, "ana", name, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if !e.Decision.Allowed {
		return e.Decision.Reason
	}
	return fmt.Sprint(e.Masks)
}
