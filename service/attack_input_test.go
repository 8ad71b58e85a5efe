package service

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"portcullis.dev/portcullis/connection"
)

func escaped(text string) string { return url.QueryEscape(text) }

// hostile are texts that something between here and the disk may take for
// more than a text. Those of 300, 4,000 and 60,000 bytes do not compress, so
// that they meet the limits of indexes.
func hostile() []string {
	random := rand.New(rand.NewPCG(1, 2))
	long := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte('a' + random.IntN(26))
		}
		return string(b)
	}
	return []string{
		`'; DROP SCHEMA portcullis CASCADE; --`, `" \ $1 $tag$ E'\'`, "two\r\nlines\t\x01\x1b[31m\x7f", "a\x00b", "ünïcode 𝔘 名前 عربى a\u0301 \u202e \ufeff \ufffd",
		strings.Repeat("x", 63), strings.Repeat("é", 32), long(300), long(4000), long(60000), strings.Repeat("y", maxString+1),
		`../../etc/passwd%2e%2e%2f};DRIVER=x{{.}}<script>${jndi:ldap://x}`, ` `,
	}
}

// sample is a resource with every text that a request can state.
type sample struct {
	section, method, path string
	typ                   reflect.Type
	body                  string
	writeOnly             []string // not in what comes back
}

func samples() []sample {
	who := `{"all":[{"group":"safety"},{"any":[{"attribute":{"name":"region","value":"north"}},{"person":{"iamid":"local","userid":"ana"}}]},{"not":{"group":"research"}}]}`
	return []sample{
		{"groups", "POST", "/v1/groups", reflect.TypeFor[Group](), `{"name":"g","description":"d"}`, nil},
		{"people", "POST", "/v1/people", reflect.TypeFor[Person](), `{"iamid":"local","userid":"p","name":"n","email":"e","status":"active","groups":["safety"],"attributes":{"a":["v"]},"permissions":["AUDIT"],"impersonate":` + who + `}`, nil},
		{"sources", "POST", "/v1/sources", reflect.TypeFor[Source](), `{"name":"s","driver":"PostgreSQL Unicode","host":"h","database":"d","options":{"application_name":"v"},"username":"u","password":"p","limits_for":[{"group":"safety","rows":1},{"iamid":"local","userid":"ana","rows":1}]}`,
			[]string{"password", "password_file", "registered_by"}},
		{"data_sources", "POST", "/v1/data_sources", reflect.TypeFor[DataSource](), `{"name":"t","source":"src","remote_schema":"s","remote_table":"t","local_name":"l","tags":["A.B"],"columns":[{"name":"c","type":"text","tags":["C"]}],"latency_tolerance":"1m0s","contact":"c","owner":"ana"}`,
			[]string{"id", "registered_by", "sync_error"}},
		{"policies", "POST", "/v1/policies", reflect.TypeFor[Policy](), `{"name":"m","kind":"mask","description":"d","on":{"tags":["A"]},"columns":{"names":["c"],"tags":["T"]},"mask":{"kind":"constant","constant":"x"},"except":{"group":"safety"}}`, []string{"id", "who", "access", "filter"}},
		{"policies", "POST", "/v1/policies", reflect.TypeFor[Policy](), `{"name":"f","kind":"filter","description":"d","on":{"data_sources":["orders"]},"filter":"region = 'x'"}`, []string{"id", "who", "access"}},
		{"policies", "POST", "/v1/policies", reflect.TypeFor[Policy](), `{"name":"u","kind":"subscription","description":"d","on":{"data_sources":["orders"]},"access":"read","who":` + who + `}`, []string{"id", "filter"}},
		{"subscriptions", "POST", "/v1/subscriptions", reflect.TypeFor[Subscription](), `{"data_source":"orders","iamid":"local","userid":"ana","access":"read"}`, nil},
		{"sql_accounts", "POST", "/v1/sql_accounts", reflect.TypeFor[Account](), `{"node":"n","role":"r","iamid":"local","userid":"ana","password":"p"}`, []string{"password", "password_file"}},
		{"api_keys", "POST", "/v1/api_keys", reflect.TypeFor[apiKeyRequest](), `{"name":"k","node":"n","permissions":["SOURCE_ADMIN"]}`, nil},
		{"connections", "POST", "/v1/connections", reflect.TypeFor[Connection](), connectionBody, nil},
		{"connections", "POST", "/v1/connection_script", reflect.TypeFor[ScriptRequest](), `{"connection":` + connectionBody + `,"databases":["d"]}`, nil},
		{"", "POST", "/v1/node/decisions", reflect.TypeFor[DecisionRequest](), `{"node":"engine","role":"ana_sql","database":"d","impersonate":{"iamid":"local","userid":"ana"},"data_sources":["x"]}`, nil},
		{"", "POST", "/v1/node/login", reflect.TypeFor[loginRequest](), `{"node":"engine","role":"ana_sql"}`, nil},
		{"", "POST", "/v1/node/resync", reflect.TypeFor[resyncRequest](), `{"node":"engine","data_source":"x"}`, nil},
		{"", "POST", "/v1/token", reflect.TypeFor[tokenRequest](), `{"api_key":"pk_x","node":"engine"}`, nil},
		{"", "POST", "/v1/people/ana/sql-account", reflect.TypeFor[accountRequest](), `{"role":"r2","node":"n","password":"p"}`, nil},
		{"", "POST", "/v1/connection_objects", reflect.TypeFor[ObjectSettings](), `{"name":"c.d.s.t","state":"enable","tags":["T"],"owners":[{"group":"safety"}],"columns":[{"name":"c","tags":["T"]}],"was":"c.d.s.u"}`, []string{"was"}},
		{"", "POST", "/v1/connection_accounts", reflect.TypeFor[MappedAccount](), `{"connection":"c","iamid":"local","userid":"ana","state":"manual","account":"a","role":"r","kind":"role"}`, nil},
		{"", "POST", "/v1/connection_query_audits", reflect.TypeFor[ConnectionQueryAudit](), `{"connection":"c","who":"mapped"}`, []string{"lost"}},
	}
}

// connectionBody reaches nothing: nobody listens on port 1.
const connectionBody = `{"name":"c","provider":"postgresql","host":"127.0.0.1","port":1,"database":"d","tls":"disable","ca":"pem","username":"u","password":"p","mode":"broker","prefix":"portcullis_",
	"mapping":{"attribute":"userid","strip_prefix":"a","strip_suffix":"b","template":"{}","kind":"role"},"kinds":["table"],"sync_every":"5m0s","state":"enable","tags":["T"],"owners":[{"group":"safety"},{"iamid":"local","userid":"ana"}],
	"setup":{"username":"u","password":"p","access_key_id":"a","secret_access_key":"s","session_token":"t","region":"r"}}`

// texts finds the places of all texts in a tree, "*" for names in maps.
func texts(at string, v any, visit func(at string, set func(string))) {
	switch x := v.(type) {
	case []any:
		for i := range x {
			here := indexed(at, i)
			if _, ok := x[i].(string); ok {
				visit(here, func(s string) { x[i] = s })
			}
			texts(here, x[i], visit)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(x)) {
			here := strings.TrimPrefix(at+"."+name, ".")
			if _, ok := x[name].(string); ok {
				visit(here, func(s string) { x[name] = s })
			}
			texts(here, x[name], visit)
		}
		if at == "attributes" || at == "options" {
			for name, value := range x {
				visit(at+".*", func(s string) {
					clear(x)
					x[s] = value
				})
				delete(x, name)
				x[name] = value
			}
		}
	}
}

func tree(t *testing.T, text []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// textAt reads a place that texts found.
func textAt(v any, at string) (found string, ok bool) {
	texts("", v, func(here string, _ func(string)) { ok = ok || here == at })
	if !ok {
		return "", false
	}
	for _, step := range strings.FieldsFunc(at, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		switch x := v.(type) {
		case map[string]any:
			v = x[step]
		case []any:
			i := 0
			_, _ = fmt.Sscan(step, &i)
			v = x[i]
		}
	}
	found, ok = v.(string)
	return found, ok
}

// Every text of every body is stored exactly or refused by its name.
func TestAttackTexts(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.apply(sampleState)
	token := f.nodeToken("engine")
	n := 0
	for _, s := range samples() {
		s.coversType(t)
		var places []string
		texts("", tree(t, []byte(s.body)), func(at string, _ func(string)) { places = append(places, at) })
		for _, place := range places {
			for _, text := range hostile() {
				n++
				v := tree(t, []byte(s.body))
				s.fresh(v, place, n)
				texts("", v, func(at string, set func(string)) {
					if at == place {
						set(text)
					}
				})
				body, err := json.Marshal(v)
				if err != nil {
					t.Fatal(err)
				}
				bearer := f.admin
				if strings.HasPrefix(s.path, "/v1/node/") {
					bearer = token
				}
				status, raw := f.call(s.method, s.path, bearer, string(body))
				s.judge(t, place, text, status, raw)
				if status < 300 && s.section != "" {
					f.remove(s.section)
				}
			}
		}
	}
	t.Logf("%d requests", n)
}

// fresh gives a new name to what has a unique one, unless that is what is tried.
func (s sample) fresh(v any, place string, n int) {
	for _, name := range []string{"name", "userid", "role", "local_name"} {
		if (s.section == "people" || name != "userid") && s.section != "subscriptions" && place != name && s.typ != reflect.TypeFor[ScriptRequest]() {
			if m := v.(map[string]any); m[name] != nil && s.section != "" {
				m[name] = fmt.Sprintf("x%d", n)
			}
		}
	}
}

// remove forgets what a sample made, so that the next is new again.
func (f *fixture) remove(section string) {
	f.t.Helper()
	table := map[string]string{"groups": "groups WHERE name NOT IN ('safety', 'research')", "people": "people WHERE userid NOT IN ('ana', 'ben', 'dan')",
		"sources": "sources WHERE name <> 'src'", "data_sources": "data_sources WHERE name <> 'orders'", "policies": "policies WHERE name NOT IN ('teams', 'hash pii', 'own regions')",
		"subscriptions": "subscriptions", "sql_accounts": "sql_accounts WHERE role NOT IN ('ana_sql', 'ben_sql', 'dan_sql')", "api_keys": "api_keys WHERE name NOT LIKE 'admin %' AND name <> 'node engine'"}[section]
	if table != "" {
		f.exec("DELETE FROM portcullis." + table)
	}
}

func (s sample) judge(t *testing.T, place, text string, status int, raw []byte) {
	t.Helper()
	short := text[:min(len(text), 40)]
	switch {
	case status >= 500:
		t.Errorf("%s %s = %q: %d %s", s.path, place, short, status, raw)
	case status >= 400:
		var reply struct{ Error Error }
		if err := json.Unmarshal(raw, &reply); err != nil {
			t.Fatalf("%s %s = %q: %s", s.path, place, short, raw)
		}
		place := strings.TrimSuffix(place, ".*")
		field := reply.Error.Field
		related := strings.HasPrefix(place, field) || strings.HasPrefix(field, place) || strings.HasSuffix(field, ".userid") || field == "host" || field == "Authorization" || field == "api_key" || field == "name" && strings.Contains(place, "connection")
		if field == "" || !related && !slices.Contains([]string{"connection", "userid", "data_source", "name", "columns", "mask", "mask.constant", "impersonate", "source"}, field) {
			t.Errorf("%s %s = %q: names %q: %s", s.path, place, short, field, raw)
		}
	case slices.Contains(s.writeOnly, place) || s.section == "" || strings.HasSuffix(place, ".*") || s.section == "connections":
		if strings.ContainsRune(text, 0) {
			t.Errorf("%s %s took %q", s.path, place, short)
		}
	default:
		if got, ok := textAt(tree(t, raw), place); (!ok || got != text) && place != "latency_tolerance" {
			t.Errorf("%s %s = %q came back as %q", s.path, place, short, got)
		}
	}
}

// coversType tells that a text was added to a type and not to its sample.
func (s sample) coversType(t *testing.T) {
	t.Helper()
	has := tree(t, []byte(s.body)).(map[string]any)
	for i := range s.typ.NumField() {
		field := s.typ.Field(i)
		ft := field.Type
		for ft.Kind() == reflect.Pointer || ft.Kind() == reflect.Slice {
			ft = ft.Elem()
		}
		name := tagName(field)
		if ft.Kind() != reflect.String || name == "" || has[name] != nil || slices.Contains(s.writeOnly, name) || name == "id" || strings.HasSuffix(name, "_file") {
			continue
		}
		t.Errorf("%s: the sample of %s lacks %q", s.path, s.typ, name)
	}
}

// The same for connections, at the store: their instances need not be there.
func TestAttackTextsOfConnections(t *testing.T) {
	t.Parallel()
	f := start(t)
	base := tree(t, []byte(connectionBody))
	var places []string
	texts("", base, func(at string, _ func(string)) { places = append(places, at) })
	stored := 0
	for _, place := range places {
		if strings.HasPrefix(place, "setup") || place == "password" || place == "sync_every" {
			continue
		}
		for _, text := range hostile() {
			v := tree(t, []byte(connectionBody))
			delete(v.(map[string]any), "setup")
			texts("", v, func(at string, set func(string)) {
				if at == place {
					set(text)
				}
			})
			body, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			var c Connection
			err = decodeStrict(body, &c)
			if err == nil {
				_, err = f.store.Change(t.Context(), "test", func(ch *change) error {
					if _, err := connectionKind().save(t.Context(), ch, &c); err != nil {
						return err
					}
					back, err := connectionKind().find(t.Context(), ch, []string{c.Name})
					if err != nil {
						return err
					}
					raw, err := json.Marshal(back)
					if err != nil {
						return err
					}
					if got, _ := textAt(tree(t, raw), place); got != text {
						t.Errorf("%s = %.40q came back as %.40q", place, text, got)
					}
					stored++
					return errDryRun
				})
			}
			var e *Error
			if err != nil && !errors.Is(err, errDryRun) && (!errors.As(err, &e) || e.Field == "") {
				t.Errorf("%s = %.40q: %v", place, text, err)
			}
		}
	}
	if stored == 0 {
		t.Error("nothing was ever stored")
	}
}

// Text that JSON readers would quietly replace is refused.
func TestAttackBrokenEncoding(t *testing.T) {
	t.Parallel()
	f := start(t)
	for _, name := range []string{"\xff", "a\xc3", "\xed\xa0\x80", "\xc0\xaf", `\ud800`, `\udc00x`, `\ud800\ud800`} {
		if status, raw := f.call("POST", "/v1/groups", f.admin, `{"name":"`+name+`"}`); status/100 != 4 || !contains(raw, `"field":"name"`) {
			t.Errorf("%q: %d %s", name, status, raw)
		}
		if status, raw := f.call("POST", "/v1/people", f.admin, `{"userid":"x","attributes":{"`+name+`":["v"]}}`); status/100 != 4 {
			t.Errorf("attribute %q: %d %s", name, status, raw)
		}
	}
	for _, name := range []string{`\ud835\udd18`, `\ufffd`, "\ufffd", `\\ud800`, "\\ufffd\ufffd"} {
		if status, raw := f.call("POST", "/v1/groups", f.admin, `{"name":"`+name+`"}`); status != http.StatusCreated && status != http.StatusConflict {
			t.Errorf("%q is whole: %d %s", name, status, raw)
		}
	}
}

// Enums that this version does not know and fields of another version.
func TestAttackUnknownValues(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.apply(sampleState)
	token := f.nodeToken("engine")
	for _, rt := range f.server.allRoutes() {
		if rt.body == nil {
			continue
		}
		bearer := f.admin
		if rt.access == tokenOnly {
			bearer = token
		}
		path := wildcard.ReplaceAllString(rt.path, "x")
		for body, want := range map[string]int{`{"no_such_field":1}`: 400, `{"__proto__":{}}`: 400, `[]`: 400, `"x"`: 400, `null`: 422, strings.Repeat("[", 100000): 400,
			"{}" + strings.Repeat(" ", maxBody): 413} {
			status, raw := f.call(rt.method, path, bearer, body)
			if want != 422 && status != want || status >= 500 || status < 400 && rt.path != "/v1/state" && rt.path != "/v1/connections/{name}/sync" {
				t.Errorf("%s %.40q: %d %.200s", rt.label(), body, status, raw)
			}
		}
	}
	if status, raw := f.call("POST", "/v1/audit/records", token, strings.Repeat(" ", maxRecords+1)); status != http.StatusRequestEntityTooLarge {
		t.Errorf("audit: %d %s", status, raw)
	}
	for _, try := range []struct{ path, body, field string }{
		{"/v1/people", `{"userid":"x","status":"ACTIVE"}`, "status"}, {"/v1/people", `{"userid":"x","permissions":["admin"]}`, "permissions[0]"},
		{"/v1/policies", `{"name":"x","kind":"Mask","on":{"all":true}}`, "kind"},
		{"/v1/policies", `{"name":"x","kind":"mask","mask":{"kind":"none"},"columns":{"names":["a"]},"on":{"all":true}}`, "mask.kind"},
		{"/v1/policies", `{"name":"x","kind":"mask","mask":{"kind":"truncate","unit":"eon"},"columns":{"names":["a"]},"on":{"all":true}}`, "mask.unit"},
		{"/v1/policies", `{"name":"x","kind":"subscription","access":"own","who":{"everyone":true},"on":{"all":true}}`, "access"},
		{"/v1/subscriptions", `{"data_source":"orders","userid":"ana","access":"READ"}`, "access"},
		{"/v1/api_keys", `{"name":"x","permissions":["ROOT"]}`, "permissions[0]"},
		{"/v1/connection_accounts", `{"connection":"c","userid":"ana","state":"auto"}`, "state"},
		{"/v1/connection_objects", `{"name":"c.d","state":"on"}`, "state"},
		{"/v1/connection_query_audits", `{"connection":"c","who":"nobody"}`, "who"},
		{"/v1/connections", `{"name":"c","host":"h","username":"u","provider":"oracle"}`, "provider"},
		{"/v1/connections", `{"name":"c","host":"h","username":"u","tls":"prefer"}`, "tls"},
		{"/v1/connections", `{"name":"c","host":"h","username":"u","mode":"owner"}`, "mode"},
		{"/v1/connections", `{"name":"c","host":"h","username":"u","kinds":["sequence"]}`, "kinds[0]"},
		{"/v1/connections", `{"name":"c","host":"h","username":"u","mapping":{"attribute":"userid","kind":"iam_rol"}}`, "mapping.kind"},
		{"/v1/connections", `{"name":"c","host":"h","username":"u","mapping":{"attribute":"userid","template":"everybody"}}`, "mapping.template"},
	} {
		if status, raw := f.call("POST", try.path, f.admin, try.body); status/100 != 4 || !contains(raw, `"field":"`+try.field+`"`) {
			t.Errorf("%s %s: %d %s", try.path, try.body, status, raw)
		}
	}
}

// Every part of a path and every parameter of every route takes any text.
func TestAttackPathsAndParameters(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.apply(sampleState)
	f.exec(`INSERT INTO portcullis.connections (id, name, host, port, database, tls, username, mode, prefix, provider, sync_every_ms, enforce, kinds)
		VALUES (gen_random_uuid(), 'c', '127.0.0.1', 1, 'd', 'disable', 'u', 'broker', 'portcullis_', $1, 300000, false, '{table}')`, connection.ProviderPostgreSQL)
	token := f.nodeToken("engine")
	tricks := []string{"a%00b", "%FF", "%C0%AF", "..%2F..%2Fapi_keys", "%2e%2e", "%2F", "%2F%2F", "%27%20OR%201%3D1", "%0d%0aX-A:%20b", "%25", "nix;x", strings.Repeat("x", 9000), "00000000-0000-0000-0000-00000000000g", "-1"}
	judge := func(rt route, path, trick string) {
		bearer := f.admin
		if rt.access == tokenOnly {
			bearer = token
		}
		body := ""
		if rt.body != nil {
			body = "{}"
		}
		status, raw := f.call(rt.method, path, bearer, body)
		bad := strings.Contains(trick, "%00") || strings.Contains(trick, "%FF") || strings.Contains(trick, "%C0")
		if status >= 500 || bad && (status/100 != 4 || !contains(raw, `"field":"`)) {
			t.Errorf("%s %.120s: %d %.200s", rt.method, path, status, raw)
		}
	}
	for _, rt := range f.server.allRoutes() {
		if rt.label() == "GET /v1/openapi.json" || rt.label() == "POST /v1/token" {
			continue
		}
		for _, trick := range tricks {
			parts := wildcard.FindAllStringIndex(rt.path, -1)
			for i := range parts {
				at := -1
				judge(rt, wildcard.ReplaceAllStringFunc(rt.path, func(string) string {
					if at++; at == i {
						return trick
					}
					return "c"
				}), trick)
			}
			path := wildcard.ReplaceAllString(rt.path, "c")
			for _, p := range rt.params {
				if p.in == "query" {
					judge(rt, path+"?"+p.name+"="+trick, trick)
				}
			}
		}
	}
	for _, query := range []string{"dry_run=true;x", "dry_run=%zz", "dry_run=true&dry_run=false", "dry-run=true", "Dry_run=true", "dry_run=yes"} {
		if status, raw := f.call("POST", "/v1/state?"+query, f.admin, `{"groups":[]}`); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", query, status, raw)
		}
	}
	for _, path := range []string{"/v1/groups/", "/v1/groups//", "/v1//groups", "//v1/groups", "/v1/../v1/groups", "/v1/./groups", "/v1/groups/safety/", "/v1/groups/safety/x", "/V1/groups", "/v1/Groups",
		"/v1/groups%2Fsafety", "/v1%2Fgroups", "/%2e%2e/v1/groups", "/v1/groups/..;/people", "/v1/groups\\safety", "/v1", "/", "/v1/groups/?name=safety", "/v1/" + strings.Repeat("a/", 20000)} {
		status, location := f.raw(path)
		if status/100 != 4 && status/100 != 3 || status/100 == 3 && !strings.HasPrefix(location, "/v1/") {
			t.Errorf("%.60q: %d, to %q", path, status, location)
		}
	}
}

// raw asks for a path as it is, without following.
func (f *fixture) raw(path string) (status int, location string) {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), "GET", f.http.URL, bytes.NewReader(nil))
	if err != nil {
		f.t.Fatal(err)
	}
	req.URL.Opaque = "//" + req.URL.Host + path
	req.Header.Set("Authorization", "Bearer "+f.admin)
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		f.t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode, res.Header.Get("Location")
}
