-- The role under which roles are made. It cannot log in, and only the function
-- below acts as it.
DO $do$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {{owner_name}}) THEN
		CREATE ROLE {{owner}} NOLOGIN CREATEROLE;
		COMMENT ON ROLE {{owner}} IS 'Makes the roles of Portcullis';
	END IF;
	IF EXISTS (SELECT FROM pg_roles WHERE rolname = {{owner_name}}
			AND (rolcanlogin OR rolsuper OR rolbypassrls OR rolreplication OR NOT rolcreaterole)) THEN
		RAISE EXCEPTION 'role {{owner}} is not as the broker needs it: NOLOGIN CREATEROLE and nothing more';
	END IF;
	IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
		AND NOT pg_has_role(current_user, {{owner_name}}, 'USAGE') THEN
		GRANT {{owner}} TO CURRENT_USER;
		PERFORM set_config('portcullis.joined', 'true', true);
	END IF;
END $do$;
GRANT USAGE, CREATE ON SCHEMA portcullis_broker TO {{owner}};
