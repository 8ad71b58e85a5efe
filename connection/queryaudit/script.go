package queryaudit

import (
	"strings"

	"portcullis.dev/portcullis/internal/sqltext"
)

// Script lets the system account read the log, and only the log: a superuser
// runs it in the connection's database. EXECUTE on PostgreSQL's own
// pg_read_binary_file would give it every file of the data folder, tables and
// passwords among them.
func Script(account string) string {
	return strings.ReplaceAll(install, "{{account}}", sqltext.Identifier(account))
}

// RemovalScript takes away what Script made.
func RemovalScript() string { return removal }

const install = `BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
DO $do$
BEGIN
	IF EXISTS (SELECT FROM pg_namespace WHERE nspname = 'portcullis_audit' AND nspowner <> current_user::regrole) THEN
		RAISE EXCEPTION 'schema portcullis_audit is somebody else''s';
	END IF;
END $do$;
CREATE SCHEMA IF NOT EXISTS portcullis_audit;
REVOKE ALL ON SCHEMA portcullis_audit FROM PUBLIC;
CREATE OR REPLACE FUNCTION portcullis_audit.files(OUT name text, OUT size bigint, OUT modified timestamptz) RETURNS SETOF record
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
	SELECT f.name, f.size, f.modification FROM pg_ls_logdir() f WHERE f.name ~ '^[A-Za-z0-9_.+-]+\.(csv|json)$'
$function$;
CREATE OR REPLACE FUNCTION portcullis_audit.read(file text, start bigint, size integer) RETURNS bytea
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
	IF file !~ '^[A-Za-z0-9_.+-]+\.(csv|json)$' OR start < 0 OR size NOT BETWEEN 0 AND 1048576 THEN
		RAISE insufficient_privilege USING MESSAGE = format('%L is no part of the log', file);
	END IF;
	RETURN pg_read_binary_file(current_setting('log_directory') || '/' || file, start, size);
END $function$;
REVOKE ALL ON FUNCTION portcullis_audit.files(), portcullis_audit.read(text, bigint, integer) FROM PUBLIC;
GRANT USAGE ON SCHEMA portcullis_audit TO {{account}};
GRANT EXECUTE ON FUNCTION portcullis_audit.files(), portcullis_audit.read(text, bigint, integer) TO {{account}};
COMMIT;
`

const removal = `BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
DO $do$
BEGIN
	IF to_regprocedure('portcullis_audit.read(text, bigint, integer)') IS NOT NULL THEN
		DROP FUNCTION portcullis_audit.files();
		DROP FUNCTION portcullis_audit.read(text, bigint, integer);
		DROP SCHEMA portcullis_audit;
	END IF;
END $do$;
COMMIT;
`
