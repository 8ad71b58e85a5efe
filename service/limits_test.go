package service

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"portcullis.dev/portcullis/policy"
)

const limitedState = `
groups: [{name: sales}, {name: hr}]
people: [{userid: eve, groups: [sales]}, {userid: max, iamid: okta}]
sources:
  - name: shop
    driver: PostgreSQL Unicode
    host: 127.0.0.1
    database: shop
    limits: {statements: 4, rows: 1000, seconds: 60}
    limits_for:
      - {userid: max, iamid: okta, rows: 0, bytes: 5}
      - {group: sales, rows: 100}
      - {group: hr, rows: 1}
  - {name: free, driver: SQLite3, database: free.db}
data_sources:
  - {name: orders, source: shop, remote_table: orders, columns: [{name: id, type: integer}]}
  - {name: notes, source: free, remote_table: notes, columns: [{name: id, type: integer}]}
policies: [{name: all, kind: subscription, on: {all: true}, who: {everyone: true}}]
`

// Limits go from the state file through the store into decisions.
func TestLimitsReachDecisions(t *testing.T) {
	f := start(t)
	f.apply(limitedState)
	if again := f.apply(limitedState); len(again.Differences) != 0 {
		t.Errorf("the same state again: %+v", again.Differences)
	}
	limits := func(iamid, userid, dataSource string) policy.Limits {
		t.Helper()
		e, err := f.store.Explain(t.Context(), iamid, userid, dataSource, time.Now())
		if err != nil || !e.Decision.Allowed {
			t.Fatal(e.Decision.Reason, err)
		}
		return e.Decision.Limits
	}
	for _, test := range []struct {
		iamid, userid, dataSource string
		want                      policy.Limits
	}{
		{"local", "eve", "orders", policy.Limits{Statements: 4, Rows: 100, Seconds: 60}},
		{"okta", "max", "orders", policy.Limits{Statements: 4, Bytes: 5, Seconds: 60}},
		{"local", "eve", "notes", policy.Limits{}},
	} {
		if got := limits(test.iamid, test.userid, test.dataSource); got != test.want {
			t.Errorf("%s on %s: %+v, want %+v", test.userid, test.dataSource, got, test.want)
		}
	}
	if status, raw := f.call("DELETE", "/v1/groups/sales", f.admin, ""); status != http.StatusConflict || !contains(raw, `source \"shop\" (limits_for) names it`) {
		t.Errorf("a group whose limits would go with it: %d %s", status, raw)
	}
	var s Source
	f.must("GET", "/v1/sources/shop", nil, &s)
	s.LimitsFor = slices.DeleteFunc(s.LimitsFor, func(l LimitsFor) bool { return l.Group == "sales" })
	f.must("PUT", "/v1/sources/shop", s, nil)
	f.must("DELETE", "/v1/groups/sales", nil, nil)
	if got := limits("local", "eve", "orders"); got.Rows != 1000 {
		t.Errorf("without the group: %+v", got)
	}
	f.must("GET", "/v1/sources/shop", nil, &s)
	if len(s.LimitsFor) != 2 || s.LimitsFor[0].Group != "hr" || *s.LimitsFor[1].Rows != 0 || *s.Limits.Statements != 4 || s.Limits.Bytes != nil {
		t.Errorf("%+v %+v", s.Limits, s.LimitsFor)
	}
	s.Limits, s.LimitsFor = nil, nil
	f.must("PUT", "/v1/sources/shop", s, nil)
	if got := limits("okta", "max", "orders"); got != (policy.Limits{}) {
		t.Errorf("after they were taken away: %+v", got)
	}
}

func TestBadLimitsAreRefused(t *testing.T) {
	f := start(t)
	f.must("POST", "/v1/groups", Group{Name: "sales"}, nil)
	for _, test := range []struct {
		body   string // of the source
		status int
		field  string
	}{
		{`"limits": {"rows": 0}`, http.StatusUnprocessableEntity, "limits.rows"},
		{`"limits": {"rows": -1}`, http.StatusUnprocessableEntity, "limits.rows"},
		{`"limits": {"rows": 1.5}`, http.StatusBadRequest, "limits.rows"},
		{`"limits": {"rows": "many"}`, http.StatusBadRequest, "limits.rows"},
		{`"limits": {"rows": 99999999999999999999}`, http.StatusBadRequest, "limits.rows"},
		{`"limits": {"statements": 10001}`, http.StatusUnprocessableEntity, "limits.statements"},
		{`"limits": {"seconds": 99999999999}`, http.StatusUnprocessableEntity, "limits.seconds"},
		{`"limits": {"minutes": 1}`, http.StatusBadRequest, "limits.minutes"},
		{`"limits": {}`, http.StatusUnprocessableEntity, "limits"},
		{`"limits_for": [{"rows": 1}]`, http.StatusUnprocessableEntity, "limits_for[0]"},
		{`"limits_for": [{"group": "sales", "userid": "eve", "rows": 1}]`, http.StatusUnprocessableEntity, "limits_for[0]"},
		{`"limits_for": [{"group": "sales", "iamid": "okta", "rows": 1}]`, http.StatusUnprocessableEntity, "limits_for[0].iamid"},
		{`"limits_for": [{"group": "sales", "rows": 0}]`, http.StatusUnprocessableEntity, "limits_for[0].rows"},
		{`"limits_for": [{"group": "sales"}]`, http.StatusUnprocessableEntity, "limits_for[0]"},
		{`"limits_for": [{"userid": "nobody", "rows": 1}]`, http.StatusUnprocessableEntity, "limits_for[0].userid"},
		{`"limits_for": [{"group": "none", "rows": 1}]`, http.StatusConflict, "limits_for[0].group"},
		{`"limits_for": [{"group": "sales", "rows": 1}, {"group": "sales", "rows": 2}]`, http.StatusUnprocessableEntity, "limits_for[1]"},
	} {
		status, raw := f.call("POST", "/v1/sources", f.admin, `{"name": "shop", "driver": "SQLite3", "database": "shop.db", `+test.body+`}`)
		if status != test.status || !contains(raw, `"field":"`+test.field+`"`) {
			t.Errorf("%s: %d %s, want %d naming %s", test.body, status, raw, test.status, test.field)
		}
	}
}
