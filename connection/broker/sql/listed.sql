-- What may be granted. A name alone is not enough: what is made under the name
-- of something that was dropped is not what the owner listed.
CREATE TABLE IF NOT EXISTS portcullis_broker.listed (
	schema_oid oid NOT NULL,
	schema_name text NOT NULL,
	relation_oid oid NOT NULL, -- 0: every table of the schema, future ones too
	relation_name text NOT NULL,
	PRIMARY KEY (schema_oid, relation_oid)
);

-- Schemas that the owner keeps: running the script again does not list them.
CREATE TABLE IF NOT EXISTS portcullis_broker.kept (name text PRIMARY KEY);

CREATE OR REPLACE FUNCTION portcullis_broker.list_schema(schema_name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
	id oid;
BEGIN
	SELECT n.oid INTO id FROM pg_namespace n WHERE n.nspname = list_schema.schema_name;
	IF NOT FOUND THEN
		RAISE invalid_schema_name USING MESSAGE = format('there is no schema %I', list_schema.schema_name);
	END IF;
	IF starts_with(schema_name, 'pg_') OR schema_name IN ('information_schema', 'portcullis_broker') THEN
		RAISE invalid_schema_name USING MESSAGE = format('schema %I is none of data', list_schema.schema_name);
	END IF;
	INSERT INTO portcullis_broker.listed VALUES (id, list_schema.schema_name, 0, '')
		ON CONFLICT ON CONSTRAINT listed_pkey DO UPDATE SET schema_name = excluded.schema_name;
	DELETE FROM portcullis_broker.kept k WHERE k.name = list_schema.schema_name;
END $function$;

CREATE OR REPLACE FUNCTION portcullis_broker.list_table(relation regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
	INSERT INTO portcullis_broker.listed
		SELECT n.oid, n.nspname, r.oid, r.relname FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace
			WHERE r.oid = relation AND r.relkind IN ('r', 'p', 'v', 'm', 'f')
				AND NOT starts_with(n.nspname, 'pg_') AND n.nspname NOT IN ('information_schema', 'portcullis_broker')
		ON CONFLICT ON CONSTRAINT listed_pkey DO UPDATE
			SET schema_name = excluded.schema_name, relation_name = excluded.relation_name;
	IF NOT FOUND THEN
		RAISE wrong_object_type USING MESSAGE = format('%s is no table or view of data', relation);
	END IF;
END $function$;

CREATE OR REPLACE FUNCTION portcullis_broker.unlist_schema(schema_name text) RETURNS integer
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $function$
	INSERT INTO portcullis_broker.kept VALUES (unlist_schema.schema_name) ON CONFLICT DO NOTHING;
	WITH gone AS (DELETE FROM portcullis_broker.listed l WHERE l.schema_name = unlist_schema.schema_name RETURNING 1)
	SELECT count(*)::integer FROM gone
$function$;

CREATE OR REPLACE FUNCTION portcullis_broker.unlist_table(relation regclass) RETURNS integer
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $function$
	WITH gone AS (DELETE FROM portcullis_broker.listed l WHERE l.relation_oid = relation RETURNING 1)
	SELECT count(*)::integer FROM gone
$function$;
