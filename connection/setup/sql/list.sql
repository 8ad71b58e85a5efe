-- What may be granted on. To leave a schema to yourself, now and when this runs again: SELECT portcullis_broker.unlist_schema('name');
SELECT portcullis_broker.list_schema(n.nspname) FROM pg_catalog.pg_namespace n
	WHERE NOT pg_catalog.starts_with(n.nspname, 'pg_') AND n.nspname NOT IN ('information_schema', 'portcullis_broker', 'portcullis_views')
		AND NOT EXISTS (SELECT FROM portcullis_broker.kept k WHERE k.name = n.nspname){{only_schemas}};
-- An account that was replaced has nothing left.
DO $do$
DECLARE
	other record;
BEGIN
	FOR other IN SELECT DISTINCT format('SCHEMA %I', n.nspname) AS on_what, a.grantee FROM pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) a
			WHERE n.nspname = 'portcullis_broker' AND a.grantee <> n.nspowner
		UNION SELECT format('TABLE portcullis_broker.%I', c.relname), a.grantee FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a
			WHERE c.relnamespace = 'portcullis_broker'::regnamespace AND a.grantee <> c.relowner LOOP
		CONTINUE WHEN other.grantee = 0 OR pg_catalog.pg_get_userbyid(other.grantee) IN ({{account_name}}, {{owner_name}})
			OR pg_catalog.pg_get_userbyid(other.grantee) ~ ('^' || {{owner_name}} || '_[0-9]{2}$');
		EXECUTE format('REVOKE ALL ON %s FROM %I', other.on_what, pg_catalog.pg_get_userbyid(other.grantee));
	END LOOP;
END $do$;
