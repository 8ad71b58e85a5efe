DO $do$
DECLARE
	maker text;
BEGIN
	IF {{grantor}} AND EXISTS (SELECT FROM pg_roles WHERE rolname = {{owner_name}}) THEN
		FOR maker IN SELECT rolname FROM pg_roles WHERE rolname ~ ('^' || {{owner_name}} || '_[0-9]{2}$') LOOP
			EXECUTE format('DROP ROLE %I', maker);
		END LOOP;
		DROP ROLE {{owner}};
	END IF;
	-- An account that was there before is left.
	IF EXISTS (SELECT FROM pg_roles r WHERE r.rolname = {{account_name}} AND shobj_description(r.oid, 'pg_authid') = {{comment}}) THEN
		DROP ROLE {{account}};
	END IF;
END $do$;
