package grants_test

import (
	"strings"
	"testing"

	"portcullis.dev/portcullis/connection"
)

// life goes through the life of a connection: people come and go, tables
// change hands, and in the end nothing of ours is left.
func life(t *testing.T, w *world) {
	shop, other := "shop "+string(w.target.Mode), "other_"+string(w.target.Mode)
	w.sql("postgres", `CREATE DATABASE "%s"`, shop)
	w.sql("postgres", `CREATE DATABASE %s`, other)
	w.sql("postgres", `REVOKE ALL ON DATABASE %s FROM PUBLIC`, other)
	w.sql(shop, `CREATE SCHEMA "s""1"; CREATE TABLE "s""1"."o'rders" (a int); CREATE TABLE "s""1".plain (a int); CREATE VIEW "s""1".v AS SELECT 1 AS a`)
	w.sql(other, `CREATE SCHEMA далеко; CREATE TABLE далеко.таблица (a int)`)
	w.manage(shop, `s"1`)
	w.manage(other, "далеко")
	ann, bob, eve := "ann"+w.target.Prefix[10:11], `bob "the builder" `+w.target.Prefix[10:11], "eve"+w.target.Prefix[10:11]
	w.sql("postgres", `CREATE ROLE %s LOGIN`, ann)
	w.sql("postgres", `CREATE ROLE %s LOGIN`, eve)

	orders, plain, view, far := w.ref(shop, `s"1`, "o'rders"), w.ref(shop, `s"1`, "plain"), w.ref(shop, `s"1`, "v"), w.ref(other, "далеко", "таблица")
	all := []connection.ObjectRef{orders, plain, view, far}
	want := connection.Want{Accounts: people(ann, bob, eve), Managed: all, Sets: []connection.AccessSet{
		set("p1:read", connection.Read, []connection.ObjectRef{orders, view, far}, ann, bob),
		set("p2:write", connection.Write, []connection.ObjectRef{orders}, bob),
	}}
	read, write, elsewhere := `SELECT * FROM "s""1"."o'rders"`, `INSERT INTO "s""1"."o'rders" VALUES (1)`, `SELECT * FROM далеко.таблица`
	r := w.settled(want)
	if r.Equal != 12 || r.Exceeds != 0 || r.Lacks != 0 || len(r.Lacking) != 0 {
		t.Errorf("after the first round: %+v", r)
	}
	w.must(ann, shop, true, read, `SELECT * FROM "s""1".v`)
	w.must(ann, shop, false, write, `SELECT * FROM "s""1".plain`, `TRUNCATE "s""1"."o'rders"`)
	w.must(ann, other, true, elsewhere)
	w.must(bob, shop, true, read, write, `TRUNCATE "s""1"."o'rders"`)
	w.must(bob, shop, false, `SELECT * FROM "s""1".plain`)
	w.must(eve, shop, false, read)
	w.must(eve, other, false, elsewhere)

	want.Sets[0].Members = []string{bob, eve}
	want.Sets[0].Tables = []connection.ObjectRef{orders, plain}
	want.Sets[1].Members = nil
	if r := w.settled(want); r.Drift != 0 || r.Applied == 0 {
		t.Errorf("a change of policies is taken for drift: %+v", r)
	}
	w.must(ann, shop, false, read)
	w.must(ann, other, false, elsewhere)
	w.must(bob, shop, true, read, `SELECT * FROM "s""1".plain`)
	w.must(bob, shop, false, write, `SELECT * FROM "s""1".v`)
	w.must(bob, other, false, elsewhere)
	w.must(eve, shop, true, read)

	want.Sets[0].Members = append(want.Sets[0].Members, "nobody")
	if r := w.round(want); len(r.Lacking) != 1 || !strings.Contains(r.Lacking[0], `role "nobody": there is no such role`) {
		t.Errorf("%+v", r.Lacking)
	}

	made, err := w.ledger.Roles(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := w.value("postgres", `SELECT string_agg(rolname, ' ') FROM pg_roles WHERE rolname = $1`, ann)
	e := w.engine
	taken, err := e.TakeBack(t.Context())
	if err != nil || len(taken.Pending) != 0 {
		t.Fatalf("%v %+v", err, taken.Pending)
	}
	for _, m := range made {
		if n := w.value("postgres", `SELECT count(*)::text FROM pg_roles WHERE oid = $1`, m.OID); n != "0" {
			t.Errorf("%s is still there", m.Name)
		}
	}
	if left, _ := w.ledger.Roles(t.Context()); len(left) != 0 || before != ann {
		t.Errorf("left in the ledger: %v", left)
	}
}
