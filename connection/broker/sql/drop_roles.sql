DO $do$
DECLARE
	left_over text;
BEGIN
	IF to_regclass('portcullis_broker.made') IS NULL THEN
		RETURN;
	END IF;
	IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
		AND NOT pg_has_role(current_user, {{owner_name}}, 'USAGE') THEN
		GRANT {{owner}} TO CURRENT_USER;
		PERFORM set_config('portcullis.joined', 'true', true);
	END IF;
	SELECT string_agg(quote_ident(r.rolname), ', ') INTO left_over
		FROM portcullis_broker.made m JOIN pg_roles r ON r.oid = m.role AND r.rolname = m.name;
	IF left_over IS NOT NULL THEN
		RAISE EXCEPTION 'roles that the broker made are still there: %', left(left_over, 1000)
			USING HINT = 'Delete the connection first, which takes them back; or drop them yourself.';
	END IF;
	DROP FUNCTION IF EXISTS portcullis_broker.roles(jsonb);
	DROP TABLE portcullis_broker.made;
	REVOKE ALL ON SCHEMA portcullis_broker FROM {{owner}};
	IF current_setting('portcullis.joined', true) = 'true' THEN
		REVOKE {{owner}} FROM CURRENT_USER;
	END IF;
	DROP ROLE {{owner}};
END $do$;
