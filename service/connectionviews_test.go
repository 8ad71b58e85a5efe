package service

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/views"
	"portcullis.dev/portcullis/policy"
)

// sees runs a query of one text column as a person at the instance.
func (w *world) sees(person, sql string) string {
	w.t.Helper()
	conn, err := pgx.Connect(w.t.Context(), w.pg.DSNAs(person, rolePassword, "shop"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.Close(w.t.Context()) }()
	rows, err := conn.Query(w.t.Context(), sql)
	if err != nil {
		return err.Error()
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err.Error()
	}
	return strings.Join(list, " ")
}

func (w *world) dryRun() string {
	w.t.Helper()
	var reply ScriptReply
	w.must("POST", "/v1/connections/shop/dry-run", struct{}{}, &reply)
	return reply.Script
}

// TestPeopleSeePartsOfTablesThroughViews masks and filters a table of a
// connection: who may see all of it reads the table, who may see a part a view.
func TestPeopleSeePartsOfTablesThroughViews(t *testing.T) {
	w := register(t, "ana", "ben", "chloe")
	target := connection.Target{Username: "gatekeeper", Prefix: connection.DefaultPrefix}
	runAt(t, w.pg, `INSERT INTO sales.orders VALUES (2, 'y'), (3, 'ben')`)
	runAt(t, w.pg, views.Script(target)+`GRANT USAGE ON SCHEMA sales TO portcullis_views; GRANT SELECT ON sales.orders TO portcullis_views;`)

	c := w.connection("shop")
	c.Setup, c.Views = nil, true
	w.must("PUT", "/v1/connections/shop", c, nil)
	const orders = "shop.shop.sales.orders"
	w.must("PUT", "/v1/policies/all", Policy{Name: "all", Kind: policy.KindSubscription, On: policy.Target{DataSources: []string{orders}}, Who: &policy.Who{Everyone: true}}, nil)
	w.must("PUT", "/v1/policies/own", Policy{Name: "own", Kind: policy.KindFilter, On: policy.Target{DataSources: []string{orders}}, Filter: "email = @username",
		Except: &policy.Who{Any: []*policy.Who{{Person: &policy.PersonID{IAMID: DefaultIAM, UserID: "ana"}}, {Person: &policy.PersonID{IAMID: DefaultIAM, UserID: "chloe"}}}}}, nil)
	w.must("PUT", "/v1/policies/blank", Policy{Name: "blank", Kind: policy.KindMask, On: policy.Target{DataSources: []string{orders}}, Columns: &policy.ColumnChoice{Names: []string{"email"}},
		Mask: &policy.Mask{Kind: policy.MaskNull}, Except: &policy.Who{Any: []*policy.Who{{Person: &policy.PersonID{IAMID: DefaultIAM, UserID: "ana"}}, {Person: &policy.PersonID{IAMID: DefaultIAM, UserID: "ben"}}}}}, nil)
	st := w.inStep()

	const table, view = "SELECT concat_ws('/', id, email) FROM sales.orders ORDER BY id", "SELECT concat_ws('/', id, email) FROM policy_sales.orders ORDER BY id"
	for _, want := range []struct{ person, sql, sees string }{
		{"ana", table, "1/x 2/y 3/ben"}, {"ana", view, "ERROR: permission denied for schema policy_sales (SQLSTATE 42501) at character 38"},
		{"ben", table, "ERROR: permission denied for schema sales (SQLSTATE 42501) at character 38"}, {"ben", view, "3/ben"},
		{"chloe", table, "ERROR: permission denied for schema sales (SQLSTATE 42501) at character 38"}, {"chloe", view, "1 2 3"},
	} {
		if got := w.sees(want.person, want.sql); strings.Split(got, " at character")[0] != strings.Split(want.sees, " at character")[0] {
			t.Errorf("%s: %s: %s, want %s", want.person, want.sql, got, want.sees)
		}
	}
	if st.Exceeds != 0 || len(st.Pending) > 0 || len(st.Views) != 1 || st.Views[0].View != "policy_sales.orders" || st.Views[0].People != 2 {
		t.Errorf("status: exceeds %d, pending %v, views %+v", st.Exceeds, st.Pending, st.Views)
	}

	if script := w.dryRun(); script != "" {
		t.Errorf("in step, and yet a dry run prints\n%s", script)
	}

	// Nothing of the views is a data source, and what is no longer wanted goes.
	var objects []Object
	w.must("GET", "/v1/connections/shop/objects", nil, &objects)
	for _, o := range objects {
		if strings.Contains(o.Name, "policy_") || strings.Contains(o.Name, "portcullis_views") {
			t.Errorf("%s is listed", o.Name)
		}
	}
	w.must("DELETE", "/v1/policies/own", nil, nil)
	w.inStep()
	if got := w.sees("ben", table); got != "1/x 2/y 3/ben" {
		t.Errorf("without a filter ben sees %s", got)
	}
	c.Views = false
	w.must("PUT", "/v1/connections/shop", c, nil)
	st = w.inStep()
	if got := w.sees("chloe", view); !strings.Contains(got, "ERROR") {
		t.Errorf("without views chloe sees %s", got)
	}
	if len(st.Withheld) != 1 {
		t.Errorf("withheld: %+v", st.Withheld)
	}
}
