DO $do$
BEGIN
	IF NOT has_database_privilege({{account_name}}, current_database(), 'CONNECT') THEN
		EXECUTE format('GRANT CONNECT ON DATABASE %I TO %s', current_database(), quote_ident({{account_name}}));
	END IF;
END $do$;
