package service

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"portcullis.dev/portcullis/policy"
)

func keysOf(r ApplyReply) string {
	var out []string
	for _, d := range r.Differences {
		out = append(out, d.Action+" "+d.Object+" "+d.Key)
	}
	return strings.Join(out, "; ")
}

func TestApplyIsIdempotentAndComplete(t *testing.T) {
	f := start(t)
	var dry ApplyReply
	state, err := ParseState("state.yaml", []byte(sampleState))
	if err != nil {
		t.Fatal(err)
	}
	before, err := f.store.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.must("POST", "/v1/state?dry_run=true", state.State, &dry)
	first := f.apply(sampleState)
	if !dry.DryRun || dry.Version != before || keysOf(dry) != keysOf(first) || len(first.Differences) != 13 {
		t.Errorf("dry run %d: %s\napply %s", len(dry.Differences), keysOf(dry), keysOf(first))
	}
	if again := f.apply(sampleState); len(again.Differences) != 0 || again.Version != first.Version {
		t.Errorf("again: %s", keysOf(again))
	}
	// What GET /v1/state gives can be applied: nothing changes.
	var whole State
	f.must("GET", "/v1/state", nil, &whole)
	var back ApplyReply
	f.must("POST", "/v1/state", whole, &back)
	if len(back.Differences) != 0 {
		t.Errorf("its own state changes: %s", keysOf(back))
	}
}

func TestApplyMakesEqual(t *testing.T) {
	f := start(t)
	f.apply(sampleState)
	id := f.orders()
	changed := strings.NewReplacer(
		"  - userid: dan\n", "  - userid: eve\n",
		"{role: dan_sql, userid: dan}", "{role: eve_sql, userid: eve}",
		"kind: hash", "kind: constant, constant: x",
		"password: geheim", "password: neu",
		"password: pw-ana", "password: pw-neu",
		"tags: [PII.Email]", "tags: [PII.Email, Contact]",
	).Replace(sampleState)
	got := keysOf(f.apply(changed))
	want := "create people eve/local; update sources src; update data_sources orders; update policies hash pii; " +
		"update sql_accounts ana_sql/engine; create sql_accounts eve_sql/engine; delete sql_accounts dan_sql/engine; delete people dan/local"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if f.orders() != id {
		t.Error("the data source got another id")
	}
	var p Policy
	f.must("GET", "/v1/policies/hash%20pii", nil, &p)
	if p.Version != 2 {
		t.Errorf("policy version %d", p.Version)
	}
	if got := keysOf(f.apply("subscriptions: []")); got != "" {
		t.Errorf("sections that are not named changed: %s", got)
	}
	if got := keysOf(f.apply("sql_accounts: []\npolicies: []")); !strings.Contains(got, "delete policies teams") || strings.Contains(got, "people") {
		t.Errorf("emptied sections: %s", got)
	}
}

func TestApplyIsAllOrNothing(t *testing.T) {
	f := start(t)
	f.apply(sampleState)
	state, err := ParseState("x", []byte("groups: [{name: new}]\npeople: [{userid: zoe, groups: [nix]}]"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.store.Apply(t.Context(), "test", state.State, false); err == nil {
		t.Fatal("no error")
	}
	var groups []Group
	f.must("GET", "/v1/groups", nil, &groups)
	if len(groups) != 2 {
		t.Errorf("groups %+v", groups)
	}
}

func TestApplyKeepsUnstatedPasswords(t *testing.T) {
	f := start(t)
	f.apply(sampleState)
	without := strings.NewReplacer(", password: geheim", "", ", password: pw-ana", "").Replace(sampleState)
	if got := keysOf(f.apply(without)); got != "" {
		t.Errorf("changed: %s", got)
	}
	password, err := sourcePassword(t.Context(), f.store.pool, f.store, "src")
	if err != nil || password == nil || *password != "geheim" {
		t.Errorf("password %v, %v", password, err)
	}
}

func TestStateFilesThatAreWrong(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cases := []struct{ name, text, says string }{
		{"syntax", "people:\n  - userid: [a\n", "state.yaml:"},
		{"unknown section", "peple: []\n", "state.yaml:1:1: peple"},
		{"unknown field", "people:\n  - userid: a\n    colour: red\n", `state.yaml:3:5: people[0].colour`},
		{"unknown field within", "policies:\n  - name: a\n    who: {userid: b}\n", `, known are everyone, group`},
		{"wrong type", "people:\n  - userid: a\n    groups: x\n", "state.yaml:3:13: people[0].groups"},
		{"wrong number", "sources:\n  - {name: a, driver: d, port: many}\n", "state.yaml:2:"},
		{"no time", "subscriptions:\n  - {data_source: yesterday, userid: b, expires: yesterday}\n", `state.yaml:2:50: subscriptions[0].expires: "yesterday" is no time`},
		{"infinite time", "subscriptions:\n  - {data_source: a, userid: b, expires: infinity}\n", "subscriptions[0].expires"},
		{"time now", "subscriptions:\n  - {data_source: a, userid: b, expires: now}\n", "subscriptions[0].expires"},
		{"empty time", "subscriptions:\n  - {data_source: a, userid: b}\n  - {data_source: a, userid: c, expires: \"\"}\n", "state.yaml:3:42: subscriptions[1].expires"},
		{"thirteenth month", "subscriptions:\n  - {data_source: a, userid: b, expires: 2030-13-01}\n", "subscriptions[0].expires"},
		{"time without zone", "subscriptions:\n  - {data_source: a, userid: b, expires: 2030-01-01 00:00:00}\n", "subscriptions[0].expires"},
		{"twice", "groups: []\ngroups: []\n", "state.yaml:2:1"},
		{"two documents", "groups: []\n---\ngroups: []\n", "more than one"},
		{"empty", "", "empty"},
		{"no such password file", "sql_accounts:\n  - role: a\n    userid: a\n    password_file: nix\n", "state.yaml:4:20: sql_accounts[0].password_file"},
		{"empty password file", "sql_accounts:\n  - {role: a, userid: a, password_file: empty}\n", "is empty"},
		{"password twice", "sources:\n  - {name: a, driver: d, password: x, password_file: empty}\n", "either"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(dir, "state.yaml")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := ReadStateFile(path)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}

func TestTimesOfStateFiles(t *testing.T) {
	for text, want := range map[string]string{
		"2030-01-31": "2030-01-31T00:00:00Z", "2030-01-31T12:00:00Z": "2030-01-31T12:00:00Z", "'2030-01-31T12:00:00.5+02:00'": "2030-01-31T10:00:00.5Z", "null": "",
	} {
		f, err := ParseState("state.yaml", []byte("subscriptions:\n  - {data_source: a, userid: b, expires: "+text+"} # kept\n"))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := ""
		if e := (*f.State.Subscriptions)[0].Expires; e != nil {
			got = e.UTC().Format(time.RFC3339Nano)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// timeFinder knows times by their name.
func TestTimesOfAStateAreCalledExpires(t *testing.T) {
	var walk func(at reflect.Type)
	seen := 0
	walk = func(at reflect.Type) {
		for at.Kind() == reflect.Pointer || at.Kind() == reflect.Slice {
			at = at.Elem()
		}
		if at.Kind() != reflect.Struct {
			return
		}
		for i := range at.NumField() {
			f := at.Field(i)
			if f.Type == reflect.TypeFor[*time.Time]() || f.Type == reflect.TypeFor[time.Time]() {
				seen++
				if name := tagName(f); name != "expires" && name != "last_read" {
					t.Errorf("%s.%s is a time", at, name)
				}
			} else if at.PkgPath() != "time" && f.Type != reflect.TypeFor[*policy.Who]() {
				walk(f.Type)
			}
		}
	}
	walk(reflect.TypeFor[State]())
	if seen == 0 {
		t.Error("no time was found")
	}
}

func TestRefusalsOfTheServiceAreLocated(t *testing.T) {
	f := start(t)
	text := "groups:\n  - name: a\npeople:\n  - userid: b\n    status: gone\n"
	state, err := ParseState("state.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.store.Apply(t.Context(), "test", state.State, true)
	if err = state.Locate(err); err == nil || !strings.HasPrefix(err.Error(), "state.yaml:5:13: people[0].status: ") {
		t.Errorf("%v", err)
	}
}

func TestTheDocumentedExampleApplies(t *testing.T) {
	raw, err := os.ReadFile("../docs/state.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(raw), "```yaml\n")
	example, _, ok2 := strings.Cut(rest, "```")
	if !ok || !ok2 {
		t.Fatal("docs/state.md has no example")
	}
	dir := t.TempDir()
	for _, name := range []string{"reader.password", "ana.password"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("secret\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "state.yaml")
	if err := os.WriteFile(path, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	state, err := ReadStateFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f := start(t)
	reply, err := f.store.Apply(t.Context(), "test", state.State, false)
	if err != nil {
		t.Fatal(state.Locate(err))
	}
	for _, section := range []string{"groups", "people", "sources", "data_sources", "policies", "subscriptions", "sql_accounts"} {
		if !strings.Contains(keysOf(reply), "create "+section) {
			t.Errorf("the example has no %s", section)
		}
	}
	kinds := map[policy.MaskKind]bool{}
	for _, p := range *state.State.Policies {
		if p.Mask != nil {
			kinds[p.Mask.Kind] = true
		}
	}
	if len(kinds) != 6 {
		t.Errorf("the example shows the masks %v only", kinds)
	}
}
