-- Only the account that the script was printed for may call, whoever could before.
DO $do$
DECLARE
	f record;
BEGIN
	FOR f IN SELECT p.oid::regprocedure AS is, a.grantee FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
			WHERE p.pronamespace = to_regnamespace('portcullis_broker') AND a.grantee <> p.proowner LOOP
		EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %s', f.is,
			CASE f.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(f.grantee)) END);
	END LOOP;
END $do$;
GRANT EXECUTE ON FUNCTION portcullis_broker.about() TO {{account}};
GRANT EXECUTE ON FUNCTION portcullis_broker.tables(jsonb) TO {{account}};
DO $do$
BEGIN
	IF {{roles}} THEN
		GRANT EXECUTE ON FUNCTION portcullis_broker.roles(jsonb) TO {{account}};
		REVOKE ALL ON portcullis_broker.made FROM PUBLIC;
		REVOKE CREATE ON SCHEMA portcullis_broker FROM {{owner}};
	END IF;
	IF current_setting('portcullis.joined', true) = 'true' THEN
		REVOKE {{owner}} FROM CURRENT_USER;
	END IF;
END $do$;
REVOKE ALL ON portcullis_broker.listed FROM PUBLIC;
GRANT SELECT ON portcullis_broker.listed TO {{account}};
GRANT USAGE ON SCHEMA portcullis_broker TO {{account}};
