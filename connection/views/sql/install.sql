-- Views that show people a part of a table. {{owner}} owns them and reads the tables
-- of which there are views, and {{account}} may act as it. Neither may make schemas:
-- the function makes those that hold the views, and no others.
BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
DO $do$
DECLARE
	other text;
BEGIN
	IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {{owner_name}}) THEN
		CREATE ROLE {{owner}} NOLOGIN;
		COMMENT ON ROLE {{owner}} IS {{comment}};
	END IF;
	IF EXISTS (SELECT FROM pg_roles WHERE rolname = {{owner_name}}
			AND (rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication)) THEN
		RAISE EXCEPTION 'role % is not as it is needed: NOLOGIN and nothing more', quote_ident({{owner_name}});
	END IF;
	-- Policies of a table would run with its rights, and read other tables for whoever owns that one.
	IF NOT (SELECT rolbypassrls FROM pg_roles WHERE rolname = {{owner_name}}) THEN
		BEGIN
			ALTER ROLE {{owner}} BYPASSRLS;
		EXCEPTION WHEN insufficient_privilege THEN
			RAISE WARNING 'role % should have BYPASSRLS', quote_ident({{owner_name}})
				USING HINT = 'A superuser runs: ALTER ROLE {{owner}} BYPASSRLS. Without it who owns a table with a view can read what that role may read.';
		END;
	END IF;
	GRANT {{owner}} TO {{account}};
	-- Who makes a schema that belongs to a role must be able to become that role.
	IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
		GRANT {{owner}} TO CURRENT_USER;
	END IF;
	SELECT r.rolname INTO other FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner
		WHERE n.nspname = 'portcullis_views' AND r.rolname <> current_user AND NOT r.rolsuper;
	IF other IS NOT NULL THEN
		RAISE EXCEPTION 'schema portcullis_views belongs to %', quote_ident(other)
			USING HINT = 'Drop or rename it if it is not known to you; else its owner runs this script.';
	END IF;
	CREATE SCHEMA IF NOT EXISTS portcullis_views;
	-- An account that was replaced has nothing left. It owns nothing, as a DBA does.
	FOR other IN SELECT DISTINCT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member
			WHERE m.roleid = {{owner_name}}::regrole AND r.rolcanlogin AND NOT m.admin_option AND r.rolname NOT IN ({{account_name}}, current_user)
				AND NOT EXISTS (SELECT FROM pg_shdepend d WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid AND d.deptype = 'o') LOOP
		EXECUTE format('REVOKE {{owner}} FROM %I', other);
	END LOOP;
END $do$;
CREATE TABLE IF NOT EXISTS portcullis_views.made (
	base oid PRIMARY KEY,
	view oid NOT NULL,
	digest text NOT NULL,
	kept text NOT NULL,
	shapes bigint[] NOT NULL,
	filled text NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS portcullis_views.person (
	base oid NOT NULL,
	role oid NOT NULL,
	shape bigint NOT NULL,
	PRIMARY KEY (base, role)
);
CREATE TABLE IF NOT EXISTS portcullis_views.slot (
	base oid NOT NULL,
	role oid NOT NULL,
	n integer NOT NULL,
	list text[] NOT NULL,
	PRIMARY KEY (base, role, n)
);
CREATE TABLE IF NOT EXISTS portcullis_views.key (
	base oid PRIMARY KEY,
	inner_block bytea NOT NULL,
	outer_block bytea NOT NULL
);
DROP FUNCTION IF EXISTS portcullis_views.make_schema(oid);
CREATE FUNCTION portcullis_views.make_schema(base oid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $make$
DECLARE
	views oid;
	made text;
	spelled bytea;
	cut integer := 54;
	holder oid;
BEGIN
	-- By what was granted: a role that was given the name later is another.
	SELECT r.oid INTO views FROM pg_roles r
		WHERE r.rolname = {{owner_name}} AND has_function_privilege(r.oid, 'portcullis_views.make_schema(oid)', 'EXECUTE') AND NOT r.rolcanlogin;
	IF views IS NULL THEN
		RAISE EXCEPTION 'the role that owns views is not the one for which this function was made';
	END IF;
	SELECT 'policy_' || n.nspname INTO made FROM pg_namespace n
		WHERE n.oid = base AND n.nspowner <> views AND NOT starts_with(n.nspname, 'pg_')
			AND n.nspname NOT IN ('information_schema', 'portcullis_broker', 'portcullis_views');
	IF made IS NULL THEN
		RAISE EXCEPTION 'there is no schema % of which views could be made', base;
	END IF;
	spelled := convert_to(made, 'UTF8');
	IF length(spelled) > 63 THEN
		WHILE get_byte(spelled, cut) & 192 = 128 LOOP
			cut := cut - 1;
		END LOOP;
		made := convert_from(substr(spelled, 1, cut), 'UTF8') || '_' || left(encode(sha256(spelled), 'hex'), 8);
	END IF;
	SELECT n.nspowner INTO holder FROM pg_namespace n WHERE n.nspname = made;
	IF holder = views THEN
		RETURN made;
	ELSIF holder IS NOT NULL THEN
		RAISE EXCEPTION 'schema % is there and belongs to %', quote_ident(made), quote_ident(pg_get_userbyid(holder));
	ELSIF EXISTS (SELECT FROM pg_roles r WHERE r.rolname = made) THEN
		RAISE EXCEPTION 'schema % would have the name of a role, and stand first on that role''s search path', quote_ident(made);
	END IF;
	EXECUTE format('CREATE SCHEMA %I AUTHORIZATION %I', made, {{owner_name}});
	RETURN made;
END $make$;
REVOKE ALL ON FUNCTION portcullis_views.make_schema(oid) FROM PUBLIC;
GRANT USAGE ON SCHEMA portcullis_views TO {{owner}};
GRANT SELECT, INSERT, UPDATE, DELETE ON portcullis_views.made, portcullis_views.person, portcullis_views.slot, portcullis_views.key TO {{owner}};
GRANT EXECUTE ON FUNCTION portcullis_views.make_schema(oid) TO {{owner}};
COMMIT;
