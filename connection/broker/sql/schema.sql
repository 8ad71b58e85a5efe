-- The schema of the broker. One that somebody else made is not used: its owner
-- could put other functions or triggers in place of ours.
DO $do$
DECLARE
	other text;
BEGIN
	IF current_setting('server_version_num')::int NOT BETWEEN 140000 AND 189999 THEN
		RAISE EXCEPTION 'the broker runs on PostgreSQL 14 to 18';
	END IF;
	SELECT r.rolname INTO other FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner
		WHERE n.nspname = 'portcullis_broker' AND r.rolname <> current_user;
	IF other IS NOT NULL THEN
		RAISE EXCEPTION 'schema portcullis_broker belongs to %', other
			USING HINT = 'Run the script as that role, or drop the schema if it is not known to you.';
	END IF;
	SELECT format('%s %s of %s', k, o, r.rolname) INTO other
		FROM (SELECT 'table' AS k, relname::text AS o, relowner AS w FROM pg_class
				WHERE relnamespace = to_regnamespace('portcullis_broker') AND relkind NOT IN ('i', 't')
			UNION ALL SELECT 'function', proname::text, proowner FROM pg_proc
				WHERE pronamespace = to_regnamespace('portcullis_broker')) x
		JOIN pg_roles r ON r.oid = w
		WHERE r.rolname NOT IN (current_user, {{owner_name}}) AND r.rolname !~ ('^' || {{owner_name}} || '_[0-9]{2}$') LIMIT 1;
	IF other IS NOT NULL THEN
		RAISE EXCEPTION 'schema portcullis_broker holds something that is not the broker''s: %', other;
	END IF;
	IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {{account_name}}) THEN
		RAISE EXCEPTION 'there is no role %', quote_ident({{account_name}})
			USING HINT = 'Make the system account first: CREATE ROLE ... LOGIN.';
	END IF;
	IF to_regnamespace('portcullis_broker') IS NULL THEN
		CREATE SCHEMA portcullis_broker;
	END IF;
END $do$;
COMMENT ON SCHEMA portcullis_broker IS 'Grants on listed tables to roles of one prefix, for Portcullis';
REVOKE ALL ON SCHEMA portcullis_broker FROM PUBLIC;
