-- Each of those who make roles does so by a function of its own.
DO $do$
DECLARE
	maker text;
	name text;
BEGIN
	FOR maker IN SELECT rolname FROM pg_roles WHERE rolname ~ ('^' || {{owner_name}} || '_[0-9]{2}$') ORDER BY 1 LOOP
		name := 'roles' || substr(maker, char_length({{owner_name}}) + 1);
		EXECUTE format('DROP FUNCTION IF EXISTS portcullis_broker.%I(jsonb)', name);
		EXECUTE format('CREATE FUNCTION portcullis_broker.%I(changes jsonb) RETURNS integer LANGUAGE sql VOLATILE SECURITY DEFINER
			SET search_path = pg_catalog, pg_temp AS %L', name, 'SELECT portcullis_broker.change_roles(changes)');
		EXECUTE format('REVOKE ALL ON FUNCTION portcullis_broker.%I(jsonb) FROM PUBLIC', name);
		EXECUTE format('GRANT EXECUTE ON FUNCTION portcullis_broker.%I(jsonb) TO %I', name, {{account_name}});
		EXECUTE format('GRANT USAGE, CREATE ON SCHEMA portcullis_broker TO %I', maker);
		EXECUTE format('ALTER FUNCTION portcullis_broker.%I(jsonb) OWNER TO %I', name, maker);
		EXECUTE format('REVOKE CREATE ON SCHEMA portcullis_broker FROM %I', maker);
		EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON portcullis_broker.made TO %I', maker);
		EXECUTE format('GRANT EXECUTE ON FUNCTION portcullis_broker.change_roles(jsonb) TO %I', maker);
	END LOOP;
END $do$;
