-- From PostgreSQL 16 on whoever makes a role is its member WITH ADMIN, and each
-- change of a membership looks at all that who makes it is a member of. Thousands
-- of roles are made by several, so that none of these has thousands.
DO $do$
DECLARE
	maker text;
BEGIN
	FOR n IN 0 .. {{makers}} - 1 LOOP
		EXIT WHEN current_setting('server_version_num')::int < 160000;
		maker := {{owner_name}} || '_' || lpad(n::text, 2, '0');
		IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = maker) THEN
			EXECUTE format('CREATE ROLE %I NOLOGIN CREATEROLE', maker);
			EXECUTE format('COMMENT ON ROLE %I IS %L', maker, 'Makes roles of Portcullis');
		END IF;
		IF EXISTS (SELECT FROM pg_roles WHERE rolname = maker AND (rolcanlogin OR rolsuper OR rolbypassrls OR rolreplication OR NOT rolcreaterole)) THEN
			RAISE EXCEPTION 'role % is not as it is needed: NOLOGIN CREATEROLE and nothing more', maker;
		END IF;
		IF NOT EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = to_regrole(maker) AND m.member = {{owner_name}}::regrole AND m.admin_option) THEN
			EXECUTE format('GRANT %I TO {{owner}} WITH ADMIN TRUE, INHERIT FALSE, SET TRUE', maker);
		END IF;
	END LOOP;
END $do$;
