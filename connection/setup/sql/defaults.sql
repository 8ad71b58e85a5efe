-- Tables made from now on can be granted on where the role that makes them has run its line.
WITH us AS (SELECT {{grantor_oid}} AS grantor),
creating AS (
	SELECT DISTINCT c.relowner AS role, c.relnamespace AS schema FROM pg_catalog.pg_class c
		WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
	UNION SELECT nspowner, oid FROM pg_catalog.pg_namespace
)
SELECT DISTINCT pg_catalog.format('ALTER DEFAULT PRIVILEGES FOR ROLE %s GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON TABLES TO %s WITH GRANT OPTION;',
		creating.role::regrole, us.grantor::regrole) AS each_creating_role_runs
	FROM us, creating JOIN pg_catalog.pg_namespace n ON n.oid = creating.schema
	WHERE us.grantor IS NOT NULL AND NOT pg_catalog.pg_has_role(us.grantor, creating.role, 'USAGE')
		AND NOT pg_catalog.starts_with(n.nspname, 'pg_') AND n.nspname NOT IN ('information_schema', 'portcullis_broker', 'portcullis_views')
		AND (n.nspname <> 'public' OR creating.role <> n.nspowner
			OR EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relowner = creating.role))
		AND NOT EXISTS (SELECT FROM pg_catalog.pg_default_acl d WHERE d.defaclrole = creating.role AND d.defaclobjtype = 'r'
			AND d.defaclnamespace IN (0, creating.schema)
			AND 5 = (SELECT count(DISTINCT a.privilege_type) FROM pg_catalog.aclexplode(d.defaclacl) a WHERE a.grantee = us.grantor AND a.is_grantable
				AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')))
	ORDER BY 1;
