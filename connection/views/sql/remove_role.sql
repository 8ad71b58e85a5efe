DO $do$
BEGIN
	IF EXISTS (SELECT FROM pg_roles r WHERE r.rolname = {{owner_name}} AND shobj_description(r.oid, 'pg_authid') = {{comment}}) THEN
		DROP ROLE {{owner}};
	END IF;
END $do$;
