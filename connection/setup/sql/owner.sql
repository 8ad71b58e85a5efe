-- Roles are made under a role of their own, so that accounts can be rotated. Up
-- to PostgreSQL 15 CREATEROLE reaches every role but superusers, and so the
-- files and programs of the server (pg_execute_server_program).
DO $do$
DECLARE
	other text;
BEGIN
	IF current_setting('server_version_num')::int < 160000 AND NOT {{escalation}} THEN
		RAISE EXCEPTION 'grantor mode gives the account CREATEROLE, which up to PostgreSQL 15 reaches the operating system'
			USING HINT = 'Use broker mode, or accept it with --accept-createrole-escalation.';
	END IF;
	IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {{owner_name}}) THEN
		CREATE ROLE {{owner}} NOLOGIN CREATEROLE;
		COMMENT ON ROLE {{owner}} IS 'Makes the roles of Portcullis';
	END IF;
	IF EXISTS (SELECT FROM pg_roles WHERE rolname = {{owner_name}}
			AND (rolcanlogin OR rolsuper OR rolbypassrls OR rolreplication OR NOT rolcreaterole)) THEN
		RAISE EXCEPTION 'role {{owner}} is not as it is needed: NOLOGIN CREATEROLE and nothing more';
	END IF;
	IF current_setting('server_version_num')::int >= 160000 THEN
		EXECUTE $grant$GRANT {{owner}} TO {{account}} WITH INHERIT TRUE, SET TRUE$grant$;
	ELSE
		GRANT {{owner}} TO {{account}};
	END IF;
	-- An account that was replaced has nothing left.
	FOR other IN SELECT DISTINCT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member
			WHERE m.roleid = {{owner_name}}::regrole AND r.rolcanlogin AND NOT m.admin_option
				AND r.rolname NOT IN ({{account_name}}, current_user) LOOP
		EXECUTE format('REVOKE {{owner}} FROM %I', other);
	END LOOP;
END $do$;
