package crawl_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/crawl"
)

// summary of a change, for comparison.
func summary(c crawl.Change) string {
	name := c.Database.Name
	if c.Level != crawl.LevelDatabase {
		name = c.Schema.Name
	}
	if c.Level == crawl.LevelTable {
		name += "." + c.Object.Name
	}
	s := fmt.Sprintf("%s %s %s", c.Kind, c.Level, name)
	if c.WasName != "" {
		s += " was " + c.WasName
	}
	if c.WasSchema.Name != "" {
		s += " from " + c.WasSchema.Name
	}
	for _, column := range c.Columns {
		s += fmt.Sprintf(" [%s %s]", column.Kind, column.Now.Name)
	}
	return s
}

func TestWhatHappenedBetweenTwoCrawls(t *testing.T) {
	everyMajor(t, func(t *testing.T, h *host) {
		h.sql("postgres", "CREATE DATABASE d", "CREATE ROLE other", "ALTER ROLE sys SUPERUSER")
		h.sql("d", "CREATE SCHEMA a; CREATE SCHEMA b; CREATE TABLE a.t (x int, y text); CREATE TYPE a.mood AS ENUM ('fine'); CREATE TABLE a.feels (m a.mood); CREATE TABLE a.elder ()",
			"CREATE TABLE a.parent (x int) PARTITION BY RANGE (x); CREATE TABLE a.part PARTITION OF a.parent DEFAULT")
		state := h.crawl(nil)
		for _, step := range []struct{ sql, want string }{
			{"CREATE TABLE a.new (x int)", "created table a.new"},
			{"ALTER TABLE a.new RENAME TO newer", "renamed table a.newer was new"},
			{"ALTER TABLE a.newer SET SCHEMA b", "moved table b.newer from a"},
			{"ALTER TABLE b.newer RENAME TO twice; ALTER TABLE b.twice SET SCHEMA a; ALTER TABLE a.twice ADD z int",
				"renamed table a.twice was newer; moved table a.twice from b; columns table a.twice [created z]"},
			{"DROP TABLE a.twice", "dropped table a.twice"},
			{"DROP TABLE a.t; CREATE TABLE a.t (x int, y text)", "dropped table a.t; created table a.t"},
			{"ALTER TABLE a.t ADD z date, DROP y", "columns table a.t [dropped y] [created z]"},
			{"ALTER TABLE a.t RENAME x TO w", "columns table a.t [renamed w]"},
			{"ALTER TABLE a.t ALTER w TYPE bigint", "columns table a.t [altered w]"},
			{"ALTER TABLE a.t RENAME w TO v; ALTER TABLE a.t ALTER v TYPE numeric(3)", "columns table a.t [renamed v] [altered v]"},
			{"COMMENT ON COLUMN a.t.v IS 'tags: PII'", "columns table a.t [altered v]"},
			{"COMMENT ON TABLE a.t IS 'hello'", "altered table a.t"},
			{"COMMENT ON TABLE a.t IS NULL", "altered table a.t"},
			{"ALTER TABLE a.t OWNER TO other", "altered table a.t"},
			{"ALTER ROLE other RENAME TO another", "altered table a.t"},
			{"ALTER TYPE a.mood RENAME TO temper", "columns table a.feels [altered m]"},
			{"ALTER TABLE a.parent DETACH PARTITION a.part", "altered table a.part"},
			{"ALTER TABLE a.parent ATTACH PARTITION a.part DEFAULT", "altered table a.part"},
			{"ALTER TABLE a.t INHERIT a.elder", "altered table a.t"},
			{"ALTER TABLE a.t NO INHERIT a.elder", "altered table a.t"},
			{"CREATE SCHEMA c; CREATE VIEW c.v AS SELECT 1 AS one", "created schema c; created table c.v"},
			{"CREATE OR REPLACE VIEW c.v AS SELECT 1 AS one, 2 AS two", "columns table c.v [created two]"},
			{"ALTER SCHEMA c OWNER TO another", "altered schema c"},
			{"ALTER TABLE a.t SET SCHEMA c; DROP SCHEMA a CASCADE", "dropped table a.feels; dropped table a.elder; dropped table a.parent; dropped table a.part; dropped schema a; " +
				"moved table c.t from a"},
			{"ALTER ROLE sys NOSUPERUSER", "altered table c.t; altered table c.v"}, // grants cannot be made any more
		} {
			h.sql("d", step.sql)
			now := h.crawl(crawl.DigestsOf(state, nil))
			var got []string
			for _, c := range crawl.Diff(state, now) {
				got = append(got, summary(c))
			}
			if text := strings.Join(got, "; "); text != step.want {
				t.Errorf("%s\n got %s\nwant %s", step.sql, text, step.want)
			}
			state = merged(state, now)
		}
		// Schemas and databases follow their OIDs too.
		h.sql("d", "ALTER SCHEMA c RENAME TO cc")
		now := h.crawl(crawl.DigestsOf(state, nil))
		if got := crawl.Diff(state, now); len(got) == 0 || summary(got[0]) != "renamed schema cc was c" {
			t.Errorf("%+v", got)
		}
		state = merged(state, now)
		h.sql("postgres", "ALTER DATABASE d RENAME TO e", "ALTER DATABASE e OWNER TO another")
		now = h.crawl(crawl.DigestsOf(state, nil))
		if got := crawl.Diff(state, now); len(got) < 2 || summary(got[0]) != "renamed database e was d" || summary(got[1]) != "altered database e" {
			t.Errorf("%+v", got)
		}
		state = merged(state, now)
		h.sql("postgres", "DROP DATABASE e", "CREATE DATABASE e")
		now = h.crawl(crawl.DigestsOf(state, nil))
		var got []string
		for _, c := range crawl.Diff(state, now) {
			got = append(got, summary(c))
		}
		if text := strings.Join(got, "; "); !strings.Contains(text, "dropped table cc.t; ") || !strings.Contains(text, "dropped database e; ") ||
			!strings.HasSuffix(text, "created database e; created schema public") {
			t.Error(text)
		}
	})
}

// merged is what a store holds after a crawl: what was not read is as it was.
func merged(was, now []connection.Database) []connection.Database {
	out := slices.Clone(now)
	for i, db := range out {
		out[i].Schemas = slices.Clone(db.Schemas)
		for j, s := range out[i].Schemas {
			if s.Objects != nil {
				continue
			}
			for _, old := range was {
				for _, o := range old.Schemas {
					if old.OID == db.OID && o.OID == s.OID {
						out[i].Schemas[j].Objects = o.Objects
					}
				}
			}
		}
	}
	return out
}

func TestFailedDatabaseCountsAsUnchanged(t *testing.T) {
	table := connection.Object{OID: 3, Name: "t"}
	was := []connection.Database{{OID: 1, Name: "d", Schemas: []connection.Schema{{OID: 2, Name: "s", Digest: "x", Objects: []connection.Object{table}}}}}
	now := []connection.Database{{OID: 1, Name: "d", Err: &connection.Error{Message: "down"}}}
	if got := crawl.Diff(was, now); len(got) > 0 {
		t.Errorf("%+v", got)
	}
	before := crawl.DigestsOf(was, nil)
	if after := crawl.DigestsOf(now, before); after[1][2] != "x" {
		t.Errorf("%+v", after)
	}
}
