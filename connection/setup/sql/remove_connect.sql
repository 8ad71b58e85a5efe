DO $do$
BEGIN
	IF EXISTS (SELECT FROM pg_roles WHERE rolname = {{account_name}}) THEN
		EXECUTE format('REVOKE ALL ON DATABASE %I FROM %s', current_database(), quote_ident({{account_name}}));
	END IF;
END $do$;
