package run

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"portcullis.dev/portcullis/policy"
)

func newTestEngine(t *testing.T, change func(*Config)) *Engine {
	t.Helper()
	cfg := Config{PGMajor: 15, MaxProcs: 2, BlockBytes: 1 << 20, Idle: time.Minute, MaxAbandoned: 4, AllowedHosts: "*"}
	if change != nil {
		change(&cfg)
	}
	e, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	return e
}

// until asks again with each step forward until done, as the shim does.
func until(t *testing.T, e *Engine, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatal("no progress for 20 seconds")
		}
		fds := []unix.PollFd{{Fd: int32(e.EventFD()), Events: unix.POLLIN}}
		if n, _ := unix.Poll(fds, 1000); n > 0 {
			var counter [8]byte
			_, _ = unix.Read(e.EventFD(), counter[:])
		}
	}
}

func decideAll(t *testing.T, e *Engine, s *Session, dataSources ...string) ([]Decision, error) {
	t.Helper()
	ticket, err := e.Decide(s, dataSources)
	if err != nil {
		return nil, err
	}
	var answers []Decision
	until(t, e, func() bool {
		var done bool
		answers, done, err = e.DecideResult(ticket)
		return done
	})
	return answers, err
}

const (
	dsOne = "11111111-1111-1111-1111-111111111111"
	dsTwo = "22222222-2222-2222-2222-222222222222"
)

func allowed(id string) policy.Decision {
	return policy.Decision{
		DataSource: id, Allowed: true, Source: "crm", RemoteSchema: "public", RemoteTable: "people",
		Columns: []policy.Column{{Name: "id", Type: "integer"}, {Name: "name", Type: "text"}}, MaxAgeMS: 60000, Version: 7,
	}
}

// answering is a service on a loopback port that answers decisions with f.
func answering(t *testing.T, f func(r decisionsRequest) (int, any)) (*Session, *atomic.Int32) {
	t.Helper()
	var calls atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		var asked decisionsRequest
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || r.URL.Path != "/v1/node/decisions" ||
			r.Method != http.MethodPost || r.Header.Get("Authorization") != "Bearer tok" {
			t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
		}
		status, body := f(asked)
		w.WriteHeader(status)
		if text, ok := body.(string); ok {
			_, _ = w.Write([]byte(text))
			return
		}
		_ = json.NewEncoder(w).Encode(body)
	}))
	t.Cleanup(server.Close)
	return &Session{
		RoleOID: 10, Role: "ann", Database: "immuta", Node: "n1", Governed: true, Lease: 5 * time.Second,
		ServiceURL: server.URL, Token: "tok", Epoch: 1,
	}, &calls
}

func decisionsOf(r decisionsRequest) (int, any) {
	out := map[string]any{"version": 7}
	var list []policy.Decision
	for _, ds := range r.DataSources {
		list = append(list, allowed(ds))
	}
	out["decisions"] = list
	return http.StatusOK, out
}

func TestDecisionsAreCachedForEveryInputTheyRead(t *testing.T) {
	e := newTestEngine(t, nil)
	s, calls := answering(t, decisionsOf)
	ask := func(s *Session) Decision {
		answers, err := decideAll(t, e, s, dsOne)
		if err != nil {
			t.Fatal(err)
		}
		return answers[0]
	}
	first := ask(s)
	if again := ask(s); again.ID != first.ID || calls.Load() != 1 || !first.Allowed || first.ID == 0 {
		t.Fatalf("asked %d times, ids %d %d", calls.Load(), first.ID, again.ID)
	}
	for name, change := range map[string]func(*Session){
		"role":          func(s *Session) { s.Role = "bob" },
		"role oid":      func(s *Session) { s.RoleOID++ },
		"node":          func(s *Session) { s.Node = "n2" },
		"database":      func(s *Session) { s.Database = "other" },
		"epoch":         func(s *Session) { s.Epoch++ },
		"impersonation": func(s *Session) { s.Impersonate = &Impersonation{IAMID: "i", UserID: "u"} },
		"nobody":        func(s *Session) { s.Impersonate = &Impersonation{} },
	} {
		other, before := *s, calls.Load()
		change(&other)
		if d := ask(&other); calls.Load() != before+1 || d.ID == first.ID || d.Digest != first.Digest {
			t.Errorf("%s: %d calls, id %d", name, calls.Load()-before, d.ID)
		}
	}
	token := *s
	token.Token, token.PID = "tok", 99
	if before := calls.Load(); ask(&token).ID != first.ID || calls.Load() != before {
		t.Error("another session of the same person did not share the entry")
	}
}

func TestNothingIsDecidedWithoutLeaseServiceOrToken(t *testing.T) {
	e := newTestEngine(t, nil)
	s, calls := answering(t, decisionsOf)
	if _, err := decideAll(t, e, s, dsOne); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Session){
		"lease": func(s *Session) { s.Lease = 0 },
		"url":   func(s *Session) { s.ServiceURL = "" },
		"token": func(s *Session) { s.Token = "" },
	} {
		other := *s
		change(&other)
		_, err := decideAll(t, e, &other, dsOne) // it is cached
		if err == nil || AsError(err).State != stateSystem || AsError(err).Hint == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if calls.Load() != 1 {
		t.Errorf("asked %d times", calls.Load())
	}
}

func TestAnswersThatCannotBeCarriedOutRefuse(t *testing.T) {
	one := func(change string) string {
		d, _ := json.Marshal(allowed(dsOne))
		return `{"version":7,"decisions":[` + strings.Replace(string(d), `"allowed":true`, `"allowed":true,`+change, 1) + `]}`
	}
	for name, body := range map[string]any{
		"no JSON":           "nonsense",
		"cut":               `{"version":7,"decisions":[`,
		"trailing":          one(`"contact":"x"`) + "x",
		"none":              `{"version":7,"decisions":[]}`,
		"another":           strings.Replace(one(`"contact":"x"`), dsOne, dsTwo, 1),
		"new field":         one(`"rate_limit":5`),
		"new mask":          one(`"masks":{"name":{"kind":"shuffle"}}`),
		"hash without key":  one(`"masks":{"name":{"kind":"hash"}}`),
		"bad regex":         one(`"masks":{"name":{"kind":"regex","pattern":"("}}`),
		"mask unknown col":  one(`"masks":{"salary":{"kind":"null"}}`),
		"new operator":      one(`"filter":{"op":"matches","column":"name","values":[{"type":"text","text":"a"}]}`),
		"filter unknown":    one(`"filter":{"op":"isnull","column":"salary"}`),
		"filter wrong type": one(`"filter":{"op":"=","column":"id","values":[{"type":"text","text":"a"}]}`),
	} {
		t.Run(name, func(t *testing.T) {
			e := newTestEngine(t, nil)
			s, _ := answering(t, func(decisionsRequest) (int, any) { return http.StatusOK, body })
			if answers, err := decideAll(t, e, s, dsOne); err == nil || AsError(err).State != stateSystem {
				t.Errorf("%v, %v", answers, err)
			}
		})
	}
}

func TestServiceErrorsRefuseAndAreNotKept(t *testing.T) {
	status := http.StatusInternalServerError
	e := newTestEngine(t, nil)
	s, _ := answering(t, func(r decisionsRequest) (int, any) {
		if status != http.StatusOK {
			return status, `{"error":{"code":"x","message":"out of order","hint":"wait"}}`
		}
		return decisionsOf(r)
	})
	for _, status = range []int{500, 401, 404, 429} {
		_, err := decideAll(t, e, s, dsOne)
		if err == nil || AsError(err).Detail != "out of order" || AsError(err).Hint != "wait" {
			t.Errorf("%d: %v", status, err)
		}
	}
	status = http.StatusOK
	if _, err := decideAll(t, e, s, dsOne); err != nil {
		t.Error(err)
	}
	s.ServiceURL = "http://127.0.0.1:1"
	if _, err := decideAll(t, e, s, dsTwo); err == nil || !strings.Contains(err.Error(), "could not reach the policy service") {
		t.Errorf("nobody there: %v", err)
	}
}

func TestDenialsReadLikeMissingRights(t *testing.T) {
	e := newTestEngine(t, nil)
	s, _ := answering(t, func(r decisionsRequest) (int, any) {
		return http.StatusOK, map[string]any{"version": 1, "decisions": []policy.Decision{
			{DataSource: dsOne, Reason: "not subscribed", Contact: "Eve", Discoverable: true, MaxAgeMS: 1000},
			{DataSource: dsTwo, Reason: "secret reason", Contact: "Eve", MaxAgeMS: 1000},
		}}
	})
	answers, err := decideAll(t, e, s, dsTwo, dsOne, dsTwo)
	if err != nil {
		t.Fatal(err)
	}
	if d := answers[1].Denial; answers[1].Allowed || answers[1].ID != 0 || d.State != "42501" || d.Detail != "not subscribed" || !strings.Contains(d.Hint, "Eve") {
		t.Errorf("discoverable: %+v", d)
	}
	for _, i := range []int{0, 2} {
		if d := answers[i].Denial; d.State != "42P01" || d.Detail != "" || d.Hint != "" || strings.Contains(d.Message, "secret") {
			t.Errorf("hidden: %+v", d)
		}
	}
}

func TestDigestTellsWhatThePersonSees(t *testing.T) {
	base := allowed(dsOne)
	base.Masks = map[string]policy.Mask{"name": {Kind: policy.MaskNull, Policy: "p1"}}
	same := base
	same.MaxAgeMS, same.Version, same.Policies = 1, 99, []policy.PolicyRef{{ID: "x"}}
	same.Masks = map[string]policy.Mask{"name": {Kind: policy.MaskNull, Policy: "p2"}}
	if digest(&base) != digest(&same) {
		t.Error("a change that nobody sees changes the digest")
	}
	for name, change := range map[string]func(*policy.Decision){
		"filter":  func(d *policy.Decision) { d.Filter = &policy.Predicate{Op: policy.OpFalse} },
		"mask":    func(d *policy.Decision) { d.Masks = nil },
		"denied":  func(d *policy.Decision) { d.Allowed = false },
		"person":  func(d *policy.Decision) { d.Person.UserID = "other" },
		"columns": func(d *policy.Decision) { d.Columns = d.Columns[:1] },
	} {
		other := base
		change(&other)
		if digest(&other) == digest(&base) {
			t.Errorf("%s does not change the digest", name)
		}
	}
}

func TestDecisionsServeOnlyWhomTheyWereMadeFor(t *testing.T) {
	e := newTestEngine(t, nil)
	s, _ := answering(t, decisionsOf)
	answers, err := decideAll(t, e, s, dsOne)
	if err != nil {
		t.Fatal(err)
	}
	id := answers[0].ID
	if _, err := e.decisions.forScan(id, s, dsOne); err != nil {
		t.Fatal(err)
	}
	other := *s
	other.Role = "bob"
	for name, err := range map[string]error{
		"person": second(e.decisions.forScan(id, &other, dsOne)),
		"table":  second(e.decisions.forScan(id, s, dsTwo)),
		"id":     second(e.decisions.forScan(id+1, s, dsOne)),
	} {
		if err == nil || AsError(err).State != stateDenied {
			t.Errorf("another %s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestUnusableServiceURLs(t *testing.T) {
	e := newTestEngine(t, nil)
	s, _ := answering(t, decisionsOf)
	for _, url := range []string{"http://policy.example.com", "https://user:pw@host", "\x00"} {
		s.ServiceURL = url
		_, err := decideAll(t, e, s, dsOne)
		if got := AsError(err); err == nil || got.State != stateSystem || got.Detail == "" || !strings.Contains(got.Hint, "immutasys.configure()") || strings.Contains(got.Detail, "pw") {
			t.Errorf("%q: %+v", url, got)
		}
	}
}

func TestServiceOverAUnixSocket(t *testing.T) {
	e := newTestEngine(t, nil)
	s, _ := answering(t, decisionsOf)
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(r.Method + " " + r.URL.String() + " " + r.Header.Get("Authorization")))
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Shutdown(context.Background()) })
	s.ServiceURL = "unix://" + path
	ticket := e.ServiceCall(s, http.MethodGet, "/v1/status?x=1", "")
	var rows Rows
	until(t, e, func() bool {
		var done bool
		rows, done, err = e.TicketResult(ticket)
		return done
	})
	if err != nil || *rows[0][0] != "200" || *rows[0][1] != "GET /v1/status?x=1 Bearer tok" {
		t.Errorf("%v %v", rows, err)
	}
	for _, path := range []string{"http://other/v1/x", "//other/v1/x", "/v2/x", "v1/x", ""} {
		if _, _, err := e.decisions.service.call(context.Background(), s, http.MethodGet, path, nil); err == nil {
			t.Errorf("path %q was taken", path)
		}
	}
}

func TestTicketsOfOtherKindsAndPanics(t *testing.T) {
	e := newTestEngine(t, nil)
	ticket := e.Fault()
	var err error
	until(t, e, func() bool {
		var done bool
		_, done, err = e.TicketResult(ticket)
		return done
	})
	if AsError(err).State != stateInternal || !strings.Contains(err.Error(), "internal error in the portcullis library") {
		t.Errorf("panic: %v", err)
	}
	if _, done, err := e.TicketResult(ticket); !done || err == nil {
		t.Error("a ticket was answered twice")
	}
	s, _ := answering(t, decisionsOf)
	wrong, err := e.Decide(s, []string{dsOne})
	if err != nil {
		t.Fatal(err)
	}
	until(t, e, func() bool {
		var done bool
		_, done, err = e.TicketResult(wrong)
		return done
	})
	if err == nil {
		t.Error("a decision was read as rows")
	}
}

// A decision from the cache is asked for before each statement.
func BenchmarkCachedDecision(b *testing.B) {
	e, err := Start(Config{BlockBytes: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Stop()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"version": 7, "decisions": []policy.Decision{allowed(dsOne), allowed(dsTwo)}})
	}))
	defer server.Close()
	s := &Session{Role: "ann", Node: "n1", Governed: true, Lease: time.Second, ServiceURL: server.URL, Token: "tok"}
	asked := []string{dsOne, dsTwo}
	ask := func() {
		ticket, err := e.Decide(s, asked)
		if err != nil {
			b.Fatal(err)
		}
		for done := false; !done; {
			if _, done, err = e.DecideResult(ticket); err != nil {
				b.Fatal(err)
			}
		}
	}
	ask()
	for b.Loop() {
		ask()
	}
}
