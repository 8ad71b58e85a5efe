-- Tables made from now on can be granted on where the role that makes them has run its line;
-- those of a new schema, where the role that makes the schema has run the one for schemas, too.
WITH us AS (SELECT {{grantor_oid}} AS grantor),
creating AS (
	SELECT DISTINCT c.relowner AS role, c.relnamespace AS schema FROM pg_catalog.pg_class c
		WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
	UNION SELECT nspowner, oid FROM pg_catalog.pg_namespace
),
kinds (kind, privileges, of) AS (VALUES ('r'::"char", '{SELECT,INSERT,UPDATE,DELETE,TRUNCATE}'::text[], 'TABLES'), ('n', '{USAGE}', 'SCHEMAS'))
SELECT DISTINCT pg_catalog.format('ALTER DEFAULT PRIVILEGES FOR ROLE %s GRANT %s ON %s TO %s WITH GRANT OPTION;',
		creating.role::regrole, pg_catalog.array_to_string(k.privileges, ', '), k.of, us.grantor::regrole) AS each_creating_role_runs
	FROM us, kinds k, creating JOIN pg_catalog.pg_namespace n ON n.oid = creating.schema
	WHERE us.grantor IS NOT NULL AND NOT pg_catalog.pg_has_role(us.grantor, creating.role, 'USAGE')
		AND NOT pg_catalog.starts_with(n.nspname, 'pg_') AND n.nspname NOT IN ('information_schema', 'portcullis_broker', 'portcullis_views')
		AND (n.nspname <> 'public' OR creating.role <> n.nspowner
			OR EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relowner = creating.role))
		AND (k.kind = 'r' OR pg_catalog.has_database_privilege(creating.role, pg_catalog.current_database(), 'CREATE'))
		AND NOT EXISTS (SELECT FROM pg_catalog.pg_default_acl d WHERE d.defaclrole = creating.role AND d.defaclobjtype = k.kind
			AND (d.defaclnamespace = 0 OR k.kind = 'r' AND d.defaclnamespace = creating.schema)
			AND pg_catalog.cardinality(k.privileges) = (SELECT count(DISTINCT a.privilege_type) FROM pg_catalog.aclexplode(d.defaclacl) a WHERE a.grantee = us.grantor AND a.is_grantable
				AND a.privilege_type = ANY (k.privileges)))
	ORDER BY 1;
