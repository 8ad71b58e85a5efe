package service

import (
	"strings"
	"testing"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/views"
	"portcullis.dev/portcullis/policy"
)

// TestViewsThatCannotBeMadeHoldUpNoRevoke squats the schema of the views, as
// anybody with CREATE on the database can.
func TestViewsThatCannotBeMadeHoldUpNoRevoke(t *testing.T) {
	w := register(t, "ana", "ben")
	runAt(t, w.pg, views.Script(connection.Target{Username: "gatekeeper", Prefix: connection.DefaultPrefix})+
		`GRANT USAGE ON SCHEMA sales TO portcullis_views; GRANT SELECT ON sales.orders TO portcullis_views; ALTER SCHEMA portcullis_views OWNER TO ben`)
	c := w.connection("shop")
	c.Setup, c.Views = nil, true
	w.must("PUT", "/v1/connections/shop", c, nil)
	orders := policy.Target{DataSources: []string{"shop.shop.sales.orders"}}
	ana := &policy.Who{Person: &policy.PersonID{IAMID: DefaultIAM, UserID: "ana"}}
	w.must("PUT", "/v1/policies/all", Policy{Name: "all", Kind: policy.KindSubscription, On: orders, Who: &policy.Who{Everyone: true}}, nil)
	w.must("PUT", "/v1/policies/few", Policy{Name: "few", Kind: policy.KindFilter, On: orders, Filter: "id = 1", Except: ana}, nil)
	w.soonCan("ana", readOrders, true)

	var st ConnectionStatus
	w.soon("the failure is told", func() bool {
		w.must("GET", "/v1/connections/shop/status", nil, &st)
		return st.State == standPending && len(st.Pending) == 1
	})
	if p := st.Pending[0]; !strings.Contains(p.Statement, `views in database "shop"`) || p.Error == nil || p.Error.Code != "foreign_schema" || p.Since.IsZero() {
		t.Errorf("pending: %+v, %+v", p, p.Error)
	}
	w.must("DELETE", "/v1/policies/all", nil, nil)
	w.soonCan("ana", readOrders, false)

	// Once it is mended, the views come by themselves.
	w.must("PUT", "/v1/policies/all", Policy{Name: "all", Kind: policy.KindSubscription, On: orders, Who: &policy.Who{Everyone: true}}, nil)
	runAt(t, w.pg, "ALTER SCHEMA portcullis_views OWNER TO CURRENT_USER")
	w.must("POST", "/v1/connections/shop/sync", syncRequest{}, nil)
	w.soon("ben reads the view", func() bool { return w.sees("ben", "SELECT id::text FROM policy_sales.orders") == "1" })
	w.inStep()
}
