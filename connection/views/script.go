package views

import (
	"strings"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/sqltext"
)

// Script is what a DBA runs, in every database that is to have views, so that
// the system account may make them. The account then acts as a role that reads
// the tables which have views; it says so.
func Script(t connection.Target, database string) string {
	r := strings.NewReplacer("{{owner}}", sqltext.Identifier(t.ViewsOwner()), "{{owner_name}}", sqltext.Literal(t.ViewsOwner()),
		"{{account}}", sqltext.Identifier(t.Username), "{{database}}", sqltext.Identifier(database))
	return r.Replace(script)
}

const script = `-- Views that show people a part of a table. The role that owns them reads the tables
-- of which there are views, and {{account}} may act as it.
BEGIN;
DO $do$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {{owner_name}}) THEN
		CREATE ROLE {{owner}} NOLOGIN;
		COMMENT ON ROLE {{owner}} IS 'Owns the views of Portcullis';
	END IF;
END $do$;
GRANT {{owner}} TO {{account}};
GRANT CREATE ON DATABASE {{database}} TO {{owner}};
COMMIT;
`
