package service

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/rows"
	"portcullis.dev/portcullis/connection/views"
	"portcullis.dev/portcullis/policy"
)

const ownOrders = "SELECT concat_ws('/', id, email) FROM sales.orders ORDER BY id"

// rowed registers a connection with row-level security, where everybody but ana
// sees the orders with their name.
func rowed(t *testing.T, major int, sql string) *world {
	t.Helper()
	w := registerOn(t, major, nil, "INSERT INTO sales.orders VALUES (2, 'ben'), (3, 'chloe'); CREATE ROLE etl LOGIN PASSWORD '"+rolePassword+
		"'; GRANT USAGE ON SCHEMA sales TO etl; GRANT SELECT, INSERT, DELETE ON sales.orders TO etl;"+sql, "ana", "ben", "chloe")
	runAt(t, w.pg, rows.Script(connection.Target{Username: "gatekeeper", Prefix: connection.DefaultPrefix}))
	c := w.connection("shop")
	c.Setup, c.RowSecurity = nil, true
	w.must("PUT", "/v1/connections/shop", c, nil)
	// By a tag, since a connection that policies name is not deleted.
	w.must("PUT", "/v1/connection_objects/shop.shop.sales.orders", ObjectSettings{Name: "shop.shop.sales.orders", Tags: []string{"Orders"}}, nil)
	w.own("email = @username")
	w.inStep()
	return w
}

// own lets everybody but ana see the orders for which a filter holds.
func (w *world) own(filter string) {
	w.t.Helper()
	w.must("PUT", "/v1/policies/own", Policy{Name: "own", Kind: policy.KindFilter, On: policy.Target{Tags: []string{"Orders"}}, Filter: filter,
		Except: &policy.Who{Person: &policy.PersonID{IAMID: DefaultIAM, UserID: "ana"}}}, nil)
}

func (w *world) expect(about string, sees map[string]string) {
	w.t.Helper()
	for who, want := range sees {
		if got := w.sees(who, ownOrders); got != want && !(want == "" && strings.Contains(got, "42501")) {
			w.t.Errorf("%s: %s sees %q, want %q", about, who, got, want)
		}
	}
}

// secured tells whether row-level security is on, and how many policies there are.
func (w *world) secured() (s string) {
	w.t.Helper()
	conn, err := w.pg.Connect(w.t.Context(), "shop")
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(w.t.Context())) }()
	if err := conn.QueryRow(w.t.Context(), `SELECT concat_ws('/', relrowsecurity, (SELECT count(*) FROM pg_policy)) FROM pg_class WHERE oid = 'sales.orders'::regclass`).Scan(&s); err != nil {
		w.t.Fatal(err)
	}
	return s
}

// TestPeopleSeeSomeRowsOfTheTableItself follows a table through row-level
// security, by logins of people and of an application that is nobody.
func TestPeopleSeeSomeRowsOfTheTableItself(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) { rowSecurity(t, major) })
	}
}

func rowSecurity(t *testing.T, major int) {
	const all = "1/x 2/ben 3/chloe"
	w := rowed(t, major, "CREATE ROLE reports NOLOGIN; GRANT USAGE ON SCHEMA sales TO reports; GRANT SELECT ON sales.orders TO reports; CREATE SCHEMA other; GRANT USAGE ON SCHEMA other TO PUBLIC;"+
		"CREATE VIEW other.harmless AS SELECT * FROM sales.orders; ALTER VIEW other.harmless OWNER TO reports; GRANT SELECT ON other.harmless TO PUBLIC;")
	st := w.inStep()
	w.expect("filtered", map[string]string{"ana": all, "ben": "2/ben", "chloe": "3/chloe", "etl": all})
	if st.Exceeds+st.Lacks != 0 || len(st.Withheld) > 0 || fmt.Sprint(st.Rows) != "[{shop.sales.orders true 2 [] }]" {
		t.Errorf("status: %d exceed, %d lack, withheld %v, rows %+v; findings %+v", st.Exceeds, st.Lacks, st.Withheld, st.Rows, w.findings())
	}
	if s := w.secured(); s != "t/2" {
		t.Errorf("row-level security: %s", s)
	}

	// What acts with rights for which policies do not count is told, with a statement that ends it.
	runAt(t, w.pg, `CREATE VIEW other.all_of_it AS SELECT * FROM sales.orders; GRANT SELECT ON other.all_of_it TO ben;
		CREATE FUNCTION other.read_it() RETURNS SETOF sales.orders LANGUAGE sql SECURITY DEFINER AS 'SELECT * FROM sales.orders'; REVOKE ALL ON FUNCTION other.read_it() FROM PUBLIC; GRANT EXECUTE ON FUNCTION other.read_it() TO chloe`)
	if st = w.sync(); st.Exceeds != 2 {
		t.Errorf("%d exceed", st.Exceeds)
	}
	statements := map[string]string{}
	for _, f := range w.findings() {
		if !strings.Contains(f.Privilege, "rows that its policies hide") {
			t.Errorf("finding: %+v", f)
		}
		statements[f.Role] = f.Statement
	}
	if !strings.Contains(statements["ben"], "REVOKE SELECT ON TABLE other.all_of_it") && !strings.Contains(statements["ben"], `"all_of_it"`) || !strings.Contains(statements["chloe"], "REVOKE EXECUTE ON FUNCTION other.read_it()") {
		t.Errorf("statements: %v", statements)
	}
	for _, s := range statements {
		runAt(t, w.pg, s)
	}
	runAt(t, w.pg, "ALTER ROLE chloe BYPASSRLS; GRANT SELECT ON sales.orders TO ben")
	if st = w.sync(); st.Exceeds != 1 || len(st.Lacking) == 0 || !strings.Contains(st.Lacking[len(st.Lacking)-1], "BYPASSRLS") {
		t.Errorf("BYPASSRLS: %d exceed, %v, %+v", st.Exceeds, st.Lacking, w.findings())
	}
	w.expect("granted by others", map[string]string{"ben": "2/ben", "chloe": all})
	runAt(t, w.pg, "ALTER ROLE chloe NOBYPASSRLS; REVOKE SELECT ON sales.orders FROM ben")

	// Changes by hand are drift.
	runAt(t, w.pg, "ALTER TABLE sales.orders DISABLE ROW LEVEL SECURITY")
	if st = w.sync(); st.Drift == 0 || st.Exceeds != 0 {
		t.Errorf("drift %d, %d exceed", st.Drift, st.Exceeds)
	}
	w.expect("mended", map[string]string{"ben": "2/ben", "etl": all})

	// Who may write does so within the rows.
	w.must("PUT", "/v1/subscriptions/shop.shop.sales.orders/ben", Subscription{DataSource: "shop.shop.sales.orders", UserID: "ben", Access: policy.AccessWrite}, nil)
	w.soonCan("ben", "INSERT INTO sales.orders VALUES (4, 'ben')", true)
	if w.can("ben", "INSERT INTO sales.orders VALUES (5, 'chloe')") || w.can("ben", "TRUNCATE sales.orders") || w.can("chloe", "INSERT INTO sales.orders VALUES (6, 'chloe')") {
		t.Error("somebody writes beyond their rows")
	}
	if st = w.inStep(); st.Exceeds+st.Lacks != 0 {
		t.Errorf("writers: %d exceed, %d lack: %+v", st.Exceeds, st.Lacks, w.findings())
	}
	runAt(t, w.pg, "GRANT UPDATE, DELETE ON other.all_of_it TO ben") // any row there
	w.sync()
	if f := w.findings(); len(f) != 1 || !strings.Contains(f[0].Statement, "REVOKE UPDATE, DELETE ON") {
		t.Errorf("findings: %+v", f)
	} else {
		runAt(t, w.pg, f[0].Statement)
	}
	w.must("DELETE", "/v1/subscriptions/shop.shop.sales.orders/ben", nil, nil)
	runAt(t, w.pg, "DELETE FROM sales.orders WHERE id > 3")
	w.inStep()

	// A mask for somebody ends it for everybody.
	w.must("PUT", "/v1/policies/blank", Policy{Name: "blank", Kind: policy.KindMask, On: policy.Target{DataSources: []string{"shop.shop.sales.orders"}}, Columns: &policy.ColumnChoice{Names: []string{"id"}},
		Mask: &policy.Mask{Kind: policy.MaskNull}, Except: &policy.Who{Any: []*policy.Who{{Person: &policy.PersonID{IAMID: DefaultIAM, UserID: "ana"}}, {Person: &policy.PersonID{IAMID: DefaultIAM, UserID: "ben"}}}}}, nil)
	st = w.inStep()
	w.expect("masked for chloe", map[string]string{"ana": all, "ben": "", "chloe": "", "etl": all})
	if s := w.secured(); s != "f/0" || len(st.Rows) != 1 || st.Rows[0].InForce || len(st.Rows[0].Reasons) != 1 || len(st.Withheld) != 1 {
		t.Errorf("with a mask: row-level security %s, rows %+v, withheld %v", s, st.Rows, st.Withheld)
	}
	w.must("DELETE", "/v1/policies/blank", nil, nil)
	w.inStep()
	w.expect("without the mask", map[string]string{"ben": "2/ben", "chloe": "3/chloe"})

	// Deleting the connection leaves the table as it was.
	w.must("DELETE", "/v1/connections/shop", nil, nil)
	w.soon("forgotten", func() bool {
		status, _ := w.call("GET", "/v1/connections/shop/status", w.admin, "")
		return status == 404
	})
	w.expect("in the end", map[string]string{"ana": "", "ben": "", "etl": all})
	if s := w.secured(); s != "f/0" {
		t.Errorf("row-level security: %s", s)
	}
}

// TestATableHasRowsOrAView has a mask come and go where the connection has views too.
func TestATableHasRowsOrAView(t *testing.T) {
	target := connection.Target{Username: "gatekeeper", Prefix: connection.DefaultPrefix}
	w := rowed(t, 16, "")
	var script ScriptReply
	if w.must("POST", "/v1/connections/shop/dry-run", nil, &script); strings.Contains(script.Script, "portcullis_") {
		t.Errorf("nothing is to be done, and a dry run prints\n%s", script.Script)
	}
	runAt(t, w.pg, views.Script(target)+`GRANT USAGE ON SCHEMA sales TO portcullis_views; GRANT SELECT ON sales.orders TO portcullis_views;`)
	c := w.connection("shop")
	c.Setup, c.RowSecurity, c.Views = nil, true, true
	w.must("PUT", "/v1/connections/shop", c, nil)
	const view = "SELECT concat_ws('/', id, email) FROM policy_sales.orders ORDER BY id"
	blank := Policy{Name: "blank", Kind: policy.KindMask, On: policy.Target{DataSources: []string{"shop.shop.sales.orders"}}, Columns: &policy.ColumnChoice{Names: []string{"id"}},
		Mask: &policy.Mask{Kind: policy.MaskNull}, Except: &policy.Who{Any: []*policy.Who{{Person: &policy.PersonID{IAMID: DefaultIAM, UserID: "ana"}}, {Person: &policy.PersonID{IAMID: DefaultIAM, UserID: "ben"}}}}}
	for range 2 {
		w.must("PUT", "/v1/policies/blank", blank, nil)
		w.soon("ben sees a view", func() bool { return w.sees("ben", view) == "2/ben" })
		st := w.inStep()
		w.expect("beside a view", map[string]string{"ana": "1/x 2/ben 3/chloe", "ben": "", "chloe": ""})
		if s := w.secured(); s != "f/0" || w.sees("chloe", view) != "chloe" || st.Exceeds != 0 {
			t.Errorf("with a view: row-level security %s, chloe sees %s; %d exceed", s, w.sees("chloe", view), st.Exceeds)
		}
		w.must("DELETE", "/v1/policies/blank", nil, nil)
		w.soon("ben sees rows", func() bool { return w.sees("ben", ownOrders) == "2/ben" })
		w.inStep()
		if s := w.secured(); s != "t/2" || !strings.Contains(w.sees("ben", view), "ERROR") {
			t.Errorf("with rows: row-level security %s, the view shows ben %s", s, w.sees("ben", view))
		}
	}
}

// TestUsersOfATableDelayItsPoliciesOnly keeps policies from being replaced, and
// takes another table from somebody meanwhile.
func TestUsersOfATableDelayItsPoliciesOnly(t *testing.T) {
	w := rowed(t, 17, "")
	reader, err := pgx.Connect(t.Context(), w.pg.DSNAs("chloe", rolePassword, "shop"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close(context.WithoutCancel(t.Context())) }()
	if _, err := reader.Exec(t.Context(), "BEGIN; "+ownOrders); err != nil {
		t.Fatal(err)
	}
	w.own("email = @username AND id < 3") // another form
	w.must("PUT", "/v1/policies/orders", Policy{Name: "orders", Kind: policy.KindSubscription, On: policy.Target{DataSources: []string{"shop.shop.sales.orders"}}, Who: &policy.Who{Everyone: true}}, nil)
	w.must("DELETE", "/v1/policies/all", nil, nil)
	w.soonCan("ana", readNotes, false)
	var st ConnectionStatus
	w.soon("it is told", func() bool {
		w.must("GET", "/v1/connections/shop/status", nil, &st)
		return len(st.Pending) == 1
	})
	if p := st.Pending[0]; !strings.HasPrefix(p.Statement, `CREATE POLICY portcullis_rows ON "sales"."orders"`) || !strings.Contains(p.Blocker, "role chloe") || p.Error == nil || p.Error.Code != "locked" {
		t.Errorf("pending: %+v, %v", p, p.Error)
	}
	w.expect("meanwhile", map[string]string{"ana": "1/x 2/ben 3/chloe", "ben": "", "etl": "1/x 2/ben 3/chloe"})
	if _, err := reader.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	w.inStep()
	w.expect("then", map[string]string{"ben": "2/ben", "chloe": ""})
}

// TestRowSecurityOfAnotherMode asks for it where the account does not act as the owner of tables.
func TestRowSecurityOfAnotherMode(t *testing.T) {
	w := register(t)
	c := w.connection("other")
	c.RowSecurity, c.Mode = true, connection.ModeGrantor
	if status, raw := w.call("POST", "/v1/connections", w.admin, text(t, c)); status != 422 || !contains(raw, `"field":"row_security"`) {
		t.Errorf("%d %s", status, raw)
	}
}
