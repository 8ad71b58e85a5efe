package service

import (
	"fmt"
	"slices"
	"testing"

	"portcullis.dev/portcullis/connection"
)

// listed are the objects of the connection in one line each.
func (s *seen) listed(t *testing.T, dropped bool) []string {
	t.Helper()
	list, err := s.f.store.Objects(t.Context(), s.c.Name, ObjectFilter{Dropped: dropped, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, o := range list {
		line := o.Name
		if o.Dropped != nil {
			line += " dropped"
		}
		out = append(out, line)
	}
	return out
}

func (s *seen) settings(t *testing.T, list ...ObjectSettings) {
	t.Helper()
	if _, err := s.f.store.Apply(t.Context(), "test", State{ConnectionObjects: &list}, false); err != nil {
		t.Fatal(err)
	}
}

func (s *seen) object(t *testing.T, name string) Object {
	t.Helper()
	o, err := s.f.store.Object(t.Context(), s.c.Name, name)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestCrawlsAreFollowedByOID(t *testing.T) {
	s := see(t, storeOnly(t), "shop", database(1, "app", schema(10, "public", table(100, "a", "x"), table(101, "b")), schema(11, "other", table(102, "c"))))
	first := s.object(t, "shop.app.public.a")
	steps := []struct {
		about string
		now   []connection.Database
		want  []string // tables, and what is gone
	}{
		{"renamed", []connection.Database{database(1, "app", schema(10, "public", table(100, "a2", "x"), table(101, "b")), schema(11, "other", table(102, "c")))},
			[]string{"shop.app.other.c", "shop.app.public.a2", "shop.app.public.b"}},
		{"moved to another schema that is read first", []connection.Database{database(1, "app", schema(11, "other", table(102, "c"), table(101, "b")), schema(10, "public", table(100, "a2", "x")))},
			[]string{"shop.app.other.b", "shop.app.other.c", "shop.app.public.a2"}},
		{"dropped", []connection.Database{database(1, "app", schema(10, "public", table(100, "a2", "x")), schema(11, "other", table(101, "b")))},
			[]string{"shop.app.other.b", "shop.app.other.c dropped", "shop.app.public.a2"}},
		{"a schema without changes", []connection.Database{database(1, "app", connection.Schema{OID: 10, Name: "public", Digest: "same"}, schema(11, "other", table(101, "b")))},
			[]string{"shop.app.other.b", "shop.app.other.c dropped", "shop.app.public.a2"}},
		{"schema and database renamed", []connection.Database{database(1, "app2", connection.Schema{OID: 10, Name: "pub.lic", Digest: "same"}, schema(11, "other", table(101, "b")))},
			[]string{"shop.app.other.c dropped", `shop.app2."pub.lic".a2`, "shop.app2.other.b"}},
		{"a database that cannot be read", []connection.Database{{OID: 1, Name: "app2", Err: &connection.Error{Code: "unreachable"}}},
			[]string{"shop.app.other.c dropped", `shop.app2."pub.lic".a2`, "shop.app2.other.b"}},
		{"schema dropped", []connection.Database{database(1, "app2", connection.Schema{OID: 10, Name: "pub.lic", Digest: "same"})},
			[]string{"shop.app.other.c dropped", `shop.app2."pub.lic".a2`, "shop.app2.other.b dropped"}},
		{"database dropped", []connection.Database{database(2, "new")},
			[]string{"shop.app.other.c dropped", `shop.app2."pub.lic".a2 dropped`, "shop.app2.other.b dropped"}},
	}
	for _, step := range steps {
		s.crawl(t, step.now...)
		var tables []string
		list, err := s.f.store.Objects(t.Context(), "shop", ObjectFilter{Level: "table", Dropped: true, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range list {
			line := o.Name
			if o.Dropped != nil {
				line += " dropped"
			}
			tables = append(tables, line)
		}
		slices.Sort(tables)
		slices.Sort(step.want)
		if fmt.Sprint(tables) != fmt.Sprint(step.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", step.about, tables, step.want)
		}
	}
	if o := s.object(t, first.ID); o.Dropped == nil || o.OID != 100 {
		t.Errorf("the table is not the same one: %+v", o)
	}
	if got := fmt.Sprint(s.listed(t, false)); got != "[shop.new]" {
		t.Errorf("present: %s", got)
	}
}

func TestSettingsWaitFollowAndAreInherited(t *testing.T) {
	f := storeOnly(t)
	s := see(t, f, "shop")
	s.settings(t, ObjectSettings{Name: "shop.app.public.orders", Tags: []string{"Sales"}, Columns: []ColumnTags{{Name: "email", Tags: []string{"PII"}}}})
	tags := func(about, want string) {
		t.Helper()
		o := s.object(t, "shop.app.public.orders")
		got := fmt.Sprint(o.Tags)
		for _, c := range o.Columns {
			got += fmt.Sprintf(" %s%v", c.Name, c.Tags)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", about, got, want)
		}
	}
	s.crawl(t, database(1, "app", schema(10, "public", table(100, "orders", "id", "email"))))
	tags("seen for the first time", "[Sales] id[] email[PII]")
	if _, err := f.store.Change(t.Context(), "test", func(c *change) error { return connectionKind().delete(t.Context(), c, []string{"nothing"}) }); err == nil {
		t.Error("a connection that is not there was deleted")
	}
	s.crawl(t, database(1, "app", schema(10, "public", table(100, "orders", "id", "mail"))))
	tags("column renamed", "[Sales] id[] mail[PII]")
	s.crawl(t, database(1, "app", schema(10, "public", table(200, "orders", "id", "mail"))))
	tags("table made anew", "[Sales] id[] mail[PII]")
	s.crawl(t, database(1, "app", schema(10, "public", table(200, "orders_old", "id", "mail"), table(300, "orders", "id", "email", "mail"))))
	tags("another table under the name", "[Sales] id[] email[PII] mail[PII]")
}

func TestWritingNeedsTheLease(t *testing.T) {
	f := storeOnly(t)
	s := see(t, f, "shop")
	if _, err := f.store.takeLease(t.Context(), s.id, "somebody else"); err != errLease {
		t.Fatalf("a lease that is held was taken: %v", err)
	}
	old, err := f.store.takeLease(t.Context(), s.id, "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.store.dropLease(t.Context(), s.id, "test"); err != nil {
		t.Fatal(err)
	}
	fence, err := f.store.takeLease(t.Context(), s.id, "somebody else")
	if err != nil || fence <= old {
		t.Fatalf("fence %d after %d, %v", fence, old, err)
	}
	w := newCrawlStore(f.store, s.c, old)
	if err := w.visit(t.Context(), database(1, "app"), schema(10, "public")); err != errLease {
		t.Errorf("a crawl was written under a lost lease: %v", err)
	}
	if err := (&ledger{store: f.store, connection: s.id, fence: old}).Forget(t.Context(), "x"); err != errLease {
		t.Errorf("the ledger was written under a lost lease: %v", err)
	}
	if err := f.store.checkLease(t.Context(), s.id, old); err != errLease {
		t.Errorf("the fence let a lost lease pass: %v", err)
	}
	if err := f.store.checkLease(t.Context(), s.id, fence); err != nil {
		t.Errorf("the fence stopped the holder: %v", err)
	}
}

// TestAnotherInstanceInItsPlace: after an upgrade or a restore OIDs are others,
// and may be those that other tables had.
func TestAnotherInstanceInItsPlace(t *testing.T) {
	f := storeOnly(t)
	s := see(t, f, "shop", database(1, "app", schema(10, "public", table(100, "orders", "id", "email"), table(101, "notes", "id", "text"), table(102, "gone", "id"))))
	s.settings(t, ObjectSettings{Name: "shop.app.public.orders", Tags: []string{"Sales"}, Columns: []ColumnTags{{Name: "email", Tags: []string{"PII"}}}})
	f.exec(`INSERT INTO portcullis.connection_ledger SELECT id, 'portcullis_r_1', '{"name": "portcullis_r_1", "oid": 500, "mark": "m"}' FROM portcullis.connections`)
	orders, notes := s.object(t, "shop.app.public.orders"), s.object(t, "shop.app.public.notes")
	if _, err := f.store.Change(t.Context(), "test", func(c *change) error { return putInstance(t.Context(), c, s.c, "2") }); err != nil {
		t.Fatal(err)
	}
	if o := s.object(t, "shop.app.public.orders"); o.OID != 0 || o.Dropped != nil {
		t.Errorf("before the crawl: %+v", o)
	}
	made, err := (&ledger{store: f.store, connection: s.id}).Roles(t.Context())
	if err != nil || len(made) != 1 || made[0].OID != 0 || made[0].Mark != "m" {
		t.Errorf("the ledger: %+v, %v", made, err)
	}
	// orders has the OID that notes had, its columns the numbers of others.
	s.crawl(t, database(7, "app", schema(100, "public", table(101, "orders", "email", "id"), table(100, "notes", "id", "text"))))
	now, other := s.object(t, "shop.app.public.orders"), s.object(t, "shop.app.public.notes")
	if now.ID != orders.ID || now.OID != 101 || fmt.Sprint(now.Tags) != "[Sales]" || fmt.Sprint(now.Columns[0].Tags, now.Columns[1].Tags) != "[PII] []" {
		t.Errorf("orders: %+v", now)
	}
	if other.ID != notes.ID || other.OID != 100 || len(other.Tags) != 0 {
		t.Errorf("notes: %+v", other)
	}
	if got := fmt.Sprint(s.listed(t, true)); got != "[shop.app shop.app.public shop.app.public.gone dropped shop.app.public.notes shop.app.public.orders]" {
		t.Errorf("listed: %s", got)
	}
}
