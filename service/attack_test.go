package service

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"portcullis.dev/portcullis/policy"
)

// Who may call what, written down a second time: a route that is new, or
// that lost its check, is found here.
var (
	openRoutes  = []string{"GET /v1/openapi.json", "POST /v1/token"}
	tokenRoutes = []string{"POST /v1/node/decisions", "POST /v1/node/login", "POST /v1/node/resync", "GET /v1/node/events", "POST /v1/audit/records"}
	nodeRoutes  = []string{"GET /v1/explain", "GET /v1/sources/{name}", "PUT /v1/sources/{name}",
		"GET /v1/data_sources/{name}", "PUT /v1/data_sources/{name}", "DELETE /v1/data_sources/{name}"}
	needed = map[string]policy.Permission{ // by section: to change it
		"groups": policy.PermissionUserAdmin, "people": policy.PermissionUserAdmin, "sql_accounts": policy.PermissionUserAdmin, "connection_accounts": policy.PermissionUserAdmin,
		"sources": policy.PermissionSourceAdmin, "data_sources": policy.PermissionSourceAdmin, "connections": policy.PermissionSourceAdmin,
		"connection_script": policy.PermissionSourceAdmin, "connection_query_audits": policy.PermissionSourceAdmin,
		"policies": policy.PermissionGovernance, "subscriptions": policy.PermissionGovernance, "connection_objects": policy.PermissionGovernance,
		"api_keys": policy.PermissionAdmin,
	}
	neededToRead = map[string]policy.Permission{
		"/v1/audit": policy.PermissionAudit, "/v1/audit/heads": policy.PermissionAudit, "/v1/audit/findings": policy.PermissionAudit, "/v1/audit/chain": policy.PermissionAudit,
		"/v1/changes": policy.PermissionAudit, "/v1/explain": policy.PermissionGovernance, "/v1/connections/{name}/proposals": policy.PermissionGovernance,
		"/v1/state": policy.PermissionAdmin, "/v1/api_keys": policy.PermissionAdmin,
	}
)

func (rt route) label() string { return rt.method + " " + rt.path }

var wildcard = regexp.MustCompile(`\{[^}]+\}`)

// attackKey makes an API key.
func (f *fixture) attackKey(k APIKey) APIKey {
	f.t.Helper()
	k, err := f.store.CreateAPIKey(f.t.Context(), "test", k, false)
	if err != nil {
		f.t.Fatal(err)
	}
	return k
}

// without is a key with every permission but one; ADMIN stands for them all.
func (f *fixture) without(p policy.Permission) string {
	f.t.Helper()
	k := APIKey{Name: "all but " + string(p)}
	for _, has := range policy.Permissions() {
		if has != p && has != policy.PermissionAdmin {
			k.Permissions = append(k.Permissions, has)
		}
	}
	return f.attackKey(k).Key
}

func (f *fixture) exec(sql string, args ...any) {
	f.t.Helper()
	if _, err := f.store.pool.Exec(f.t.Context(), sql, args...); err != nil {
		f.t.Fatal(err)
	}
}

// strangers are credentials that nothing may be had for.
func (f *fixture) strangers() map[string]string {
	all := map[string]string{"none": "", "made up key": "pk_" + strings.Repeat("A", 43), "made up token": "pt_" + strings.Repeat("A", 43), "prefix only": "pk_",
		"quoted": `pk_' OR '1'='1`, "half a key": f.admin[:20], "longer than a key": f.admin + "A", "long": "pk_" + strings.Repeat("x", 9000)}
	all["expired token"] = f.nodeToken("expired")
	f.exec("UPDATE portcullis.tokens SET expires = now() - interval '1 ms' WHERE node = 'expired'")
	all["token of an expired key"] = f.nodeToken("late")
	f.exec("UPDATE portcullis.api_keys SET expires = now() - interval '1 ms' WHERE node = 'late'")
	all["token of a revoked key"] = f.nodeToken("revoked")
	f.must("DELETE", "/v1/api_keys/node%20revoked", nil, nil)
	expired := f.attackKey(APIKey{Name: "expired", Permissions: []policy.Permission{policy.PermissionAdmin}})
	f.exec("UPDATE portcullis.api_keys SET expires = now() - interval '1 ms' WHERE name = 'expired'")
	revoked := f.attackKey(APIKey{Name: "revoked", Permissions: []policy.Permission{policy.PermissionAdmin}})
	f.must("DELETE", "/v1/api_keys/revoked", nil, nil)
	all["expired key"], all["revoked key"] = expired.Key, revoked.Key
	return all
}

// changes counts what was ever changed.
func (f *fixture) changes() (n int) {
	f.t.Helper()
	if err := f.store.pool.QueryRow(f.t.Context(), "SELECT count(*) FROM portcullis.change_log").Scan(&n); err != nil {
		f.t.Fatal(err)
	}
	return n
}

func TestAttackEveryRouteRefusesStrangers(t *testing.T) {
	t.Parallel()
	f := start(t)
	bearers, token := f.strangers(), f.nodeToken("engine")
	fetches := f.attackKey(APIKey{Name: "fetches tokens", Node: "engine"}).Key
	registers := f.registeringKey("engine")
	lacking := map[policy.Permission]string{}
	for _, p := range policy.Permissions() {
		lacking[p] = f.without(p)
	}
	before := f.changes()
	for _, rt := range f.server.allRoutes() {
		path := wildcard.ReplaceAllString(rt.path, "x")
		refused := func(who, bearer string, want int) {
			t.Helper()
			if status, raw := f.call(rt.method, path, bearer, "{}"); status != want || !contains(raw, `"field":"Authorization"`) {
				t.Errorf("%s, %s: %d %s, want %d", rt.label(), who, status, raw, want)
			}
		}
		if slices.Contains(openRoutes, rt.label()) {
			continue
		}
		for who, bearer := range bearers {
			refused(who, bearer, http.StatusUnauthorized)
		}
		if slices.Contains(tokenRoutes, rt.label()) {
			refused("an administrator's key", f.admin, http.StatusUnauthorized)
			refused("the node's own key", fetches, http.StatusUnauthorized)
			refused("a registering key", registers, http.StatusUnauthorized)
			continue
		}
		refused("a node's token", token, http.StatusUnauthorized)
		refused("a node's key", fetches, http.StatusForbidden)
		if !slices.Contains(nodeRoutes, rt.label()) {
			refused("a registering key", registers, http.StatusForbidden)
		}
		p, known := needed[strings.Split(rt.path, "/")[2]]
		if rt.method == http.MethodGet {
			p = neededToRead[rt.path]
		} else if !known && rt.path != "/v1/state" {
			t.Errorf("%s: this test does not know who may call it", rt.label())
		}
		if p != "" && rt.path != "/v1/state" || rt.label() == "GET /v1/state" {
			refused("a key without "+string(p), lacking[p], http.StatusForbidden)
		}
	}
	if after := f.changes(); after != before {
		t.Errorf("%d changes were made by those who may make none", after-before)
	}
}

// A state needs the permission of each section that it states.
func TestAttackStatesNeedEachPermission(t *testing.T) {
	t.Parallel()
	f := start(t)
	sections := reflect.TypeFor[State]()
	for i := range sections.NumField() {
		name := tagName(sections.Field(i))
		p, known := needed[name]
		if !known {
			t.Errorf("this test does not know who may state %s", name)
			continue
		}
		key := f.without(p)
		for _, query := range []string{"", "?dry_run=true"} {
			if status, raw := f.call("POST", "/v1/state"+query, key, `{"`+name+`":[]}`); status != http.StatusForbidden || !contains(raw, string(p)) {
				t.Errorf("%s without %s: %d %s", name, p, status, raw)
			}
		}
		f.must("DELETE", "/v1/api_keys/all%20but%20"+string(p), nil, nil)
	}
}

// Credentials count in one header, in one form.
func TestAttackCredentialsInOtherPlaces(t *testing.T) {
	t.Parallel()
	f := start(t)
	for name, set := range map[string]func(*http.Request){
		"query":        func(r *http.Request) { r.URL.RawQuery = "access_token=" + f.admin + "&api_key=" + f.admin },
		"basic":        func(r *http.Request) { r.SetBasicAuth("admin", f.admin) },
		"own header":   func(r *http.Request) { r.Header.Set("X-API-Key", f.admin) },
		"cookie":       func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "token", Value: f.admin}) },
		"two headers":  func(r *http.Request) { r.Header["Authorization"] = []string{"Bearer pk_x", "Bearer " + f.admin} },
		"without word": func(r *http.Request) { r.Header.Set("Authorization", f.admin) },
		"override": func(r *http.Request) {
			r.Header.Set("X-HTTP-Method-Override", "GET")
			r.Header.Set("X-Forwarded-User", "admin")
		},
	} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", f.http.URL+"/v1/people", nil)
		if err != nil {
			t.Fatal(err)
		}
		set(req)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
	}
}

func TestAttackTokensOfAnotherNode(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.apply(sampleState)
	id := f.orders()
	ours, theirs := f.nodeToken("engine"), f.nodeToken("other")
	for _, node := range []string{"engine", "Other", "other ", " other", "", "other\u200b", "othe", "other%", "*", "other' OR '1'='1"} {
		name, err := json.Marshal(node)
		if err != nil {
			t.Fatal(err)
		}
		for _, try := range []struct{ method, path, body string }{
			{"POST", "/v1/node/decisions", `{"node":` + string(name) + `,"role":"ana_sql","data_sources":["` + id + `"]}`},
			{"POST", "/v1/node/login", `{"node":` + string(name) + `,"role":"ana_sql"}`},
			{"POST", "/v1/node/resync", `{"node":` + string(name) + `,"data_source":"` + id + `"}`},
			{"GET", "/v1/node/events?node=" + escaped(node), ""},
		} {
			if status, raw := f.call(try.method, try.path, theirs, try.body); status != http.StatusForbidden || !contains(raw, `"field":"node"`) {
				t.Errorf("%s as %q: %d %s", try.path, node, status, raw)
			}
		}
	}
	// Roles are those of the token's node, so its own name gives nothing either.
	var login LoginReply
	f.mustAs(theirs, "POST", "/v1/node/login", loginRequest{Node: "other", Role: "ana_sql"}, &login)
	if login.OK {
		t.Error("a node checks accounts of another")
	}
	// Records go to the token's node, whatever they say.
	forged := `{"id":"7b0e3c5e-0000-4000-8000-000000000001","kind":"intent","node":"engine","role":"ana_sql"}`
	f.call("POST", "/v1/audit/records", theirs, lines(forged))
	var stored []AuditEntry
	f.must("GET", "/v1/audit?node=engine", nil, &stored)
	if len(stored) != 0 {
		t.Errorf("stored as engine's: %+v", stored)
	}
	f.must("GET", "/v1/audit?node=other", nil, &stored)
	if len(stored) != 1 {
		t.Errorf("%d records of the node itself", len(stored))
	}
	if d := f.decide(ours, "ana_sql", id); !d.Decisions[0].Allowed {
		t.Errorf("the right node: %+v", d)
	}
}

// A revoked key takes its tokens with it, in open streams too.
func TestAttackRevokedKeysEndStreams(t *testing.T) {
	t.Parallel()
	f := start(t)
	token := f.nodeToken("engine")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", f.http.URL+"/v1/node/events?node=engine", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(res, err)
	}
	defer res.Body.Close()
	f.must("DELETE", "/v1/api_keys/node%20engine", nil, nil)
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Errorf("the stream went on: %v", err)
	}
}

func TestAttackRepeatsAreHarmless(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.apply(sampleState)
	token, id := f.nodeToken("engine"), f.orders()
	if one, two := f.decide(token, "ben_sql", id), f.decide(token, "ben_sql", id); !reflect.DeepEqual(one, two) {
		t.Errorf("decisions differ: %+v %+v", one, two)
	}
	record := lines(`{"id":"7b0e3c5e-0000-4000-8000-000000000002","kind":"intent"}`)
	var first, again AuditReply
	for _, reply := range []*AuditReply{&first, &again} {
		_, raw := f.call("POST", "/v1/audit/records", token, record)
		if err := json.Unmarshal(raw, reply); err != nil {
			t.Fatal(err)
		}
	}
	if first.Stored != 1 || again.Stored != 0 || again.Repeated != 1 {
		t.Errorf("audit: %+v, then %+v", first, again)
	}
	var person Person
	f.must("GET", "/v1/people/ben", nil, &person)
	f.must("PUT", "/v1/people/ben", person, nil)
	steady := f.changes()
	f.must("PUT", "/v1/people/ben", person, nil)
	for _, try := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/v1/people", `{"userid":"ben"}`, http.StatusConflict},
		{"POST", "/v1/groups", `{"name":"safety"}`, http.StatusConflict},
		{"DELETE", "/v1/groups/gone", "", http.StatusNotFound},
		{"DELETE", "/v1/api_keys/gone", "", http.StatusNotFound},
	} {
		if status, raw := f.call(try.method, try.path, f.admin, try.body); status != try.status {
			t.Errorf("%s %s: %d %s", try.method, try.path, status, raw)
		}
	}
	if n := f.changes(); n != steady {
		t.Errorf("%d changes by repeats", n-steady)
	}
	if d := f.decide(token, "ben_sql", id); len(d.Decisions) != 1 || !d.Decisions[0].Allowed {
		t.Errorf("after the repeats: %+v", d)
	}
}

// Connections that send nothing, half a head or half a body hold up nobody.
func TestAttackSlowConnections(t *testing.T) {
	t.Parallel()
	url, admin := serveForReal(t)
	address := strings.TrimPrefix(url, "http://")
	starts := []string{"", "G", "GET /v1/groups HTTP/1.1\r\nHost: x\r\nX-Slow: ",
		"POST /v1/groups HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + admin + "\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"name\":",
		"POST /v1/state HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + admin + "\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"gro"}
	var held []net.Conn
	for i := range 250 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, starts[i%len(starts)]); err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	begun := time.Now()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for i := range 5 {
		req, err := http.NewRequestWithContext(t.Context(), "POST", url+"/v1/groups", strings.NewReader(fmt.Sprintf(`{"name":"g%d"}`, i)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+admin)
		res, err := client.Do(req)
		if err != nil {
			t.Fatalf("beside %d slow connections: %v", len(held), err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusCreated {
			t.Errorf("beside slow connections: %d", res.StatusCode)
		}
	}
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("five changes took %v", took)
	}
	// A head that never ends is not waited for longer than the limit.
	if err := held[2].SetReadDeadline(time.Now().Add(8 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, held[2]); err != nil {
		t.Errorf("half a head was waited for: %v", err)
	}
}

// serveForReal runs the service as serve does, with its limits of time.
func serveForReal(t *testing.T) (url, admin string) {
	t.Helper()
	key, keyFile := newKey(t)
	f := startOn(t, newDatabase(t), key, nil)
	ready, done := make(chan string, 1), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		done <- Serve(ctx, Config{Listen: "127.0.0.1:0", StoreURL: f.dsn, KeyFile: keyFile, Node: "engine", Log: startLog(t), Ready: func(url string) { ready <- url }})
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	select {
	case url = <-ready:
	case err := <-done:
		done <- err
		t.Fatal(err)
	}
	return url, f.admin
}
