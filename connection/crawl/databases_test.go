package crawl_test

import (
	"strings"
	"testing"

	"portcullis.dev/portcullis/connection/crawl"
)

func TestErrorOfADatabaseIsItsOwn(t *testing.T) {
	everyMajor(t, func(t *testing.T, h *host) {
		h.sql("postgres", "CREATE TABLE here ()", `CREATE DATABASE "clo""sed" ALLOW_CONNECTIONS false`,
			"CREATE DATABASE private", "REVOKE CONNECT ON DATABASE private FROM PUBLIC",
			"CREATE DATABASE full_ CONNECTION LIMIT 0",
			"CREATE DATABASE mule ENCODING 'MULE_INTERNAL' LOCALE 'C' TEMPLATE template0",
			"CREATE DATABASE readable")
		h.sql("readable", "CREATE TABLE there ()")
		dbs := h.crawl(nil)
		for name, want := range map[string][2]string{
			`clo"sed`: {"database_closed", `ALTER DATABASE "clo""sed" ALLOW_CONNECTIONS true`},
			"private": {"missing_privilege", `GRANT CONNECT ON DATABASE "private"`},
			"full_":   {"crawl_failed", ""},
			"mule":    {"encoding", "UTF8"},
		} {
			db, _, _ := find(t, dbs, name)
			if db.Err == nil || db.Err.Code != want[0] || !strings.Contains(db.Err.Hint, want[1]) || db.OID == 0 || db.Owner != "postgres" {
				t.Errorf("%s: %+v", name, db)
			}
		}
		find(t, dbs, "postgres", "public", "here")
		find(t, dbs, "readable", "public", "there")
		// Once it can be read, it is: and is new to nobody.
		h.sql("postgres", "GRANT CONNECT ON DATABASE private TO sys")
		h.sql("private", "CREATE TABLE inside ()")
		now := h.crawl(crawl.DigestsOf(dbs, nil))
		find(t, now, "private", "public", "inside")
		for _, c := range crawl.Diff(dbs, now) {
			if c.Database.Name != "private" || c.Level == crawl.LevelDatabase {
				t.Errorf("%+v", c)
			}
		}
	})
}

func TestEncodings(t *testing.T) {
	for _, major := range []int{14, 18} { // making databases takes long
		h := startHost(t, major)
		h.sql("postgres", "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0",
			"CREATE DATABASE japan ENCODING 'EUC_JP' LOCALE 'C' TEMPLATE template0",
			"CREATE DATABASE west ENCODING 'WIN1252' LOCALE 'C' TEMPLATE template0",
			"CREATE DATABASE bytes ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
		h.sql("latin", "SET client_encoding = 'UTF8'", `CREATE TABLE "Größe" ("é" int)`)
		h.sql("japan", "SET client_encoding = 'UTF8'", `CREATE TABLE "日本" ("語" int)`)
		// 0x81 is no character of WIN1252, but nothing keeps it out.
		h.sql("west", `SET client_encoding = 'WIN1252'; CREATE TABLE "x`+"\x81"+`" (a int)`)
		h.sql("bytes", `CREATE TABLE "Größe" ("a`+"\xe9"+`" int); CREATE TABLE "b`+"\xe9"+`c" (a int); COMMENT ON TABLE "Größe" IS 'caf`+"\xe9"+`'`,
			`CREATE SCHEMA "s`+"\xff"+`"; CREATE TABLE "s`+"\xff"+`".t (a int)`)
		h.sql("bytes", "CREATE DATABASE \"d\xff\"")
		dbs := h.crawl(nil)
		if db, _, _ := find(t, dbs, `d\xff`); db.Err == nil || db.Err.Code != "encoding" {
			t.Errorf("%+v", db.Err)
		}
		if _, _, o := find(t, dbs, "latin", "public", "Größe"); o.Columns[0].Name != "é" {
			t.Errorf("%+v", o)
		}
		if _, _, o := find(t, dbs, "japan", "public", "日本"); o.Columns[0].Name != "語" {
			t.Errorf("%+v", o)
		}
		if db, _, _ := find(t, dbs, "west"); db.Err == nil || db.Err.Code != "encoding" || !strings.Contains(db.Err.Detail, "0x81") {
			t.Errorf("%+v", db.Err)
		}
		if _, _, o := find(t, dbs, "bytes", "public", "Größe"); o.Columns[0].Name != `a\xe9` || o.Comment != `caf\xe9` || strings.Contains(o.NotEnforceable, "UTF-8") {
			t.Errorf("%+v", o)
		}
		for _, name := range [][2]string{{"public", `b\xe9c`}, {`s\xff`, "t"}} {
			if _, _, o := find(t, dbs, "bytes", name[0], name[1]); !strings.Contains(o.NotEnforceable, "not UTF-8") || o.Fix != "" {
				t.Errorf("%+v", o)
			}
		}
	}
}
