package native

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/service"
)

const nobodySubscribed = "policies: []\nsubscriptions: []\n"

// TestEachEvent tells the service, or the instance, of each thing that can
// happen, and tries what people then reach by logging in.
func TestEachEvent(t *testing.T) {
	engine := testenv.StartEngine(t, testenv.EngineOptions{})
	for _, c := range []struct {
		major int
		mode  string
	}{{14, "broker"}, {17, "grantor"}} {
		t.Run(fmt.Sprintf("%d %s", c.major, c.mode), func(t *testing.T) {
			remote := testenv.StartServer(t, testenv.ServerOptions{Major: c.major})
			w := newWorldOn(t, engine, remote, fmt.Sprintf("pg%d", c.major), "ana", "ana2", "ben")
			w.apply(crew + nobodySubscribed)
			w.add("--mode", c.mode, "--tags", "Sales")
			w.peopleAndPolicies()
			w.levels()
			w.tablesChange(c.mode)
			w.schemaAndDatabaseCome(c.mode)
			w.awayAndBack()
			if c.major < 16 {
				w.isUpgraded(18, nil)
			}
		})
	}
}

func (w *world) peopleAndPolicies() {
	orders := w.name + ".shop.sales.orders"
	w.apply("subscriptions: [{data_source: " + orders + ", userid: ben}]\n")
	w.soonCan("ben", readOrders, true)
	w.apply("subscriptions: [{data_source: " + orders + ", userid: ben, access: write}]\n")
	w.soonCan("ben", writeOrders, true)
	w.apply("subscriptions: []\n")
	w.soonCan("ben", readOrders, false)

	w.apply(crewReads)
	w.soonCan("ana", readOrders, true)
	w.apply(strings.ReplaceAll(crewReads, "{group: team}", "{everyone: true}"))
	w.soonCan("ben", readOrders, true)
	w.apply("policies: []\n")
	w.soonCan("ana", readOrders, false)
	w.soonCan("ben", readOrders, false)
	w.apply(crewReads)
	w.soonCan("ana", readOrders, true)

	w.cli("connection", "map", w.name, "--user", "ana", "--account", "ana2")
	w.soonCan("ana2", readOrders, true)
	w.soonCan("ana", readOrders, false)
	w.cli("connection", "unmap", w.name, "--user", "ana")
	w.soonCan("ana", readOrders, true)
	w.soonCan("ana2", readOrders, false)

	w.apply(strings.ReplaceAll(crew, "{userid: ben}", "{userid: ben, groups: [team]}"))
	w.soonCan("ben", readOrders, true)
	w.apply("people: [{userid: ana, groups: [team]}]\n")
	w.soonCan("ben", readOrders, false)
	w.apply(crew)
}

// levels: what is disabled is taken back, below it too; what is enabled below stays.
func (w *world) levels() {
	const readNotes = "SELECT * FROM sales.notes"
	schema, table := w.name+".shop.sales", w.name+".shop.sales.orders"
	for _, level := range []string{w.name, w.name + ".shop", schema, table} {
		w.cli("connection", "disable", level)
		w.soonCan("ana", readOrders, false)
		if notes := w.can("ana", readNotes); level == table && !notes {
			w.t.Errorf("%s: disabling it took another table", level)
		}
		if level == schema {
			w.soonCan("ana", readNotes, false)
			w.cli("connection", "enable", table)
			w.soonCan("ana", readOrders, true)
			if w.can("ana", readNotes) {
				w.t.Error("enabling a table enabled its schema")
			}
			w.cli("connection", "inherit", table)
			w.soonCan("ana", readOrders, false)
		}
		if level == w.name {
			w.cli("connection", "enable", level)
		} else {
			w.cli("connection", "inherit", level)
		}
		w.soonCan("ana", readOrders, true)
		w.soonCan("ana", readNotes, true)
	}
}

func (w *world) tablesChange(mode string) {
	w.apply("subscriptions: [{data_source: " + w.name + ".shop.sales.notes, userid: ben}]\n")
	w.soonCan("ben", "SELECT * FROM sales.notes", true)
	w.run("ALTER TABLE sales.notes RENAME TO remarks")
	w.cli("connection", "sync", w.name)
	w.inStep()
	if !w.can("ben", "SELECT * FROM sales.remarks") || !w.can("ana", "SELECT * FROM sales.remarks") || w.status().Drifts != 0 {
		w.t.Errorf("a renamed table is another one: %+v", w.status())
	}

	// A column that is masked for everybody comes and goes.
	w.cli("connection", "tag", w.name+".shop.sales.orders", "--column", "email", "PII")
	w.apply(crewReads + "  - {name: hide, kind: mask, on: {all: true}, columns: {tags: [PII]}, mask: {kind: \"null\"}}\n")
	w.soonCan("ana", readOrders, false)
	w.run("ALTER TABLE sales.orders RENAME email TO mail; ALTER TABLE sales.orders ADD more int")
	w.cli("connection", "sync", w.name)
	if w.can("ana", readOrders) {
		w.t.Error("a renamed column lost its mask")
	}
	w.run("ALTER TABLE sales.orders DROP mail")
	w.cli("connection", "sync", w.name)
	w.soonCan("ana", "SELECT more FROM sales.orders", true)

	// A table goes, and another comes under its name: nobody's subscription to the old one counts.
	w.run("DROP TABLE sales.remarks")
	w.cli("connection", "sync", w.name)
	if gone := w.cli("connection", "show", w.name, "--dropped"); !strings.Contains(gone, "sales.remarks\ttable") {
		w.t.Errorf("a dropped table is not listed: %s", gone)
	}
	w.run("CREATE TABLE sales.remarks (id int)")
	w.cli("connection", "sync", w.name)
	if mode == "grantor" { // nobody ran ALTER DEFAULT PRIVILEGES
		if lacks := w.status().Lacking; !strings.Contains(strings.Join(lacks, " "), "sales.remarks") || w.can("ana", "SELECT * FROM sales.remarks") {
			w.t.Errorf("a table that cannot be granted on is not told: %q", lacks)
		}
		w.aDBAMends()
	}
	w.soonCan("ana", "SELECT * FROM sales.remarks", true)
	if w.can("ben", "SELECT * FROM sales.remarks") {
		w.t.Error("a subscription to a table that is gone counts for another one")
	}
	w.apply(crewReads + "subscriptions: []\n")
}

// schemaAndDatabaseCome: they are seen at the next sync, with what a DBA has to run.
func (w *world) schemaAndDatabaseCome(mode string) {
	w.run("CREATE SCHEMA hr; CREATE TABLE hr.staff (id int)")
	if err := w.remote.CreateDatabase(w.t.Context(), "second"); err != nil {
		w.t.Fatal(err)
	}
	if err := w.remote.Exec(w.t.Context(), "second", "REVOKE CONNECT ON DATABASE second FROM PUBLIC; CREATE TABLE public.stock (id int)"); err != nil {
		w.t.Fatal(err)
	}
	w.cli("connection", "sync", w.name)
	if fix := w.cli("connection", "show", w.name, w.name+".shop.hr.staff"); !strings.Contains(fix, "not enforceable") || !strings.Contains(fix, "a DBA runs: ") {
		w.t.Errorf("a new schema: %s", fix)
	}
	told := w.fails("connection", "check", w.name)
	if !strings.Contains(told, "lacks") {
		w.t.Errorf("check: %s", told)
	}
	w.cli("connection", "check", w.name, "--required")
	if mode == "broker" {
		w.run("SELECT portcullis_broker.list_schema('hr')")
		w.psql(w.cli("connection", "print-script", w.name, "--databases", "second"))
	}
	w.aDBAMends()
	w.cli("connection", "sync", w.name)
	w.soonCan("ana", "SELECT * FROM hr.staff", true)
	w.soon("ana reads in the new database", func() bool { return w.canIn("second", "ana", "SELECT * FROM stock") })
	if w.canIn("second", "ben", "SELECT * FROM stock") {
		w.t.Error("ben reads in the new database")
	}
	w.run("DROP SCHEMA hr CASCADE")
	w.run("DROP DATABASE second WITH (FORCE)")
	w.cli("connection", "sync", w.name)
	w.inStep()
}

// aDBAMends runs what check says is missing, until nothing is: who may not enter
// a database learns only then what else is.
func (w *world) aDBAMends() {
	w.t.Helper()
	for range 3 {
		out, err := w.service.CLI(w.t.Context(), "connection", "check", w.name, "-o", "json")
		if err == nil {
			w.cli("connection", "sync", w.name)
			return
		}
		var found service.ConnectionCheck
		if exitCode(err) != 1 || json.Unmarshal([]byte(out), &found) != nil || len(found.Missing) == 0 {
			w.t.Fatalf("check: %v: %s", err, out)
		}
		for _, m := range found.Missing {
			if err := w.remote.Exec(w.t.Context(), m.Database, m.Statement); err != nil {
				w.t.Fatalf("%+v: %v", m, err)
			}
		}
	}
	w.t.Fatalf("after the statements were run: %s", w.fails("connection", "check", w.name))
}

// awayAndBack: what was decided while the instance was away is in force once it is back.
func (w *world) awayAndBack() {
	w.inStep()
	if err := w.remote.Stop(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.apply(strings.ReplaceAll(crewReads, "{group: team}", "{person: {iamid: local, userid: ben}}"))
	w.soon("behind", func() bool { return w.status().State == "behind" })
	if st := w.status(); st.Error == nil || st.Error.Code != "connection_refused" || st.Objects.Tables != 2 || st.LastCrawl == nil {
		w.t.Errorf("away: %+v", st)
	}
	if err := w.remote.Restart(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.soonCan("ben", readOrders, true)
	w.soonCan("ana", readOrders, false)
	w.inStep()
}
