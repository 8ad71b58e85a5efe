package service

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"portcullis.dev/portcullis/policy"
)

// listen opens the change stream and returns its events.
func (f *fixture) listen(token string) (events <-chan event, stop func()) {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", f.http.URL+"/v1/node/events?node=engine", nil)
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != 200 {
		f.t.Fatalf("%v %v", err, res)
	}
	out := make(chan event, 100)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(out)
		defer res.Body.Close()
		scan := bufio.NewScanner(res.Body)
		for scan.Scan() {
			var e event
			if json.Unmarshal(scan.Bytes(), &e) == nil {
				out <- e
			}
		}
	})
	stop = func() { cancel(); wg.Wait() }
	f.t.Cleanup(stop)
	return out, stop
}

// await returns the first event that is wanted, within a second.
func await(t *testing.T, events <-chan event, what string, is func(event) bool) event {
	t.Helper()
	limit := time.After(time.Second)
	for {
		select {
		case e, open := <-events:
			if !open {
				t.Fatalf("the stream ended before %s", what)
			}
			if is(e) {
				return e
			}
		case <-limit:
			t.Fatalf("not within a second: %s", what)
		}
	}
}

func isVersion(e event) bool { return e.Type == "version" }

func TestEventsTellOfChangesThroughAnotherReplica(t *testing.T) {
	f := start(t)
	f.apply(sampleState)
	other := startOn(t, f.dsn, f.key, nil)
	events, _ := f.listen(f.nodeToken("engine"))
	first := await(t, events, "the version at once", isVersion)
	other.must("PUT", "/v1/people/ben", Person{UserID: "ben", Status: policy.StatusDisabled}, nil)
	e := await(t, events, "the account", func(e event) bool { return e.Type == "account" && e.Role == "ben_sql" })
	if *e.OK || !strings.Contains(e.Reason, "not active") || e.Hint == "" {
		t.Errorf("%+v", e)
	}
	if v := await(t, events, "the version", isVersion); *v.Version <= *first.Version {
		t.Errorf("version %d after %d", *v.Version, *first.Version)
	}
	other.must("DELETE", "/v1/sql_accounts/ana_sql", nil, nil)
	if e := await(t, events, "the deleted account", func(e event) bool { return e.Role == "ana_sql" }); *e.OK {
		t.Errorf("%+v", e)
	}
	other.must("PUT", "/v1/people/ben", Person{UserID: "ben"}, nil)
	if e := await(t, events, "the account again", func(e event) bool { return e.Role == "ben_sql" }); !*e.OK {
		t.Errorf("%+v", e)
	}
}

func TestEventsBeatAndTellWhoIsOut(t *testing.T) {
	f := start(t)
	f.apply(sampleState)
	f.must("PUT", "/v1/people/dan", Person{UserID: "dan", Status: policy.StatusDisabled}, nil)
	events, _ := f.listen(f.nodeToken("engine"))
	await(t, events, "the disabled account", func(e event) bool { return e.Role == "dan_sql" && !*e.OK })
	for range 2 {
		limit := time.After(2 * time.Second)
		for beat := false; !beat; {
			select {
			case e := <-events:
				beat = e.Type == "heartbeat"
			case <-limit:
				t.Fatal("no heartbeat within two seconds")
			}
		}
	}
}

func TestEventsEndWithTheKey(t *testing.T) {
	f := start(t)
	f.apply(sampleState)
	events, _ := f.listen(f.nodeToken("engine"))
	await(t, events, "the version", isVersion)
	if err := f.store.DeleteAPIKey(t.Context(), "test", "node engine"); err != nil {
		t.Fatal(err)
	}
	limit := time.After(2 * time.Second)
	for {
		select {
		case _, open := <-events:
			if !open {
				return
			}
		case <-limit:
			t.Fatal("the stream of a revoked key goes on")
		}
	}
}

func TestLogin(t *testing.T) {
	f := start(t)
	f.apply(sampleState)
	token := f.nodeToken("engine")
	f.must("PUT", "/v1/people/dan", Person{UserID: "dan", Status: policy.StatusDisabled}, nil)
	for role, want := range map[string]string{"ana_sql": "", "dan_sql": "dan is not active", "nobody": `account "nobody" belongs to no person`} {
		var reply LoginReply
		f.mustAs(token, "POST", "/v1/node/login", loginRequest{Node: "engine", Role: role}, &reply)
		if reply.OK != (want == "") || reply.Reason != want || reply.TTLMS != loginTTL.Milliseconds() || (want != "") != (reply.Hint != "") {
			t.Errorf("%s: %+v", role, reply)
		}
	}
}

func TestAuditIsKeptOnce(t *testing.T) {
	f := start(t)
	token := f.nodeToken("engine")
	post := func(body string) AuditReply {
		t.Helper()
		status, raw := f.call("POST", "/v1/audit/records", token, body)
		var r AuditReply
		if err := json.Unmarshal(raw, &r); status != 200 || err != nil {
			t.Fatalf("%d %s", status, raw)
		}
		return r
	}
	intent := `{"id":"r1","kind":"intent","role":"ana_sql","person":{"iamid":"local","userid":"ana"},"statement":"SELECT 'a\u0000b\ud800' \u00fc","tables":[{"data_source":"d1"}]}`
	completion := `{"id":"r1","kind":"completion","role":"ana_sql","rows":12345678901234567890}`
	if r := post(lines(intent, completion)); r.Stored != 2 || r.Repeated != 0 || r.Refused != nil {
		t.Errorf("first: %+v", r)
	}
	if r := post(lines(intent, completion, `{"id":"r2","kind":"denied","person":{"userid":"ben"}}`)); r.Stored != 1 || r.Repeated != 2 || r.Refused != nil {
		t.Errorf("repeat: %+v", r)
	}
	// What is no record is refused by itself, and the rest goes on.
	refused := post(lines(`nix`, `{"kind":"intent"}`, `{"id":"r9","kind":"`+strings.Repeat("k", 65)+`"}`, `{"id":"long","kind":"intent","x":"`+strings.Repeat("x", maxRecord)+`"}`, `{"id":"r9","kind":"intent"}`))
	if refused.Stored != 1 || len(refused.Refused) != 4 || refused.Refused[0].Line != 1 || refused.Refused[2].ID != "r9" || !strings.Contains(refused.Refused[3].Reason, "longer than") {
		t.Errorf("with what is none: %+v", refused)
	}
	// Another node may use the same ids without hiding anything.
	if status, raw := f.call("POST", "/v1/audit/records", f.nodeToken("second"), intent); status != 200 || !contains(raw, `"stored":1`) {
		t.Errorf("another node: %d %s", status, raw)
	}
	for query, want := range map[string]int{"": 5, "?kind=denied": 1, "?person=ana": 2, "?role=ana_sql&kind=completion": 1, "?data_source=d1": 2, "?node=second": 1, "?id=r9": 1, "?id=r1": 3, "?limit=1": 1, "?since=2100-01-01T00:00:00Z": 0} {
		var list []AuditEntry
		f.must("GET", "/v1/audit"+query, nil, &list)
		if len(list) != want {
			t.Errorf("%q: %d entries, want %d", query, len(list), want)
		}
	}
	var one []AuditEntry
	f.must("GET", "/v1/audit?kind=completion", nil, &one)
	if !strings.Contains(string(one[0].Record), "12345678901234567890") {
		t.Errorf("digits are lost: %s", one[0].Record)
	}
}

func TestManyAtOnce(t *testing.T) {
	f := start(t)
	f.apply(sampleState)
	other := startOn(t, f.dsn, f.key, nil)
	token, id := f.nodeToken("engine"), f.orders()
	start, err := f.store.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	const workers, each = 8, 10
	for w := range workers {
		wg.Go(func() {
			server := []*fixture{f, other}[w%2]
			for i := range each {
				status, raw := server.call("POST", "/v1/groups", server.admin, fmt.Sprintf(`{"name":"g%d-%d"}`, w, i))
				if status != 201 {
					t.Errorf("%d %s", status, raw)
				}
				body := fmt.Sprintf(`{"node":"engine","role":"ana_sql","data_sources":[%q]}`, id)
				if status, raw := server.call("POST", "/v1/node/decisions", token, body); status != 200 || !contains(raw, `"allowed":true`) {
					t.Errorf("%d %s", status, raw)
				}
				record := fmt.Sprintf(`{"id":"r%d","kind":"intent"}`, i)
				if status, raw := server.call("POST", "/v1/audit/records", token, record); status != 200 {
					t.Errorf("%d %s", status, raw)
				}
			}
		})
	}
	wg.Wait()
	v, err := f.store.Version(t.Context())
	if err != nil || v != start+workers*each {
		t.Errorf("version %d after %d, %v", v, start, err)
	}
	var n int
	if err := f.store.pool.QueryRow(t.Context(), "SELECT count(*) FROM portcullis.audit_records").Scan(&n); err != nil || n != each {
		t.Errorf("%d records, %v", n, err)
	}
	var changes []ChangeEntry
	f.must("GET", "/v1/changes?limit=1000", nil, &changes)
	seen := map[int64]bool{}
	for _, c := range changes {
		if c.Object == "groups" && strings.HasPrefix(c.Key, "g") && strings.Contains(c.Key, "-") {
			if seen[c.Version] {
				t.Errorf("version %d was given twice", c.Version)
			}
			seen[c.Version] = true
		}
	}
	if len(seen) != workers*each {
		t.Errorf("%d changes are logged", len(seen))
	}
}

func TestTwoReplicasMigrateAtOnce(t *testing.T) {
	dsn := newDatabase(t)
	key, _ := newKey(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, err := Open(t.Context(), dsn, key, "engine", startLog(t))
			if err != nil {
				t.Error(err)
				return
			}
			s.Close()
		})
	}
	wg.Wait()
}

func TestWrongKeyFileIsRefused(t *testing.T) {
	f := start(t)
	f.apply(sampleState)
	wrong, _ := newKey(t)
	if s, err := Open(t.Context(), f.dsn, wrong, "engine", startLog(t)); err == nil || !strings.Contains(err.Error(), "key file") {
		t.Errorf("%v %v", s, err)
	}
}

func TestHealthAndMetrics(t *testing.T) {
	f := start(t)
	if status, raw := f.call("GET", "/healthz", "", ""); status != 200 || !contains(raw, "ok") {
		t.Errorf("%d %s", status, raw)
	}
	f.call("GET", "/v1/groups", "", "")
	if status, raw := f.call("GET", "/metrics", "", ""); status != 200 || !contains(raw, `portcullis_requests_total{route="GET /v1/groups"`) {
		t.Errorf("%d %s", status, raw)
	}
	var st Status
	f.must("GET", "/v1/status", nil, &st)
	if st.Version == 0 {
		t.Errorf("%+v", st)
	}
}
