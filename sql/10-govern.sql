-- Governance: roles, the node's configuration, functions for administrators.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'bodata_user') THEN
        CREATE ROLE bodata_user NOLOGIN;
        COMMENT ON ROLE bodata_user IS 'people''s SQL accounts are members; may read the tables of data sources, rows and values as decided';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'portcullis_exempt') THEN
        CREATE ROLE portcullis_exempt NOLOGIN;
        COMMENT ON ROLE portcullis_exempt IS 'sessions of members are not governed by portcullis';
    END IF;
END
$$;

CREATE TABLE immutasys.service_config (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    url text,
    node text
);
REVOKE ALL ON immutasys.service_config FROM PUBLIC;
COMMENT ON TABLE immutasys.service_config IS 'the policy service of this node: one row';
COMMENT ON COLUMN immutasys.service_config.singleton IS 'true: there is one row at most';
COMMENT ON COLUMN immutasys.service_config.url IS 'URL of the policy service';
COMMENT ON COLUMN immutasys.service_config.node IS 'name of this node there, unless portcullis.node_name is set; NULL: the host''s';
SELECT pg_catalog.pg_extension_config_dump('immutasys.service_config', '');

CREATE TABLE immutasys.dbtoken (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    api_key_sealed text NOT NULL,
    admin_key_sealed text
);
REVOKE ALL ON immutasys.dbtoken FROM PUBLIC;
COMMENT ON TABLE immutasys.dbtoken IS 'the node''s API keys, sealed with its key file; left out of dumps';
COMMENT ON COLUMN immutasys.dbtoken.singleton IS 'true: there is one row at most';
COMMENT ON COLUMN immutasys.dbtoken.api_key_sealed IS 'for the node''s tokens, as immutasys.seal() makes it';
COMMENT ON COLUMN immutasys.dbtoken.admin_key_sealed IS 'with which superusers register this node''s tables; NULL: none was given';

CREATE TABLE immutasys.driver_metadata (
    name text PRIMARY KEY,
    url text,
    sha256 text CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    signature text,
    options jsonb NOT NULL DEFAULT '{}'
);
REVOKE ALL ON immutasys.driver_metadata FROM PUBLIC;
COMMENT ON TABLE immutasys.driver_metadata IS 'ODBC drivers that this node is to have';
COMMENT ON COLUMN immutasys.driver_metadata.name IS 'name under which unixODBC knows the driver';
COMMENT ON COLUMN immutasys.driver_metadata.url IS 'where the archive comes from';
COMMENT ON COLUMN immutasys.driver_metadata.sha256 IS 'digest of the archive';
COMMENT ON COLUMN immutasys.driver_metadata.signature IS 'signature of the archive by a key that the node trusts';
COMMENT ON COLUMN immutasys.driver_metadata.options IS 'entries of odbcinst.ini';

CREATE FUNCTION immutasys.config_changed() RETURNS trigger
    AS 'MODULE_PATHNAME', 'portcullis_config_changed' LANGUAGE C;
REVOKE ALL ON FUNCTION immutasys.config_changed() FROM PUBLIC;
COMMENT ON FUNCTION immutasys.config_changed() IS 'has the configuration read again at commit';

CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON immutasys.service_config
    FOR EACH STATEMENT EXECUTE FUNCTION immutasys.config_changed();
COMMENT ON TRIGGER changed ON immutasys.service_config IS 'has the configuration read again at commit';
CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON immutasys.dbtoken
    FOR EACH STATEMENT EXECUTE FUNCTION immutasys.config_changed();
COMMENT ON TRIGGER changed ON immutasys.dbtoken IS 'has the configuration read again at commit';

-- Secrets

CREATE FUNCTION immutasys.seal(secret text) RETURNS text
    AS 'MODULE_PATHNAME', 'portcullis_seal' LANGUAGE C STRICT VOLATILE;
REVOKE ALL ON FUNCTION immutasys.seal(text) FROM PUBLIC;
COMMENT ON FUNCTION immutasys.seal(text) IS 'the secret sealed with the node''s key, for dbtoken and for the option password_sealed';

CREATE FUNCTION immutasys.create_key_file() RETURNS boolean
    AS 'MODULE_PATHNAME', 'portcullis_create_key_file' LANGUAGE C STRICT VOLATILE;
REVOKE ALL ON FUNCTION immutasys.create_key_file() FROM PUBLIC;
COMMENT ON FUNCTION immutasys.create_key_file() IS 'writes the file named by portcullis.key_file; false: there is one already, which is kept';

-- The policy service

CREATE FUNCTION immutasys.check_api_key(api_key text) RETURNS void
    LANGUAGE plpgsql STRICT IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Not by ranges of characters: what lies between two depends on the collation.
    IF api_key !~ '^[[:graph:]]+$' OR octet_length(api_key) <> length(api_key) OR length(api_key) > 1024 THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'this is no API key',
            HINT = 'Give the key as the policy service showed it when it was made: portcullis apikey create --node NAME.';
    END IF;
END
$$;
REVOKE ALL ON FUNCTION immutasys.check_api_key(text) FROM PUBLIC;
COMMENT ON FUNCTION immutasys.check_api_key(text) IS 'raises where a text cannot be an API key';

CREATE FUNCTION immutasys.set_api_key(api_key text) RETURNS void
    LANGUAGE plpgsql STRICT VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM immutasys.check_api_key(api_key);
    INSERT INTO immutasys.dbtoken (api_key_sealed) VALUES (immutasys.seal(api_key))
    ON CONFLICT (singleton) DO UPDATE SET api_key_sealed = EXCLUDED.api_key_sealed;
END
$$;
REVOKE ALL ON FUNCTION immutasys.set_api_key(text) FROM PUBLIC;
COMMENT ON FUNCTION immutasys.set_api_key(text) IS 'stores the node''s API key, sealed; the node takes it at commit';

CREATE FUNCTION immutasys.set_admin_key(api_key text) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM immutasys.check_api_key(api_key);
    UPDATE immutasys.dbtoken SET admin_key_sealed = immutasys.seal(api_key);
    IF NOT FOUND AND api_key IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = 'this node has no API key of its own yet',
            HINT = 'Store it first, with immutasys.configure() or immutasys.set_api_key().';
    END IF;
END
$$;
REVOKE ALL ON FUNCTION immutasys.set_admin_key(text) FROM PUBLIC;
COMMENT ON FUNCTION immutasys.set_admin_key(text) IS 'stores, sealed, the API key with which superusers register this node''s tables; NULL: takes it away';

CREATE FUNCTION immutasys.configure(url text, api_key text DEFAULT NULL, node text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- As internal/apiclient reads it: what the node would not connect to would stop all governed logins.
    IF url !~ ('^(https://([^][/?#@:%[:space:][:cntrl:]]+|\[[0-9a-fA-F:.]+\])'
                || '|http://(localhost|127(\.(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3}|\[::1\]))(:[0-9]{1,5})?'
                || '(/([^%?#[:space:][:cntrl:]]|%[0-9a-fA-F]{2})*)?$')
            AND url !~ '^unix:///([^%?#[:space:][:cntrl:]]|%[0-9a-fA-F]{2})+$' OR octet_length(url) > 1000 THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'url is not the URL of a policy service that this node may use',
            HINT = 'Give https://host:port, http:// to a loopback address, or unix:///path/of/socket; a credential has no place in it.';
    END IF;
    IF node !~ '^[^[:cntrl:]]+$' OR octet_length(node) > 255 THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'node is not a name of 1 to 255 bytes without control characters';
    END IF;
    INSERT INTO immutasys.service_config AS c (url, node) VALUES (configure.url, configure.node)
    ON CONFLICT (singleton) DO UPDATE SET url = EXCLUDED.url, node = coalesce(EXCLUDED.node, c.node);
    PERFORM immutasys.set_api_key(api_key);
END
$$;
REVOKE ALL ON FUNCTION immutasys.configure(text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION immutasys.configure(text, text, text) IS 'names the policy service of this node, NULL: none; the API key and the name stay where NULL is given';

CREATE FUNCTION immutasys.refresh_token() RETURNS void
    AS 'MODULE_PATHNAME', 'portcullis_reload_config' LANGUAGE C STRICT VOLATILE;
REVOKE ALL ON FUNCTION immutasys.refresh_token() FROM PUBLIC;
COMMENT ON FUNCTION immutasys.refresh_token() IS 'has the configuration read again and the API key exchanged for a new token';

CREATE FUNCTION immutasys.service_call(
    method text, path text, body jsonb DEFAULT NULL, api_key text DEFAULT NULL,
    OUT status integer, OUT answer jsonb) RETURNS record
    AS 'MODULE_PATHNAME', 'portcullis_service_call' LANGUAGE C VOLATILE;
REVOKE ALL ON FUNCTION immutasys.service_call(text, text, jsonb, text) FROM PUBLIC;
COMMENT ON FUNCTION immutasys.service_call(text, text, jsonb, text) IS 'one call of the policy service''s API, by the node''s token or by an API key';

CREATE FUNCTION immutasys.service_result(
    method text, path text, body jsonb DEFAULT NULL, api_key text DEFAULT NULL) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r record;
    own boolean := api_key IS NULL;
BEGIN
    -- The node's key is for superusers: it reaches what they can reach here anyway.
    IF own AND (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        SELECT admin_key_sealed INTO api_key FROM immutasys.dbtoken;
    END IF;
    r := immutasys.service_call(method, path, body, api_key);
    IF method = 'GET' AND r.status = 404 AND r.answer #>> '{error,code}' = 'not_found' THEN
        RETURN NULL;
    END IF;
    IF r.status NOT BETWEEN 200 AND 299 THEN
        RAISE EXCEPTION USING
            ERRCODE = CASE WHEN r.status IN (401, 403) THEN '42501' WHEN r.status = 404 THEN '02000' WHEN r.status = 409 THEN '42710'
                           WHEN r.status BETWEEN 400 AND 499 THEN '22023' ELSE '58000' END,
            MESSAGE = format('the policy service refused the request: %s',
                             coalesce(r.answer #>> '{error,message}', 'HTTP status ' || r.status)),
            DETAIL = coalesce('field ' || nullif(r.answer #>> '{error,field}', ''), ''),
            HINT = CASE WHEN own AND api_key IS NULL AND r.status IN (401, 403)
                        THEN 'Superusers store a key for this with immutasys.set_admin_key(); others give an API key as argument api_key.'
                        ELSE coalesce(r.answer #>> '{error,hint}', '') END;
    END IF;
    RETURN r.answer;
END
$$;
REVOKE ALL ON FUNCTION immutasys.service_result(text, text, jsonb, text) FROM PUBLIC;
COMMENT ON FUNCTION immutasys.service_result(text, text, jsonb, text) IS
    'as service_call(), raising what the service refuses; NULL where there is nothing to get; superusers need no API key where the node holds one';

CREATE FUNCTION immutasys.uri_part(part text) RETURNS text
    LANGUAGE sql STRICT IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(string_agg(
        CASE WHEN ascii(c) BETWEEN 48 AND 57 OR ascii(c) BETWEEN 65 AND 90 OR ascii(c) BETWEEN 97 AND 122 OR ascii(c) IN (45, 46, 95, 126)
             THEN c ELSE regexp_replace(upper(encode(convert_to(c, 'UTF8'), 'hex')), '(..)', '%\1', 'g') END, '' ORDER BY i), '')
    FROM string_to_table($1, NULL) WITH ORDINALITY AS characters (c, i);
$$;
REVOKE ALL ON FUNCTION immutasys.uri_part(text) FROM PUBLIC;
COMMENT ON FUNCTION immutasys.uri_part(text) IS 'percent-encodes a part of a path or query';

-- Data sources

CREATE FUNCTION immutasys.table_option(tab regclass, name text) RETURNS text
    LANGUAGE sql STRICT STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT o.option_value FROM pg_foreign_table t, pg_options_to_table(t.ftoptions) o
    WHERE t.ftrelid = $1 AND o.option_name = $2;
$$;
REVOKE ALL ON FUNCTION immutasys.table_option(regclass, text) FROM PUBLIC;
COMMENT ON FUNCTION immutasys.table_option(regclass, text) IS 'an option of a foreign table';

CREATE FUNCTION immutasys.register_server(server name, api_key text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    path text := '/v1/sources/' || immutasys.uri_part(server);
    options jsonb;
BEGIN
    IF immutasys.service_result('GET', path, NULL, api_key) IS NOT NULL THEN
        RETURN;
    END IF;
    SELECT jsonb_object_agg(o.option_name, o.option_value) INTO options
    FROM pg_foreign_server s, pg_options_to_table(s.srvoptions) o
    WHERE s.srvname = server AND o.option_name IN ('driver', 'host', 'port', 'database');
    IF options ? 'port' THEN
        options := options || jsonb_build_object('port', (options ->> 'port')::integer);
    END IF;
    PERFORM immutasys.service_result('PUT', path, coalesce(options, '{}') || jsonb_build_object('name', server, 'unmanaged', true), api_key);
END
$$;
REVOKE ALL ON FUNCTION immutasys.register_server(name, text) FROM PUBLIC;
COMMENT ON FUNCTION immutasys.register_server(name, text) IS 'makes a foreign server known to the policy service, which leaves server and user mapping to whoever made them';

CREATE FUNCTION immutasys.create_data_source(
    tab regclass, name text DEFAULT NULL, tags text[] DEFAULT NULL, api_key text DEFAULT NULL) RETURNS uuid
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t record;
    path text;
    have jsonb;
    want jsonb;
    id uuid;
    other regclass;
BEGIN
    IF tab IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '22004', MESSAGE = 'the table must not be null';
    END IF;
    SELECT c.relname, s.srvname, w.fdwname INTO t
    FROM pg_class c JOIN pg_foreign_table f ON f.ftrelid = c.oid
        JOIN pg_foreign_server s ON s.oid = f.ftserver JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
    WHERE c.oid = tab AND w.fdwname = 'portcullis';
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = '42809', MESSAGE = format('%s is not a foreign table of portcullis', tab),
            HINT = 'Create it with CREATE FOREIGN TABLE on a server of the wrapper portcullis, or with IMPORT FOREIGN SCHEMA.';
    END IF;
    name := coalesce(name, t.relname);
    path := '/v1/data_sources/' || immutasys.uri_part(name);
    want := jsonb_build_object('name', name, 'source', t.srvname,
        'remote_schema', coalesce(immutasys.table_option(tab, 'schema_name'), ''),
        'remote_table', coalesce(immutasys.table_option(tab, 'table_name'), t.relname),
        'local_name', t.relname, 'unmanaged', true);
    have := immutasys.service_result('GET', path, NULL, api_key);
    IF have IS NULL THEN
        PERFORM immutasys.register_server(t.srvname, api_key);
    ELSIF NOT jsonb_build_object('remote_schema', '', 'unmanaged', false) || have @> want THEN
        RAISE EXCEPTION USING ERRCODE = '42710', MESSAGE = format('data source "%s" exists already and is not this table', name),
            DETAIL = CASE WHEN have -> 'unmanaged' IS NULL THEN 'The policy service makes its foreign table itself.'
                          ELSE format('It is table "%s" of source "%s", as "%s".', have ->> 'remote_table', have ->> 'source', have ->> 'local_name') END,
            HINT = 'Give another name, or drop that data source first.';
    END IF;
    -- What else the service knows of a data source that it has stays as it is.
    want := coalesce(have, '{}') || want || CASE WHEN tags IS NULL THEN '{}' ELSE jsonb_build_object('tags', to_jsonb(tags)) END;
    IF have IS NULL OR want <> jsonb_build_object('remote_schema', '') || have THEN
        PERFORM immutasys.service_result('PUT', path, want, api_key);
        have := immutasys.service_result('GET', path, NULL, api_key);
    END IF;
    id := have ->> 'id';
    SELECT f.ftrelid INTO other FROM pg_foreign_table f
    WHERE f.ftrelid <> tab AND immutasys.table_option(f.ftrelid, 'data_source') = id::text;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = '42710', MESSAGE = format('foreign table %s is data source "%s" already', other, name),
            HINT = 'A data source has one foreign table in a database: drop one of the two.';
    END IF;
    EXECUTE format('ALTER FOREIGN TABLE %s OPTIONS (%s data_source %L)', tab,
                   CASE WHEN immutasys.table_option(tab, 'data_source') IS NULL THEN 'ADD' ELSE 'SET' END, id);
    EXECUTE format('GRANT SELECT ON %s TO bodata_user', tab);
    RETURN id;
END
$$;
REVOKE ALL ON FUNCTION immutasys.create_data_source(regclass, text, text[], text) FROM PUBLIC;
COMMENT ON FUNCTION immutasys.create_data_source(regclass, text, text[], text) IS
    'registers a foreign table as a data source at the policy service; returns its id. What the service knows of it already stays; tags, where given, replace those it had';

CREATE FUNCTION immutasys.drop_data_source(tab regclass, api_key text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ds text := immutasys.table_option(tab, 'data_source');
    entry jsonb;
BEGIN
    IF ds IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('%s is not a data source', coalesce(tab::text, 'NULL'));
    END IF;
    EXECUTE format('REVOKE SELECT ON %s FROM bodata_user', tab);
    EXECUTE format('ALTER FOREIGN TABLE %s OPTIONS (DROP data_source)', tab);
    entry := immutasys.service_result('GET', '/v1/data_sources/' || immutasys.uri_part(ds), NULL, api_key);
    IF entry IS NOT NULL THEN
        PERFORM immutasys.service_result('DELETE', '/v1/data_sources/' || immutasys.uri_part(entry ->> 'name'), NULL, api_key);
    END IF;
END
$$;
REVOKE ALL ON FUNCTION immutasys.drop_data_source(regclass, text) FROM PUBLIC;
COMMENT ON FUNCTION immutasys.drop_data_source(regclass, text) IS 'takes a foreign table''s registration back, here and at the policy service; the table stays';

CREATE FUNCTION immutasys.import_data_sources(
    server name, remote_schema text, local_schema name DEFAULT 'immuta', tags text[] DEFAULT NULL, api_key text DEFAULT NULL,
    OUT tab regclass, OUT data_source uuid) RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    old oid[];
BEGIN
    IF server IS NULL OR remote_schema IS NULL OR local_schema IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '22004', MESSAGE = 'server, remote_schema and local_schema must not be null';
    END IF;
    SELECT array_agg(f.ftrelid) INTO old FROM pg_foreign_table f;
    EXECUTE format('IMPORT FOREIGN SCHEMA %I FROM SERVER %I INTO %I', remote_schema, server, local_schema);
    FOR tab IN SELECT f.ftrelid::regclass FROM pg_foreign_table f WHERE f.ftrelid <> ALL (coalesce(old, '{}')) ORDER BY 1 LOOP
        data_source := immutasys.create_data_source(tab, NULL, tags, api_key);
        RETURN NEXT;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION immutasys.import_data_sources(name, text, name, text[], text) FROM PUBLIC;
COMMENT ON FUNCTION immutasys.import_data_sources(name, text, name, text[], text) IS 'imports a remote schema and registers each of its tables as a data source';

CREATE FUNCTION immutasys.explain_decision(
    userid text, tab regclass, iamid text DEFAULT NULL, api_key text DEFAULT NULL) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ds text := immutasys.table_option(tab, 'data_source');
    answer jsonb;
BEGIN
    IF ds IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('%s is not a data source', coalesce(tab::text, 'NULL'));
    ELSIF userid IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '22004', MESSAGE = 'userid must not be null';
    END IF;
    answer := immutasys.service_result('GET', '/v1/explain?user=' || immutasys.uri_part(userid) || '&data_source=' || immutasys.uri_part(ds)
        || coalesce('&iamid=' || immutasys.uri_part(iamid), ''), NULL, api_key);
    IF answer IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '02000', MESSAGE = format('the policy service knows no person "%s", or not this data source', userid);
    END IF;
    RETURN answer;
END
$$;
REVOKE ALL ON FUNCTION immutasys.explain_decision(text, regclass, text, text) FROM PUBLIC;
COMMENT ON FUNCTION immutasys.explain_decision(text, regclass, text, text) IS 'what the policy service decides for a person and a table, and why';

-- Operation

CREATE FUNCTION immutasys.status(OUT name text, OUT value text) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'portcullis_status' LANGUAGE C STRICT VOLATILE;
REVOKE ALL ON FUNCTION immutasys.status() FROM PUBLIC;
COMMENT ON FUNCTION immutasys.status() IS 'service, token, workers, caches, audit, versions of this node';

CREATE VIEW immutasys.node_status AS SELECT * FROM immutasys.status();
REVOKE ALL ON immutasys.node_status FROM PUBLIC;
COMMENT ON VIEW immutasys.node_status IS 'immutasys.status() as a view';

CREATE FUNCTION immutasys.flush_caches() RETURNS void
    AS 'MODULE_PATHNAME', 'portcullis_flush_caches' LANGUAGE C STRICT VOLATILE;
REVOKE ALL ON FUNCTION immutasys.flush_caches() FROM PUBLIC;
COMMENT ON FUNCTION immutasys.flush_caches() IS 'every session of this node asks the policy service anew';

CREATE FUNCTION immutasys.recent_audit(
    how_many integer DEFAULT 20, OUT sequence bigint, OUT chain text, OUT record jsonb) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'portcullis_recent_audit' LANGUAGE C STRICT VOLATILE;
REVOKE ALL ON FUNCTION immutasys.recent_audit(integer) FROM PUBLIC;
COMMENT ON FUNCTION immutasys.recent_audit(integer) IS 'the newest audit records in this node''s spool, newest first; older ones are at the policy service';
