package service

import (
	"strings"
	"testing"

	"portcullis.dev/portcullis/connection"
)

// TestWhatRegistrationBroughtUpIsTold registers by a state and edits by PUT.
func TestWhatRegistrationBroughtUpIsTold(t *testing.T) {
	w := &world{fixture: start(t), pg: remote(t)}
	v := w.connection("shop")
	v.Mode, v.Setup.AcceptCreateRoleEscalation = connection.ModeGrantor, true
	var applied ApplyReply
	w.must("POST", "/v1/state?dry_run=true", State{Connections: &[]Connection{v}}, &applied)
	if len(applied.Reached) != 1 || len(applied.Reached[0].Statements) == 0 {
		t.Errorf("a dry run says not what would be run: %+v", applied.Reached)
	}
	w.must("POST", "/v1/state", State{Connections: &[]Connection{v}}, &applied)
	told(t, applied.Reached[0].Reached)
	applied = ApplyReply{}
	w.must("POST", "/v1/state", State{Connections: &[]Connection{v}}, &applied)
	if len(applied.Reached) != 0 || len(applied.Differences) != 0 {
		t.Errorf("setup credentials that stay in a state are used again: %+v", applied)
	}
	w.inStep()

	// Credentials alone make ready what is there by now.
	if err := w.pg.CreateDatabase(t.Context(), "newer"); err != nil {
		t.Fatal(err)
	}
	if err := w.pg.Exec(t.Context(), "newer", "REVOKE CONNECT ON DATABASE newer FROM PUBLIC; CREATE TABLE public.t (id int)"); err != nil {
		t.Fatal(err)
	}
	wrong := "wrong"
	bad := v
	bad.Setup = &Setup{Username: v.Setup.Username, Password: &wrong, AcceptCreateRoleEscalation: true}
	if status, raw := w.call("PUT", "/v1/connections/shop", w.admin, text(t, bad)); status != 422 || !contains(raw, "wrong_credentials") {
		t.Errorf("wrong setup credentials: %d %s", status, raw)
	}
	var done Replaced
	w.must("PUT", "/v1/connections/shop", v, &done)
	told(t, done.Reached)
	if !strings.Contains(strings.Join(done.Statements, ""), `-- database "newer"`) || done.Action != "" {
		t.Errorf("action %q, statements %q", done.Action, done.Statements)
	}
	w.inStep()
	var o Object
	w.must("GET", "/v1/connections/shop/objects/shop.newer.public.t", nil, &o)
	if o.NotEnforceable != "" {
		t.Errorf("not looked at again: %s", o.NotEnforceable)
	}
}

func told(t *testing.T, r Reached) {
	t.Helper()
	if warned := strings.Join(r.Warnings, "\n"); !strings.Contains(warned, "can itself read and write every table") || !strings.Contains(warned, "reaches the operating system") {
		t.Errorf("the risk is not told: %q", r.Warnings)
	}
	if len(r.DefaultPrivileges) == 0 || len(r.Missing) != 0 {
		t.Errorf("default privileges %v, missing %v", r.DefaultPrivileges, r.Missing)
	}
}

// TestSettingsThatWait tells at once what counts for nothing yet.
func TestSettingsThatWait(t *testing.T) {
	w := register(t)
	w.inStep()
	put := func(o ObjectSettings) (done SettledObject) {
		t.Helper()
		w.must("PUT", "/v1/connection_objects/"+o.Name, o, &done)
		return done
	}
	if done := put(ObjectSettings{Name: "shop.shop.sales", Tags: []string{"Sales"}, Owners: []Owner{{Group: "team"}}}); done.Waiting || done.UnknownColumns != nil {
		t.Errorf("a schema that is there: %+v", done)
	}
	if done := put(ObjectSettings{Name: "shop.shop.nosuch", State: stateDisable}); !done.Waiting {
		t.Error("a schema that is not there: not told")
	}
	if done := put(ObjectSettings{Name: "shop.shop.sales.orders", Tags: []string{"Own"}, Columns: []ColumnTags{{Name: "emial", Tags: []string{"PII"}}, {Name: "email", Tags: []string{"PII"}}}}); done.Waiting || strings.Join(done.UnknownColumns, ",") != "emial" {
		t.Errorf("a column that is not there: %+v", done)
	}
	var st ConnectionStatus
	w.must("GET", "/v1/connections/shop/status", nil, &st)
	if got := text(t, st.Waiting); got != `[{"name":"shop.shop.nosuch"},{"name":"shop.shop.sales.orders","columns":["emial"]}]` {
		t.Errorf("status: %s", got)
	}
	var applied ApplyReply
	w.must("POST", "/v1/state", State{ConnectionObjects: &[]ObjectSettings{{Name: "shop.shop.other", State: stateDisable}, {Name: "shop.shop.sales", Tags: []string{"Sales"}, Owners: []Owner{{Group: "team"}}}}}, &applied)
	if got := text(t, applied.Waiting); got != `[{"name":"shop.shop.other"}]` {
		t.Errorf("applied: %s", got)
	}
	var o Object
	w.must("GET", "/v1/connections/shop/objects/shop.shop.sales.orders", nil, &o)
	if strings.Join(o.InheritedTags, ",") != "Sales" || len(o.InheritedOwners) != 1 || o.InheritedOwners[0].Group != "team" || len(o.Owners) != 0 {
		t.Errorf("inherited: tags %q, owners %+v", o.InheritedTags, o.InheritedOwners)
	}
}
