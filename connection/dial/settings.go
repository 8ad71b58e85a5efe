package dial

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/internal/sqltext"
)

// settled are settings that a database's owner could have set by ALTER DATABASE
// … SET and that would change what our statements do or say, or end them. Not every version
// has each, so they cannot stand in the startup packet.
var settled = [][2]string{
	{"row_security", "on"}, {"transform_null_equals", "off"}, {"quote_all_identifiers", "off"}, {"array_nulls", "on"}, {"backslash_quote", "safe_encoding"},
	{"default_transaction_deferrable", "off"}, {"createrole_self_grant", ""}, {"restrict_nonsystem_relation_kind", ""},
	{"transaction_timeout", "0"}, {"idle_session_timeout", "0"}, {"client_min_messages", "notice"}, {"check_function_bodies", "on"},
	{"DateStyle", "ISO, MDY"}, {"IntervalStyle", "postgres"}, {"TimeZone", "UTC"}, {"bytea_output", "hex"}, {"extra_float_digits", "1"}, {"xmloption", "content"},
	{"default_tablespace", ""}, {"default_table_access_method", "heap"}, {"temp_tablespaces", ""}, {"password_encryption", "scram-sha-256"},
}

var settleSQL = func() string {
	values := make([]string, len(settled))
	for i, s := range settled {
		values[i] = "(" + sqltext.Literal(s[0]) + ", " + sqltext.Literal(s[1]) + ")"
	}
	return `SELECT pg_catalog.set_config(s.name, v.value, false) FROM (VALUES ` + strings.Join(values, ", ") + `) v(name, value)
		JOIN pg_catalog.pg_settings s ON s.name = v.name
	UNION ALL SELECT pg_catalog.set_config(s.name, 'local', false) FROM pg_catalog.pg_settings s WHERE s.name = 'synchronous_commit' AND s.setting = 'off'`
}()

// settle makes a new session ours. A commit that a crash may undo is none; how
// far replicas have to follow is the instance's own choice.
func settle(ctx context.Context, conn *pgconn.PgConn) error {
	_, err := conn.Exec(ctx, settleSQL).ReadAll()
	return err
}
