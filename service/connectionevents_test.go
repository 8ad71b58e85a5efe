package service

import (
	"strings"
	"testing"

	"portcullis.dev/portcullis/policy"

	"github.com/jackc/pgx/v5"
)

// TestARoleThatIsMadeLater maps a person to a role that the last crawl did not
// see, and does not wait for the next one.
func TestARoleThatIsMadeLater(t *testing.T) {
	w := register(t, "ana")
	w.must("PUT", "/v1/people/zoe", Person{UserID: "zoe"}, nil)
	w.must("PUT", "/v1/subscriptions/shop.shop.sales.orders/zoe", Subscription{DataSource: "shop.shop.sales.orders", UserID: "zoe"}, nil)
	w.inStep()
	runAt(t, w.pg, "CREATE ROLE z LOGIN PASSWORD '"+rolePassword+"'")
	crawled := w.inStep().LastCrawl
	for account, says := range map[string]string{"ana": `\"ana\" cannot be the account of local/zoe: the account is also local/ana's`, "gatekeeper": "the account of the service itself", "pg_monitor": "PostgreSQL's own", "portcullis_x": "the service's own"} {
		body := `{"connection":"shop","userid":"zoe","account":"` + account + `"}`
		if status, raw := w.call("PUT", "/v1/connection_accounts/shop/zoe", w.admin, body); status != 422 || !contains(raw, says) {
			t.Errorf("%s: %d %s", account, status, raw)
		}
	}
	entries := []MappedAccount{{Connection: "shop", UserID: "zoe", Account: "one"}, {Connection: "shop", UserID: "ana", Account: "one"}}
	if _, err := w.store.Apply(t.Context(), "test", State{ConnectionAccounts: &entries}, true); err == nil || !strings.Contains(err.Error(), "connection_accounts[0].account") {
		t.Errorf("one account for two in a state: %v", err)
	}
	for account, code := range map[string]string{w.pg.User: "superuser", "nobody": "no_role"} {
		var told MappedPerson
		w.must("PUT", "/v1/connection_accounts/shop/zoe", MappedAccount{Connection: "shop", UserID: "zoe", Account: account}, &told)
		if len(told.Problems) != 1 || told.Problems[0].Code != code {
			t.Errorf("%s: %+v", account, told.Problems)
		}
	}
	w.must("PUT", "/v1/connection_accounts/shop/zoe", MappedAccount{Connection: "shop", UserID: "zoe", Account: "z"}, nil)
	w.soonCan("z", readOrders, true)
	if st := w.inStep(); !st.LastCrawl.Equal(*crawled) || st.People.Mapped != 2 {
		t.Errorf("it took a crawl, or the person is not counted: %+v", st)
	}
}

// TestDriftIsMendedWithoutAsking changes by hand what is ours, and tells nobody.
func TestDriftIsMendedWithoutAsking(t *testing.T) {
	w := register(t, "ana")
	w.must("PUT", "/v1/subscriptions/shop.shop.sales.orders/ana", Subscription{DataSource: "shop.shop.sales.orders", UserID: "ana"}, nil)
	w.soonCan("ana", readOrders, true)
	// Shorter than anybody may set it.
	if _, err := w.store.pool.Exec(t.Context(), "UPDATE portcullis.connections SET sync_every_ms = 1000"); err != nil {
		t.Fatal(err)
	}
	w.inStep()
	conn, err := w.pg.Connect(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	set := pgx.Identifier{setOf(t, conn, "ana")}.Sanitize()
	runAt(t, w.pg, "REVOKE "+set+" FROM ana; GRANT SELECT ON sales.notes TO "+set)
	w.soonCan("ana", readOrders, true)
	w.soon("the drift is told", func() bool { return w.inStep().Drifts > 0 })
	if w.can("ana", readNotes) {
		t.Error("what was given by hand stays")
	}
}

// TestDeletedConnections are listed while they go, and leave no gauges.
func TestDeletedConnections(t *testing.T) {
	w := register(t, "ana")
	w.must("PUT", "/v1/subscriptions/shop.shop.sales.orders/ana", Subscription{DataSource: "shop.shop.sales.orders", UserID: "ana"}, nil)
	w.soonCan("ana", readOrders, true)
	w.inStep()
	conn := w.hold("sales.orders") // so that it cannot be taken back
	w.must("DELETE", "/v1/connections/shop", nil, nil)
	var list []Connection
	w.must("GET", "/v1/connections", nil, &list)
	if len(list) != 1 || !list[0].Deleting {
		t.Errorf("listed while it goes: %+v", list)
	}
	var state State
	if w.must("GET", "/v1/state", nil, &state); len(*state.Connections) != 0 {
		t.Errorf("a state holds what is being deleted: %+v", *state.Connections)
	}
	w.soon("a statement waits", func() bool { return waits(t, conn) })
	w.must("DELETE", "/v1/connections/shop?forget=true", nil, nil)
	gone := func() bool {
		_, raw := w.call("GET", "/metrics", "", "")
		for _, name := range []string{"pending", "revokes_overdue", "exceeds", "lacks", "unmapped_people", "last_sync_timestamp_seconds"} {
			if strings.Contains(string(raw), "portcullis_connection_"+name+`{connection="shop"}`) {
				return false
			}
		}
		return true
	}
	if !gone() {
		t.Error("gauges of a connection that is forgotten are still there")
	}
	if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	// The round that was under way has ended when another may register the instance.
	again := w.connection("again")
	again.Setup.TakeAccount = true
	w.must("POST", "/v1/connections", again, nil)
	var st ConnectionStatus
	w.soon("the next one works", func() bool {
		w.must("GET", "/v1/connections/again/status", nil, &st)
		return st.State == standInStep
	})
	if !gone() {
		t.Error("the last round of a connection that is forgotten brought its gauges back")
	}
}

// TestWhatCannotBeGrantedLacks makes a schema that the broker does not list:
// what the policies give there is counted as lacking until a DBA lists it.
func TestWhatCannotBeGrantedLacks(t *testing.T) {
	w := register(t, "ana", "ben")
	w.must("POST", "/v1/policies", Policy{Name: "all", Kind: policy.KindSubscription, On: policy.Target{All: true}, Who: &policy.Who{Everyone: true}}, nil)
	w.soonCan("ana", readOrders, true)
	if st := w.inStep(); st.Lacks != 0 || st.NotEnforceable != 0 {
		t.Fatalf("before: %d lack, %d not enforceable", st.Lacks, st.NotEnforceable)
	}
	runAt(t, w.pg, "CREATE SCHEMA hr; CREATE TABLE hr.staff (id int); CREATE TABLE hr.pay (id int); GRANT USAGE ON SCHEMA hr TO ben; GRANT SELECT ON hr.pay TO ben")
	st := w.sync()
	if st.Lacks != 3 || st.NotEnforceable != 3 || st.Exceeds != 0 || st.Equal != 5 {
		t.Errorf("%d lack, %d not enforceable, %d exceed, %d equal", st.Lacks, st.NotEnforceable, st.Exceeds, st.Equal)
	}
	if told := strings.Join(st.Lacking, "\n"); strings.Count(told, "shop.hr.staff: ") != 1 || strings.Count(told, "\n") != 1 {
		t.Errorf("each is to be listed once: %s", told)
	}
	runAt(t, w.pg, "SELECT portcullis_broker.list_schema('hr')")
	if st := w.sync(); st.Lacks != 0 || st.NotEnforceable != 0 || !w.can("ana", "SELECT * FROM hr.staff") {
		t.Errorf("listed: %d lack, %d not enforceable", st.Lacks, st.NotEnforceable)
	}
}
