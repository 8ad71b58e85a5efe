package service

import (
	"context"
	"testing"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/policy"
)

// withPartition has a partition with a filter, whose rows people would see by the parent.
func withPartition(t *testing.T, f *fixture) (s *seen, a, b, c connection.Schema) {
	part := table(100, "part", "id")
	part.Parents = []uint32{102}
	a, b, c = schema(10, "a", part), schema(11, "b", table(101, "plain", "id")), schema(12, "c", table(102, "whole", "id"))
	s = see(t, f, "shop", database(1, "app", a, b, c))
	s.named(t, []Policy{{Name: "all", Kind: policy.KindSubscription, On: policy.Target{All: true}, Who: &policy.Who{Everyone: true}},
		{Name: "rows", Kind: policy.KindFilter, On: policy.Target{DataSources: []string{"shop.app.a.part"}}, Filter: "id = 'x'"}}, nil)
	s.shows(t, "before", []uint32{100, 102}, []uint32{101})
	return s, a, b, c
}

// TestATableThatIsMovedBackStaysKnown: a table is put into another schema, the crawl
// that sees it there breaks off, and it is back before the next one.
func TestATableThatIsMovedBackStaysKnown(t *testing.T) {
	f := storeOnly(t)
	commits := trackCommits(t, f.store)
	s, a, b, c := withPartition(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	commits.after(1, cancel)
	moved := database(1, "app", schema(11, "b", a.Objects[0], b.Objects[0]), schema(10, "a"))
	if err := s.crawlOnce(ctx, 1000, []connection.Database{moved}); err == nil {
		t.Fatal("the crawl was complete")
	}
	commits.after(0, nil)
	s.shows(t, "broken off", []uint32{100, 102}, []uint32{101})

	since, err := newCrawlStore(f.store, s.c, 1).digests(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again := []connection.Schema{a, b, c}
	for i, schema := range again {
		if since[1][schema.OID] == schema.Digest { // it is not read
			again[i].Objects = nil
		}
	}
	s.crawl(t, database(1, "app", again...))
	s.shows(t, "moved back", []uint32{100, 102}, []uint32{101})
}

// TestAHiddenPartitionHidesFromItsParent: a partition is renamed, put where crawls
// do not look, and then dropped.
func TestAHiddenPartitionHidesFromItsParent(t *testing.T) {
	f := storeOnly(t)
	s, a, b, c := withPartition(t, f)
	unread := func(s connection.Schema) connection.Schema {
		s.Objects = nil
		return s
	}
	part := a.Objects[0]
	part.Name = "part2"
	s.crawl(t, database(1, "app", schema(10, "a", part), unread(b), unread(c)))
	db := database(1, "app", schema(10, "a"), unread(b), unread(c))
	db.LeftOut = connection.LeftOut{Schemas: []uint32{55}, Tables: []uint32{100}}
	s.crawl(t, db)
	s.shows(t, "hidden", []uint32{100, 102}, []uint32{101})
	c = schema(12, "c", table(102, "all", "id"))
	db.Schemas[2] = c
	s.crawl(t, db)
	s.shows(t, "the parent renamed", []uint32{100, 102}, []uint32{101})
	version := func() (v int64) {
		if err := f.store.pool.QueryRow(t.Context(), "SELECT objects_version FROM portcullis.connections WHERE id = $1", s.id).Scan(&v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	had := version()
	s.crawl(t, database(1, "app", unread(schema(10, "a")), unread(b), unread(c)))
	if version() == had {
		t.Error("enforcement is not told of what was dropped")
	}
	s.shows(t, "dropped", []uint32{100}, []uint32{101, 102})
	s.crawl(t, database(1, "app", a, unread(b), unread(c)))
	s.shows(t, "made again", []uint32{100, 102}, []uint32{101})
}

// TestHiddenTablesOfAnotherInstance: an OID of the new one may be that of what
// was hidden in the one before.
func TestHiddenTablesOfAnotherInstance(t *testing.T) {
	f := storeOnly(t)
	s := see(t, f, "shop", database(1, "app", schema(10, "a", table(100, "open", "id"), table(101, "secret", "id"))))
	s.named(t, []Policy{{Name: "some", Kind: policy.KindSubscription, On: policy.Target{DataSources: []string{"shop.app.a.open"}}, Who: &policy.Who{Everyone: true}}}, nil)
	db := database(1, "app", schema(10, "a", table(101, "secret", "id")))
	db.LeftOut = connection.LeftOut{Schemas: []uint32{55}, Tables: []uint32{100}}
	s.crawl(t, db)
	if _, err := f.store.Change(t.Context(), "test", func(c *change) error { return putInstance(t.Context(), c, s.c, "another") }); err != nil {
		t.Fatal(err)
	}
	s.crawl(t, database(1, "app", schema(10, "a", table(100, "secret", "id"), table(105, "payroll", "id"))))
	s.shows(t, "the same OID", []uint32{100, 105}, nil)
	s.crawl(t, database(1, "app", schema(10, "a", table(100, "secret", "id"), table(105, "payroll", "id"), table(106, "open", "id"))))
	s.shows(t, "the same name", []uint32{100, 105}, []uint32{106})
}
