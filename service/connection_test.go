package service

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/mapping"
	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/policy"
)

const rolePassword = "login-of-a-person"

// remote is an instance with tables and people of its own, as a DBA made it.
func remote(t *testing.T, people ...string) *testenv.Postgres {
	t.Helper()
	pg := testenv.StartPostgres(t, testenv.PostgresOptions{Name: "remote"})
	if err := pg.CreateDatabase(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	var roles strings.Builder
	for _, p := range people {
		fmt.Fprintf(&roles, "CREATE ROLE %s LOGIN PASSWORD '%s';", pgx.Identifier{p}.Sanitize(), rolePassword)
	}
	runAt(t, pg, roles.String()+`CREATE SCHEMA sales; CREATE TABLE sales.orders (id int, email text); INSERT INTO sales.orders VALUES (1, 'x'); CREATE TABLE sales.notes (id int, note text)`)
	return pg
}

func runAt(t *testing.T, pg *testenv.Postgres, sql string) {
	t.Helper()
	if err := pg.Exec(t.Context(), "shop", sql); err != nil {
		t.Fatal(err)
	}
}

// world is a service with one connection, set up in broker mode by the superuser.
type world struct {
	*fixture
	pg *testenv.Postgres
}

func register(t *testing.T, people ...string) *world {
	t.Helper()
	w := &world{fixture: start(t), pg: remote(t, people...)}
	var made Registered
	w.must("POST", "/v1/connections", w.connection("shop"), &made)
	var list []Person
	for _, p := range people {
		list = append(list, Person{UserID: p})
	}
	w.must("POST", "/v1/state", State{People: &list, Groups: &[]Group{{Name: "team"}}}, nil)
	w.inStep()
	return w
}

func (w *world) connection(name string) Connection {
	return Connection{Name: name, Host: w.pg.Host, Port: w.pg.Port, Database: "shop", TLS: connection.TLSDisable, Username: "gatekeeper",
		Mapping: &mapping.Automatic{Attribute: "userid"}, Setup: &Setup{Username: w.pg.User, Password: &w.pg.Password}}
}

// can tells whether a person who logs in at the instance may run a statement.
func (w *world) can(person, sql string) bool {
	w.t.Helper()
	return testenv.May(w.t, w.pg.DSNAs(person, rolePassword, "shop"), sql)
}

const (
	readOrders  = "SELECT * FROM sales.orders"
	writeOrders = "INSERT INTO sales.orders VALUES (2, 'y')"
	readNotes   = "SELECT * FROM sales.notes"
)

// soon waits until something is so at the instance; how long it took is what a person would have waited.
func (w *world) soon(about string, f func() bool) time.Duration {
	w.t.Helper()
	begun := time.Now()
	for !f() {
		if time.Since(begun) > 20*time.Second {
			st, _ := w.store.ConnectionStatus(w.t.Context(), "shop")
			w.t.Fatalf("%s: not so after 20 s; the connection is %q, %v, pending %v", about, st.State, st.Error, st.Pending)
		}
		select {
		case <-w.t.Context().Done():
			w.t.Fatal(w.t.Context().Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return time.Since(begun)
}

func (w *world) soonCan(person, sql string, want bool) time.Duration {
	w.t.Helper()
	return w.soon(fmt.Sprintf("%s: %s: %t", person, sql, want), func() bool { return w.can(person, sql) == want })
}

// inStep waits until the connection is in step with everything that was changed before.
func (w *world) inStep() ConnectionStatus {
	w.t.Helper()
	version, err := w.store.Version(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	var st ConnectionStatus
	w.soon("in step", func() bool {
		st = ConnectionStatus{} // what the answer leaves out is not of the one before
		w.must("GET", "/v1/connections/shop/status", nil, &st)
		return st.State == standInStep && st.Version >= version && st.SyncDone >= st.SyncWanted
	})
	return st
}

func (w *world) sync() ConnectionStatus {
	w.t.Helper()
	w.must("POST", "/v1/connections/shop/sync", syncRequest{}, nil)
	return w.inStep()
}

func TestEachEventReachesTheInstance(t *testing.T) {
	w := register(t, "ana", "ben")
	st := w.inStep()
	if st.Objects.Tables != 2 || st.People.Mapped != 2 || w.can("ana", readOrders) {
		t.Fatalf("registered: %+v", st)
	}

	// A subscription by hand.
	w.must("PUT", "/v1/subscriptions/shop.shop.sales.orders/ana", Subscription{DataSource: "shop.shop.sales.orders", UserID: "ana"}, nil)
	if took := w.soonCan("ana", readOrders, true); took > 3*time.Second {
		t.Errorf("a subscription took %s", took)
	}
	if w.can("ana", writeOrders) || w.can("ana", readNotes) || w.can("ben", readOrders) {
		t.Error("the subscription gave more than it says")
	}
	w.must("PUT", "/v1/subscriptions/shop.shop.sales.orders/ana", Subscription{DataSource: "shop.shop.sales.orders", UserID: "ana", Access: policy.AccessWrite}, nil)
	w.soonCan("ana", writeOrders, true)

	// An automatic policy: applied, changed, deleted.
	team := Policy{Name: "team reads", Kind: policy.KindSubscription, On: policy.Target{Tags: []string{"Sales"}}, Who: &policy.Who{Group: "team"}}
	w.must("POST", "/v1/policies", team, nil)
	w.must("PUT", "/v1/connection_objects/shop.shop.sales", ObjectSettings{Name: "shop.shop.sales", Tags: []string{"Sales"}}, nil)
	w.inStep()
	if w.can("ben", readOrders) {
		t.Error("a policy for a group reached somebody else")
	}
	w.must("PUT", "/v1/people/ben", Person{UserID: "ben", Groups: []string{"team"}}, nil)
	w.soonCan("ben", readNotes, true)
	team.Access = policy.AccessWrite
	w.must("PUT", "/v1/policies/team%20reads", team, nil)
	w.soonCan("ben", writeOrders, true)

	// Data sources created and deleted.
	runAt(t, w.pg, "CREATE TABLE sales.more (id int); DROP TABLE sales.notes")
	if st := w.sync(); st.Objects.Tables != 2 || st.Objects.Dropped != 1 {
		t.Errorf("after CREATE and DROP: %+v", st.Objects)
	}
	w.soonCan("ben", "SELECT * FROM sales.more", true)

	// A table that is not under enforcement any more.
	w.must("PUT", "/v1/connection_objects/shop.shop.sales.more", ObjectSettings{Name: "shop.shop.sales.more", State: stateDisable}, nil)
	w.soonCan("ben", "SELECT * FROM sales.more", false)

	w.must("DELETE", "/v1/policies/team%20reads", nil, nil)
	w.soonCan("ben", readOrders, false)

	// A person is removed, an account is mapped to nobody.
	w.must("PUT", "/v1/subscriptions/shop.shop.sales.orders/ben", Subscription{DataSource: "shop.shop.sales.orders", UserID: "ben"}, nil)
	w.soonCan("ben", readOrders, true)
	w.must("DELETE", "/v1/people/ben", nil, nil)
	w.soonCan("ben", readOrders, false)
	w.must("PUT", "/v1/connection_accounts/shop/ana", MappedAccount{Connection: "shop", UserID: "ana", State: mapping.None}, nil)
	w.soonCan("ana", readOrders, false)
	w.must("PUT", "/v1/connection_accounts/shop/ana", MappedAccount{Connection: "shop", UserID: "ana", Account: "ben"}, nil)
	w.soonCan("ben", readOrders, true)

	// Deleting the connection takes everything back.
	w.must("DELETE", "/v1/connections/shop", nil, nil)
	w.soon("forgotten", func() bool {
		status, _ := w.call("GET", "/v1/connections/shop/status", w.admin, "")
		return status == 404
	})
	if w.can("ben", readOrders) {
		t.Error("deleting the connection left access")
	}
	var left int
	conn, err := w.pg.Connect(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_roles WHERE rolname LIKE 'portcullis\_%' AND rolname !~ '^portcullis_owner' AND rolname <> 'gatekeeper'`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d roles are left, %v", left, err)
	}
}

func TestMasksAndFiltersWithholdNativeAccess(t *testing.T) {
	w := register(t, "ana", "ben")
	w.must("PUT", "/v1/people/ana", Person{UserID: "ana", Groups: []string{"team"}}, nil)
	w.must("PUT", "/v1/connection_objects/shop.shop.sales.orders", ObjectSettings{Name: "shop.shop.sales.orders", Columns: []ColumnTags{{Name: "email", Tags: []string{"PII"}}}}, nil)
	w.must("POST", "/v1/policies", Policy{Name: "hide", Kind: policy.KindMask, On: policy.Target{All: true}, Columns: &policy.ColumnChoice{Tags: []string{"PII"}},
		Mask: &policy.Mask{Kind: policy.MaskNull}, Except: &policy.Who{Group: "team"}}, nil)
	w.must("POST", "/v1/policies", Policy{Name: "all", Kind: policy.KindSubscription, On: policy.Target{All: true}, Who: &policy.Who{Everyone: true}}, nil)
	w.soonCan("ana", readOrders, true)
	st := w.inStep()
	if w.can("ben", readOrders) || !w.can("ben", readNotes) {
		t.Error("ben reads a column that is masked for him, or nothing at all")
	}
	if len(st.Withheld) != 1 || fmt.Sprint(st.Withheld[0]) != "{[hide] [local/ben] [shop.shop.sales.orders] 1}" {
		t.Errorf("withheld: %v", st.Withheld)
	}
	var e Explanation
	w.must("GET", "/v1/explain?user=ben&data_source=shop.shop.sales.orders", nil, &e)
	if !e.Decision.Allowed || fmt.Sprint(e.Subscribed, e.Masks) != "[policy all] [email: null by hide]" {
		t.Errorf("explained: %+v", e)
	}
	// A column is renamed at the instance: the tag goes with it.
	runAt(t, w.pg, "ALTER TABLE sales.orders RENAME email TO mail")
	w.sync()
	if w.can("ben", readOrders) {
		t.Error("a renamed column lost its mask")
	}
	// The table is made anew, as a nightly load does.
	runAt(t, w.pg, "DROP TABLE sales.orders; CREATE TABLE sales.orders (id int, mail text)")
	w.sync()
	if w.can("ben", readOrders) || !w.can("ana", readOrders) {
		t.Error("a table that was made anew lost its mask, or its readers")
	}
}

func TestSubscriptionsEndByThemselves(t *testing.T) {
	w := register(t, "ana")
	at := time.Now().Add(4 * time.Second)
	w.inStep()
	w.must("PUT", "/v1/subscriptions/shop.shop.sales.orders/ana", Subscription{DataSource: "shop.shop.sales.orders", UserID: "ana", Expires: &at}, nil)
	w.soonCan("ana", readOrders, true)
	w.soonCan("ana", readOrders, false)
	if now := time.Now(); now.Before(at) || now.After(at.Add(3*time.Second)) {
		t.Errorf("it ended at %s instead of %s", now, at)
	}
}

// setOf names the role of ours of which a person is a member.
func setOf(t *testing.T, conn *pgx.Conn, person string) (set string) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), `SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles p ON p.oid = m.member
		WHERE p.rolname = $1`, person).Scan(&set); err != nil {
		t.Fatal(err)
	}
	return set
}

func TestDriftIsMended(t *testing.T) {
	w := register(t, "ana")
	w.must("PUT", "/v1/subscriptions/shop.shop.sales.orders/ana", Subscription{DataSource: "shop.shop.sales.orders", UserID: "ana"}, nil)
	w.soonCan("ana", readOrders, true)
	w.inStep()
	conn, err := w.pg.Connect(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	set := setOf(t, conn, "ana")
	runAt(t, w.pg, "REVOKE "+pgx.Identifier{set}.Sanitize()+" FROM ana; GRANT SELECT ON sales.notes TO "+pgx.Identifier{set}.Sanitize()+"; GRANT SELECT ON sales.notes TO ana")
	st := w.sync()
	if !w.can("ana", readOrders) || st.Drift == 0 || st.Drifts == 0 {
		t.Errorf("drift was not mended: %+v", st)
	}
	// What somebody gave to the person is not ours: it is told.
	var found []connection.Excess
	w.must("GET", "/v1/connections/shop/findings", nil, &found)
	if st.Exceeds != 1 || len(found) == 0 || found[0].Object.Name != "notes" || !strings.Contains(found[0].Statement, "REVOKE") {
		t.Errorf("exceeds %d, findings %+v", st.Exceeds, found)
	}
}

func TestTwoServicesAtOnce(t *testing.T) {
	w := register(t, "ana", "ben")
	w.inStep()
	second := startOn(t, w.dsn, w.key, nil)
	for i := range 6 {
		who, by := []string{"ana", "ben"}[i%2], []*fixture{w.fixture, second}[i/2%2]
		by.must("PUT", "/v1/subscriptions/shop.shop.sales.orders/"+who, Subscription{DataSource: "shop.shop.sales.orders", UserID: who}, nil)
		w.soonCan(who, readOrders, true)
		by.must("DELETE", "/v1/subscriptions/shop.shop.sales.orders/"+who, nil, nil)
		w.soonCan(who, readOrders, false)
	}
	if st := w.inStep(); st.Drifts != 0 {
		t.Errorf("two services took each other's work for drift: %d", st.Drifts)
	}
}

// TestSessionsThatEndInMidRound ends the sessions of the system account while a
// statement of a round waits for a lock: the rest is done later.
func TestSessionsThatEndInMidRound(t *testing.T) {
	w := register(t, "ana")
	conn := w.hold("sales.orders")
	w.must("PUT", "/v1/subscriptions/shop.shop.sales.orders/ana", Subscription{DataSource: "shop.shop.sales.orders", UserID: "ana"}, nil)
	w.soon("a statement waits", func() bool { return waits(t, conn) })
	if _, err := conn.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gatekeeper'"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	w.soonCan("ana", readOrders, true)
	w.inStep()
}

// hold keeps everybody else from granting on a table, until its transaction ends.
func (w *world) hold(table string) *pgx.Conn {
	w.t.Helper()
	conn, err := w.pg.Connect(w.t.Context(), "shop")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := conn.Close(context.WithoutCancel(w.t.Context())); err != nil {
			w.t.Error(err)
		}
	})
	if _, err := conn.Exec(w.t.Context(), "BEGIN; GRANT SELECT ON "+table+" TO pg_monitor"); err != nil {
		w.t.Fatal(err)
	}
	return conn
}

func waits(t *testing.T, conn *pgx.Conn) (yes bool) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)").Scan(&yes); err != nil {
		t.Fatal(err)
	}
	return yes
}

func TestARevokeThatWaitsIsToldAndAnAlarm(t *testing.T) {
	w := register(t, "ana", "ben")
	w.server.AlertRevokes(2 * time.Second)
	w.must("PUT", "/v1/subscriptions/shop.shop.sales.orders/ana", Subscription{DataSource: "shop.shop.sales.orders", UserID: "ana"}, nil)
	w.soonCan("ana", readOrders, true)
	w.inStep()
	conn := w.hold("sales.orders")
	w.must("PUT", "/v1/connection_objects/shop.shop.sales.orders", ObjectSettings{Name: "shop.shop.sales.orders", State: stateDisable}, nil)
	var st ConnectionStatus
	w.soon("overdue", func() bool {
		w.must("GET", "/v1/connections/shop/status", nil, &st)
		return st.State == standOverdue
	})
	if len(st.Overdue) == 0 || !strings.Contains(st.Overdue[0].Statement, "REVOKE") || !strings.Contains(st.Overdue[0].Blocker, "postgres") {
		t.Errorf("overdue: %+v", st.Overdue)
	}
	if _, raw := w.call("GET", "/metrics", "", ""); !contains(raw, fmt.Sprintf(`portcullis_connection_revokes_overdue{connection="shop"} %d`, len(st.Overdue))) {
		t.Errorf("the metric does not tell: %d", len(st.Overdue))
	}
	// Others are not held up by it.
	w.must("PUT", "/v1/people/ben", Person{UserID: "ben"}, nil)
	w.must("PUT", "/v1/subscriptions/shop.shop.sales.notes/ben", Subscription{DataSource: "shop.shop.sales.notes", UserID: "ben"}, nil)
	if took := w.soonCan("ben", readNotes, true); took > 10*time.Second {
		t.Errorf("a statement that waits held up another person for %s", took)
	}
	if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	w.soonCan("ana", readOrders, false)
	w.inStep()
}

func TestAnInstanceThatIsAwayIsKeptAsLastSeen(t *testing.T) {
	w := register(t, "ana")
	w.inStep()
	if err := w.pg.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.must("POST", "/v1/connections/shop/sync", syncRequest{}, nil)
	var st ConnectionStatus
	w.soon("behind", func() bool {
		w.must("GET", "/v1/connections/shop/status", nil, &st)
		return st.State == standBehind
	})
	if st.Error == nil || st.Error.Code != "connection_refused" || st.LastCrawl == nil || st.Objects.Tables != 2 {
		t.Errorf("away: %+v %v", st, st.Error)
	}
	if err := w.pg.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.inStep()
}

func text(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestBadRegistrationsChangeNothing(t *testing.T) {
	w := register(t)
	w.inStep()
	wrong := "wrong"
	tests := []struct {
		about string
		edit  func(*Connection)
		code  string
	}{
		{"another spelling of the host", func(c *Connection) { c.Host = "localhost" }, "conflict"},
		{"wrong credentials", func(c *Connection) { c.Setup = nil; c.Password = &wrong }, "wrong_credentials"},
		{"wrong setup credentials", func(c *Connection) { c.Setup.Password = &wrong }, "wrong_credentials"},
		{"unreachable", func(c *Connection) { c.Port = 1 }, "connection_refused"},
		{"a plain connection to elsewhere", func(c *Connection) { c.Host = "192.0.2.1" }, ""},
		{"prefix", func(c *Connection) { c.Prefix = "pg_" }, "invalid_prefix"},
	}
	for _, test := range tests {
		c := w.connection("other")
		test.edit(&c)
		status, raw := w.call("POST", "/v1/connections", w.admin, text(t, c))
		if status < 400 || status >= 500 || test.code != "" && !contains(raw, `"code":"`+test.code+`"`) || contains(raw, w.pg.Password) {
			t.Errorf("%s: %d %s", test.about, status, raw)
		}
		if status, _ := w.call("GET", "/v1/connections/other", w.admin, ""); status != 404 {
			t.Errorf("%s: it was stored", test.about)
		}
	}
}

func TestAddressesThatAreNotAllowedAreNotDialled(t *testing.T) {
	w := &world{fixture: start(t), pg: remote(t)}
	if err := w.server.SetReach(Reach{AllowedHosts: "!127.0.0.0/8, *"}); err != nil {
		t.Fatal(err)
	}
	c := w.connection("other")
	if status, raw := w.call("POST", "/v1/connections", w.admin, text(t, c)); status != 422 || !contains(raw, "not allowed") {
		t.Errorf("%d %s", status, raw)
	}
	c.Host, c.TLS = "169.254.169.254", connection.TLSVerifyFull
	if status, raw := w.call("POST", "/v1/connections", w.admin, text(t, c)); status != 422 || !contains(raw, "not allowed") {
		t.Errorf("metadata: %d %s", status, raw)
	}
}
