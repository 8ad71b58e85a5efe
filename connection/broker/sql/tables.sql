-- Takes [{"do": "grant" | "revoke", "on": "table" | "schema" | "database", "oid": oid, "schema": name, "name": name,
--   "privileges": [text, …], "role": name, "grantee": oid}, …].
-- Revoking is not bound to the list: what the owner unlisted can be cleaned up.
-- Schemas of the role that owns views of parts of tables count as listed.
CREATE OR REPLACE FUNCTION portcullis_broker.tables(changes jsonb) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
	prefix CONSTANT text := {{prefix}};
	views CONSTANT oid := coalesce((SELECT r.oid FROM pg_roles r WHERE r.rolname = {{views_name}}), 0);
	kinds CONSTANT "char"[] := ARRAY['r', 'p', 'v', 'm', 'f'];
	c jsonb;
	n integer := 0;
	what text; kind text; id oid; of_schema text; subject text; role text; grantee_id oid;
	privileges text[]; allowed text[];
	before_version tid; after_version tid; after_xmin xid; acl aclitem[];
	top bigint;
	detail_text text; hint_text text;
BEGIN
	top := pg_current_xact_id()::text::bigint;
	FOR c IN SELECT value FROM jsonb_array_elements(changes) LOOP
		what := c->>'do';
		kind := c->>'on';
		id := (c->>'oid')::oid;
		of_schema := c->>'schema';
		subject := c->>'name';
		role := c->>'role';
		grantee_id := (c->>'grantee')::oid;
		privileges := ARRAY(SELECT jsonb_array_elements_text(c->'privileges'));

		IF what IS NULL OR what NOT IN ('grant', 'revoke') THEN
			RAISE invalid_parameter_value USING MESSAGE = format('the broker cannot do %L', what);
		END IF;
		allowed := CASE kind
			WHEN 'table' THEN CASE what WHEN 'grant' THEN ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'] ELSE ARRAY['ALL'] END
			WHEN 'schema' THEN ARRAY['USAGE']
			WHEN 'database' THEN ARRAY['CONNECT'] END;
		IF what = 'revoke' AND kind <> 'table' THEN
			allowed := ARRAY['ALL'];
		END IF;
		IF allowed IS NULL OR cardinality(privileges) = 0 OR NOT privileges <@ allowed THEN
			RAISE insufficient_privilege USING MESSAGE = format('the broker does not %s %s on a %s', what, privileges, kind);
		END IF;

		PERFORM FROM pg_roles r WHERE r.oid = grantee_id AND r.rolname = role AND starts_with(role, prefix)
			AND substr(role, char_length(prefix) + 1) ~ '^[rwsd]_[0-9a-f_]{1,40}$'
			AND (what = 'revoke' OR NOT (r.rolcanlogin OR r.rolsuper OR r.rolcreaterole OR r.rolbypassrls OR r.rolreplication));
		IF NOT FOUND THEN
			RAISE undefined_object USING MESSAGE = format('role %I with OID %s is none of the broker', coalesce(role, ''), coalesce(grantee_id, 0));
		END IF;

		before_version := NULL;
		CASE kind
		WHEN 'table' THEN
			SELECT r.ctid INTO before_version FROM pg_class r JOIN pg_namespace s ON s.oid = r.relnamespace
				WHERE r.oid = id AND r.relname = subject AND s.nspname = of_schema AND r.relkind = ANY (kinds)
					AND (what = 'revoke' OR s.nspowner = views OR EXISTS (SELECT FROM portcullis_broker.listed l
						WHERE l.schema_oid = s.oid AND l.schema_name = s.nspname
							AND (l.relation_oid = 0 OR l.relation_oid = r.oid AND l.relation_name = r.relname)));
		WHEN 'schema' THEN
			SELECT s.ctid INTO before_version FROM pg_namespace s WHERE s.oid = id AND s.nspname = of_schema
				AND (what = 'revoke' OR s.nspowner = views OR EXISTS (SELECT FROM portcullis_broker.listed l
					WHERE l.schema_oid = s.oid AND l.schema_name = s.nspname));
		ELSE
			SELECT d.ctid INTO before_version FROM pg_database d WHERE d.oid = id AND d.datname = subject AND d.datname = current_database();
		END CASE;
		IF before_version IS NULL THEN
			RAISE undefined_object USING MESSAGE = format('%s %s with OID %s is not listed, or not there under this name', kind,
				CASE kind WHEN 'table' THEN format('%I.%I', of_schema, subject) WHEN 'schema' THEN quote_ident(of_schema) ELSE quote_ident(subject) END, coalesce(id, 0)),
				HINT = 'The owner lists a schema with portcullis_broker.list_schema and a table with portcullis_broker.list_table.';
		END IF;

		EXECUTE format('%s %s ON %s %s %s %I',
			upper(what), array_to_string(privileges, ', '), upper(kind),
			CASE kind WHEN 'table' THEN format('%I.%I', of_schema, subject) WHEN 'schema' THEN quote_ident(of_schema) ELSE quote_ident(subject) END,
			CASE what WHEN 'grant' THEN 'TO' ELSE 'FROM' END, role);

		-- Names were looked up anew by the statement: it must have changed the very
		-- row that was meant. A row version that this transaction wrote is in
		-- progress and yet seen; nobody else can have written it since.
		CASE kind
		WHEN 'table' THEN
			SELECT r.ctid, r.xmin, r.relacl INTO after_version, after_xmin, acl FROM pg_class r JOIN pg_namespace s ON s.oid = r.relnamespace
				WHERE r.oid = id AND r.relname = subject AND s.nspname = of_schema;
		WHEN 'schema' THEN
			SELECT s.ctid, s.xmin, s.nspacl INTO after_version, after_xmin, acl FROM pg_namespace s WHERE s.oid = id AND s.nspname = of_schema;
		ELSE
			SELECT d.ctid, d.xmin, d.datacl INTO after_version, after_xmin, acl FROM pg_database d WHERE d.oid = id AND d.datname = subject;
		END CASE;
		IF after_version IS NULL OR after_version = before_version OR after_xmin::text::bigint < (top & 4294967295)
			OR pg_xact_status((((top >> 32) << 32) | after_xmin::text::bigint)::text::xid8) <> 'in progress' THEN
			RAISE serialization_failure USING MESSAGE = format('%s with OID %s was replaced or renamed meanwhile', kind, id);
		END IF;
		IF what = 'grant' AND EXISTS (SELECT unnest(privileges) EXCEPT SELECT a.privilege_type FROM aclexplode(acl) a WHERE a.grantee = grantee_id) THEN
			RAISE insufficient_privilege USING MESSAGE = format('%s may not grant %s on %s %s', current_user, privileges, kind,
				coalesce(of_schema || '.' || subject, of_schema, subject));
		END IF;
		n := n + 1;
	END LOOP;
	RETURN n;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail_text = PG_EXCEPTION_DETAIL, hint_text = PG_EXCEPTION_HINT;
	RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = SQLERRM, DETAIL = detail_text, HINT = hint_text, COLUMN = n::text;
END $function$;

-- What is installed: {"version", "prefix", "roles", "logins", "owner"}.
CREATE OR REPLACE FUNCTION portcullis_broker.about() RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
	SELECT jsonb_build_object('version', {{version}}, 'prefix', {{prefix}}, 'roles', {{roles}}, 'logins', {{logins}},
		'owner', (SELECT pg_get_userbyid(p.proowner) FROM pg_proc p WHERE p.oid = to_regprocedure('portcullis_broker.tables(jsonb)')))
$function$;
