DO $do$
DECLARE
	left_over text;
	maker text;
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
	FOR maker IN SELECT rolname FROM pg_roles WHERE rolname ~ ('^' || {{owner_name}} || '_[0-9]{2}$') LOOP
		EXECUTE format('DROP FUNCTION IF EXISTS portcullis_broker.%I(jsonb)', 'roles' || substr(maker, char_length({{owner_name}}) + 1));
		EXECUTE format('REVOKE ALL ON FUNCTION portcullis_broker.change_roles(jsonb) FROM %I', maker);
		EXECUTE format('REVOKE ALL ON SCHEMA portcullis_broker FROM %I', maker);
		EXECUTE format('DROP ROLE %I', maker);
	END LOOP;
	DROP FUNCTION IF EXISTS portcullis_broker.change_roles(jsonb);
	REVOKE ALL ON SCHEMA portcullis_broker FROM {{owner}};
	IF current_setting('portcullis.joined', true) = 'true' THEN
		REVOKE {{owner}} FROM CURRENT_USER;
	END IF;
	DROP ROLE {{owner}};
END $do$;
