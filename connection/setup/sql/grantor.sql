-- The five table privileges WITH GRANT OPTION, wherever the role that runs this
-- may pass them on. What it may not is told, and left.
DO $do$
DECLARE
	s record;
	tables text;
	others bigint;
BEGIN
	IF has_database_privilege(current_database(), 'CONNECT WITH GRANT OPTION') THEN
		EXECUTE format('GRANT CONNECT ON DATABASE %I TO {{owner}} WITH GRANT OPTION', current_database());
	END IF;
	FOR s IN SELECT n.oid, n.nspname FROM pg_namespace n
			WHERE NOT starts_with(n.nspname, 'pg_') AND n.nspname NOT IN ('information_schema', 'portcullis_broker', 'portcullis_views'){{only_schemas}}
			ORDER BY 2 LOOP
		IF has_schema_privilege({{owner_name}}, s.oid, 'USAGE WITH GRANT OPTION') THEN
			NULL;
		ELSIF has_schema_privilege(s.oid, 'USAGE WITH GRANT OPTION') THEN
			EXECUTE format('GRANT USAGE ON SCHEMA %I TO {{owner}} WITH GRANT OPTION', s.nspname);
		ELSE
			RAISE WARNING 'schema %: % may not pass on USAGE', quote_ident(s.nspname), current_user
				USING HINT = 'Its owner runs this script, too.';
		END IF;
		SELECT string_agg(format('%I.%I', s.nspname, t.relname), ', ') FILTER (WHERE t.ours), count(*) FILTER (WHERE NOT t.ours)
			INTO tables, others
			FROM (SELECT c.relname, (SELECT bool_and(has_table_privilege(c.oid, p || ' WITH GRANT OPTION')) FROM unnest(five.p) p) AS ours
				FROM pg_class c, (SELECT ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'] AS p) five
				WHERE c.relnamespace = s.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
					AND NOT (SELECT bool_and(has_table_privilege({{owner_name}}, c.oid, p || ' WITH GRANT OPTION')) FROM unnest(five.p) p)) t;
		IF tables IS NOT NULL THEN
			EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON TABLE %s TO {{owner}} WITH GRANT OPTION', tables);
		END IF;
		IF others > 0 THEN
			RAISE WARNING 'schema %: % may not pass on all five privileges of % tables', quote_ident(s.nspname), current_user, others
				USING HINT = 'Their owners run this script, too.';
		END IF;
	END LOOP;
END $do$;
