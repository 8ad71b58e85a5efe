package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/views"
	"portcullis.dev/portcullis/policy"
)

// viewed registers a connection with views of some tables of sales, of which everybody but ana sees a part.
func viewed(t *testing.T, tables []string, people ...string) *world {
	t.Helper()
	w := register(t, people...)
	var sql strings.Builder
	sql.WriteString(views.Script(connection.Target{Username: "gatekeeper", Prefix: connection.DefaultPrefix}) + "GRANT USAGE ON SCHEMA sales TO portcullis_views;")
	var names []string
	for _, name := range tables {
		fmt.Fprintf(&sql, "CREATE TABLE IF NOT EXISTS sales.%s (id int, email text); INSERT INTO sales.%s VALUES (2, 'y'); GRANT SELECT ON sales.%s TO portcullis_views;", name, name, name)
		names = append(names, "shop.shop.sales."+name)
	}
	runAt(t, w.pg, sql.String())
	w.sync()
	c := w.connection("shop")
	c.Setup, c.Views = nil, true
	w.must("PUT", "/v1/connections/shop", c, nil)
	on := policy.Target{DataSources: names}
	w.must("PUT", "/v1/policies/all", Policy{Name: "all", Kind: policy.KindSubscription, On: on, Who: &policy.Who{Everyone: true}}, nil)
	w.narrow(on, "id = 2")
	w.inStep()
	return w
}

// narrow lets everybody but ana see the rows for which a filter holds.
func (w *world) narrow(on policy.Target, filter string) {
	w.t.Helper()
	ana := &policy.Who{Person: &policy.PersonID{IAMID: DefaultIAM, UserID: "ana"}}
	w.must("PUT", "/v1/policies/few", Policy{Name: "few", Kind: policy.KindFilter, On: on, Filter: filter, Except: ana}, nil)
}

// TestReadersOfViewsDelayNoRevoke keeps five views from being replaced, and takes
// a table from somebody meanwhile.
func TestReadersOfViewsDelayNoRevoke(t *testing.T) {
	tables := []string{"t1", "t2", "t3", "t4", "t5"}
	w := viewed(t, tables, "ana", "ben")
	var on policy.Target
	for _, name := range tables {
		on.DataSources = append(on.DataSources, "shop.shop.sales."+name)
		conn, err := pgx.Connect(t.Context(), w.pg.DSNAs("ben", rolePassword, "shop"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
		if _, err := conn.Exec(t.Context(), "BEGIN; SELECT FROM policy_sales."+name); err != nil {
			t.Fatal(err)
		}
	}
	notes := Policy{Name: "notes", Kind: policy.KindSubscription, On: policy.Target{DataSources: []string{"shop.shop.sales.notes"}},
		Who: &policy.Who{Person: &policy.PersonID{IAMID: DefaultIAM, UserID: "ana"}}}
	var took []time.Duration
	for i := range 3 { // another shape each time, so that all five are to be replaced
		w.must("PUT", "/v1/policies/notes", notes, nil)
		w.soonCan("ana", readNotes, true)
		w.narrow(on, strings.Repeat("id = 2 OR ", i+1)+"email = 'y'")
		w.must("DELETE", "/v1/policies/notes", nil, nil)
		took = append(took, w.soonCan("ana", readNotes, false))
	}
	if least := slices.Min(took); least > time.Second {
		t.Errorf("the revoke took %v", took)
	}
	var st ConnectionStatus
	w.soon("the views are told", func() bool {
		w.must("GET", "/v1/connections/shop/status", nil, &st)
		return len(st.Pending) == len(tables) && st.Views[0].Reason != nil
	})
	for _, p := range st.Pending {
		if !strings.HasPrefix(p.Statement, `CREATE OR REPLACE VIEW "policy_sales"."t`) || !strings.Contains(p.Blocker, "role ben") || p.Error == nil || p.Error.Code != "locked" || p.Since.IsZero() {
			t.Errorf("pending: %+v, %v", p, p.Error)
		}
	}
}

// TestViewsThatAreSwitchedOffAreTakenBackLater switches views off while the account cannot change them.
func TestViewsThatAreSwitchedOffAreTakenBackLater(t *testing.T) {
	w := viewed(t, []string{"orders"}, "ana", "ben")
	const view = "SELECT id::text FROM policy_sales.orders"
	if got := w.sees("ben", view); got != "2" {
		t.Fatalf("ben sees %s", got)
	}
	runAt(t, w.pg, "REVOKE portcullis_views FROM gatekeeper")
	c := w.connection("shop")
	c.Setup, c.Views = nil, false
	w.must("PUT", "/v1/connections/shop", c, nil)
	var st ConnectionStatus
	w.soon("it is told", func() bool {
		w.must("GET", "/v1/connections/shop/status", nil, &st)
		return st.State == standPending && len(st.Pending) == 1
	})
	if p := st.Pending[0]; p.Error == nil || p.Error.Code != "views_not_ready" || !slices.Equal(st.ViewsIn, []string{"shop"}) {
		t.Errorf("pending %+v, %v; views in %v", p, p.Error, st.ViewsIn)
	}
	if got := w.sees("ben", view); !strings.Contains(got, "permission denied") {
		t.Errorf("ben sees %s", got)
	}
	runAt(t, w.pg, "GRANT portcullis_views TO gatekeeper")
	w.must("POST", "/v1/connections/shop/sync", syncRequest{}, nil)
	w.inStep()
	st = ConnectionStatus{}
	if w.must("GET", "/v1/connections/shop/status", nil, &st); len(st.ViewsIn) > 0 {
		t.Errorf("views in %v", st.ViewsIn)
	}
	var left int
	conn, err := w.pg.Connect(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_class WHERE relowner = 'portcullis_views'::regrole").Scan(&left); err != nil || left != 0 {
		t.Errorf("%d views are left, %v", left, err)
	}
}

// TestDatabasesWithNothingNewAreLeftAlone counts the sessions that a round opens for views.
func TestDatabasesWithNothingNewAreLeftAlone(t *testing.T) {
	w := register(t, "ana")
	ids, err := w.store.connectionIDs(t.Context())
	if err != nil || len(ids) != 1 {
		t.Fatal(ids, err)
	}
	base := connection.ObjectRef{Database: "shop", Schema: "sales", Name: "orders", OID: 1}
	wanted := map[string][]views.Table{"shop": {{Ref: base}}}
	l := &connectionLoop{c: w.server.native, id: ids[0]}
	l.memory.status.ViewsIn = []string{"shop"}
	opened := 0
	open := func(context.Context, string) (*pgx.Conn, error) { opened++; return nil, errors.New("not in this test") }
	round := func(what map[string][]views.Table, anew bool) (desired, []connection.Pending) {
		t.Helper()
		l.memory.views = map[string]viewsOf{"shop": {wanted: viewsDigest(wanted["shop"]), outcome: views.Outcome{Made: []views.Made{{Base: base, View: base, Roles: []string{"ana"}}}}}}
		opened = 0
		d := desired{views: what}
		failed, err := l.applyViews(t.Context(), connection.Target{}, open, &d, anew)
		if err != nil {
			t.Fatal(err)
		}
		return d, failed
	}
	if d, failed := round(wanted, false); opened != 0 || len(failed) > 0 || len(d.want.Sets) != 1 || len(l.memory.status.Views) != 1 {
		t.Errorf("nothing new: %d sessions, %+v, %+v", opened, failed, d.want.Sets)
	}
	if d, failed := round(wanted, true); opened != 1 || len(failed) != 1 || len(d.want.Sets) != 0 {
		t.Errorf("a look anew: %d sessions, %+v, %+v", opened, failed, d.want.Sets)
	}
	other := map[string][]views.Table{"shop": {{Ref: base, HashKey: []byte("other")}}}
	if _, failed := round(other, false); opened != 1 || len(failed) != 1 {
		t.Errorf("something else wanted: %d sessions, %+v", opened, failed)
	}
	l.memory.status.ViewsIn = nil
	if d, failed := round(nil, true); opened != 0 || len(failed)+len(d.want.Sets) > 0 {
		t.Errorf("nothing wanted where nothing stands: %d sessions, %+v", opened, failed)
	}
}
