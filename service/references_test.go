package service

import (
	"encoding/json"
	"strings"
	"testing"

	"portcullis.dev/portcullis/policy"
)

// A name that means nothing is refused by its place: below not it would open the table.
func TestPoliciesNameWhatExists(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.apply(sampleState)
	subscription := func(who string) string {
		return `{"name":"p","kind":"subscription","on":{"data_sources":["orders"]},"who":` + who + `}`
	}
	mask := func(except string) string {
		return `{"name":"p","kind":"mask","on":{"data_sources":["orders"]},"columns":{"names":["email"]},"mask":{"kind":"null"},"except":` + except + `}`
	}
	filter := func(condition string) string {
		return `{"name":"p","kind":"filter","on":{"data_sources":["orders"]},"filter":"` + condition + `"}`
	}
	for _, c := range []struct{ body, field, says string }{
		{subscription(`{"not":{"group":"contracters"}}`), "who.not.group", `there is no group "contracters"`},
		{subscription(`{"any":[{"everyone":true},{"all":[{"group":"safety"},{"not":{"group":"nix"}}]}]}`), "who.any[1].all[1].not.group", "nix"},
		{subscription(`{"person":{"iamid":"local","userid":"anna"}}`), "who.person", `there is no person "anna" in "local"`},
		{subscription(`{"not":{"person":{"iamid":"okta","userid":"ana"}}}`), "who.not.person", "okta"},
		{mask(`{"group":"saftey"}`), "except.group", "saftey"},
		{filter(`@isInGroups('safety', 'nogroup')`), "filter", "at position 23: there is no group"},
		{filter(`NOT (region = 'a' AND @isInGroups('nogroup'))`), "filter", "nogroup"},
		{filter(`@username <> 'anna'`), "filter", `at position 14: there is no person "anna"`},
		{filter(`@username IN ('ana', 'anna')`), "filter", `"anna"`},
		{`{"name":"p","kind":"filter","on":{"data_sources":["orders","nix"]},"filter":"true"}`, "on.data_sources[1]", "nix"},
		{`{"name":"p","kind":"mask","on":{"data_sources":["orders"]},"columns":{"names":["email","emial"]},"mask":{"kind":"null"}}`, "columns.names[1]", "emial"},
		{`{"name":"p","kind":"mask","on":{"data_sources":["orders"]},"columns":{"tags":["a..b"]},"mask":{"kind":"null"}}`, "columns.tags[0]", "empty part"},
		{`{"name":"p","kind":"filter","on":{"tags":[""]},"filter":"true"}`, "on.tags[0]", "empty part"},
	} {
		for _, dry := range []bool{true, false} {
			method, path, body, field := "PUT", "/v1/policies/p", c.body, c.field
			if dry {
				method, path, body, field = "POST", "/v1/state?dry_run=true", `{"policies":[`+c.body+`]}`, "policies[0]."+c.field
			}
			status, raw := f.call(method, path, f.admin, body)
			var reply struct{ Error Error }
			if err := json.Unmarshal(raw, &reply); err != nil || status != 422 || reply.Error.Field != field || !strings.Contains(reply.Error.Message, c.says) {
				t.Errorf("%s %s: %d %s, want field %s and %q", path, body, status, raw, field, c.says)
			}
		}
	}
	for _, c := range []struct{ method, path, body, field string }{
		{"PUT", "/v1/people/dan", `{"userid":"dan","groups":["nix"]}`, "groups"},
		{"PUT", "/v1/people/dan", `{"userid":"dan","permissions":["IMPERSONATE_USER"],"impersonate":{"not":{"group":"nix"}}}`, "impersonate.not.group"},
		{"PUT", "/v1/data_sources/orders", `{"name":"orders","source":"src","remote_schema":"public","remote_table":"orders","owner":"nix"}`, "owner"},
	} {
		if status, raw := f.call(c.method, c.path, f.admin, c.body); status != 422 || !contains(raw, `"field":"`+c.field+`"`) {
			t.Errorf("%s: %d %s, want field %s", c.body, status, raw, c.field)
		}
	}
	// The right spelling is taken: the refusals were of the names.
	f.must("PUT", "/v1/policies/p", json.RawMessage(subscription(`{"not":{"group":"safety"}}`)), nil)
	f.must("PUT", "/v1/policies/p", json.RawMessage(filter(`@isInGroups('safety') OR @username <> 'ana'`)), nil)
}

// Names are those of the same file, in any order; what they mean cannot be taken away below them.
func TestNamesWithinOneChange(t *testing.T) {
	t.Parallel()
	f := start(t)
	const file = `
people:
  - {userid: bot, permissions: [IMPERSONATE_USER], impersonate: {any: [{person: {iamid: local, userid: zoe}}, {group: new}]}}
  - {userid: zoe, groups: [new]}
groups: [{name: new}, {name: old}]
policies:
  - {name: p, kind: subscription, on: {all: true}, who: {any: [{group: new}, {not: {group: old}}]}}
  - {name: f, kind: filter, on: {all: true}, filter: "@username <> 'zoe' AND NOT @isInGroups('new')"}
`
	f.apply(file)
	refused := func(text, says string) {
		t.Helper()
		state, err := ParseState("state.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = f.store.Apply(t.Context(), "test", state.State, false); err == nil || !strings.Contains(state.Locate(err).Error(), says) {
			t.Errorf("got %v, want %q", state.Locate(err), says)
		}
	}
	refused("groups: [{name: new}]", `old cannot be deleted: policy "p" (who.any[1].not.group) names it`)
	refused("people: []", `cannot be deleted: `)
	refused("groups: [{name: old}]\npeople: [{userid: bot}, {userid: zoe, groups: [new]}]\npolicies: []", "state.yaml:2:47: people[1].groups: there is no group")
	refused(strings.Replace(file, "{name: new}, {name: old}", "{name: new}", 1), `state.yaml:7:`)
	refused(strings.Replace(file, "{userid: zoe, groups: [new]}", "{userid: eve, groups: [new]}", 1), `state.yaml:3:`)
	for path, says := range map[string]string{"/v1/groups/old": "who.any[1].not.group", "/v1/people/zoe": "(filter)"} {
		if status, raw := f.call("DELETE", path, f.admin, ""); status != 409 || !contains(raw, says) {
			t.Errorf("%s: %d %s", path, status, raw)
		}
	}
	// All of it may go at once.
	f.apply("groups: []\npeople: []\npolicies: []")
}

// A connection registered under the name later would have what names tables of this one.
func TestAConnectionThatPoliciesNameStays(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.exec(`INSERT INTO portcullis.connections (id, name, provider, host, port, database, tls, username, mode, prefix, kinds, sync_every_ms, enforce)
		VALUES (gen_random_uuid(), 'shop', 'postgresql', '127.0.0.1', 1, 'shop', 'disable', 'system', 'broker', 'portcullis_', '{table}', 300000, true)`)
	for owner, says := range map[string]string{`{"userid":"nobody"}`: "owners[0].userid", `{"group":"nogroup"}`: "owners[0].group"} {
		if status, raw := f.call("PUT", "/v1/connection_objects/shop.shop", f.admin, `{"name":"shop.shop","owners":[`+owner+`]}`); status != 422 || !contains(raw, says) {
			t.Errorf("%s: %d %s", owner, status, raw)
		}
	}
	f.must("PUT", "/v1/groups/team", Group{Name: "team"}, nil)
	f.must("PUT", "/v1/connection_objects/shop.shop", ObjectSettings{Name: "shop.shop", Owners: []Owner{{Group: "team"}}}, nil)
	if status, raw := f.call("DELETE", "/v1/groups/team", f.admin, ""); status != 409 || !contains(raw, "shop.shop (owners[0].group) names it") {
		t.Errorf("the group of owners: %d %s", status, raw)
	}
	f.must("POST", "/v1/policies", Policy{Name: "p", Kind: policy.KindFilter, On: policy.Target{DataSources: []string{"shop.shop.sales.orders"}}, Filter: "id = 1"}, nil)
	for _, path := range []string{"/v1/connections/shop", "/v1/connections/shop?forget=true"} {
		if status, raw := f.call("DELETE", path, f.admin, ""); status != 409 || !contains(raw, `policy \"p\" (on.data_sources[0]) names it`) {
			t.Errorf("%s: %d %s", path, status, raw)
		}
	}
	f.must("DELETE", "/v1/policies/p", nil, nil)
	f.must("DELETE", "/v1/connections/shop?forget=true", nil, nil)
}

// Tags, attributes and columns of tables to come are open-ended: who names what nothing has is told.
func TestWarningsOfPolicies(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.apply(sampleState)
	f.exec("UPDATE portcullis.data_sources SET synced = '{}'")
	const body = `{"name":"w","kind":"mask","on":{"tags":["PII","PIII"]},"columns":{"names":["email","emial"],"tags":["PII.Email.Work","Money"]},"mask":{"kind":"null"},
		"except":{"any":[{"attribute":{"name":"region","value":"north"}},{"not":{"attribute":{"name":"region","value":"nort"}}},{"attribute":{"name":"regoin","value":"north"}}]}}`
	want := []string{"on.tags[1]", "columns.tags[0]", "columns.names[1]", "except", "except"}
	check := func(how, prefix string, got []Remark) {
		t.Helper()
		if len(got) != len(want) {
			t.Errorf("%s: %+v", how, got)
			return
		}
		for i, w := range want {
			if got[i].Field != prefix+w || got[i].Message == "" {
				t.Errorf("%s: %+v, want %s", how, got[i], prefix+w)
			}
		}
	}
	var p Policy
	f.must("POST", "/v1/policies", json.RawMessage(body), &p)
	check("POST", "", p.Remarks)
	var reply changeReply
	f.must("PUT", "/v1/policies/w", json.RawMessage(body), &reply)
	check("PUT", "", reply.Remarks)
	f.must("GET", "/v1/policies/w", nil, &p)
	check("GET", "", p.Remarks)
	var list []Policy
	f.must("GET", "/v1/policies", nil, &list)
	check("list", "", list[len(list)-1].Remarks)
	for _, dry := range []string{"true", "false"} {
		var applied ApplyReply
		f.must("POST", "/v1/state?dry_run="+dry, json.RawMessage(`{"policies":[`+body+`]}`), &applied)
		check("apply", "policies[0].", applied.Remarks)
	}
	// What is read can be stated again.
	f.must("PUT", "/v1/policies/w", p, &reply)
	if reply.Action != "" {
		t.Errorf("its own reading changes it: %+v", reply)
	}
	if again := f.apply("policies:\n  - {name: w, kind: filter, on: {tags: [Money]}, filter: \"@hasAttribute('region', 'north')\"}"); len(again.Remarks) != 0 {
		t.Errorf("%+v", again.Remarks)
	}
}

// The names of an older version's policies may dangle: neither they nor their negation hold.
func TestDanglingNamesClose(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.apply(sampleState)
	token, id := f.nodeToken("engine"), f.orders()
	f.must("PUT", "/v1/policies/teams", json.RawMessage(`{"name":"teams","kind":"subscription","on":{"data_sources":["orders"]},"who":{"not":{"group":"research"}}}`), nil)
	f.must("PUT", "/v1/policies/own%20regions", json.RawMessage(`{"name":"own regions","kind":"filter","on":{"data_sources":["orders"]},"filter":"NOT @isInGroups('research')"}`), nil)
	if d := f.decide(token, "dan_sql", id).Decisions[0]; !d.Allowed || d.Filter != nil {
		t.Fatalf("dan: %+v", d)
	}
	rename := func(table string) {
		f.exec("UPDATE portcullis.policies SET body = replace(body::text, 'research', 'gone')::jsonb WHERE name = '" + table + "'")
		f.exec("UPDATE portcullis.policy_version SET version = version + 1")
	}
	rename("own regions")
	if d := f.decide(token, "dan_sql", id).Decisions[0]; !d.Allowed || d.Filter == nil || d.Filter.Op != policy.OpFalse {
		t.Errorf("a filter on a group that is gone: %+v", d)
	}
	rename("teams")
	if d := f.decide(token, "dan_sql", id).Decisions[0]; d.Allowed {
		t.Errorf("not in a group that is gone: %+v", d)
	}
	// Nothing else is held up by it.
	f.must("PUT", "/v1/groups/more", Group{Name: "more"}, nil)
}
