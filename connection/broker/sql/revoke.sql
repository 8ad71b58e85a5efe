-- Only the account that the script was printed for may call, whoever could before.
DO $do$
DECLARE
	f record;
BEGIN
	FOR f IN SELECT p.oid::regprocedure AS is, a.grantee FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
			WHERE p.pronamespace = to_regnamespace('portcullis_broker') AND a.grantee <> p.proowner
				AND pg_get_userbyid(p.proowner) IN (current_user, {{owner_name}})
				AND NOT (a.grantee = 0 AND p.proname IN ('row_form', 'row_values')) LOOP -- policies call these as who reads
		EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %s', f.is,
			CASE f.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(f.grantee)) END);
	END LOOP;
END $do$;
