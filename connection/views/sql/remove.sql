DO $do$
DECLARE
	s record;
BEGIN
	IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {{owner_name}}) THEN
		RETURN;
	END IF;
	-- Stops where a view is left: delete the connection first, which drops them.
	SELECT string_agg(format('%I.%I', n.nspname, c.relname), ', ') AS left_over INTO s FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relowner = {{owner_name}}::regrole AND c.relkind = 'v';
	IF s.left_over IS NOT NULL THEN
		RAISE EXCEPTION 'views are still there: %', left(s.left_over, 1000)
			USING HINT = 'Delete the connection first, which drops them; or drop them yourself.';
	END IF;
	IF EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace AND n.nspowner = p.proowner
			WHERE n.nspname = 'portcullis_views' AND p.proname = 'make_schema' AND p.prosecdef) THEN
		DROP FUNCTION portcullis_views.make_schema(oid);
		DROP TABLE portcullis_views.made, portcullis_views.person, portcullis_views.slot, portcullis_views.key;
		DROP SCHEMA portcullis_views;
	END IF;
	-- What a DBA let it read.
	FOR s IN SELECT format('%I.%I', n.nspname, c.relname) AS is FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) a
			WHERE a.grantee = {{owner_name}}::regrole AND c.relkind IN ('r', 'p', 'v', 'm', 'f') GROUP BY 1 LOOP
		EXECUTE format('REVOKE ALL ON TABLE %s FROM {{owner}}', s.is);
	END LOOP;
	FOR s IN SELECT n.nspname AS is FROM pg_namespace n, aclexplode(n.nspacl) a WHERE a.grantee = {{owner_name}}::regrole AND n.nspowner <> a.grantee GROUP BY 1 LOOP
		EXECUTE format('REVOKE ALL ON SCHEMA %I FROM {{owner}}', s.is);
	END LOOP;
END $do$;
