package service

import (
	"slices"
	"strings"
	"testing"
)

// TestTagsAreProposedUntilSomebodySetsThem reads names and comments, then values where the account may.
func TestTagsAreProposedUntilSomebodySetsThem(t *testing.T) {
	w := register(t, "ana")
	runAt(t, w.pg, `CREATE TABLE sales.customers (id int, email text, code text); COMMENT ON TABLE sales.customers IS 'Who buys. [tags: Sales]';
		INSERT INTO sales.customers SELECT i, 'x', 'reader' || i || '@example.com' FROM generate_series(1, 50) i`)
	w.must("POST", "/v1/connections/shop/sync", syncRequest{}, nil)
	w.inStep()
	tags := func(query string) []string {
		var list []TagProposal
		w.must("GET", "/v1/connections/shop/proposals?under=shop.shop.sales.customers"+query, nil, &list)
		out := []string{}
		for _, p := range list {
			if strings.Contains(p.Reason, "reader") {
				t.Errorf("a reason holds a value: %s", p.Reason)
			}
			out = append(out, p.Column+":"+p.Tag)
		}
		slices.Sort(out)
		return out
	}
	if got := tags(""); !slices.Equal(got, []string{":Sales", "email:PII.Email"}) {
		t.Errorf("proposed %v", got)
	}
	if got := tags("&sample=true"); slices.Contains(got, "code:PII.Email") {
		t.Errorf("the account of a broker read values: %v", got)
	}
	runAt(t, w.pg, "GRANT USAGE ON SCHEMA sales TO gatekeeper; GRANT SELECT ON sales.customers TO gatekeeper")
	if got := tags("&sample=true"); !slices.Contains(got, "code:PII.Email") {
		t.Errorf("values were not looked at: %v", got)
	}
	w.must("PUT", "/v1/connection_objects/shop.shop.sales.customers", ObjectSettings{Name: "shop.shop.sales.customers", Tags: []string{"Sales"}, Columns: []ColumnTags{{Name: "email", Tags: []string{"PII.Email"}}}}, nil)
	if got := tags(""); len(got) != 0 {
		t.Errorf("still proposed %v", got)
	}
}
