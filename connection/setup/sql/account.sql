DO $do$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {{account_name}}) THEN
		CREATE ROLE {{account}} LOGIN CONNECTION LIMIT 20;
		COMMENT ON ROLE {{account}} IS {{comment}};
	END IF;
	IF EXISTS (SELECT FROM pg_roles WHERE rolname = {{account_name}} AND rolsuper) THEN
		RAISE EXCEPTION 'role % is a superuser: no system account needs that', quote_ident({{account_name}});
	END IF;
	IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {{account_name}} AND rolcanlogin) THEN
		ALTER ROLE {{account}} LOGIN;
	END IF;
END $do$;
