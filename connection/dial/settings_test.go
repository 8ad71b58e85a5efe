package dial

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"portcullis.dev/portcullis/internal/testenv"
)

// TestTheOwnerOfADatabaseChangesNoSession has who owns the database set all that
// an owner may, on each major version.
func TestTheOwnerOfADatabaseChangesNoSession(t *testing.T) {
	hostile := map[string]string{"role": "portcullis_owner", "search_path": "evil, pg_catalog", "row_security": "off", "transform_null_equals": "on", "quote_all_identifiers": "on",
		"array_nulls": "off", "backslash_quote": "on", "default_transaction_deferrable": "on", "default_transaction_read_only": "on", "default_transaction_isolation": "serializable",
		"createrole_self_grant": "set, inherit", "restrict_nonsystem_relation_kind": "view", "transaction_timeout": "20000", "idle_session_timeout": "20000", "statement_timeout": "20000", "lock_timeout": "20000",
		"idle_in_transaction_session_timeout": "20000", "client_min_messages": "error", "check_function_bodies": "off", "DateStyle": "German", "IntervalStyle": "iso_8601", "TimeZone": "Asia/Kolkata",
		"bytea_output": "escape", "extra_float_digits": "-15", "xmloption": "document", "default_tablespace": "pg_default", "temp_tablespaces": "pg_default", "password_encryption": "md5",
		"synchronous_commit": "off", "standard_conforming_strings": "off", "local_preload_libraries": "$libdir/plugins/evil", "client_encoding": "LATIN1", "application_name": "other"}
	for _, major := range testenv.Majors() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			p, target := instance(t, testenv.ServerOptions{Major: major})
			exec(t, p, "CREATE ROLE keeper; CREATE ROLE portcullis_owner; GRANT portcullis_owner TO gate")
			exec(t, p, "CREATE DATABASE shop OWNER keeper")
			owner, err := p.Connect(t.Context(), "postgres")
			if err != nil {
				t.Fatal(err)
			}
			defer owner.Close(context.Background())
			if _, err := owner.Exec(t.Context(), "SET ROLE keeper"); err != nil {
				t.Fatal(err)
			}
			set := map[string]string{}
			for name, value := range hostile {
				if name == "TimeZone" {
					value = "'" + value + "'"
				} else if !strings.Contains(value, ", ") {
					value = "'" + value + "'"
				}
				if _, err := owner.Exec(t.Context(), "ALTER DATABASE shop SET "+name+" = "+value); err == nil {
					set[name] = value
				} else if name != "createrole_self_grant" && name != "restrict_nonsystem_relation_kind" && name != "transaction_timeout" {
					t.Errorf("%s cannot be set: %v", name, err)
				}
			}
			plain, err := dialer().Connect(t.Context(), target, "")
			if err != nil {
				t.Fatal(err)
			}
			defer plain.Close(context.Background())
			conn, err := dialer().Connect(t.Context(), target, "shop")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.Background())
			var who string
			if err := conn.QueryRow(t.Context(), "SELECT current_user").Scan(&who); err != nil || who != target.Username {
				t.Errorf("the session is %s, %v", who, err)
			}
			if _, err := conn.Exec(t.Context(), "RESET ROLE"); err != nil {
				t.Fatal(err)
			}
			for name := range set {
				var got, want string
				if err := conn.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&got); err != nil {
					t.Fatal(err)
				}
				if err := plain.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&want); err != nil {
					t.Fatal(err)
				}
				if name == "synchronous_commit" {
					want = "local"
				}
				if got != want {
					t.Errorf("%s is %q, without the owner's setting %q", name, got, want)
				}
			}
		})
	}
}
