-- After an upgrade from PostgreSQL 15 or older nobody has ADMIN on the roles that
-- were made there, and after a dump and restore OIDs are others: who runs this
-- says that roles of the prefix with our mark are the same.
DO $do$
DECLARE
	stale jsonb;
	left_behind record;
BEGIN
	IF to_regclass('portcullis_broker.made') IS NOT NULL THEN
		SELECT coalesce(jsonb_agg(jsonb_build_object('old', m.role, 'new', r.oid, 'name', m.name, 'login', m.login)), '[]') INTO stale
			FROM portcullis_broker.made m JOIN pg_roles r ON r.rolname = m.name
			WHERE r.oid <> m.role AND shobj_description(r.oid, 'pg_authid') LIKE 'Portcullis [%';
		DELETE FROM portcullis_broker.made m USING jsonb_to_recordset(stale) s (old oid) WHERE m.role = s.old;
		INSERT INTO portcullis_broker.made SELECT s.new, s.name, s.login FROM jsonb_to_recordset(stale) s (new oid, name text, login boolean)
			ON CONFLICT (role) DO UPDATE SET name = excluded.name, login = excluded.login;
	END IF;
	FOR left_behind IN SELECT g.rolname FROM pg_roles g
			WHERE current_setting('server_version_num')::int >= 160000 AND shobj_description(g.oid, 'pg_authid') LIKE 'Portcullis [%'
				AND (starts_with(g.rolname, {{prefix}}) AND substr(g.rolname, char_length({{prefix}}) + 1) ~ '^[rwsd]_[0-9a-f_]{1,40}$'
					OR shobj_description(g.oid, 'pg_authid') ~ '^Portcullis \[[0-9a-f]{32}\]: login of ')
				AND NOT EXISTS (SELECT FROM pg_auth_members m JOIN pg_roles o ON o.oid = m.member
					WHERE m.roleid = g.oid AND m.admin_option AND (o.rolname = {{owner_name}} OR o.rolname ~ ('^' || {{owner_name}} || '_[0-9]{2}$'))) LOOP
		EXECUTE format('GRANT %I TO {{owner}} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE', left_behind.rolname);
	END LOOP;
END $do$;
