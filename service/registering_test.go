package service

import (
	"net/http"
	"strings"
	"testing"

	"portcullis.dev/portcullis/policy"
)

func (f *fixture) registeringKey(node string) string {
	f.t.Helper()
	k, err := f.store.CreateAPIKey(f.t.Context(), "test", APIKey{Name: "registers " + node, Node: node, Permissions: []policy.Permission{policy.PermissionSourceAdmin}}, false)
	if err != nil {
		f.t.Fatal(err)
	}
	return k.Key
}

// A node's key registers tables of that node and reaches nothing else.
func TestKeysOfNodesReachTheirTablesOnly(t *testing.T) {
	f := start(t)
	one, two := f.registeringKey("one"), f.registeringKey("two")
	f.must("POST", "/v1/sources", Source{Name: "shop", Driver: "SQLite3", Database: "shop.db"}, nil)
	f.must("POST", "/v1/data_sources", DataSource{Name: "ours", Source: "shop", RemoteTable: "ours", Unmanaged: true, Tags: []string{"PII"}}, nil)
	f.mustAs(one, "PUT", "/v1/sources/by%20hand", Source{Name: "by hand", Driver: "SQLite3", Unmanaged: true}, nil)
	f.mustAs(one, "PUT", "/v1/data_sources/mine", DataSource{Name: "mine", Source: "by hand", RemoteTable: "mine", Unmanaged: true, Tags: []string{"PII"}}, nil)

	refused := []struct{ key, method, path, body, field string }{
		{one, "PUT", "/v1/data_sources/ours", `{"name":"ours","source":"shop","remote_table":"ours","unmanaged":true}`, "name"},
		{one, "DELETE", "/v1/data_sources/ours", "", "name"},
		{two, "PUT", "/v1/data_sources/mine", `{"name":"mine","source":"by hand","remote_table":"mine","unmanaged":true}`, "name"},
		{two, "DELETE", "/v1/data_sources/mine", "", "name"},
		{one, "PUT", "/v1/data_sources/new", `{"name":"new","source":"shop","remote_table":"new"}`, "unmanaged"},
		{one, "PUT", "/v1/sources/shop", `{"name":"shop","driver":"SQLite3","unmanaged":true}`, "name"},
		{two, "PUT", "/v1/sources/by%20hand", `{"name":"by hand","driver":"PostgreSQL Unicode","host":"evil","unmanaged":true}`, "name"},
		{one, "PUT", "/v1/sources/new", `{"name":"new","driver":"SQLite3","database":"new.db"}`, "unmanaged"},
		{one, "PUT", "/v1/sources/new", `{"name":"new","driver":"SQLite3","unmanaged":true,"username":"x"}`, "username"},
		{one, "DELETE", "/v1/sources/by%20hand", "", "Authorization"},
		{one, "POST", "/v1/data_sources", `{"name":"new","source":"shop","remote_table":"new","unmanaged":true}`, "Authorization"},
		{one, "POST", "/v1/state", `{"data_sources":[]}`, "Authorization"},
		{one, "POST", "/v1/api_keys", `{"name":"x","permissions":["ADMIN"]}`, "Authorization"},
		{one, "GET", "/v1/sources", "", "Authorization"},
		{one, "GET", "/v1/people", "", "Authorization"},
		{one, "GET", "/v1/audit", "", "Authorization"},
		{one, "POST", "/v1/data_sources/ours/sync", "", "Authorization"},
		{one, "POST", "/v1/token", `{"api_key":"` + one + `","node":"one"}`, "node"},
	}
	for _, tt := range refused {
		status, raw := f.call(tt.method, tt.path, tt.key, tt.body)
		if status != http.StatusForbidden && status != http.StatusUnprocessableEntity || !contains(raw, `"field":"`+tt.field+`"`) {
			t.Errorf("%s %s %s: %d %s", tt.method, tt.path, tt.body, status, raw)
		}
	}
	var d DataSource
	f.mustAs(one, "GET", "/v1/data_sources/mine", nil, &d)
	if d.RegisteredBy != "one" || len(d.Tags) != 1 {
		t.Errorf("%+v", d)
	}
	// An administrator's change leaves the entry with its node.
	d.Discoverable = true
	f.must("PUT", "/v1/data_sources/mine", d, nil)
	f.mustAs(one, "DELETE", "/v1/data_sources/mine", nil, nil)
	if status, _ := f.call("GET", "/v1/data_sources/mine", one, ""); status != http.StatusNotFound {
		t.Errorf("after the deletion: %d", status)
	}
	// A token of the node is no key.
	if status, _ := f.call("GET", "/v1/data_sources/ours", f.nodeToken("one"), ""); status != http.StatusUnauthorized {
		t.Errorf("a token: %d", status)
	}
}

func TestKeysOfNodesHoldOnePermissionOnly(t *testing.T) {
	f := start(t)
	for body, want := range map[string]int{
		`{"name":"a","node":"n","permissions":["SOURCE_ADMIN"]}`:          http.StatusCreated,
		`{"name":"b","node":"n","permissions":["ADMIN"]}`:                 http.StatusUnprocessableEntity,
		`{"name":"c","node":"n","permissions":["SOURCE_ADMIN", "AUDIT"]}`: http.StatusUnprocessableEntity,
		`{"name":"d"}`: http.StatusUnprocessableEntity,
	} {
		if status, raw := f.call("POST", "/v1/api_keys", f.admin, body); status != want {
			t.Errorf("%s: %d %s", body, status, raw)
		}
	}
}

// The key is given where the service keeps the engine in step, and taken away where that is switched off.
func TestEngineIsGivenAKeyToRegister(t *testing.T) {
	f := startEngineWith(t, func(c *EngineConfig) { c.Registers = true })
	sealed := func() string { return f.text(f.conn, "SELECT admin_key_sealed FROM immutasys.dbtoken") }
	f.eventually("a key", func() bool { return strings.HasPrefix(sealed(), "v1:") })
	raw, err := f.cfg.NodeKey.Unseal(sealed())
	if err != nil {
		t.Fatal(err)
	}
	if k, err := f.store.keyOf(t.Context(), string(raw)); err != nil || k.Node != "engine" || len(k.Permissions) != 1 {
		t.Errorf("%+v %v", k, err)
	}
	off := f.cfg
	off.Registers = false
	if err := NewEngine(f.store, off, startLog(t)).round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.store.keyOf(t.Context(), string(raw)); err == nil || sealed() != "" {
		t.Errorf("the key still works, or stays: %v %q", err, sealed())
	}
}
