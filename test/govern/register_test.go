package govern

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/test/world"
)

// Superusers of the instance register its tables without an API key at hand.
func testRegistering(t *testing.T, n *node) {
	if err := n.Postgres.Exec(t.Context(), "postgres", "CREATE TABLE hr.more (id int, name text); GRANT SELECT ON hr.more TO reader"); err != nil {
		t.Fatal(err)
	}
	n.exec(t, "CREATE FOREIGN TABLE immuta.more (id int, name text) SERVER src_pg OPTIONS (schema_name 'hr')")
	n.exec(t, "SELECT immutasys.create_data_source('immuta.more', NULL, '{Test.Tag}')")
	if err := n.WaitSynced(t.Context()); err != nil {
		t.Error(err)
	}
	_, err := query(t, n.Login(t, world.Eve), "SELECT count(*) FROM immuta.more")
	wantError(t, err, "42P01", `relation "immuta.more" does not exist`)

	// What the service was told elsewhere stays when it is registered again.
	n.edit(t, "more", func(d map[string]any) { d["discoverable"] = true; d["contact"] = "the office" })
	n.exec(t, "SELECT immutasys.create_data_source('immuta.more')")
	d := n.dataSource(t, "more")
	if d["discoverable"] != true || d["contact"] != "the office" || d["unmanaged"] != true || d["registered_by"] == nil || len(d["tags"].([]any)) != 1 {
		t.Errorf("registered again: %v", d)
	}
	n.exec(t, "SELECT immutasys.create_data_source('immuta.more', NULL, '{}')")
	if d := n.dataSource(t, "more"); d["tags"] != nil || d["discoverable"] != true {
		t.Errorf("with other tags: %v", d)
	}

	n.exec(t, "CREATE SCHEMA twice; CREATE FOREIGN TABLE twice.more (id int, name text) SERVER src_pg OPTIONS (schema_name 'hr')")
	_, err = n.admin.Exec(t.Context(), "SELECT immutasys.create_data_source('twice.more')")
	wantError(t, err, "42710", "is data source")
	n.exec(t, "CREATE FOREIGN TABLE twice.other (id int, name text) SERVER src_pg OPTIONS (schema_name 'hr', table_name 'more')")
	_, err = n.admin.Exec(t.Context(), "SELECT immutasys.create_data_source('twice.other', 'more')")
	wantError(t, err, "42710", "exists already and is not this table")
	_, err = n.admin.Exec(t.Context(), "SELECT immutasys.create_data_source('twice.more', 'staff_pg')")
	wantError(t, err, "42710", "exists already and is not this table")
	n.exec(t, "DROP SCHEMA twice CASCADE")

	var explained string
	if err := n.admin.QueryRow(t.Context(), "SELECT immutasys.explain_decision('eve', 'immuta.staff_pg')::text").Scan(&explained); err != nil || !strings.Contains(explained, "readers") {
		t.Errorf("explained %s, %v", explained, err)
	}
	_, err = n.admin.Exec(t.Context(), "SELECT immutasys.explain_decision('nobody at all', 'immuta.staff_pg')")
	wantError(t, err, "02000", "nobody at all")

	n.exec(t, "SELECT immutasys.drop_data_source('immuta.more')")
	_, err = n.admin.Exec(t.Context(), "SELECT immutasys.drop_data_source('immuta.more')")
	wantError(t, err, "42704", "is not a data source")
	_, err = n.admin.Exec(t.Context(), "SELECT immutasys.create_data_source('pg_class')")
	wantError(t, err, "42809", "not a foreign table")
	testOwnServer(t, n)
	testNodeKeyReach(t, n)
}

// A server that an administrator made by hand stays theirs.
func testOwnServer(t *testing.T, n *node) {
	n.exec(t, "CREATE SERVER \"own server/1\" FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'PostgreSQL Unicode', host '127.0.0.1', port '5', database 'postgres')")
	n.exec(t, "CREATE FOREIGN TABLE immuta.by_hand (id int) SERVER \"own server/1\" OPTIONS (schema_name 'hr', table_name 'more')")
	n.exec(t, "SELECT immutasys.create_data_source('immuta.by_hand')")
	if err := n.WaitSynced(t.Context()); err != nil {
		t.Error(err)
	}
	var options string
	if err := n.admin.QueryRow(t.Context(), "SELECT srvoptions::text FROM pg_foreign_server WHERE srvname = 'own server/1'").Scan(&options); err != nil || !strings.Contains(options, "port=5") {
		t.Errorf("options %s, %v", options, err)
	}
	n.exec(t, "SELECT immutasys.drop_data_source('immuta.by_hand')")
	n.exec(t, "DROP FOREIGN TABLE immuta.by_hand")
}

// The key that makes this possible reaches nothing else, and the node's token nothing of it.
func testNodeKeyReach(t *testing.T, n *node) {
	for _, tt := range []struct{ call, message string }{
		{"'GET', '/v1/people'", "is for node"},
		{"'GET', '/v1/api_keys'", "is for node"},
		{"'GET', '/v1/state'", "is for node"},
		{"'PUT', '/v1/policies/x', '{}'", "is for node"},
		{"'POST', '/v1/api_keys', '{\"name\": \"x\", \"permissions\": [\"ADMIN\"]}'", "is for node"},
		{"'DELETE', '/v1/data_sources/staff_pg'", "was not registered by node"},
		{"'DELETE', '/v1/sources/src_pg'", "is for node"},
	} {
		_, err := n.admin.Exec(t.Context(), "SELECT immutasys.service_result("+tt.call+")")
		wantError(t, err, "42501", tt.message)
	}
	// Not even who reads all data and may call the functions holds it, unless a superuser.
	role := pgx.Identifier{world.Exempt}.Sanitize()
	n.exec(t, "GRANT USAGE ON SCHEMA immutasys TO "+role+"; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA immutasys TO "+role+"; GRANT pg_read_all_data TO "+role)
	_, err := n.Login(t, world.Exempt).Exec(t.Context(), "SELECT immutasys.service_result('GET', '/v1/data_sources/staff_pg')")
	wantError(t, err, "42501", "refused")
	n.exec(t, "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA immutasys FROM "+role+"; REVOKE USAGE ON SCHEMA immutasys FROM "+role+"; REVOKE pg_read_all_data FROM "+role)
}

func (n *node) dataSource(t *testing.T, name string) map[string]any {
	t.Helper()
	var raw []byte
	if err := n.admin.QueryRow(t.Context(), "SELECT immutasys.service_result('GET', '/v1/data_sources/' || immutasys.uri_part($1))", name).Scan(&raw); err != nil {
		t.Fatal(err)
	}
	var d map[string]any
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// edit changes a data source as an administrator of the service does.
func (n *node) edit(t *testing.T, name string, change func(map[string]any)) {
	t.Helper()
	key, err := os.ReadFile(filepath.Clean(n.Service.APIKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	d := n.dataSource(t, name)
	change(d)
	body, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	n.exec(t, "SELECT immutasys.service_result('PUT', '/v1/data_sources/' || immutasys.uri_part($1), $2, $3)", name, string(body), strings.TrimSpace(string(key)))
}
