package service

import (
	"fmt"
	"strings"
	"testing"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/views"
	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/policy"
)

// kinTables have partitions and children, each with one row of what is hidden.
const kinTables = `CREATE SCHEMA sales; SET search_path = sales;
	CREATE TABLE part (id int, email text) PARTITION BY LIST (id); CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1);
	CREATE TABLE part2 PARTITION OF part DEFAULT PARTITION BY LIST (id); CREATE TABLE part2a PARTITION OF part2 DEFAULT;
	CREATE TABLE base (id int, email text); CREATE TABLE derived (more text) INHERITS (base); CREATE TABLE grand () INHERITS (derived);
	CREATE TABLE tree (id int, email text); CREATE TABLE leaf (more text) INHERITS (tree); CREATE TABLE leaf2 () INHERITS (tree);
	CREATE TABLE open (id int, email text) PARTITION BY LIST (id); CREATE TABLE open1 PARTITION OF open DEFAULT;
	INSERT INTO part VALUES (1, 'one'), (2, 'two'); INSERT INTO grand VALUES (1, 'three', 'm'); INSERT INTO leaf VALUES (1, 'four', 'm'); INSERT INTO open VALUES (1, 'five');`

// TestMasksHoldAbovePartitionsAndChildrenAndBelow: who may see a part only of a
// table reads its rows neither by a partition or child of it nor by a parent.
func TestMasksHoldAbovePartitionsAndChildrenAndBelow(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) { masksAmongKin(t, major) })
	}
}

func masksAmongKin(t *testing.T, major int) {
	w := &world{fixture: start(t), pg: testenv.StartServer(t, testenv.ServerOptions{Major: major})}
	if err := w.pg.CreateDatabase(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	runAt(t, w.pg, fmt.Sprintf("CREATE ROLE ana LOGIN PASSWORD '%s'; CREATE ROLE ben LOGIN PASSWORD '%[1]s';", rolePassword)+kinTables)
	w.must("POST", "/v1/connections", w.connection("shop"), nil)
	w.must("POST", "/v1/state", State{People: &[]Person{{UserID: "ana", Groups: []string{"team"}}, {UserID: "ben"}}, Groups: &[]Group{{Name: "team"}}}, nil)
	w.inStep()
	team := &policy.Who{Group: "team"}
	named := func(table string) policy.Target {
		return policy.Target{DataSources: []string{"shop.shop.sales." + table}}
	}
	w.must("PUT", "/v1/connection_objects/shop.shop.sales", ObjectSettings{Name: "shop.shop.sales", Tags: []string{"Sales"}}, nil)
	w.must("PUT", "/v1/connection_objects/shop.shop.sales.part", ObjectSettings{Name: "shop.shop.sales.part", Columns: []ColumnTags{{Name: "email", Tags: []string{"PII"}}}}, nil)
	w.must("POST", "/v1/policies", Policy{Name: "all", Kind: policy.KindSubscription, On: policy.Target{Tags: []string{"Sales"}}, Who: &policy.Who{Everyone: true}}, nil)
	w.must("POST", "/v1/policies", Policy{Name: "hide", Kind: policy.KindMask, On: policy.Target{All: true}, Columns: &policy.ColumnChoice{Tags: []string{"PII"}},
		Mask: &policy.Mask{Kind: policy.MaskNull}, Except: team}, nil)
	w.must("POST", "/v1/policies", Policy{Name: "base", Kind: policy.KindMask, On: named("base"), Columns: &policy.ColumnChoice{Names: []string{"email"}},
		Mask: &policy.Mask{Kind: policy.MaskNull}, Except: team}, nil)
	w.must("POST", "/v1/policies", Policy{Name: "leaf", Kind: policy.KindFilter, On: named("leaf"), Filter: "more = @username", Except: team}, nil)
	st := w.inStep()
	read := func(table string) string { return "SELECT * FROM sales." + table }
	for _, table := range []string{"part", "part1", "part2", "part2a", "base", "derived", "grand", "tree", "leaf"} {
		if w.can("ben", read(table)) {
			t.Errorf("ben reads %s", table)
		}
		if !w.can("ana", read(table)) {
			t.Errorf("ana does not read %s", table)
		}
	}
	for _, table := range []string{"leaf2", "open", "open1"} {
		if !w.can("ben", read(table)) {
			t.Errorf("ben does not read %s", table)
		}
	}
	if st.Exceeds+st.Lacks > 0 || !strings.Contains(fmt.Sprint(st.Withheld), "{[leaf (on shop.shop.sales.leaf, whose rows it shows)] [local/ben] [shop.shop.sales.tree] 1}") {
		t.Errorf("exceed %d, lack %d, withheld %v", st.Exceeds, st.Lacks, st.Withheld)
	}
	var e Explanation
	w.must("GET", "/v1/explain?user=ben&data_source=shop.shop.sales.part2a", nil, &e)
	if fmt.Sprint(e.Masks) != "[email: null by hide]" {
		t.Errorf("explained: %+v", e)
	}

	// A partition that is made later, with a mask above it and one of its own below an open table.
	runAt(t, w.pg, "CREATE TABLE sales.part3 PARTITION OF sales.part FOR VALUES IN (3); CREATE TABLE sales.open2 PARTITION OF sales.open FOR VALUES IN (2)")
	w.must("PUT", "/v1/connection_objects/shop.shop.sales.open2", ObjectSettings{Name: "shop.shop.sales.open2", State: stateDisable, Columns: []ColumnTags{{Name: "email", Tags: []string{"PII"}}}}, nil)
	w.sync()
	if w.can("ben", read("part3")) || w.can("ben", read("open")) || !w.can("ben", read("open1")) || !w.can("ana", read("open")) {
		t.Error("a new partition opened what is hidden")
	}

	// With views ben sees his part of the partition, and none of what would show more.
	runAt(t, w.pg, views.Script(connection.Target{Username: "gatekeeper", Prefix: connection.DefaultPrefix})+
		`GRANT USAGE ON SCHEMA sales TO portcullis_views; GRANT SELECT ON ALL TABLES IN SCHEMA sales TO portcullis_views;`)
	c := w.connection("shop")
	c.Setup, c.Views = nil, true
	w.must("PUT", "/v1/connections/shop", c, nil)
	st = w.inStep()
	for table, sees := range map[string]string{"part": "1 2", "part1": "1", "part2a": "2", "derived": "1", "leaf": ""} {
		if got := w.sees("ben", "SELECT concat_ws('/', id, email) FROM policy_sales."+table+" ORDER BY id"); got != sees {
			t.Errorf("ben sees %q in the view of %s, want %q", got, table, sees)
		}
	}
	for _, view := range st.Views {
		if view.Table == "shop.sales.tree" && (view.View != "" || !strings.Contains(fmt.Sprint(view.Reason), "local/ben may see a part only of shop.shop.sales.leaf")) {
			t.Errorf("the view of a parent: %+v", view)
		}
	}
	if got := w.sees("ben", "SELECT email FROM policy_sales.tree"); !strings.Contains(got, "ERROR") {
		t.Errorf("a view of a parent shows %q", got)
	}
}
