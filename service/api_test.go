package service

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"portcullis.dev/portcullis/policy"
)

const sampleState = `
groups: [{name: safety}, {name: research, description: people who count}]
people:
  - userid: ana
    groups: [safety]
  - userid: ben
    groups: [research]
    attributes: {region: [north, south]}
  - userid: dan
sources:
  - {name: src, driver: PostgreSQL Unicode, host: 127.0.0.1, port: 5433, database: d, username: reader, password: geheim}
data_sources:
  - name: orders
    source: src
    remote_schema: public
    remote_table: orders
    discoverable: true
    latency_tolerance: 1m
    contact: data-office@example.com
    columns:
      - {name: id, type: bigint}
      - {name: email, type: text, tags: [PII.Email]}
      - {name: region, type: text}
      - {name: amount, type: "numeric(12,2)", tags: [Money]}
policies:
  - name: teams
    kind: subscription
    on: {data_sources: [orders]}
    who: {any: [{group: safety}, {group: research}]}
  - name: hash pii
    kind: mask
    on: {tags: [PII]}
    columns: {tags: [PII]}
    mask: {kind: hash}
    except: {group: safety}
  - name: own regions
    kind: filter
    on: {data_sources: [orders]}
    filter: "@attributeValuesContains('region', region)"
    except: {group: safety}
sql_accounts:
  - {role: ana_sql, userid: ana, password: pw-ana}
  - {role: ben_sql, userid: ben, password: pw-ben}
  - {role: dan_sql, userid: dan}
`

func (f *fixture) orders() string {
	f.t.Helper()
	var d DataSource
	f.must("GET", "/v1/data_sources/orders", nil, &d)
	return d.ID
}

func (f *fixture) decide(token, role string, ids ...string) DecisionReply {
	f.t.Helper()
	var reply DecisionReply
	f.mustAs(token, "POST", "/v1/node/decisions", DecisionRequest{Node: "engine", Role: role, DataSources: ids}, &reply)
	return reply
}

func TestDecisionsForNodes(t *testing.T) {
	f := start(t)
	f.apply(sampleState)
	token, id := f.nodeToken("engine"), f.orders()

	ana := f.decide(token, "ana_sql", id).Decisions[0]
	if !ana.Allowed || ana.Filter != nil || len(ana.Masks) != 0 || ana.Source != "src" || ana.RemoteTable != "orders" || len(ana.Columns) != 4 || ana.MaxAgeMS != 60000 {
		t.Errorf("ana: %+v", ana)
	}
	ben := f.decide(token, "ben_sql", id).Decisions[0]
	if !ben.Allowed || ben.Filter == nil || ben.Filter.Op != policy.OpIn || len(ben.Filter.Values) != 2 || ben.Masks["email"].Kind != policy.MaskHash || len(ben.Masks["email"].Key) != 32 {
		t.Errorf("ben: %+v", ben)
	}
	dan := f.decide(token, "dan_sql", id).Decisions[0]
	if dan.Allowed || !strings.Contains(dan.Reason, "dan is not subscribed") || dan.Contact != "data-office@example.com" || !dan.Discoverable {
		t.Errorf("dan: %+v", dan)
	}
	nobody := f.decide(token, "nobody", id).Decisions[0]
	if nobody.Allowed || !strings.Contains(nobody.Reason, "belongs to no person") {
		t.Errorf("nobody: %+v", nobody)
	}
	unknown := f.decide(token, "ana_sql", "00000000-0000-0000-0000-000000000000").Decisions[0]
	if unknown.Allowed || unknown.Discoverable {
		t.Errorf("unknown data source: %+v", unknown)
	}
}

// A hash that a tag puts on a number shows nothing, and the explanation says why.
func TestMasksByTagOnOtherTypes(t *testing.T) {
	f := start(t)
	f.apply(sampleState)
	f.must("POST", "/v1/policies", map[string]any{"name": "all money", "kind": "mask", "on": map[string]any{"tags": []string{"Money"}},
		"columns": map[string]any{"tags": []string{"Money"}}, "mask": map[string]any{"kind": "hash"}}, nil)
	d := f.decide(f.nodeToken("engine"), "ben_sql", f.orders()).Decisions[0]
	if d.Masks["amount"].Kind != policy.MaskNull || d.Masks["email"].Kind != policy.MaskHash {
		t.Errorf("%+v", d.Masks)
	}
	var e Explanation
	f.must("GET", "/v1/explain?user=ben&data_source=orders", nil, &e)
	if len(e.Masks) != 2 || !strings.Contains(e.Masks[0], "amount: null by all money instead of hash") || !strings.Contains(e.Masks[0], "numeric(12,2) cannot hold") {
		t.Errorf("%q", e.Masks)
	}
}

func TestRevokeShowsAtOnce(t *testing.T) {
	f := start(t)
	f.apply(sampleState)
	token, id := f.nodeToken("engine"), f.orders()
	before := f.decide(token, "ben_sql", id)
	f.must("PUT", "/v1/people/ben", Person{UserID: "ben", Status: policy.StatusDisabled}, nil)
	after := f.decide(token, "ben_sql", id)
	if !before.Decisions[0].Allowed || after.Decisions[0].Allowed || after.Version <= before.Version {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
}

func TestRoleMadeAnewIsNobodys(t *testing.T) {
	f := start(t)
	f.apply(sampleState)
	token, id := f.nodeToken("engine"), f.orders()
	if _, err := f.store.pool.Exec(t.Context(), "UPDATE portcullis.sql_accounts SET role_oid = 4711 WHERE role = 'ana_sql'"); err != nil {
		t.Fatal(err)
	}
	for oid, want := range map[uint32]bool{4711: true, 4712: false} {
		var reply DecisionReply
		f.mustAs(token, "POST", "/v1/node/decisions", DecisionRequest{Node: "engine", Role: "ana_sql", RoleOID: oid, DataSources: []string{id}}, &reply)
		if reply.Decisions[0].Allowed != want {
			t.Errorf("oid %d: allowed %v", oid, reply.Decisions[0].Allowed)
		}
	}
}

func TestTokens(t *testing.T) {
	f := start(t)
	f.apply(sampleState)
	token := f.nodeToken("engine")
	id := f.orders()
	body := `{"node":"engine","role":"ana_sql","data_sources":["` + id + `"]}`

	other := strings.Replace(body, `"engine"`, `"elsewhere"`, 1)
	if status, raw := f.call("POST", "/v1/node/decisions", token, other); status != 403 || !contains(raw, `"field":"node"`) {
		t.Errorf("another node: %d %s", status, raw)
	}
	if status, _ := f.call("POST", "/v1/node/decisions", f.admin, body); status != 401 {
		t.Errorf("an API key instead of a token: %d", status)
	}
	if status, _ := f.call("POST", "/v1/node/decisions", "", body); status != 401 {
		t.Errorf("no token: %d", status)
	}
	if _, err := f.store.pool.Exec(t.Context(), "UPDATE portcullis.tokens SET expires = now() - interval '1 ms'"); err != nil {
		t.Fatal(err)
	}
	if status, raw := f.call("POST", "/v1/node/decisions", token, body); status != 401 || !contains(raw, "expired") {
		t.Errorf("expired: %d %s", status, raw)
	}
	fresh := f.nodeToken("engine")
	if err := f.store.DeleteAPIKey(t.Context(), "test", "node engine"); err != nil {
		t.Fatal(err)
	}
	if status, _ := f.call("POST", "/v1/node/decisions", fresh, body); status != 401 {
		t.Errorf("key revoked: %d", status)
	}
}

func TestNothingSecretIsStoredInClear(t *testing.T) {
	f := start(t)
	f.apply(sampleState)
	token := f.nodeToken("engine")
	rows, err := f.store.pool.Query(t.Context(), `SELECT query_to_xml('SELECT * FROM portcullis.' || quote_ident(tablename), true, true, '')::text FROM pg_tables WHERE schemaname = 'portcullis'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	seen := 0
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		seen += strings.Count(text, "ana_sql")
		for _, secret := range []string{"geheim", "pw-ana", token, f.admin} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is stored in clear", secret)
			}
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if seen == 0 {
		t.Error("the probe did not see the tables")
	}
	status, raw := f.call("GET", "/v1/sources/src", f.admin, "")
	if status != 200 || contains(raw, "geheim") || !contains(raw, `"has_password":true`) {
		t.Errorf("source: %d %s", status, raw)
	}
	status, raw = f.call("GET", "/v1/explain?user=ben&data_source=orders", f.admin, "")
	if status != 200 || contains(raw, `"key"`) || !contains(raw, "hash pii") {
		t.Errorf("explain: %d %s", status, raw)
	}
}

func TestEveryRefusalNamesTheField(t *testing.T) {
	f := start(t)
	f.apply(sampleState)
	limited, err := f.store.CreateAPIKey(t.Context(), "test", APIKey{Name: "auditor", Permissions: []policy.Permission{policy.PermissionAudit}}, false)
	if err != nil {
		t.Fatal(err)
	}
	token := f.nodeToken("engine")
	cases := []struct {
		name, method, path, bearer, body string
		status                           int
		field                            string
	}{
		{"not JSON", "POST", "/v1/groups", f.admin, `{"name"`, 400, "body"},
		{"empty", "POST", "/v1/groups", f.admin, ` `, 400, "body"},
		{"two values", "POST", "/v1/groups", f.admin, `{"name":"x"} {}`, 400, "body"},
		{"list instead of object", "POST", "/v1/groups", f.admin, `[]`, 400, "body"},
		{"unknown field", "POST", "/v1/groups", f.admin, `{"name":"x","colour":1}`, 400, "colour"},
		{"field in another case", "POST", "/v1/groups", f.admin, `{"Name":"x"}`, 400, "Name"},
		{"field twice", "POST", "/v1/groups", f.admin, `{"name":"x","name":"y"}`, 400, "name"},
		{"wrong type", "POST", "/v1/groups", f.admin, `{"name":5}`, 400, "name"},
		{"wrong type within", "POST", "/v1/people", f.admin, `{"userid":"x","groups":["a",7]}`, 400, "groups[1]"},
		{"wrong type in a map", "POST", "/v1/people", f.admin, `{"userid":"x","attributes":{"a":"b"}}`, 400, "attributes.a"},
		{"number too large", "POST", "/v1/sources", f.admin, `{"name":"x","driver":"d","port":99999999999999999999}`, 400, "port"},
		{"unknown field within", "POST", "/v1/policies", f.admin, `{"name":"x","kind":"mask","mask":{"kind":"null","colour":1}}`, 400, "mask.colour"},
		{"too large", "POST", "/v1/groups", f.admin, `{"name":"` + strings.Repeat("x", maxBody) + `"}`, 413, "body"},
		{"empty name", "POST", "/v1/groups", f.admin, `{"name":""}`, 422, "name"},
		{"NUL", "POST", "/v1/groups", f.admin, `{"name":"a\u0000b"}`, 422, "name"},
		{"exists", "POST", "/v1/groups", f.admin, `{"name":"safety"}`, 409, "name"},
		{"unknown group", "POST", "/v1/people", f.admin, `{"userid":"x","groups":["nix"]}`, 422, "groups"},
		{"unknown permission", "POST", "/v1/people", f.admin, `{"userid":"x","permissions":["ROOT"]}`, 422, "permissions[0]"},
		{"unknown status", "POST", "/v1/people", f.admin, `{"userid":"x","status":"gone"}`, 422, "status"},
		{"body and path differ", "PUT", "/v1/groups/a", f.admin, `{"name":"b"}`, 422, "name"},
		{"driver path", "POST", "/v1/sources", f.admin, `{"name":"x","driver":"/tmp/evil.so"}`, 422, "driver"},
		{"password in options", "POST", "/v1/sources", f.admin, `{"name":"x","driver":"d","options":{"password":"p"}}`, 422, "options.password"},
		{"unknown driver", "POST", "/v1/sources", f.admin, `{"name":"x","driver":"Nope","host":"h","database":"d"}`, 422, "driver"},
		{"host and more", "POST", "/v1/sources", f.admin, `{"name":"x","driver":"PostgreSQL Unicode","host":"a;b","database":"d"}`, 422, "host"},
		{"option of the driver", "POST", "/v1/sources", f.admin, `{"name":"x","driver":"PostgreSQL Unicode","host":"h","database":"d","options":{"Trace":"1"}}`, 422, "options.Trace"},
		{"file above the folder", "POST", "/v1/sources", f.admin, `{"name":"x","driver":"SQLite3","database":"../x.db"}`, 422, "database"},
		{"file that climbs out", "POST", "/v1/sources", f.admin, `{"name":"x","driver":"SQLite3","database":"/srv/files/../../etc/passwd"}`, 422, "database"},
		{"folder for a file", "POST", "/v1/sources", f.admin, `{"name":"x","driver":"SQLite3","database":"/srv/files/"}`, 422, "database"},
		{"value of an option", "POST", "/v1/sources", f.admin, `{"name":"x","driver":"PostgreSQL Unicode","host":"h","database":"d","options":{"sslmode":"bogus"}}`, 422, "options.sslmode"},
		{"no host", "POST", "/v1/sources", f.admin, `{"name":"x","driver":"PostgreSQL Unicode","database":"d"}`, 422, "host"},
		{"no database", "POST", "/v1/sources", f.admin, `{"name":"x","driver":"PostgreSQL Unicode","host":"h"}`, 422, "database"},
		{"MariaDB without a host", "POST", "/v1/sources", f.admin, `{"name":"x","driver":"MariaDB Unicode"}`, 422, "host"},
		{"no file", "POST", "/v1/sources", f.admin, `{"name":"x","driver":"SQLite3"}`, 422, "database"},
		{"a file out of the folder", "POST", "/v1/sources", f.admin, `{"name":"x","driver":"SQLite3","database":"../../etc/passwd"}`, 422, "database"},
		{"a file and a host", "POST", "/v1/sources", f.admin, `{"name":"x","driver":"SQLite3","database":"x.db","host":"h"}`, 422, "host"},
		{"long user name", "POST", "/v1/sources", f.admin, `{"name":"x","driver":"MariaDB","host":"h","username":"` + strings.Repeat("u", 5000) + `"}`, 422, "username"},
		{"unmanaged with a wrong option", "POST", "/v1/sources", f.admin, `{"name":"x","driver":"SQLite3","unmanaged":true,"options":{"LoadExt":"x"}}`, 422, "options.LoadExt"},
		{"unknown source", "POST", "/v1/data_sources", f.admin, `{"name":"x","source":"nix","remote_table":"t"}`, 422, "source"},
		{"bad tolerance", "POST", "/v1/data_sources", f.admin, `{"name":"x","source":"src","remote_table":"t","latency_tolerance":"-1s"}`, 422, "latency_tolerance"},
		{"bad uuid", "POST", "/v1/data_sources", f.admin, `{"id":"7","name":"x","source":"src","remote_table":"t"}`, 422, "id"},
		{"empty tag part", "POST", "/v1/data_sources", f.admin, `{"name":"x","source":"src","remote_table":"t","tags":["PII."]}`, 422, "tags[0]"},
		{"long local name", "POST", "/v1/data_sources", f.admin, `{"name":"x","source":"src","remote_table":"t","local_name":"` + strings.Repeat("x", 64) + `"}`, 422, "local_name"},
		{"source in use", "DELETE", "/v1/sources/src", f.admin, ``, 409, "name"},
		{"unknown kind", "POST", "/v1/policies", f.admin, `{"name":"x","kind":"magic","on":{"all":true}}`, 422, "kind"},
		{"no target", "POST", "/v1/policies", f.admin, `{"name":"x","kind":"filter","filter":"true","on":{}}`, 422, "on"},
		{"all and some", "POST", "/v1/policies", f.admin, `{"name":"x","kind":"filter","filter":"true","on":{"all":true,"data_sources":["orders"]}}`, 422, "on.all"},
		{"all and tagged", "POST", "/v1/policies", f.admin, `{"name":"x","kind":"filter","filter":"true","on":{"all":true,"tags":["Money"]}}`, 422, "on.all"},
		{"revoke nothing", "DELETE", "/v1/api_keys/nix", f.admin, ``, 404, "name"},
		{"unknown target", "POST", "/v1/policies", f.admin, `{"name":"x","kind":"filter","filter":"true","on":{"data_sources":["nix"]}}`, 422, "on.data_sources[0]"},
		{"filter syntax", "POST", "/v1/policies", f.admin, `{"name":"x","kind":"filter","filter":"region = ","on":{"all":true}}`, 422, "filter"},
		{"filter with function", "POST", "/v1/policies", f.admin, `{"name":"x","kind":"filter","filter":"lower(region) = 'a'","on":{"all":true}}`, 422, "filter"},
		{"filter column", "POST", "/v1/policies", f.admin, `{"name":"x","kind":"filter","filter":"nix = 'a'","on":{"data_sources":["orders"]}}`, 422, "filter"},
		{"filter type", "POST", "/v1/policies", f.admin, `{"name":"x","kind":"filter","filter":"region = 0","on":{"data_sources":["orders"]}}`, 422, "filter"},
		{"mask and filter", "POST", "/v1/policies", f.admin, `{"name":"x","kind":"filter","filter":"true","mask":{"kind":"null"},"on":{"all":true}}`, 422, "mask"},
		{"mask kind", "POST", "/v1/policies", f.admin, `{"name":"x","kind":"mask","mask":{"kind":"blur"},"columns":{"names":["a"]},"on":{"all":true}}`, 422, "mask.kind"},
		{"mask pattern", "POST", "/v1/policies", f.admin, `{"name":"x","kind":"mask","mask":{"kind":"regex","pattern":"("},"columns":{"names":["a"]},"on":{"all":true}}`, 422, "mask.pattern"},
		{"purposes", "POST", "/v1/policies", f.admin, `{"name":"x","kind":"filter","filter":"@isUsingPurpose('x')","on":{"all":true}}`, 422, "filter"},
		{"mask nulls", "POST", "/v1/policies", f.admin, `{"name":"x","kind":"mask","mask":{"kind":"round","base":"1","nulls":"mask"},"columns":{"names":["a"]},"on":{"all":true}}`, 422, "mask.nulls"},
		{"mask nulls mode", "POST", "/v1/policies", f.admin, `{"name":"x","kind":"mask","mask":{"kind":"hash","nulls":"drop"},"columns":{"names":["a"]},"on":{"all":true}}`, 422, "mask.nulls"},
		{"mask base", "POST", "/v1/policies", f.admin, `{"name":"x","kind":"mask","mask":{"kind":"round","base":"0"},"columns":{"names":["a"]},"on":{"all":true}}`, 422, "mask.base"},
		{"huge mask base", "POST", "/v1/policies", f.admin, `{"name":"x","kind":"mask","mask":{"kind":"round","base":"1e400"},"columns":{"names":["a"]},"on":{"all":true}}`, 422, "mask.base"},
		{"mask zone", "POST", "/v1/policies", f.admin, `{"name":"x","kind":"mask","mask":{"kind":"truncate","unit":"day","zone":"Mars/Olympus"},"columns":{"names":["a"]},"on":{"all":true}}`, 422, "mask.zone"},
		{"mask unit beside a zone", "POST", "/v1/policies", f.admin, `{"name":"x","kind":"mask","mask":{"kind":"truncate","unit":"eon","zone":"Mars/Olympus"},"columns":{"names":["a"]},"on":{"all":true}}`, 422, "mask.unit"},
		{"second data source of a table", "POST", "/v1/data_sources", f.admin, `{"name":"x","source":"src","remote_schema":"public","remote_table":"orders"}`, 409, "remote_table"},
		{"second table of a name", "POST", "/v1/data_sources", f.admin, `{"name":"x","source":"src","remote_table":"t","local_name":"orders"}`, 409, "local_name"},
		{"mask on type", "POST", "/v1/policies", f.admin, `{"name":"x","kind":"mask","mask":{"kind":"round","base":"1"},"columns":{"names":["email"]},"on":{"data_sources":["orders"]}}`, 422, "mask"},
		{"hash on a number", "POST", "/v1/policies", f.admin, `{"name":"x","kind":"mask","mask":{"kind":"hash"},"columns":{"names":["amount"]},"on":{"data_sources":["orders"]}}`, 422, "mask"},
		{"mask column", "POST", "/v1/policies", f.admin, `{"name":"x","kind":"mask","mask":{"kind":"null"},"columns":{"names":["nix"]},"on":{"data_sources":["orders"]}}`, 422, "columns.names[0]"},
		{"key in mask", "POST", "/v1/policies", f.admin, `{"name":"x","kind":"mask","mask":{"kind":"hash","key":"AAAA"},"columns":{"names":["a"]},"on":{"all":true}}`, 422, "mask.key"},
		{"empty who", "POST", "/v1/policies", f.admin, `{"name":"x","kind":"subscription","who":{},"on":{"all":true}}`, 422, "who"},
		{"subscription of nobody", "POST", "/v1/subscriptions", f.admin, `{"data_source":"orders","userid":"nix"}`, 422, "userid"},
		{"subscription to nothing", "POST", "/v1/subscriptions", f.admin, `{"data_source":"nix","userid":"ana"}`, 422, "data_source"},
		{"bad time", "POST", "/v1/subscriptions", f.admin, `{"data_source":"orders","userid":"ana","expires":"tomorrow"}`, 400, "expires"},
		{"reserved role", "POST", "/v1/sql_accounts", f.admin, `{"role":"pg_monitor","userid":"ana"}`, 422, "role"},
		{"role of another", "POST", "/v1/people/ana/sql-account", f.admin, `{"role":"ben_sql"}`, 409, "role"},
		{"account of nobody", "POST", "/v1/people/nix/sql-account", f.admin, `{"role":"x"}`, 404, "userid"},
		{"empty password", "POST", "/v1/people/ana/sql-account", f.admin, `{"role":"x","password":""}`, 422, "password"},
		{"nothing there", "GET", "/v1/groups/nix", f.admin, ``, 404, "name"},
		{"delete nothing", "DELETE", "/v1/groups/nix", f.admin, ``, 404, "groups"},
		{"no such path", "GET", "/v1/nix", f.admin, ``, 404, "path"},
		{"no such method", "PATCH", "/v1/groups", f.admin, ``, 405, "method"},
		{"no credential", "GET", "/v1/groups", "", ``, 401, "Authorization"},
		{"wrong credential", "GET", "/v1/groups", "pk_wrong", ``, 401, "Authorization"},
		{"permission lacks", "POST", "/v1/groups", limited.Key, `{"name":"x"}`, 403, "Authorization"},
		{"permission lacks for apply", "POST", "/v1/state", limited.Key, `{"groups":[]}`, 403, "Authorization"},
		{"state, unknown section", "POST", "/v1/state", f.admin, `{"gruops":[]}`, 400, "gruops"},
		{"state, deep", "POST", "/v1/state", f.admin, `{"people":[{"userid":"a"},{"userid":"b","status":"x"}]}`, 422, "people[1].status"},
		{"state, twice", "POST", "/v1/state", f.admin, `{"groups":[{"name":"a"},{"name":"a"}]}`, 422, "groups[1].name"},
		{"dry_run", "POST", "/v1/state?dry_run=maybe", f.admin, `{}`, 400, "dry_run"},
		{"limit", "GET", "/v1/audit?limit=0", f.admin, ``, 400, "limit"},
		{"since", "GET", "/v1/audit?since=yesterday", f.admin, ``, 400, "since"},
		{"explain whom", "GET", "/v1/explain?data_source=orders", f.admin, ``, 400, "user"},
		{"explain nobody", "GET", "/v1/explain?data_source=orders&user=nix", f.admin, ``, 404, "user"},
		{"explain nothing", "GET", "/v1/explain?data_source=nix&user=ana", f.admin, ``, 404, "data_source"},
		{"token without key", "POST", "/v1/token", "", `{"node":"engine"}`, 422, "api_key"},
		{"token with wrong key", "POST", "/v1/token", "", `{"api_key":"pk_x","node":"engine"}`, 401, "api_key"},
		{"token with an administrator's key", "POST", "/v1/token", "", `{"api_key":"` + f.admin + `","node":"engine"}`, 403, "node"},
		{"decision without role", "POST", "/v1/node/decisions", token, `{"node":"engine"}`, 422, "role"},
		{"impersonation of nobody", "POST", "/v1/node/decisions", token, `{"node":"engine","role":"x","impersonate":{}}`, 422, "impersonate"},
		{"login without role", "POST", "/v1/node/login", token, `{"node":"engine"}`, 422, "role"},
		{"events of another node", "GET", "/v1/node/events?node=x", token, ``, 403, "node"},
		{"API key without purpose", "POST", "/v1/api_keys", f.admin, `{"name":"x"}`, 422, "node"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g := *f
			g.t = t
			status, raw := g.call(c.method, c.path, c.bearer, c.body)
			var reply struct{ Error Error }
			if err := json.Unmarshal(raw, &reply); err != nil {
				t.Fatalf("%d %s", status, raw)
			}
			if status != c.status || reply.Error.Field != c.field || reply.Error.Message == "" || reply.Error.Code == "" || strings.Contains(string(raw), "_fkey") || strings.Contains(string(raw), "_key)") || strings.Contains(string(raw), "_pkey") {
				t.Errorf("got %d, field %q: %s; want %d, field %q", status, reply.Error.Field, raw, c.status, c.field)
			}
		})
	}
}

func TestOpenAPIListsEveryRoute(t *testing.T) {
	f := start(t)
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
			RequestBody *struct{}
		}
		Components struct{ Schemas map[string]any }
	}
	f.mustAs("", "GET", "/v1/openapi.json", nil, &doc)
	operations, ids := 0, map[string]bool{}
	for _, ops := range doc.Paths {
		for _, op := range ops {
			operations++
			ids[op.OperationID] = true
		}
	}
	if operations != len(f.server.routes) || len(ids) != operations {
		t.Errorf("%d operations with %d ids for %d routes", operations, len(ids), len(f.server.routes))
	}
	for _, rt := range f.server.routes {
		op, ok := doc.Paths[rt.path][strings.ToLower(rt.method)]
		if !ok {
			t.Errorf("%s %s is not in the document", rt.method, rt.path)
		}
		if (rt.body != nil) != (op.RequestBody != nil) {
			t.Errorf("%s %s: body", rt.method, rt.path)
		}
		checkRouteIsServed(t, f, rt)
	}
	raw, err := json.Marshal(doc)
	if err != nil || len(raw) < 1000 {
		t.Errorf("document: %v, %d bytes", err, len(raw))
	}
}

// checkRouteIsServed asks without a credential: what needs one must say so,
// what needs none must not answer that the path or method is unknown.
func checkRouteIsServed(t *testing.T, f *fixture, rt route) {
	t.Helper()
	path := strings.NewReplacer("{", "", "}", "").Replace(rt.path)
	status, raw := f.call(rt.method, path, "", "")
	if rt.access != open && status != http.StatusUnauthorized {
		t.Errorf("%s %s without a credential: %d %s", rt.method, rt.path, status, raw)
	}
	if status == http.StatusMethodNotAllowed || status == http.StatusNotFound {
		t.Errorf("%s %s is not served: %d", rt.method, rt.path, status)
	}
}

func TestNamesNeedNoEscapingByUs(t *testing.T) {
	f := start(t)
	for _, name := range []string{`a/b`, `a'b"c\d`, `$tag$`, "two\nlines", "ünïcode 𝔘", `%2F`, `..`, strings.Repeat("x", 256)} {
		f.must("POST", "/v1/groups", Group{Name: name}, nil)
		f.must("POST", "/v1/people", Person{UserID: name, Groups: []string{name}, Attributes: map[string][]string{name: {name}}}, nil)
	}
	var people []Person
	f.must("GET", "/v1/people", nil, &people)
	for _, p := range people {
		if len(p.Groups) != 1 || p.Groups[0] != p.UserID || p.Attributes[p.UserID][0] != p.UserID {
			t.Errorf("%q came back as %+v", p.UserID, p)
		}
	}
	if len(people) != 8 {
		t.Errorf("%d people", len(people))
	}
	status, _ := f.call("DELETE", "/v1/groups/a%2Fb", f.admin, "")
	if status != 200 {
		t.Errorf("delete a/b: %d", status)
	}
}

func TestSubscriptionsExpire(t *testing.T) {
	f := start(t)
	f.apply(sampleState)
	token, id := f.nodeToken("engine"), f.orders()
	soon := time.Now().Add(20 * time.Second)
	f.must("POST", "/v1/subscriptions", Subscription{DataSource: "orders", UserID: "dan", Expires: &soon}, nil)
	d := f.decide(token, "dan_sql", id).Decisions[0]
	if !d.Allowed || d.MaxAgeMS > 20000 || d.MaxAgeMS < 1000 {
		t.Errorf("before: %+v", d)
	}
	f.server.now = func() time.Time { return soon }
	if d := f.decide(token, "dan_sql", id).Decisions[0]; d.Allowed {
		t.Errorf("after: %+v", d)
	}
}
