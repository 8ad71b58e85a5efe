-- The foreign data wrapper, as of version 0.9.

CREATE FUNCTION portcullis_check_database() RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
REVOKE ALL ON FUNCTION portcullis_check_database() FROM PUBLIC;
COMMENT ON FUNCTION portcullis_check_database() IS 'refuses databases whose encoding is not UTF8';
SELECT portcullis_check_database();

CREATE SCHEMA immutasys;
COMMENT ON SCHEMA immutasys IS 'settings and functions of portcullis';

CREATE FUNCTION portcullis_fdw_handler() RETURNS fdw_handler
    AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
REVOKE ALL ON FUNCTION portcullis_fdw_handler() FROM PUBLIC;
COMMENT ON FUNCTION portcullis_fdw_handler() IS 'handler of the foreign data wrapper portcullis';

CREATE FUNCTION portcullis_fdw_validator(options text[], catalog oid) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
REVOKE ALL ON FUNCTION portcullis_fdw_validator(text[], oid) FROM PUBLIC;
COMMENT ON FUNCTION portcullis_fdw_validator(text[], oid) IS 'checks options of servers, user mappings, tables and columns';

CREATE FOREIGN DATA WRAPPER portcullis
    HANDLER portcullis_fdw_handler
    VALIDATOR portcullis_fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER portcullis IS 'remote databases over ODBC, read-only';

CREATE FUNCTION portcullis_version() RETURNS text
    AS 'MODULE_PATHNAME' LANGUAGE C STRICT STABLE;
COMMENT ON FUNCTION portcullis_version() IS 'version and ABI number of the loaded module';
