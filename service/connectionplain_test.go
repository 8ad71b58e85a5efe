package service

import (
	"net/http"
	"strings"
	"testing"
)

// refused makes a request that must fail, and gives what is said of it.
func (w *world) refused(method, path string, body any, status int) string {
	w.t.Helper()
	got, answer := w.call(method, path, w.admin, text(w.t, body))
	if got != status {
		w.t.Fatalf("%s %s: %d %s", method, path, got, answer)
	}
	return string(answer)
}

func says(t *testing.T, answer string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(answer, word) {
			t.Errorf("%q is not said in %s", word, answer)
		}
	}
}

func TestObjectsAreAskedForByAnySpelling(t *testing.T) {
	w := register(t)
	w.inStep()
	says(t, w.refused("GET", "/v1/connections/shop/objects?level=tabel", nil, http.StatusBadRequest), "database, schema or table")
	says(t, w.refused("GET", "/v1/connections/shop/objects?under=shop.nope", nil, http.StatusNotFound), "shop.nope")
	says(t, w.refused("GET", "/v1/connections/nosuch", nil, http.StatusNotFound), `there is no connection \"nosuch\"`)
	runAt(t, w.pg, `CREATE TABLE sales."x/y" (a int)`)
	w.sync()
	var o Object
	w.must("GET", `/v1/connections/shop/objects/shop.%22shop%22.sales.%22x%2Fy%22`, nil, &o)
	if o.Name != "shop.shop.sales.x/y" {
		t.Errorf("found %q", o.Name)
	}
	var list []Object
	w.must("GET", `/v1/connections/shop/objects?under=shop.%22shop%22.sales&level=table`, nil, &list)
	if len(list) != 3 {
		t.Errorf("in the schema: %v", list)
	}
	w.must("POST", "/v1/connections/shop/sync", syncRequest{Object: `shop.shop."sales"`}, nil)
	var st Status
	w.must("GET", "/v1/status", nil, &st)
	if got := text(t, st.Connections); !strings.HasPrefix(got, `[{"name":"shop","state":`) {
		t.Errorf("status: %s", got)
	}
}

// TestWhatTheBrokerDoesNotListIsTold with the statement that changes it.
func TestWhatTheBrokerDoesNotListIsTold(t *testing.T) {
	w := register(t)
	runAt(t, w.pg, "CREATE SCHEMA late; CREATE TABLE late.a (a int); CREATE TABLE late.b (a int)")
	if st := w.sync(); !strings.Contains(strings.Join(st.Lacking, " "), "a DBA runs: SELECT portcullis_broker.list_table(") {
		t.Errorf("status: %q", st.Lacking)
	}
}

func TestOneInstanceOneConnection(t *testing.T) {
	w := &world{fixture: start(t), pg: remote(t)}
	bare := w.connection("shop")
	bare.Setup = nil
	says(t, w.refused("POST", "/v1/connections", bare, http.StatusUnprocessableEntity), "--setup-user", "--password-file")

	says(t, w.refused("POST", "/v1/state?dry_run=true", State{Connections: &[]Connection{w.connection("one"), w.connection("two")}}, http.StatusConflict),
		"connections[1]", `connection \"one\" reaches already`)

	answers := make(chan string, 2)
	for _, name := range []string{"one", "two"} {
		go func() {
			_, answer := w.call("POST", "/v1/connections", w.admin, text(t, w.connection(name)))
			answers <- string(answer)
		}()
	}
	both := <-answers + <-answers
	if strings.Count(both, `"system_id"`)+strings.Count(both, "reaches already") == 0 || strings.Count(both, `"error"`) != 1 {
		t.Errorf("two registrations at once: %s", both)
	}
	var list []Connection
	w.must("GET", "/v1/connections", nil, &list)
	if len(list) != 1 {
		t.Fatalf("%d connections", len(list))
	}
	other := list[0]
	other.Mode = "grantor"
	says(t, w.refused("PUT", "/v1/connections/"+other.Name, other, http.StatusConflict), "print-script "+other.Name+" --removal")
}
