-- Row-level security on listed tables, for people whom policies show some rows only. {{account}}
-- gives what is to hold in words of the functions below, which write it as SQL: columns of the
-- table, values and comparisons, and nothing else.
BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
DO $do$
DECLARE
	other text;
BEGIN
	SELECT pg_get_userbyid(p.proowner) INTO other FROM pg_proc p WHERE p.oid = to_regprocedure('portcullis_broker.tables(jsonb)');
	IF other IS NULL THEN
		RAISE EXCEPTION 'there is no broker in this database' USING HINT = 'Run the script of the broker first.';
	ELSIF other <> current_user THEN
		RAISE EXCEPTION 'the broker belongs to %', quote_ident(other) USING HINT = 'Run the script as that role.';
	END IF;
END $do$;
CREATE TABLE IF NOT EXISTS portcullis_broker.row_table (
	base oid PRIMARY KEY,
	readers text NOT NULL, -- roles by which people read and write it who see some rows only
	writers text NOT NULL,
	digest text NOT NULL,
	forms bigint[] NOT NULL,
	kept text NOT NULL,
	filled text NOT NULL DEFAULT '',
	name text NOT NULL, -- in a restored instance another table may have the OID
	policies oid[] NOT NULL -- by which it is known under another name, too
);
CREATE TABLE IF NOT EXISTS portcullis_broker.row_person (
	base oid NOT NULL,
	role oid NOT NULL,
	name text NOT NULL, -- in a restored instance another role may have the OID
	form bigint NOT NULL,
	PRIMARY KEY (base, role)
);
CREATE TABLE IF NOT EXISTS portcullis_broker.row_slot (
	base oid NOT NULL,
	role oid NOT NULL,
	n integer NOT NULL,
	list text[] NOT NULL,
	PRIMARY KEY (base, role, n)
);

-- What an earlier version installed knows tables and roles by their OIDs alone, and means those that have them. The next round
-- writes anew who sees what. Whoever reads such a table waits behind this, so it does not wait for long.
DO $do$
BEGIN
	IF 3 = (SELECT count(*) FROM pg_attribute a WHERE NOT a.attisdropped AND (a.attrelid, a.attname) IN (('portcullis_broker.row_person'::regclass, 'name'),
			('portcullis_broker.row_table'::regclass, 'name'), ('portcullis_broker.row_table'::regclass, 'policies'))) THEN
		RETURN;
	END IF;
	SET LOCAL lock_timeout = '5s';
	ALTER TABLE portcullis_broker.row_table ADD COLUMN IF NOT EXISTS name text, ADD COLUMN IF NOT EXISTS policies oid[];
	ALTER TABLE portcullis_broker.row_person ADD COLUMN IF NOT EXISTS name text;
	UPDATE portcullis_broker.row_person p SET name = pg_get_userbyid(p.role) WHERE p.name IS NULL;
	UPDATE portcullis_broker.row_table t SET filled = '', policies = ARRAY(SELECT p.oid FROM pg_policy p WHERE p.polrelid = t.base AND p.polname IN ('portcullis_rows', 'portcullis_others')),
		name = coalesce((SELECT format('%I.%I', s.nspname, r.relname) FROM pg_class r JOIN pg_namespace s ON s.oid = r.relnamespace
			WHERE r.oid = t.base AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = r.oid AND p.polname IN ('portcullis_rows', 'portcullis_others'))), '');
	ALTER TABLE portcullis_broker.row_table ALTER COLUMN name SET NOT NULL, ALTER COLUMN policies SET NOT NULL;
	ALTER TABLE portcullis_broker.row_person ALTER COLUMN name SET NOT NULL;
	SET LOCAL lock_timeout TO DEFAULT;
END $do$;

-- Whether the table is there that has, or had, the policies that were made.
CREATE OR REPLACE FUNCTION portcullis_broker.row_stands(id oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
	SELECT EXISTS (SELECT FROM portcullis_broker.row_table t JOIN pg_class r ON r.oid = t.base JOIN pg_namespace s ON s.oid = r.relnamespace
		WHERE t.base = id AND (t.name = format('%I.%I', s.nspname, r.relname) OR EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = r.oid AND p.oid = ANY (t.policies))))
$function$;

CREATE OR REPLACE FUNCTION portcullis_broker.row_listed(id oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
	SELECT EXISTS (SELECT FROM pg_class r JOIN pg_namespace s ON s.oid = r.relnamespace
		JOIN portcullis_broker.listed l ON l.schema_oid = s.oid AND l.schema_name = s.nspname AND (l.relation_oid = 0 OR l.relation_oid = r.oid AND l.relation_name = r.relname)
		WHERE r.oid = id)
$function$;

-- Which rows who logged in sees: 0 all, NULL none, else those of the form. Who reads by the
-- grant to people who see some rows is one of these, whatever a snapshot of before says of them: memberships
-- are looked up as they are now.
CREATE OR REPLACE FUNCTION portcullis_broker.row_form(base oid, acting name, readers text, writers text) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $function$
	SELECT CASE
		WHEN p.name = session_user THEN p.form
		WHEN p.form IS NOT NULL AND p.name IS NULL THEN NULL -- in a snapshot of before an upgrade
		WHEN (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = session_user) THEN 0
		WHEN EXISTS (SELECT FROM unnest(ARRAY[to_regrole($3), to_regrole($4)]) g(role) WHERE g.role IS NOT NULL AND (
			pg_has_role(session_user, g.role, CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'USAGE' ELSE 'MEMBER' END)
			OR pg_has_role($2, g.role, 'USAGE') AND NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = $2))) THEN NULL
		ELSE 0 END
	FROM (SELECT) x LEFT JOIN portcullis_broker.row_person p ON p.base = $1 AND p.role = to_regrole(quote_ident(session_user))::oid
$function$;

-- A list of values of who logged in.
CREATE OR REPLACE FUNCTION portcullis_broker.row_values(base oid, n integer) RETURNS text[]
LANGUAGE sql STABLE SECURITY DEFINER PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $function$
	SELECT s.list FROM portcullis_broker.row_slot s WHERE s.base = $1 AND s.n = $2 AND s.role = to_regrole(quote_ident(session_user))::oid
$function$;

-- Writes {"column", "as"} or {"slot", "as"} as SQL. Types are PostgreSQL's own: others bring functions.
CREATE OR REPLACE FUNCTION portcullis_broker.row_operand(base oid, o jsonb, compared boolean, list boolean) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
	as_type CONSTANT text := o->>'as';
	written text;
BEGIN
	IF as_type IS NOT NULL AND as_type NOT IN ('text', 'bigint', 'numeric', 'boolean', 'date', 'timestamp', 'timestamptz', 'time', 'uuid', 'bytea', 'double precision') THEN
		RAISE insufficient_privilege USING MESSAGE = format('nothing is compared as %L here', as_type);
	END IF;
	IF jsonb_typeof(o->'column') = 'string' AND NOT o ? 'slot' AND NOT list THEN
		SELECT format('%I', a.attname) INTO written FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
			WHERE a.attrelid = base AND a.attname::text = o->>'column' AND a.attnum > 0 AND NOT a.attisdropped
				AND (NOT compared AND as_type IS NULL OR t.typtype = 'b' AND t.oid < 16384);
	ELSIF jsonb_typeof(o->'slot') = 'number' AND NOT o ? 'column' AND as_type IS NOT NULL THEN
		written := format(CASE WHEN list THEN '(SELECT portcullis_broker.row_values(%s::oid, %s))' ELSE '((SELECT portcullis_broker.row_values(%s::oid, %s))[1])' END,
			base, (o->>'slot')::integer);
	END IF;
	IF written IS NULL THEN
		RAISE insufficient_privilege USING MESSAGE = format('a row filter compares neither a column of the table nor a value: %s', left(coalesce(o::text, 'nothing'), 200));
	END IF;
	RETURN written || coalesce('::' || as_type || CASE WHEN list THEN '[]' ELSE '' END || CASE as_type WHEN 'text' THEN ' COLLATE pg_catalog."C"' ELSE '' END, '');
END $function$;

-- Writes a row filter as SQL: {"op", "args": […], "left", "right"}. There are no other words.
CREATE OR REPLACE FUNCTION portcullis_broker.row_filter(base oid, e jsonb, depth integer) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
	op CONSTANT text := e->>'op';
	args text[];
BEGIN
	IF depth > 200 OR jsonb_typeof(e) IS DISTINCT FROM 'object' THEN
		RAISE insufficient_privilege USING MESSAGE = 'the row filter cannot be read';
	END IF;
	IF op IN ('and', 'or', 'not', 'known') THEN
		SELECT array_agg('(' || portcullis_broker.row_filter(base, a.value, depth + 1) || ')' ORDER BY a.ordinality) INTO args
			FROM jsonb_array_elements(e->'args') WITH ORDINALITY a;
		IF args IS NULL OR op IN ('not', 'known') AND cardinality(args) <> 1 THEN
			RAISE insufficient_privilege USING MESSAGE = format('%s has %s operands', op, coalesce(cardinality(args), 0));
		END IF;
	END IF;
	CASE
	WHEN op IN ('true', 'false') THEN
		RETURN op;
	WHEN op = 'null' THEN
		RETURN 'NULL::boolean';
	WHEN op IN ('and', 'or') THEN
		RETURN array_to_string(args, ' ' || op || ' ');
	WHEN op = 'not' THEN
		RETURN 'not ' || args[1];
	WHEN op IN ('is null', 'is not null') THEN
		RETURN portcullis_broker.row_operand(base, e->'left', false, false) || ' ' || op;
	WHEN op = 'known' THEN
		RETURN 'CASE WHEN ' || portcullis_broker.row_operand(base, e->'left', false, false) || ' IS NOT NULL THEN ' || args[1] || ' END';
	WHEN op IN ('=', '<>', '<', '<=', '>', '>=') THEN
		RETURN format('(%s) OPERATOR(pg_catalog.%s) (%s)', portcullis_broker.row_operand(base, e->'left', true, false), op,
			portcullis_broker.row_operand(base, e->'right', true, false));
	WHEN op = 'any' THEN
		RETURN format('(%s) OPERATOR(pg_catalog.=) ANY (%s)', portcullis_broker.row_operand(base, e->'left', true, false),
			portcullis_broker.row_operand(base, e->'right', true, true));
	ELSE
		RAISE insufficient_privilege USING MESSAGE = format('a row filter has no operator %L', op);
	END CASE;
END $function$;

-- Writes who sees which rows of a table that has our policies: [{"role": oid, "form": n, "values": [[text, …], …]}, …].
-- Nobody, whatever the table: what the owner unlisted can be cleaned up.
CREATE OR REPLACE FUNCTION portcullis_broker.row_fill(id oid, people jsonb, sum text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
	UPDATE portcullis_broker.row_table t SET filled = sum WHERE t.base = id AND (people = '[]' OR portcullis_broker.row_stands(id) AND portcullis_broker.row_listed(id));
	IF NOT FOUND THEN
		RAISE undefined_object USING MESSAGE = format('table %s has no policies of Portcullis, or is not listed', id);
	END IF;
	IF EXISTS (SELECT FROM jsonb_to_recordset(people) x(form bigint) WHERE x.form IS NULL OR x.form <= 0) THEN
		RAISE insufficient_privilege USING MESSAGE = 'that is no number of a form';
	END IF;
	DELETE FROM portcullis_broker.row_person p WHERE p.base = id;
	DELETE FROM portcullis_broker.row_slot s WHERE s.base = id;
	INSERT INTO portcullis_broker.row_person (base, role, name, form) SELECT id, x.role, pg_get_userbyid(x.role), x.form FROM jsonb_to_recordset(people) x(role oid, form bigint);
	INSERT INTO portcullis_broker.row_slot SELECT id, x.role, v.ordinality, ARRAY(SELECT jsonb_array_elements_text(v.value))
		FROM jsonb_to_recordset(people) x(role oid, "values" jsonb), jsonb_array_elements(x."values") WITH ORDINALITY v;
END $function$;

-- Makes the policies of a table anew: {"oid", "schema", "name", "readers", "writers", "digest", "forms": [{"form": n, "filter": …}, …]}.
-- One lets everybody pass and one, which nothing can widen, shows each person the rows of their form. Both hang on
-- the same columns and functions: what takes one away takes both, and then nobody but the owner sees a row.
CREATE OR REPLACE FUNCTION portcullis_broker.row_policies(change jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
	prefix CONSTANT text := {{prefix}};
	id CONSTANT oid := (change->>'oid')::oid;
	on_table CONSTANT text := format('%I.%I', change->>'schema', change->>'name');
	sets CONSTANT text[] := ARRAY[change->>'readers', change->>'writers'];
	f jsonb;
	seen text := '';
	numbers bigint[] := '{}';
	wrong text;
BEGIN
	IF (SELECT count(*) FROM unnest(sets) s WHERE starts_with(s, prefix) AND substr(s, char_length(prefix) + 1) ~ '^[rw]_[0-9a-f]{1,40}$') <> 2 THEN
		RAISE insufficient_privilege USING MESSAGE = 'these roles are none of the broker';
	END IF;
	PERFORM FROM pg_class r JOIN pg_namespace s ON s.oid = r.relnamespace
		WHERE r.oid = id AND r.relname = change->>'name' AND s.nspname = change->>'schema' AND r.relkind = 'r' AND pg_has_role(current_user, r.relowner, 'USAGE')
			AND portcullis_broker.row_listed(id);
	IF NOT FOUND THEN
		RAISE undefined_object USING MESSAGE = format('table %s with OID %s is not listed, not there under this name, or not of %I', on_table, coalesce(id, 0), current_user),
			HINT = 'The owner lists a schema with portcullis_broker.list_schema and a table with portcullis_broker.list_table.';
	END IF;
	EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', on_table);
	SELECT CASE
			WHEN r.oid IS NULL THEN 'was replaced or renamed meanwhile'
			WHEN r.relkind <> 'r' OR r.relispartition OR EXISTS (SELECT FROM pg_inherits i WHERE id IN (i.inhrelid, i.inhparent)) THEN 'is a partition or child, or has some'
			WHEN EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = id AND p.polname NOT IN ('portcullis_others', 'portcullis_rows')) OR r.relforcerowsecurity
				OR NOT portcullis_broker.row_stands(id) AND (r.relrowsecurity OR EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = id))
				THEN 'has row-level security or policies of its own' END
		INTO wrong FROM (SELECT) x LEFT JOIN (pg_class r JOIN pg_namespace s ON s.oid = r.relnamespace) ON r.oid = id AND r.relname = change->>'name' AND s.nspname = change->>'schema';
	IF wrong IS NOT NULL THEN
		RAISE object_not_in_prerequisite_state USING MESSAGE = format('table %s %s', on_table, wrong);
	END IF;

	-- Who reads by a grant to the sets of before, as after a database was renamed, is nobody to policies that know others.
	IF EXISTS (SELECT FROM portcullis_broker.row_table t, pg_class r, aclexplode(r.relacl) a WHERE t.base = id AND r.oid = id
			AND a.grantee IN (to_regrole(t.readers), to_regrole(t.writers)) AND NOT pg_get_userbyid(a.grantee) = ANY (sets)) THEN
		RAISE object_in_use USING MESSAGE = format('people may read %s by grants that need the policies as they are', on_table);
	END IF;
	FOR f IN SELECT value FROM jsonb_array_elements(change->'forms') LOOP
		IF (f->>'form')::bigint <= 0 THEN
			RAISE insufficient_privilege USING MESSAGE = format('%s is no number of a form', f->>'form');
		END IF;
		numbers := numbers || (f->>'form')::bigint;
		seen := seen || format(' WHEN %s THEN (%s)', (f->>'form')::bigint, portcullis_broker.row_filter(id, f->'filter', 0));
	END LOOP;
	seen := format('CASE (SELECT portcullis_broker.row_form(%s::oid, current_user, %L::text, %L::text)) WHEN 0 THEN true%s ELSE false END', id, sets[1], sets[2], seen);
	EXECUTE format('DROP POLICY IF EXISTS portcullis_others ON %s', on_table);
	EXECUTE format('DROP POLICY IF EXISTS portcullis_rows ON %s', on_table);
	EXECUTE format('CREATE POLICY portcullis_others ON %s AS PERMISSIVE FOR ALL TO PUBLIC USING (true OR (%s))', on_table, seen);
	EXECUTE format('CREATE POLICY portcullis_rows ON %s AS RESTRICTIVE FOR ALL TO PUBLIC USING (%s)', on_table, seen);
	EXECUTE format('ALTER TABLE ONLY %s ENABLE ROW LEVEL SECURITY', on_table);

	-- Names were looked up anew by each statement, and what was written must hang on nothing but the table and our functions.
	IF NOT (SELECT r.relrowsecurity AND 2 = (SELECT count(*) FROM pg_policy p WHERE p.polrelid = id) FROM pg_class r WHERE r.oid = id)
		OR EXISTS (SELECT FROM pg_policy p JOIN pg_depend d ON d.classid = 'pg_policy'::regclass AND d.objid = p.oid WHERE p.polrelid = id AND d.refobjid >= 16384
			AND NOT (d.refclassid = 'pg_class'::regclass AND d.refobjid = id OR d.refclassid = 'pg_proc'::regclass AND d.refobjid IN
				('portcullis_broker.row_form(oid, name, text, text)'::regprocedure, 'portcullis_broker.row_values(oid, integer)'::regprocedure))) THEN
		RAISE serialization_failure USING MESSAGE = format('table %s was replaced or renamed meanwhile', on_table);
	END IF;
	INSERT INTO portcullis_broker.row_table AS t (base, readers, writers, digest, forms, kept, name, policies)
		SELECT id, sets[1], sets[2], change->>'digest', numbers, {{kept}}, on_table, ARRAY(SELECT p.oid FROM pg_policy p WHERE p.polrelid = id) FROM pg_class c WHERE c.oid = id
		ON CONFLICT (base) DO UPDATE SET readers = excluded.readers, writers = excluded.writers, digest = excluded.digest, forms = excluded.forms, kept = excluded.kept, filled = '',
			name = excluded.name, policies = excluded.policies;
END $function$;

-- Takes our policies away once nobody reads by the grants that need them, and switches row-level
-- security off, which it was before, unless somebody has added policies.
CREATE OR REPLACE FUNCTION portcullis_broker.row_remove(id oid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
	on_table text;
	made portcullis_broker.row_table;
BEGIN
	SELECT t.* INTO made FROM portcullis_broker.row_table t WHERE t.base = id;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	SELECT format('%I.%I', s.nspname, r.relname) INTO on_table FROM pg_class r JOIN pg_namespace s ON s.oid = r.relnamespace
		WHERE r.oid = id AND r.relkind IN ('r', 'p') AND portcullis_broker.row_stands(id);
	IF FOUND THEN
		EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', on_table);
		IF EXISTS (SELECT FROM pg_class r, aclexplode(r.relacl) a WHERE r.oid = id AND a.grantee IN (to_regrole(made.readers), to_regrole(made.writers))) THEN
			RAISE object_in_use USING MESSAGE = format('people may read %s by grants that need its policies', on_table);
		END IF;
		EXECUTE format('DROP POLICY IF EXISTS portcullis_rows ON %s', on_table);
		EXECUTE format('DROP POLICY IF EXISTS portcullis_others ON %s', on_table);
		IF NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = id) THEN
			EXECUTE format('ALTER TABLE ONLY %s DISABLE ROW LEVEL SECURITY', on_table);
			IF (SELECT r.relrowsecurity FROM pg_class r WHERE r.oid = id) THEN
				RAISE serialization_failure USING MESSAGE = format('table %s was replaced or renamed meanwhile', on_table);
			END IF;
		ELSIF EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = id AND p.polname IN ('portcullis_rows', 'portcullis_others')) THEN
			RAISE serialization_failure USING MESSAGE = format('table %s was replaced or renamed meanwhile', on_table);
		END IF;
	END IF;
	DELETE FROM portcullis_broker.row_person p WHERE p.base = id;
	DELETE FROM portcullis_broker.row_slot s WHERE s.base = id;
	DELETE FROM portcullis_broker.row_table t WHERE t.base = id;
END $function$;

-- What stands, as it was made.
DROP FUNCTION IF EXISTS portcullis_broker.row_state();
CREATE FUNCTION portcullis_broker.row_state() RETURNS TABLE (base oid, readers text, digest text, forms bigint[], kept text, filled text, people bigint, stands boolean, listed boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
	SELECT t.base, t.readers, t.digest, t.forms, t.kept, t.filled, (SELECT count(*) FROM portcullis_broker.row_person p WHERE p.base = t.base),
		portcullis_broker.row_stands(t.base), portcullis_broker.row_listed(t.base) FROM portcullis_broker.row_table t
$function$;

REVOKE ALL ON portcullis_broker.row_table, portcullis_broker.row_person, portcullis_broker.row_slot FROM PUBLIC;
REVOKE ALL ON FUNCTION portcullis_broker.row_stands(oid), portcullis_broker.row_listed(oid), portcullis_broker.row_operand(oid, jsonb, boolean, boolean), portcullis_broker.row_filter(oid, jsonb, integer), portcullis_broker.row_fill(oid, jsonb, text),
	portcullis_broker.row_policies(jsonb), portcullis_broker.row_remove(oid), portcullis_broker.row_state() FROM PUBLIC;
-- What a policy calls is checked as who reads. Nobody else has USAGE of the schema, so nobody can name these.
GRANT EXECUTE ON FUNCTION portcullis_broker.row_form(oid, name, text, text), portcullis_broker.row_values(oid, integer) TO PUBLIC;
GRANT EXECUTE ON FUNCTION portcullis_broker.row_fill(oid, jsonb, text), portcullis_broker.row_policies(jsonb), portcullis_broker.row_remove(oid), portcullis_broker.row_state() TO {{account}};
COMMIT;
