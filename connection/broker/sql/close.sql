GRANT EXECUTE ON FUNCTION portcullis_broker.about() TO {{account}};
GRANT EXECUTE ON FUNCTION portcullis_broker.tables(jsonb) TO {{account}};
DO $do$
BEGIN
	IF {{roles}} THEN
		GRANT EXECUTE ON FUNCTION portcullis_broker.roles(jsonb) TO {{account}};
		REVOKE ALL ON portcullis_broker.made FROM PUBLIC;
		REVOKE CREATE ON SCHEMA portcullis_broker FROM {{owner}};
	END IF;
	IF to_regprocedure('portcullis_broker.row_state()') IS NOT NULL THEN
		GRANT EXECUTE ON FUNCTION portcullis_broker.row_fill(oid, jsonb, text), portcullis_broker.row_policies(jsonb), portcullis_broker.row_remove(oid), portcullis_broker.row_state() TO {{account}};
	END IF;
	IF current_setting('portcullis.joined', true) = 'true' THEN
		REVOKE {{owner}} FROM CURRENT_USER;
	END IF;
END $do$;
REVOKE ALL ON portcullis_broker.listed FROM PUBLIC;
GRANT SELECT ON portcullis_broker.listed TO {{account}};
GRANT USAGE ON SCHEMA portcullis_broker TO {{account}};
