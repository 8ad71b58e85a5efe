-- Roles that the broker made: it touches no other.
CREATE TABLE IF NOT EXISTS portcullis_broker.made (
	role oid PRIMARY KEY,
	name text NOT NULL,
	login boolean NOT NULL
);

-- Takes [{"do": "make", "role": name, "comment": text, "login": bool},
--   {"do": "drop" | "reset", "role": name, "oid": oid},
--   {"do": "grant" | "revoke" | "revoke_admin", "role": name, "oid": oid, "to": name, "member": oid}, …].
-- It runs as who calls it: those whose functions follow.
CREATE OR REPLACE FUNCTION portcullis_broker.change_roles(changes jsonb) RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
	prefix CONSTANT text := {{prefix}};
	logins CONSTANT boolean := {{logins}};
	c jsonb;
	n integer := 0;
	what text; subject text; id oid; other text; other_id oid;
	found_role pg_roles%ROWTYPE;
	found_member pg_roles%ROWTYPE;
	is_login boolean;
	detail_text text; hint_text text;
BEGIN
	FOR c IN SELECT value FROM jsonb_array_elements(changes) LOOP
		what := c->>'do';
		subject := c->>'role';
		id := (c->>'oid')::oid;
		other := c->>'to';
		other_id := (c->>'member')::oid;
		is_login := coalesce((c->>'login')::boolean, false);

		IF what = 'make' THEN
			IF is_login THEN
				IF NOT logins THEN
					RAISE insufficient_privilege USING MESSAGE = 'the broker was installed without leave to make login roles';
				END IF;
				IF subject IS NULL OR octet_length(subject) NOT BETWEEN 1 AND 63 OR starts_with(subject, prefix) OR starts_with(subject, 'pg_') THEN
					RAISE invalid_name USING MESSAGE = format('%I cannot be the name of a login role here', coalesce(subject, ''));
				END IF;
				EXECUTE format('CREATE ROLE %I LOGIN', subject);
			ELSE
				IF subject IS NULL OR NOT starts_with(subject, prefix)
					OR substr(subject, char_length(prefix) + 1) !~ '^[rwsd]_[0-9a-f_]{1,40}$' THEN
					RAISE invalid_name USING MESSAGE = format('%I is no name of a role of the broker', coalesce(subject, ''));
				END IF;
				EXECUTE format('CREATE ROLE %I NOLOGIN', subject);
			END IF;
			INSERT INTO portcullis_broker.made SELECT r.oid, r.rolname, is_login FROM pg_roles r WHERE r.rolname = subject
				ON CONFLICT (role) DO UPDATE SET name = excluded.name, login = excluded.login;
			EXECUTE format('COMMENT ON ROLE %I IS %L', subject, left(c->>'comment', 1000));
			n := n + 1;
			CONTINUE;
		END IF;

		SELECT r.* INTO found_role FROM pg_roles r JOIN portcullis_broker.made m ON m.role = r.oid AND m.name = r.rolname
			WHERE r.oid = id AND r.rolname = subject;
		IF NOT FOUND THEN
			RAISE undefined_object USING MESSAGE = format('role %I with OID %s is none that the broker made', coalesce(subject, ''), coalesce(id, 0));
		END IF;
		is_login := NOT starts_with(subject, prefix);

		IF what = 'drop' THEN
			EXECUTE format('DROP ROLE %I', subject);
			DELETE FROM portcullis_broker.made WHERE role = id;
			IF EXISTS (SELECT FROM pg_roles r WHERE r.oid = id) THEN
				RAISE serialization_failure USING MESSAGE = format('role %I was replaced meanwhile', subject);
			END IF;
			n := n + 1;
			CONTINUE;
		END IF;
		IF is_login THEN
			RAISE insufficient_privilege USING MESSAGE = format('%I is a login role: nobody becomes its member', subject);
		END IF;
		IF what = 'reset' THEN
			EXECUTE format('ALTER ROLE %I NOLOGIN NOCREATEROLE INHERIT', subject);
			n := n + 1;
			CONTINUE;
		END IF;

		SELECT r.* INTO found_member FROM pg_roles r WHERE r.oid = other_id AND r.rolname = other;
		IF NOT FOUND THEN
			RAISE undefined_object USING MESSAGE = format('there is no role %I with OID %s', coalesce(other, ''), coalesce(other_id, 0));
		END IF;
		IF what = 'grant' THEN
			IF found_role.rolsuper OR found_role.rolcanlogin OR found_role.rolcreaterole OR found_role.rolbypassrls OR found_role.rolreplication THEN
				RAISE insufficient_privilege USING MESSAGE = format('role %I was given attributes by hand', subject);
			END IF;
			IF found_member.rolsuper OR other IN ({{account_name}}, {{owner_name}}, session_user, current_user) THEN
				RAISE insufficient_privilege USING MESSAGE = format('%I may not become a member', other);
			END IF;
			IF NOT found_member.rolcanlogin
				AND NOT EXISTS (SELECT FROM portcullis_broker.made m WHERE m.role = other_id AND m.name = other AND NOT m.login) THEN
				RAISE insufficient_privilege USING MESSAGE = format('%I may not become a member: it cannot log in', other);
			END IF;
			IF current_setting('server_version_num')::int >= 160000 THEN
				EXECUTE format('GRANT %I TO %I WITH INHERIT TRUE, SET FALSE', subject, other);
			ELSE
				EXECUTE format('GRANT %I TO %I', subject, other);
			END IF;
			IF NOT EXISTS (SELECT FROM pg_auth_members a WHERE a.roleid = id AND a.member = other_id) THEN
				RAISE serialization_failure USING MESSAGE = format('role %I or %I was replaced meanwhile', subject, other);
			END IF;
		ELSIF what = 'revoke' THEN
			EXECUTE format('REVOKE %I FROM %I', subject, other);
		ELSIF what = 'revoke_admin' THEN
			EXECUTE format('REVOKE ADMIN OPTION FOR %I FROM %I', subject, other);
		ELSE
			RAISE invalid_parameter_value USING MESSAGE = format('the broker cannot do %L', what);
		END IF;
		n := n + 1;
	END LOOP;
	RETURN n;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail_text = PG_EXCEPTION_DETAIL, hint_text = PG_EXCEPTION_HINT;
	RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = SQLERRM, DETAIL = detail_text, HINT = hint_text, COLUMN = n::text;
END $function$;

CREATE OR REPLACE FUNCTION portcullis_broker.roles(changes jsonb) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
	SELECT portcullis_broker.change_roles(changes)
$function$;

ALTER TABLE portcullis_broker.made OWNER TO {{owner}};
ALTER FUNCTION portcullis_broker.change_roles(jsonb) OWNER TO {{owner}};
ALTER FUNCTION portcullis_broker.roles(jsonb) OWNER TO {{owner}};
