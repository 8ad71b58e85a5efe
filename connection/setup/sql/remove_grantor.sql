DO $do$
DECLARE
	s record;
BEGIN
	IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {{owner_name}}) THEN
		RETURN;
	END IF;
	-- Fails if something still hangs on these: delete the connection first, which takes it back.
	FOR s IN SELECT format('%I.%I', n.nspname, c.relname) AS is FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) a
			WHERE a.grantee = {{owner_name}}::regrole AND c.relkind IN ('r', 'p', 'v', 'm', 'f') GROUP BY 1 LOOP
		EXECUTE format('REVOKE ALL ON TABLE %s FROM {{owner}}', s.is);
	END LOOP;
	FOR s IN SELECT n.nspname AS is FROM pg_namespace n, aclexplode(n.nspacl) a WHERE a.grantee = {{owner_name}}::regrole GROUP BY 1 LOOP
		EXECUTE format('REVOKE ALL ON SCHEMA %I FROM {{owner}}', s.is);
	END LOOP;
	FOR s IN SELECT d.defaclrole::regrole AS maker, n.nspname AS schema, CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' ELSE 'SCHEMAS' END AS kind
			FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace, aclexplode(d.defaclacl) a
			WHERE a.grantee = {{owner_name}}::regrole AND d.defaclobjtype IN ('r', 'n') GROUP BY 1, 2, 3 LOOP
		EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %s%s REVOKE ALL ON %s FROM {{owner}}', s.maker, ' IN SCHEMA ' || quote_ident(s.schema), s.kind);
	END LOOP;
	EXECUTE format('REVOKE ALL ON DATABASE %I FROM {{owner}}', current_database());
END $do$;
