package service

import (
	"testing"

	"portcullis.dev/portcullis/connection"
)

// TestWhatComesBackIsTheSame: objects that were for a while where crawls do not
// look keep what was said of them, under whatever name they come back; a table
// that only has the OID of one that was dropped does not.
func TestWhatComesBackIsTheSame(t *testing.T) {
	s := see(t, storeOnly(t), "shop", database(1, "app", schema(10, "public", table(100, "a"), table(101, "b"))))
	s.settings(t, ObjectSettings{Name: "shop.app.public", Tags: []string{"S"}}, ObjectSettings{Name: "shop.app.public.a", Tags: []string{"A"}}, ObjectSettings{Name: "shop.app.public.b", Tags: []string{"B"}})
	is := func(about, was, name string, same bool) {
		t.Helper()
		o, err := s.f.store.Object(t.Context(), "shop", name)
		if err != nil || o.Dropped != nil || same != (o.ID == was) || same != (len(o.Tags) == 1) {
			t.Errorf("%s: %+v, %v", about, o, err)
		}
	}
	leaving := func(db connection.Database, schemas, tables []uint32) connection.Database {
		db.LeftOut = connection.LeftOut{Schemas: schemas, Tables: tables}
		return db
	}
	a, b, public := s.object(t, "shop.app.public.a").ID, s.object(t, "shop.app.public.b").ID, s.object(t, "shop.app.public").ID

	s.crawl(t, leaving(database(1, "app", schema(10, "public", table(101, "b"))), []uint32{11}, []uint32{100}))
	if o := s.object(t, a); o.Dropped == nil {
		t.Error("a table that is left out counts as being there")
	}
	s.crawl(t, leaving(database(1, "app", schema(10, "public", table(101, "b"))), []uint32{11}, []uint32{100}))
	s.crawl(t, leaving(database(1, "app", schema(12, "new", table(100, "a2"))), []uint32{10}, []uint32{101}))
	is("a table that came back elsewhere", a, "shop.app.new.a2", true)
	s.crawl(t, database(1, "app", schema(12, "new", table(100, "a2")), schema(10, "old", table(101, "b"))))
	is("a schema that came back", public, "shop.app.old", true)
	is("a table of it", b, "shop.app.old.b", true)

	s.crawlBut(t, []uint32{1}, database(2, "other"))
	s.crawlBut(t, []uint32{1}, database(2, "other"))
	s.crawl(t, database(1, "app2", schema(12, "new", table(100, "a3")), schema(10, "old")), database(2, "other"))
	is("a table of a database that came back", a, "shop.app2.new.a3", true)
	s.crawl(t, database(1, "app2", schema(12, "new", table(100, "a3")), schema(10, "old", table(101, "c"))), database(2, "other"))
	is("one with the OID of a table that was dropped in a database that was left out", b, "shop.app2.old.c", false)

	s.crawl(t, leaving(database(1, "app2", schema(12, "new"), schema(10, "old", table(101, "c"))), nil, []uint32{100}))
	s.crawl(t, database(1, "app2", schema(12, "new"), schema(10, "old", table(101, "c"))))
	s.crawl(t, database(1, "app2", schema(12, "new", table(100, "a4")), schema(10, "old", table(101, "c"))))
	is("one with the OID of a table that was dropped where crawls do not look", a, "shop.app2.new.a4", false)
}
