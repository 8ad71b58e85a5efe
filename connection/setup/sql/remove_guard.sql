-- Nothing is taken away while a database that this script leaves out holds some of it.
DO $do$
DECLARE
	left_out text;
BEGIN
	SELECT string_agg(d.datname, ', ' ORDER BY d.datname) INTO left_out FROM pg_database d
		WHERE d.datname NOT IN ({{databases}}) AND EXISTS (SELECT FROM pg_shdepend s JOIN pg_roles r ON s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid
			WHERE (r.rolname = {{owner_name}} OR r.rolname = {{account_name}} AND shobj_description(r.oid, 'pg_authid') = {{comment}}
					OR r.rolname = {{views_name}} AND starts_with(shobj_description(r.oid, 'pg_authid'), 'Owns the views of Portcullis'))
				AND (s.dbid = d.oid OR s.classid = 'pg_database'::regclass AND s.objid = d.oid));
	IF left_out IS NOT NULL THEN
		RAISE EXCEPTION 'other databases hold what is to be taken away: %', left_out
			USING HINT = 'Print the script while the connection is registered, or name them with --databases.';
	END IF;
END $do$;
