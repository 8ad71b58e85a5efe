package crawl

// What is asked. $1 is the OID of the role that grants. {{unlisted}} is an
// expression over pg_class c and pg_namespace n, {{views}} the name of the role that owns views, see facts.go.

// leftOut holds for PostgreSQL's own schemas, temporary ones, the broker's and those of
// views that show a part of a table.
const leftOut = `(starts_with(n.nspname::text, 'pg_') OR n.nspname IN ('information_schema', 'portcullis_broker', 'portcullis_views')
		OR n.nspowner IN (SELECT r.oid FROM pg_roles r WHERE r.rolname = {{views}}))`

// leftOutSQL tells what people have put into such schemas, or made of them.
const leftOutSQL = `SELECT n.oid, coalesce(array_agg(c.oid) FILTER (WHERE c.oid IS NOT NULL), '{}') FROM pg_namespace n
	LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.oid >= 16384 AND c.relpersistence <> 't'
	WHERE ` + leftOut + ` GROUP BY n.oid`

const schemas = `
	SELECT n.oid, n.nspname, n.nspowner,
		(NOT (has_schema_privilege($1::oid, n.oid, 'USAGE WITH GRANT OPTION') OR has_schema_privilege('public', n.oid, 'USAGE'))) IS NOT FALSE AS closed
	FROM pg_namespace n
	WHERE NOT ` + leftOut

// relations come with what the grants would lack, as bits: see lack.go. Privilege functions look
// at the present, not at the snapshot, and answer NULL for what is gone since.
const relations = `
	SELECT c.oid, n.oid AS schema, c.relname, c.relkind, pg_get_userbyid(c.relowner) AS owner,
		coalesce(CASE WHEN c.relispartition THEN i.parents[1] END, 0)::oid AS partition_of, coalesce(i.parents, '{}') AS parents,
		(has_table_privilege($1::oid, c.oid, 'SELECT WITH GRANT OPTION') IS NOT TRUE)::int
		+ (has_table_privilege($1::oid, c.oid, 'INSERT WITH GRANT OPTION') IS NOT TRUE)::int * 2
		+ (has_table_privilege($1::oid, c.oid, 'UPDATE WITH GRANT OPTION') IS NOT TRUE)::int * 4
		+ (has_table_privilege($1::oid, c.oid, 'DELETE WITH GRANT OPTION') IS NOT TRUE)::int * 8
		+ (has_table_privilege($1::oid, c.oid, 'TRUNCATE WITH GRANT OPTION') IS NOT TRUE)::int * 16
		+ n.closed::int * 32
		+ ({{unlisted}})::int * 64 AS lack
	FROM pg_class c JOIN schemas n ON n.oid = c.relnamespace
		LEFT JOIN (SELECT inhrelid, array_agg(inhparent ORDER BY inhseqno) AS parents FROM pg_inherits GROUP BY inhrelid) i ON i.inhrelid = c.oid
	WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')`

// digestsSQL answers with each schema, how many objects it has, and a sum of
// hashes over all that objectsSQL would read of it. $2 is the seed.
const digestsSQL = `WITH schemas AS MATERIALIZED (` + schemas + `), relations AS MATERIALIZED (` + relations + `), hashes AS (
		SELECT r.schema, hash_record_extended(ROW(r.oid, r.relname, r.relkind, r.owner, r.parents, r.lack), $2) AS hash FROM relations r
		UNION ALL
		SELECT r.schema, hash_record_extended(ROW(r.oid, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod)), $2)
			FROM relations r JOIN pg_attribute a ON a.attrelid = r.oid WHERE a.attnum > 0 AND NOT a.attisdropped
		UNION ALL
		SELECT r.schema, hash_record_extended(ROW(r.oid, d.objsubid, d.description), $2)
			FROM relations r JOIN pg_description d ON d.objoid = r.oid AND d.classoid = 'pg_class'::regclass
		UNION ALL
		SELECT r.schema, hash_record_extended(ROW(r.oid, l.objsubid, l.provider, l.label), $2)
			FROM relations r JOIN pg_seclabel l ON l.objoid = r.oid AND l.classoid = 'pg_class'::regclass
	), sums AS (SELECT h.schema, sum(h.hash) AS sum FROM hashes h GROUP BY h.schema),
	counts AS (SELECT r.schema, count(*) AS objects FROM relations r GROUP BY r.schema)
	SELECT s.oid, s.nspname, pg_get_userbyid(s.nspowner), coalesce(c.objects, 0),
		hash_record_extended(ROW(s.nspname, pg_get_userbyid($1::oid), current_database()), $2) + coalesce(m.sum, 0)
	FROM schemas s LEFT JOIN sums m ON m.schema = s.oid LEFT JOIN counts c ON c.schema = s.oid ORDER BY s.oid`

// objectsSQL reads the relations of the schemas $2.
const objectsSQL = `WITH schemas AS MATERIALIZED (` + schemas + ` AND n.oid = ANY ($2::oid[])),
	relations AS MATERIALIZED (` + relations + ` ORDER BY n.oid, c.oid)
	SELECT r.schema, r.oid, r.relname::text, r.relkind::text, r.owner::text, r.partition_of, r.parents, r.lack,
		coalesce((SELECT d.description FROM pg_description d WHERE d.objoid = r.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0), ''),
		a.numbers, a.names, a.types, a.comments
	FROM relations r CROSS JOIN LATERAL (
		SELECT coalesce(array_agg(a.attnum ORDER BY a.attnum), '{}') AS numbers, coalesce(array_agg(a.attname::text ORDER BY a.attnum), '{}') AS names,
			coalesce(array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum), '{}') AS types,
			coalesce(array_agg(coalesce(d.description, '') ORDER BY a.attnum), '{}') AS comments
		FROM pg_attribute a LEFT JOIN pg_description d ON d.objoid = a.attrelid AND d.classoid = 'pg_class'::regclass AND d.objsubid = a.attnum
		WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped) a
	ORDER BY r.schema, r.oid`

// labelsSQL reads the security labels in the schemas $1.
const labelsSQL = `SELECT l.objoid, l.objsubid::int2, l.provider || '=' || l.label
	FROM pg_seclabel l JOIN pg_class c ON c.oid = l.objoid
	WHERE l.classoid = 'pg_class'::regclass AND c.relnamespace = ANY ($1::oid[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
	ORDER BY 1, 2, l.provider COLLATE "C"`

// factsSQL says who grants and what of the broker is there. What calls itself
// the broker's list is read only if reading it runs nobody's code: a plain table
// without row security, of built-in types. (to_regclass would fail without USAGE.)
const factsSQL = `WITH broker AS (SELECT n.oid FROM pg_namespace n WHERE n.nspname = 'portcullis_broker' AND has_schema_privilege(n.oid, 'USAGE'))
	SELECT (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()),
	CASE WHEN $1 THEN (SELECT p.proowner FROM pg_proc p JOIN broker b ON b.oid = p.pronamespace
			WHERE p.proname = 'tables' AND p.pronargs = 1 AND p.proargtypes[0] = 'jsonb'::regtype)
		ELSE coalesce((SELECT r.oid FROM pg_roles r WHERE r.rolname = $2 AND pg_has_role(r.oid, 'MEMBER')),
			(SELECT r.oid FROM pg_roles r WHERE r.rolname = current_user)) END AS grantor,
	EXISTS (SELECT FROM pg_class c JOIN broker b ON b.oid = c.relnamespace WHERE c.relname = 'listed' AND c.relkind = 'r'
		AND NOT c.relrowsecurity AND NOT c.relhasrules AND has_table_privilege(c.oid, 'SELECT')
		AND (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND (a.attname, a.atttypid) IN (('schema_oid', 'oid'::regtype),
			('schema_name', 'text'::regtype), ('relation_oid', 'oid'::regtype), ('relation_name', 'text'::regtype))) = 4)`

// How a schema or a table is looked up in the broker's list.
const unlistedSQL = `NOT EXISTS (SELECT FROM portcullis_broker.listed l WHERE l.schema_oid = n.oid AND l.schema_name = n.nspname
	AND (l.relation_oid = 0 OR l.relation_oid = c.oid AND l.relation_name = c.relname))`
