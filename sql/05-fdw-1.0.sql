-- What 1.0 adds to the foreign data wrapper: connections, counts.

CREATE FUNCTION portcullis_connections(
    OUT server text, OUT driver text, OUT state text, OUT opened timestamptz, OUT last_used timestamptz,
    OUT statements bigint, OUT in_transaction boolean) RETURNS SETOF record
    AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE;
REVOKE ALL ON FUNCTION portcullis_connections() FROM PUBLIC;
COMMENT ON FUNCTION portcullis_connections() IS 'remote connections of this session: idle, busy, closing (its server or user mapping was changed or dropped) or abandoned';

CREATE FUNCTION portcullis_disconnect(server name DEFAULT NULL) RETURNS integer
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE;
REVOKE ALL ON FUNCTION portcullis_disconnect(name) FROM PUBLIC;
COMMENT ON FUNCTION portcullis_disconnect(name) IS 'closes this session''s idle connections to a server, or to all; returns how many';

CREATE TABLE immutasys.table_statistics (
    relid oid NOT NULL,
    attnum smallint NOT NULL,
    rows double precision,
    n_distinct double precision,
    null_frac double precision,
    counted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (relid, attnum)
);
REVOKE ALL ON immutasys.table_statistics FROM PUBLIC;
COMMENT ON TABLE immutasys.table_statistics IS 'counts kept by immutasys.analyze(); no value of a remote row';
COMMENT ON COLUMN immutasys.table_statistics.relid IS 'the foreign table';
COMMENT ON COLUMN immutasys.table_statistics.attnum IS 'the column, 0: the table';
COMMENT ON COLUMN immutasys.table_statistics.rows IS 'rows of the table';
COMMENT ON COLUMN immutasys.table_statistics.n_distinct IS 'distinct values of the column';
COMMENT ON COLUMN immutasys.table_statistics.null_frac IS 'share of NULLs in the column';
COMMENT ON COLUMN immutasys.table_statistics.counted_at IS 'when it was counted';

CREATE FUNCTION immutasys.count_table(
    tab regclass, OUT attnum smallint, OUT rows double precision, OUT n_distinct double precision,
    OUT null_frac double precision) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'portcullis_count' LANGUAGE C STRICT VOLATILE;
REVOKE ALL ON FUNCTION immutasys.count_table(regclass) FROM PUBLIC;
COMMENT ON FUNCTION immutasys.count_table(regclass) IS 'lets the source count rows, distinct values and NULLs of a foreign table';

CREATE FUNCTION immutasys.analyze(tab regclass) RETURNS bigint
    LANGUAGE sql STRICT VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM immutasys.table_statistics s
     WHERE s.relid = $1 OR NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = s.relid);
    INSERT INTO immutasys.table_statistics (relid, attnum, rows, n_distinct, null_frac)
    SELECT $1, c.attnum, c.rows, c.n_distinct, c.null_frac FROM immutasys.count_table($1) c;
    SELECT s.rows::bigint FROM immutasys.table_statistics s WHERE s.relid = $1 AND s.attnum = 0;
$$;
REVOKE ALL ON FUNCTION immutasys.analyze(regclass) FROM PUBLIC;
COMMENT ON FUNCTION immutasys.analyze(regclass) IS 'keeps row count, distinct counts and null fractions of a foreign table for the planner; returns the row count';

CREATE FUNCTION immutasys.fault(kind text) RETURNS void
    AS 'MODULE_PATHNAME', 'portcullis_fault' LANGUAGE C STRICT VOLATILE;
REVOKE ALL ON FUNCTION immutasys.fault(text) FROM PUBLIC;
COMMENT ON FUNCTION immutasys.fault(text) IS 'superusers: makes the library panic (call, goroutine), to see that the session survives';
