package attack

// A probe is what an attacker types. It runs as an exempt and as a governed
// person, on two states of the remote data that differ only in what the
// governed person may not know (data_test.go). The governed transcripts must
// be equal and hold no secret; the exempt transcripts must differ, or match
// shows, which proves that the probe would work.
type probe struct {
	name string
	sql  []string // in order on one session; {t} is the table

	shows   string // regular expression: the exempt person sees it, the governed one never
	refused string // SQLSTATE by which the governed person is refused; else every statement must succeed
	control string // who is the positive control, see controls
}

// controls are who types a probe with the defence out of the way. What no
// foreign table can do, whoever asks, is typed on local tables of the same rows.
var controls = map[string]string{
	"":          "the exempt person",
	"superuser": "the superuser",
	"copy":      "the exempt person, on a local copy that is theirs",
	"fenced":    "the exempt person, on a local copy with a policy of PostgreSQL's own",
}

// bytesOfSales is how a printed plan shows a constant of a filter.
const bytesOfSales = `115\s+97\s+108\s+101\s+115`

// class is a row of the threat table.
type class struct {
	name   string
	probes []probe
}

// classes returns the whole table; prelude statements of the sessions are in session_test.go.
func classes() []class {
	return []class{
		{"errors", errorProbes},
		{"leaky functions and push-down", leakyProbes},
		{"reference everywhere", referenceProbes},
		{"inference", inferenceProbes},
		{"plans and statistics", planProbes},
		{"catalogs", catalogProbes},
		{"identity", identityProbes},
		{"plan and result reuse", reuseProbes},
		{"other paths", pathProbes},
		{"injection", injectionProbes},
		{"fail-open", failOpenProbes},
		{"wider at the source", widerProbes},
		{"evaluation", evaluationProbes},
		{"written elsewhere", writingProbes},
		{"own objects and ways back", ownObjectProbes},
	}
}

var errorProbes = []probe{
	{name: "division by zero on a masked column", sql: []string{`SELECT count(*) FROM {t} WHERE 1/salary > 0`}},
	{name: "division by zero in the list", sql: []string{`SELECT id, 1/salary FROM {t} WHERE dept = 'sales'`}},
	{name: "division by zero on hidden rows", sql: []string{`SELECT count(*) FROM {t} WHERE 1/(id - 7) < 5`}},
	{name: "division guarded by nothing in OR", sql: []string{`SELECT count(*) FROM {t} WHERE dept = 'sales' OR 1/(id - 7) > 0`}},
	{name: "division behind CASE", sql: []string{`SELECT count(*) FROM {t} WHERE CASE WHEN dept = 'board' THEN 1/(id - 5) = 1 ELSE true END`}},
	{name: "cast of a masked column", sql: []string{`SELECT sum(ssn::int) FROM {t}`}},
	{name: "cast of a hidden note", sql: []string{`SELECT count(*) FROM {t} WHERE note::int > 0 AND dept <> 'sales'`}},
	{name: "cast in ON", sql: []string{`SELECT count(*) FROM {t} a JOIN {t} b ON a.id = b.id AND a.note::int > 0 AND a.dept = 'board'`}},
	{name: "overflow", sql: []string{`SELECT count(*) FROM {t} WHERE (id + 2147483640) > 0`}},
	{name: "overflow of bigint, which MariaDB has too", sql: []string{`SELECT count(*) FROM {t} WHERE id::bigint + 9223372036854775801 > 0`}},
	{name: "bigint overflow by product", sql: []string{`SELECT count(*) FROM {t} WHERE id::bigint * 1537228672809129301 > 0`}},
	{name: "modulo by zero", sql: []string{`SELECT count(*) FROM {t} WHERE 5 % (id - 8) >= 0`}},
	{name: "square root of a negative", sql: []string{`SELECT count(*) FROM {t} WHERE sqrt(7.0 - id) >= 0`}},
	{name: "bad regular expression from data", sql: []string{`SELECT count(*) FROM {t} WHERE 'x' ~ note`}},
	{name: "bad LIKE escape from data", sql: []string{`SELECT count(*) FROM {t} WHERE 'xy' LIKE note ESCAPE '!'`}},
	{name: "array index by data", sql: []string{`SELECT (ARRAY[1,2,3])[salary::int] FROM {t}`}},
	{name: "domain check", sql: []string{`CREATE DOMAIN mine.positive AS numeric CHECK (value > 0)`, `SELECT count(salary::mine.positive) FROM {t}`}},
	{name: "enum cast", sql: []string{`CREATE TYPE mine.known AS ENUM ('sales', 'hr', 'north', 'south', 'east', '42')`, `SELECT count(*) FROM {t} WHERE note::mine.known IS NOT NULL`}},
	{name: "subscript error in a sub-select", sql: []string{`SELECT (SELECT 1/(count(*) - 5) FROM {t})`}},
	{name: "more than one row from a sub-select", sql: []string{`SELECT (SELECT id FROM {t} WHERE dept = 'board' LIMIT 2)`}},
	{name: "JSON of data", sql: []string{`SELECT note::json FROM {t} WHERE dept = 'board'`}},
	{name: "error message quotes the value", sql: []string{`SELECT (name || ' ' || coalesce(ssn, ''))::int FROM {t} WHERE dept = 'board'`}},
	{name: "set_byte on data", sql: []string{`SELECT get_byte(note::bytea, 0) FROM {t}`}},
	{name: "assertion in PL/pgSQL over rows", sql: []string{`DO $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM {t} LOOP RAISE NOTICE '%', r; END LOOP; END $$`}},
	{name: "statement that aborts mid-way shows no later row", sql: []string{`SELECT 10/(9 - id) FROM {t} ORDER BY id`}},
}

var leakyProbes = []probe{
	{name: "cheap function in WHERE", sql: []string{
		`CREATE FUNCTION mine.leak(text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'saw %', $1; RETURN true; END $$`,
		`SELECT count(*) FROM {t} WHERE mine.leak(note)`}},
	{name: "cheap function on a masked column", sql: []string{
		`CREATE FUNCTION mine.leak(text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'saw %', $1; RETURN true; END $$`,
		`SELECT count(*) FROM {t} WHERE mine.leak(ssn) OR mine.leak(phone)`}},
	{name: "function on the whole row", sql: []string{
		`CREATE FUNCTION mine.leak(anyelement) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'saw %', $1; RETURN true; END $$`,
		`SELECT count(*) FROM {t} t WHERE mine.leak(t)`}},
	{name: "own operator", sql: []string{
		`CREATE FUNCTION mine.leak(text, text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'saw %', $1; RETURN true; END $$`,
		`CREATE OPERATOR mine.=== (FUNCTION = mine.leak, LEFTARG = text, RIGHTARG = text, RESTRICT = eqsel)`,
		`SELECT count(*) FROM {t} WHERE note OPERATOR(mine.===) 'x'`}},
	{name: "own equality shadows the built-in", sql: []string{
		`CREATE FUNCTION mine.leak(text, text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'saw %', $1; RETURN true; END $$`,
		`CREATE OPERATOR mine.= (FUNCTION = mine.leak, LEFTARG = text, RIGHTARG = text)`,
		`SET search_path = mine, pg_catalog`,
		`SELECT count(*) FROM {t} WHERE dept = 'board'`}},
	{name: "own cast", sql: []string{
		`CREATE TYPE mine.box AS (v text)`,
		`CREATE FUNCTION mine.pack(text) RETURNS mine.box LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'saw %', $1; RETURN ROW($1); END $$`,
		`CREATE CAST (text AS mine.box) WITH FUNCTION mine.pack(text)`,
		`SELECT count(note::text::mine.box) FROM {t}`}},
	{name: "own aggregate", sql: []string{
		`CREATE FUNCTION mine.step(text, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'saw %', $2; RETURN coalesce($1, '') || ',' || $2; END $$`,
		`CREATE AGGREGATE mine.gather(text) (SFUNC = mine.step, STYPE = text)`,
		`SELECT mine.gather(note ORDER BY id) FROM {t}`}},
	{name: "inlined SQL function", sql: []string{
		`CREATE FUNCTION mine.pairs() RETURNS SETOF text LANGUAGE sql STABLE AS $$ SELECT note FROM {t} $$`,
		`SELECT * FROM mine.pairs() ORDER BY 1`}},
	{name: "inlined SQL function with a condition outside", sql: []string{
		`CREATE FUNCTION mine.everything() RETURNS SETOF {t} LANGUAGE sql STABLE AS $$ SELECT * FROM {t} $$`,
		`SELECT count(*) FROM mine.everything() WHERE 1/(id - 7) < 5`}},
	{name: "LATERAL", sql: []string{`SELECT x.n FROM {t} t, LATERAL (SELECT t.note || t.dept AS n WHERE t.dept <> 'sales') x ORDER BY 1`}},
	{name: "CTE inlined", sql: []string{`WITH c AS (SELECT * FROM {t}) SELECT count(*) FROM c WHERE 1/(id - 7) < 5`}},
	{name: "CTE materialized", sql: []string{`WITH c AS MATERIALIZED (SELECT * FROM {t}) SELECT id, note, salary FROM c ORDER BY id`}},
	{name: "recursive CTE", sql: []string{`WITH RECURSIVE r(id, note) AS (SELECT id, note FROM {t} WHERE id = 1 UNION ALL SELECT t.id, t.note FROM {t} t JOIN r ON t.id = r.id + 1) SELECT * FROM r`}},
	{name: "OR with a leaky side", sql: []string{
		`CREATE FUNCTION mine.leak(text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'saw %', $1; RETURN false; END $$`,
		`SELECT count(*) FROM {t} WHERE dept = 'board' OR mine.leak(note)`}},
	{name: "leaky join clause", sql: []string{
		`CREATE FUNCTION mine.leak(text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'saw %', $1; RETURN true; END $$`,
		`SELECT count(*) FROM {t} a LEFT JOIN {t} b ON a.id = b.id AND mine.leak(b.note)`}},
	{name: "security-barrier view of one's own", sql: []string{
		`CREATE VIEW mine.v WITH (security_barrier) AS SELECT * FROM {t}`, `SELECT id, note FROM mine.v WHERE note <> '' ORDER BY id`}},
	{name: "window function argument", sql: []string{
		`CREATE FUNCTION mine.leak(text) RETURNS text LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'saw %', $1; RETURN $1; END $$`,
		`SELECT id, lag(mine.leak(note)) OVER (ORDER BY id) FROM {t} ORDER BY id`}},
}

var referenceProbes = []probe{
	{name: "SELECT *", sql: []string{`SELECT * FROM {t} ORDER BY id`}},
	{name: "count(*)", sql: []string{`SELECT count(*) FROM {t}`}},
	{name: "WHERE equality", sql: []string{`SELECT id FROM {t} WHERE ssn = '111-22-3333'`}},
	{name: "WHERE range", sql: []string{`SELECT id FROM {t} WHERE salary > 2000 ORDER BY id`}},
	{name: "WHERE BETWEEN on a truncated date", sql: []string{`SELECT id FROM {t} WHERE born BETWEEN '1980-05-01' AND '1980-05-31'`}},
	{name: "WHERE IN", sql: []string{`SELECT id FROM {t} WHERE ssn IN ('111-22-3333', '222-33-4444', '999-99-9999') ORDER BY id`}},
	{name: "WHERE = ANY(array)", sql: []string{`SELECT id FROM {t} WHERE phone = ANY (ARRAY['+49 30 5551234', '+49 30 5559934'])`}},
	{name: "WHERE LIKE", sql: []string{`SELECT id FROM {t} WHERE phone LIKE '+49 30 555%' ORDER BY id`}},
	{name: "WHERE IS NULL on a nulled column", sql: []string{`SELECT id FROM {t} WHERE ssn IS NOT NULL ORDER BY id`}},
	{name: "WHERE IS DISTINCT FROM", sql: []string{`SELECT id FROM {t} WHERE salary IS DISTINCT FROM 1200 ORDER BY id`}},
	{name: "NOT", sql: []string{`SELECT id FROM {t} WHERE NOT (salary < 2000) ORDER BY id`}},
	{name: "COALESCE", sql: []string{`SELECT id, coalesce(ssn, 'none') FROM {t} ORDER BY id`}},
	{name: "row comparison", sql: []string{`SELECT id FROM {t} WHERE (salary, ssn) = (1200, '111-22-3333')`}},
	{name: "JOIN with a guess table", sql: []string{
		`CREATE TEMP TABLE guess AS SELECT g AS salary FROM generate_series(0, 4000, 100) g`,
		`SELECT t.id, g.salary FROM {t} t JOIN guess g ON t.salary = g.salary ORDER BY t.id`}},
	{name: "self join on a masked column", sql: []string{`SELECT a.id, b.id FROM {t} a JOIN {t} b ON a.salary = b.salary ORDER BY 1, 2`}},
	{name: "semi-join", sql: []string{`SELECT 1 WHERE EXISTS (SELECT FROM {t} WHERE dept = 'law')`}},
	{name: "anti-join", sql: []string{`SELECT g FROM generate_series(1, 12) g WHERE g NOT IN (SELECT id FROM {t}) ORDER BY g`}},
	{name: "GROUP BY", sql: []string{`SELECT born, count(*) FROM {t} GROUP BY born ORDER BY born`}},
	{name: "HAVING", sql: []string{`SELECT dept FROM {t} GROUP BY dept HAVING max(salary) > 3000 ORDER BY 1`}},
	{name: "ORDER BY a masked column", sql: []string{`SELECT id FROM {t} ORDER BY salary DESC, id`}},
	{name: "ORDER BY expression", sql: []string{`SELECT id FROM {t} ORDER BY right(ssn, 4), salary % 7, id`}},
	{name: "DISTINCT", sql: []string{`SELECT DISTINCT salary > 9900 FROM {t}`}},
	{name: "DISTINCT ON", sql: []string{`SELECT DISTINCT ON (dept) dept, id FROM {t} ORDER BY dept, salary DESC, id`}},
	{name: "min and max", sql: []string{`SELECT min(salary), max(salary), min(born), max(ssn) FROM {t}`}},
	{name: "sum, avg, stddev", sql: []string{`SELECT sum(salary), avg(salary), stddev(salary) FROM {t}`}},
	{name: "count of a masked column", sql: []string{`SELECT count(ssn), count(DISTINCT salary), count(DISTINCT phone) FROM {t}`}},
	{name: "window", sql: []string{`SELECT id, rank() OVER (ORDER BY salary), ntile(2) OVER (ORDER BY born, id) FROM {t} ORDER BY id`}},
	{name: "FILTER", sql: []string{`SELECT count(*) FILTER (WHERE salary > 2000) FROM {t}`}},
	{name: "GROUPING SETS", sql: []string{`SELECT dept, born, count(*) FROM {t} GROUP BY GROUPING SETS ((dept), (born), ()) ORDER BY 1, 2, 3`}},
	{name: "whole row", sql: []string{`SELECT t FROM {t} t ORDER BY id`}},
	{name: "whole row as text", sql: []string{`SELECT t::text FROM {t} t ORDER BY id`}},
	{name: "row_to_json", sql: []string{`SELECT row_to_json(t) FROM {t} t ORDER BY id`}},
	{name: "to_jsonb and hstore-like access", sql: []string{`SELECT to_jsonb(t) ->> 'ssn', (t).salary, (t).phone FROM {t} t ORDER BY id`}},
	{name: "json_agg", sql: []string{`SELECT json_agg(t ORDER BY id) FROM {t} t`}},
	{name: "array_agg of rows", sql: []string{`SELECT array_agg(t ORDER BY id) FROM {t} t`}},
	{name: "record comparison", sql: []string{`SELECT count(*) FROM {t} a, {t} b WHERE a::text < b::text`}},
	{name: "composite function notation", sql: []string{`SELECT ssn(t), salary(t) FROM {t} t ORDER BY id`}},
	{name: "table_to_xml", sql: []string{`SELECT table_to_xml('{t}'::regclass, true, false, '')`}},
	{name: "query_to_xml", sql: []string{`SELECT query_to_xml('SELECT * FROM {t} ORDER BY id', true, false, '')`}},
	{name: "TABLESAMPLE", sql: []string{`SELECT id FROM {t} TABLESAMPLE SYSTEM (100)`}, refused: "0A000", control: "copy"},
	{name: "tableoid", sql: []string{`SELECT tableoid = '{t}'::regclass, id, note FROM {t} ORDER BY id`}},
	{name: "other system columns", sql: []string{`SELECT ctid, xmin, id FROM {t} ORDER BY id`}, refused: "0A000", control: "copy"},
	{name: "LIMIT below the filter", sql: []string{`SELECT id FROM {t} WHERE dept <> 'x' ORDER BY id DESC LIMIT 1`}},
	{name: "OFFSET", sql: []string{`SELECT id FROM {t} ORDER BY id OFFSET 2`}},
	{name: "UNION", sql: []string{`SELECT salary FROM {t} UNION SELECT 1200 ORDER BY 1`}},
	{name: "EXCEPT", sql: []string{`SELECT id, salary FROM {t} EXCEPT SELECT 1, 1200 ORDER BY 1`}},
	{name: "correlated sub-select", sql: []string{`SELECT id, (SELECT count(*) FROM {t} b WHERE b.salary > a.salary) FROM {t} a ORDER BY id`}},
	{name: "NATURAL JOIN", sql: []string{`SELECT count(*) FROM {t} a NATURAL JOIN {t} b`}},
	{name: "FULL JOIN", sql: []string{`SELECT a.id, g FROM {t} a FULL JOIN generate_series(1, 9) g ON a.id = g ORDER BY g, a.id`}},
	{name: "row mark", sql: []string{`SELECT id, salary FROM {t} ORDER BY id FOR UPDATE`}, refused: "0A000", control: "copy"},
	{name: "own view", sql: []string{`CREATE VIEW mine.v AS SELECT salary, ssn, id FROM {t}`, `SELECT * FROM mine.v ORDER BY id`}},
}

var inferenceProbes = []probe{
	{name: "binary search for a salary", sql: []string{
		`DO $$ DECLARE lo int := 0; hi int := 10000; mid int; hit bool; BEGIN
		   WHILE lo < hi LOOP mid := (lo + hi) / 2;
		     SELECT EXISTS (SELECT FROM {t} WHERE id = 1 AND salary <= mid) INTO hit;
		     IF hit THEN hi := mid; ELSE lo := mid + 1; END IF;
		   END LOOP; RAISE NOTICE 'found %', lo; END $$`}},
	{name: "binary search in hidden rows", sql: []string{
		`DO $$ DECLARE n int := 0; hit bool; BEGIN
		   FOR i IN 1..12 LOOP SELECT EXISTS (SELECT FROM {t} WHERE id = i) INTO hit; IF hit THEN n := n + i; END IF; END LOOP;
		   RAISE NOTICE 'found %', n; END $$`}},
	{name: "guess by LIKE prefix", sql: []string{`SELECT p FROM unnest(ARRAY['1','2','3','9']) p WHERE EXISTS (SELECT FROM {t} WHERE ssn LIKE p || '%') ORDER BY 1`}},
	{name: "differencing of counts", sql: []string{`SELECT (SELECT count(*) FROM {t}) - (SELECT count(*) FROM {t} WHERE dept = 'sales')`}},
	{name: "differencing of sums", sql: []string{`SELECT (SELECT sum(salary) FROM {t}) - (SELECT sum(salary) FROM {t} WHERE id <> 1)`}},
	{name: "hash of a guess", sql: []string{`SELECT encode(sha256('Ann'), 'hex') IN (SELECT name FROM {t}), md5('Ann') IN (SELECT name FROM {t}), 'Ann' IN (SELECT name FROM {t})`},
		shows: `\|t`},
	{name: "equality with the raw value of a hashed column", sql: []string{`SELECT count(*) FROM {t} WHERE name = 'Dora'`}},
	{name: "rounded column against the raw value", sql: []string{`SELECT id FROM {t} WHERE born = '1980-05-06'`}},
	{name: "age arithmetic", sql: []string{`SELECT id, born - date '1980-01-01' FROM {t} ORDER BY id`}},
	{name: "join of hashed columns of two tables finds no raw value", sql: []string{`SELECT count(*) FROM {t} a JOIN (VALUES ('Dora'), ('Emil'), ('Fritz')) v(n) ON a.name = v.n`}},
}

var planProbes = []probe{
	{name: "EXPLAIN", sql: []string{`EXPLAIN SELECT * FROM {t}`}, shows: `Foreign Scan`},
	{name: "EXPLAIN VERBOSE", sql: []string{`EXPLAIN VERBOSE SELECT * FROM {t} WHERE dept = 'hr'`}, shows: `(?i)remote SQL`},
	{name: "EXPLAIN ANALYZE", sql: []string{`EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF, COSTS OFF) SELECT * FROM {t} WHERE note <> 'north'`}},
	{name: "EXPLAIN ANALYZE with a local condition", sql: []string{`EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF, COSTS OFF) SELECT * FROM {t} WHERE length(note) > 4`}},
	{name: "EXPLAIN BUFFERS JSON", sql: []string{`EXPLAIN (ANALYZE, VERBOSE, BUFFERS, FORMAT JSON, TIMING OFF) SELECT * FROM {t}`}, shows: `Foreign Scan`},
	{name: "EXPLAIN XML and YAML", sql: []string{`EXPLAIN (FORMAT XML) SELECT * FROM {t}`, `EXPLAIN (FORMAT YAML, SETTINGS) SELECT * FROM {t}`}, shows: `Foreign.Scan`},
	{name: "EXPLAIN of CREATE TABLE AS", sql: []string{`EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) CREATE TEMP TABLE x AS SELECT * FROM {t}`}},
	{name: "EXPLAIN of DECLARE", sql: []string{`EXPLAIN DECLARE c CURSOR FOR SELECT * FROM {t}`}, shows: `Foreign Scan`},
	{name: "EXPLAIN EXECUTE", sql: []string{`PREPARE p AS SELECT * FROM {t} WHERE id = $1`, `EXPLAIN (VERBOSE) EXECUTE p(1)`, `DEALLOCATE p`}, shows: `(?i)remote SQL`},
	{name: "EXPLAIN ANALYZE EXECUTE", sql: []string{`PREPARE p AS SELECT * FROM {t} WHERE id <> $1`, `EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF, COSTS OFF) EXECUTE p(1)`, `DEALLOCATE p`}},
	{name: "EXPLAIN in PL/pgSQL", sql: []string{`DO $$ DECLARE r text; BEGIN FOR r IN EXPLAIN VERBOSE SELECT * FROM {t} LOOP RAISE NOTICE '%', r; END LOOP; END $$`}, shows: `(?i)remote SQL`},
	{name: "EXPLAIN by dynamic EXECUTE", sql: []string{`DO $$ DECLARE r text; BEGIN FOR r IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT * FROM {t}' LOOP RAISE NOTICE '%', r; END LOOP; END $$`}},
	{name: "EXPLAIN in a SQL function", sql: []string{
		`CREATE FUNCTION mine.ex() RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY EXECUTE 'EXPLAIN VERBOSE SELECT * FROM {t}'; END $$`, `SELECT * FROM mine.ex()`}, shows: `(?i)remote SQL`},
	{name: "estimate in the planner's row count", sql: []string{`EXPLAIN SELECT * FROM {t}, generate_series(1, 3)`}, shows: `rows=`},
	{name: "debug_print_plan", sql: []string{`SET client_min_messages = log`, `SET debug_print_plan = on`, `SET debug_pretty_print = off`, `SELECT id FROM {t} ORDER BY id`},
		shows: bytesOfSales, control: "fenced"},
	{name: "debug_print_rewritten", sql: []string{`SET client_min_messages = log`, `SET debug_print_rewritten = on`, `SELECT count(*) FROM {t} WHERE dept = 'hr'`},
		shows: bytesOfSales, control: "fenced"},
	{name: "pg_stats", sql: []string{`SELECT tablename, attname, most_common_vals, histogram_bounds FROM pg_stats WHERE attname IN ('ssn', 'salary', 'note', 'phone') ORDER BY 1, 2`},
		shows: `control_copy`, control: "superuser"},
	{name: "pg_stats_ext", sql: []string{`SELECT tablename, most_common_vals FROM pg_stats_ext ORDER BY 1`}, shows: `control_copy`, control: "superuser"},
	{name: "ANALYZE by the person", sql: []string{`ANALYZE {t}`, `SELECT attname, most_common_vals, histogram_bounds FROM pg_stats WHERE format('%I.%I', schemaname, tablename) = '{t}' ORDER BY 1`}, control: "copy"},
	{name: "reltuples", sql: []string{`ANALYZE {t}`, `SELECT reltuples, relpages FROM pg_class WHERE oid = '{t}'::regclass`}, control: "copy"},
	{name: "immutasys' statistics", sql: []string{`SELECT * FROM immutasys.table_statistics`}, refused: "42501", control: "superuser"},
	{name: "operator that is handed statistics", sql: []string{
		`CREATE FUNCTION mine.spy(text, text) RETURNS bool LANGUAGE plpgsql IMMUTABLE COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'saw % %', $1, $2; RETURN $1 = $2; END $$`,
		`CREATE OPERATOR mine.==== (FUNCTION = mine.spy, LEFTARG = text, RIGHTARG = text, RESTRICT = eqsel, JOIN = eqjoinsel)`,
		`EXPLAIN SELECT * FROM {t} WHERE note OPERATOR(mine.====) 'guess'`}, shows: `Foreign Scan`},
	{name: "scalarltsel with an own operator", sql: []string{
		`CREATE FUNCTION mine.spy(int, int) RETURNS bool LANGUAGE plpgsql IMMUTABLE COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'saw % %', $1, $2; RETURN $1 < $2; END $$`,
		`CREATE OPERATOR mine.<<< (FUNCTION = mine.spy, LEFTARG = int, RIGHTARG = int, RESTRICT = scalarltsel)`,
		`EXPLAIN SELECT * FROM {t} WHERE salary::int OPERATOR(mine.<<<) 5`}, shows: `Foreign Scan`},
	{name: "pg_stat_activity of others", sql: []string{`SELECT query FROM pg_stat_activity WHERE query LIKE '%known to others%' AND pid <> pg_backend_pid()`}, shows: `known to others`, control: "superuser"},
	{name: "constant folding at planning", sql: []string{
		`CREATE FUNCTION mine.peek() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT string_agg(note, ',' ORDER BY id) FROM {t} $$`,
		`SELECT 1 WHERE mine.peek() <> ''`, `SELECT mine.peek()`}},
	{name: "planning by EXPLAIN runs an immutable function", sql: []string{
		`CREATE FUNCTION mine.peek() RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ DECLARE s text; BEGIN SELECT string_agg(note, ',' ORDER BY id) INTO s FROM {t}; RAISE NOTICE 'peek %', s; RETURN s; END $$`,
		`EXPLAIN SELECT 1 WHERE mine.peek() = ''`}},
}

var catalogProbes = []probe{
	{name: "user mapping options", sql: []string{`SELECT srvname, srvoptions, usename, umoptions FROM pg_user_mappings JOIN pg_foreign_server USING (srvname) ORDER BY 1, 3`}, shows: `password_sealed`, control: "superuser"},
	{name: "pg_user_mapping", sql: []string{`SELECT umoptions FROM pg_user_mapping`}, refused: "42501", shows: `password_sealed`, control: "superuser"},
	{name: "information_schema user mapping options", sql: []string{`SELECT * FROM information_schema.user_mapping_options`}, shows: `v1:`, control: "superuser"},
	{name: "dbtoken", sql: []string{`SELECT * FROM immutasys.dbtoken`}, refused: "42501", shows: `v1:`, control: "superuser"},
	{name: "service_config", sql: []string{`SELECT * FROM immutasys.service_config`}, refused: "42501", shows: `http|unix`, control: "superuser"},
	{name: "spool by pg_read_file", sql: []string{`SELECT pg_read_file('portcullis/spool/00000001.log', 0, 1000)`}, refused: "42501", shows: `intent`, control: "superuser"},
	{name: "file settings", sql: []string{`SELECT name, setting FROM pg_settings WHERE name LIKE 'portcullis.%file%' ORDER BY 1`}, shows: `node\.key`, control: "superuser"},
	{name: "SHOW of the key file", sql: []string{`SHOW portcullis.key_file`}, refused: "42501", shows: `node\.key`, control: "superuser"},
	{name: "pg_authid", sql: []string{`SELECT rolpassword FROM pg_authid`}, refused: "42501", shows: `SCRAM`, control: "superuser"},
	{name: "functions of ours", sql: []string{
		`SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e'
		 WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'portcullis') AND has_function_privilege(p.oid, 'EXECUTE') AND has_schema_privilege(n.oid, 'USAGE')
		 AND proname <> 'portcullis_version'`},
		shows: `\(`, control: "superuser"},
	{name: "tables of ours", sql: []string{
		`SELECT c.oid::regclass FROM pg_class c WHERE relnamespace = 'immutasys'::regnamespace AND relkind IN ('r', 'v', 'S') AND has_table_privilege(c.oid, 'SELECT,INSERT,UPDATE,DELETE')`},
		shows: `immutasys`, control: "superuser"},
}

var identityProbes = []probe{
	{name: "SET ROLE to the exempt group", sql: []string{`SET ROLE portcullis_exempt`, `SELECT id, salary FROM {t} ORDER BY id`}, refused: "42501"},
	{name: "SET ROLE to a role one may take", sql: []string{`SET ROLE friend_of_eve`, `SELECT id, salary, ssn FROM {t} ORDER BY id`}},
	{name: "SET SESSION AUTHORIZATION", sql: []string{`SET SESSION AUTHORIZATION postgres`, `SELECT id, salary FROM {t} ORDER BY id`}, refused: "42501", control: "superuser"},
	{name: "definer function of an exempt person", sql: []string{`SELECT * FROM shared.peek_{n}() ORDER BY 1`}},
	{name: "definer function of a superuser", sql: []string{`SELECT * FROM shared.superpeek_{n}() ORDER BY 1`}},
	{name: "view of an exempt person", sql: []string{`SELECT id, salary, ssn FROM shared.view_{n} ORDER BY id`}},
	{name: "view of a superuser in a view", sql: []string{`SELECT id, salary, ssn FROM shared.superview_{n} ORDER BY id`}},
	{name: "settings that carry a user", sql: []string{
		`SET immuta.impersonation_iamid = 'local'`, `SET immuta.impersonation_userid = 'hera'`, `SELECT id, salary, ssn FROM {t} ORDER BY id`}, refused: "42501"},
	{name: "only one impersonation setting", sql: []string{`SET immuta.impersonation_userid = 'hera'`, `SELECT id, salary FROM {t} ORDER BY id`}, refused: "42501"},
	{name: "set_config", sql: []string{`SELECT set_config('immuta.impersonation_iamid', 'local', false), set_config('immuta.impersonation_userid', 'hera', false)`, `SELECT id, salary FROM {t} ORDER BY id`}, refused: "42501"},
	{name: "exempt group cannot be joined", sql: []string{`GRANT portcullis_exempt TO current_user`, `SELECT id, salary FROM {t} ORDER BY id`}, refused: "42501", control: "superuser"},
	{name: "session_user cannot be forged by a setting", sql: []string{`SET my.login = 'postgres'`, `SELECT id, salary FROM {t} ORDER BY id`}},
}

var reuseProbes = []probe{
	{name: "PREPARE", sql: []string{`PREPARE p(int) AS SELECT id, salary, ssn FROM {t} WHERE id > $1 ORDER BY id`, `EXECUTE p(0)`, `EXECUTE p(2)`, `DEALLOCATE p`}},
	{name: "generic plan", sql: []string{`SET plan_cache_mode = force_generic_plan`, `PREPARE p(text) AS SELECT id, salary FROM {t} WHERE ssn = $1 OR dept = $1 ORDER BY id`, `EXECUTE p('board')`, `EXECUTE p('111-22-3333')`, `DEALLOCATE p`}},
	{name: "custom plan", sql: []string{`SET plan_cache_mode = force_custom_plan`, `PREPARE p(numeric) AS SELECT count(*) FROM {t} WHERE salary > $1`, `EXECUTE p(2000)`, `DEALLOCATE p`}},
	{name: "cursor", sql: []string{`BEGIN`, `DECLARE c CURSOR FOR SELECT id, salary, ssn FROM {t} ORDER BY id`, `FETCH 1 FROM c`, `FETCH ALL FROM c`, `COMMIT`}},
	{name: "SCROLL cursor", sql: []string{`BEGIN`, `DECLARE c SCROLL CURSOR FOR SELECT id, salary FROM {t} ORDER BY id`, `FETCH LAST FROM c`, `FETCH FIRST FROM c`, `FETCH ABSOLUTE 4 FROM c`, `COMMIT`}},
	{name: "cursor in PL/pgSQL", sql: []string{`DO $$ DECLARE c CURSOR FOR SELECT * FROM {t} ORDER BY id; r record; BEGIN OPEN c; LOOP FETCH c INTO r; EXIT WHEN NOT FOUND; RAISE NOTICE '%', r; END LOOP; END $$`}},
	{name: "refcursor handed out", sql: []string{`BEGIN`, `CREATE FUNCTION mine.rc() RETURNS refcursor LANGUAGE plpgsql AS $$ DECLARE c refcursor := 'rc'; BEGIN OPEN c FOR SELECT id, salary FROM {t} ORDER BY id; RETURN c; END $$`, `SELECT mine.rc()`, `FETCH ALL FROM rc`, `COMMIT`}},
	{name: "temporary copy", sql: []string{`CREATE TEMP TABLE copy AS SELECT * FROM {t}`, `SELECT * FROM copy ORDER BY id`}},
	{name: "SELECT INTO", sql: []string{`SELECT * INTO TEMP copy2 FROM {t}`, `SELECT salary, ssn FROM copy2 ORDER BY id`}},
	{name: "INSERT … SELECT", sql: []string{`CREATE TEMP TABLE copy3 (LIKE {t})`, `INSERT INTO copy3 SELECT * FROM {t}`, `SELECT * FROM copy3 ORDER BY id`}},
	{name: "permanent copy", sql: []string{`CREATE TABLE mine.copy AS SELECT * FROM {t}`, `SELECT * FROM mine.copy ORDER BY id`}, refused: "42501"},
	{name: "materialized view", sql: []string{`CREATE MATERIALIZED VIEW mine.copy AS SELECT * FROM {t}`, `SELECT * FROM mine.copy ORDER BY id`}, refused: "42501"},
}

var pathProbes = []probe{
	{name: "COPY of the table", sql: []string{`COPY {t} TO STDOUT`}, refused: "42809", control: "copy"},
	{name: "COPY of a query", sql: []string{`COPY (SELECT * FROM {t} ORDER BY id) TO STDOUT`}},
	{name: "COPY to a program", sql: []string{`COPY (SELECT * FROM {t}) TO PROGRAM 'cat > /dev/null'`}, refused: "42501", control: "superuser"},
	{name: "COPY to a file", sql: []string{`COPY (SELECT * FROM {t}) TO '/dev/null'`}, refused: "42501", control: "superuser"},
	{name: "own foreign table", sql: []string{`CREATE FOREIGN TABLE mine.own (id int, salary numeric, ssn text) SERVER {server} OPTIONS ({remote})`, `SELECT * FROM mine.own ORDER BY id`}, refused: "42501"},
	{name: "own foreign table that borrows a data source", sql: []string{
		`CREATE FOREIGN TABLE mine.own (id int OPTIONS (column_name 'id'), salary numeric, ssn text OPTIONS (column_name 'ssn')) SERVER {server} OPTIONS ({remote}, data_source '{uuid}')`,
		`SELECT * FROM mine.own ORDER BY id`}, refused: "42501"},
	{name: "own foreign table: a masked column under another's name", sql: []string{
		`CREATE FOREIGN TABLE mine.own (id int, note text OPTIONS (column_name 'ssn')) SERVER {server} OPTIONS ({remote}, data_source '{uuid}')`,
		`SELECT * FROM mine.own ORDER BY id`}, refused: "42501"},
	{name: "own server", sql: []string{`BEGIN`, `CREATE SERVER own FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'SQLite3', database '/etc/passwd')`, `ROLLBACK`}, refused: "42501", shows: `(?m)^CREATE SERVER$`, control: "superuser"},
	{name: "IMPORT FOREIGN SCHEMA", sql: []string{`IMPORT FOREIGN SCHEMA {rschema} LIMIT TO (staff) FROM SERVER {server} INTO mine`, `SELECT id, salary, ssn FROM mine.staff ORDER BY id`}, refused: "42501"},
	{name: "temporary table that shadows ours", sql: []string{`CREATE TEMP TABLE {n} (id int, salary int)`, `SET search_path = pg_temp, immuta`, `SELECT id, salary FROM {t} ORDER BY id`}},
	{name: "functions of ours shadowed by search_path", sql: []string{
		`CREATE FUNCTION mine.lower(text) RETURNS text LANGUAGE sql AS $$ SELECT 'board' $$`, `SET search_path = mine, pg_catalog`, `SELECT id, dept FROM {t} ORDER BY id`}},
	{name: "inheritance below a local parent", sql: []string{`BEGIN`, `CREATE TABLE mine.parent (LIKE {t})`, `ALTER TABLE {t} INHERIT mine.parent`, `SELECT id, salary FROM mine.parent ORDER BY id`, `ROLLBACK`}, refused: "42501", control: "superuser"},
	{name: "attached as a partition", sql: []string{`BEGIN`, `CREATE TABLE mine.parted (LIKE {t}) PARTITION BY LIST (dept)`, `ALTER TABLE mine.parted ATTACH PARTITION {t} DEFAULT`, `SELECT id, salary FROM mine.parted ORDER BY id`, `ROLLBACK`}, refused: "42501", control: "superuser"},
	{name: "partition of a superuser", sql: []string{`SELECT id, salary, ssn FROM shared.parted_{n} ORDER BY id`}},
	{name: "parallel worker by a PARALLEL SAFE function", sql: []string{
		`CREATE FUNCTION mine.par(i int) RETURNS numeric LANGUAGE plpgsql PARALLEL SAFE AS $$ DECLARE s numeric; BEGIN SELECT sum(salary) INTO s FROM {t}; RETURN s; END $$`,
		`DO $$ BEGIN PERFORM set_config(name, 'on', false) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query'); END $$`, `SET parallel_setup_cost = 0`, `SET parallel_tuple_cost = 0`, `SET min_parallel_table_scan_size = 0`,
		`SELECT mine.par(1)`}, refused: "0A000"},
	{name: "writes", sql: []string{`UPDATE {t} SET note = 'changed' WHERE dept = 'board' RETURNING *`}, refused: "0A000", control: "copy"},
	{name: "DELETE RETURNING", sql: []string{`BEGIN`, `DELETE FROM {t} RETURNING *`, `ROLLBACK`}, refused: "0A000", control: "copy"},
	{name: "TRUNCATE", sql: []string{`BEGIN`, `TRUNCATE {t}`, `ROLLBACK`}, refused: "0A000", shows: `(?m)^TRUNCATE TABLE$`, control: "copy"},
	{name: "LOCK", sql: []string{`BEGIN`, `LOCK TABLE {t} IN ACCESS EXCLUSIVE MODE`, `ROLLBACK`}, refused: "42809", shows: `(?m)^LOCK TABLE$`, control: "copy"},
	{name: "trigger on the table", sql: []string{`BEGIN`, `CREATE TRIGGER tr BEFORE INSERT ON {t} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()`, `ROLLBACK`}, refused: "42501", shows: `(?m)^CREATE TRIGGER$`, control: "copy"},
	{name: "rule on the table", sql: []string{`BEGIN`, `CREATE RULE r AS ON INSERT TO {t} DO ALSO NOTIFY x`, `ROLLBACK`}, refused: "42809", shows: `(?m)^CREATE RULE$`, control: "copy"},
	{name: "options of the table", sql: []string{`BEGIN`, `ALTER FOREIGN TABLE {t} OPTIONS (SET table_name 'other')`, `ROLLBACK`}, refused: "42501", shows: `(?m)^ALTER FOREIGN TABLE$`, control: "superuser"},
	{name: "user mapping of one's own", sql: []string{`BEGIN`, `CREATE USER MAPPING FOR current_user SERVER {server} OPTIONS (username 'x', password 'y')`, `ROLLBACK`}, refused: "42501", shows: `(?m)^CREATE USER MAPPING$`, control: "superuser"},
	{name: "large object and file functions", sql: []string{`BEGIN`, `SELECT lo_import('/etc/passwd')`, `ROLLBACK`}, refused: "42501", shows: `(?m)^SELECT 1$`, control: "superuser"},
}

var injectionProbes = []probe{
	{name: "quote in a value", sql: []string{`SELECT id FROM {t} WHERE note = $q$' OR '1'='1$q$ OR dept = 'board' ORDER BY id`}},
	{name: "backslash in a value", sql: []string{`SELECT id FROM {t} WHERE note = E'\\' OR dept = E'x\\'' OR note = ' OR 1=1 -- ' OR dept = 'board' ORDER BY id`}},
	{name: "double quotes in a value", sql: []string{`SELECT id FROM {t} WHERE note = '" OR "1"="1' OR dept = 'board' ORDER BY id`}},
	{name: "executable comment", sql: []string{`SELECT id FROM {t} WHERE note = '*/ OR 1=1 /*! -- ' OR dept = 'board' ORDER BY id`}},
	{name: "dollar quotes and newlines", sql: []string{"SELECT id FROM {t} WHERE note = E'$tag$;\\nDROP TABLE staff;--' OR dept = 'board' ORDER BY id"}},
	{name: "question marks", sql: []string{`SELECT id FROM {t} WHERE note IN ('?', '??', '$1', ':x', '{fn now()}') OR dept = 'board' ORDER BY id`}},
	{name: "LIKE with wildcards as data", sql: []string{`SELECT id FROM {t} WHERE note LIKE '%''%' OR note LIKE E'%\\\\%' ORDER BY id`}},
	{name: "application name as a comment in the remote SQL", sql: []string{`SET application_name = '*/ OR 1=1; DROP TABLE staff; --'`, `SELECT id, note FROM {t} ORDER BY id`}},
	{name: "very long value", sql: []string{`SELECT count(*) FROM {t} WHERE note = repeat('''', 100000) OR dept = 'board'`}},
	{name: "alias with quotes", sql: []string{`SELECT "a""b".id AS "x"";--" FROM {t} AS "a""b" ORDER BY 1`}},
}

var failOpenProbes = []probe{
	{name: "LOAD of the module again", sql: []string{`LOAD 'portcullis'`, `SELECT id, salary FROM {t} ORDER BY id`}, refused: "42501"},
	{name: "session_preload_libraries", sql: []string{`SET session_preload_libraries = 'other'`}, refused: "42501", shows: `(?m)^SET$`, control: "superuser"},
	{name: "memory settings of the library", sql: []string{`SET portcullis.block_size = 1048576`}, refused: "42501", shows: `(?m)^SET$`, control: "superuser"},
	{name: "row_security off", sql: []string{`SET row_security = off`, `SELECT id, salary FROM {t} ORDER BY id`}},
	{name: "exit_on_error and statement_timeout", sql: []string{`SET statement_timeout = '30s'`, `SELECT id, ssn FROM {t} ORDER BY id`}},
	{name: "plan settings", sql: []string{`SET enable_material = off`, `SET enable_hashjoin = off`, `SET enable_nestloop = off`, `SET enable_sort = off`, `SELECT a.id, b.salary FROM {t} a JOIN {t} b USING (id) ORDER BY 1`}},
	{name: "nested loop with rescans", sql: []string{`SET enable_material = off`, `SET enable_hashjoin = off`, `SET enable_mergejoin = off`, `SELECT g, t.id, t.salary FROM generate_series(1, 3) g LEFT JOIN {t} t ON t.id >= g ORDER BY 1, 2`}},
}

var widerProbes = []probe{
	{name: "case-insensitive collation", sql: []string{`SELECT id FROM {t} WHERE dept = 'SALES' OR dept = 'Board' ORDER BY id`}},
	{name: "padding", sql: []string{`SELECT id FROM {t} WHERE dept = 'sales ' OR note = 'north  ' ORDER BY id`}},
	{name: "accents", sql: []string{`SELECT id FROM {t} WHERE dept = 'sáles' OR note = 'nörth' ORDER BY id`}},
	{name: "number as text", sql: []string{`SELECT id FROM {t} WHERE note = '0' ORDER BY id`}},
	{name: "text that is a number", sql: []string{`SELECT id FROM {t} WHERE note = '42.0' OR note = '042' ORDER BY id`}},
	{name: "trailing NUL and wildcards", sql: []string{`SELECT id FROM {t} WHERE note LIKE 'nor_h' OR note LIKE '_ [ a%' OR note LIKE '( _ot%' ORDER BY id`}},
	{name: "string order", sql: []string{`SELECT id FROM {t} WHERE note > 'Z' ORDER BY note, id`}},
	{name: "concatenation operator", sql: []string{`SELECT id FROM {t} WHERE dept || note = 'salesnorth' OR dept || 'x' = 'boardx' ORDER BY id`}},
	{name: "date in another zone", sql: []string{`SET timezone = 'Pacific/Kiritimati'`, `SELECT id, born FROM {t} WHERE born < '1985-01-01' ORDER BY id`}},
	{name: "backslash escapes", sql: []string{`SET standard_conforming_strings = off`, `SET escape_string_warning = off`, `SELECT id FROM {t} WHERE note = 'hidden \'note\' of \\ Gina!' ORDER BY id`}},
	{name: "integer division and modulo", sql: []string{`SELECT id, id / 2, id % 2, -id / 2 FROM {t} WHERE id / 2 IN (1, 3) AND id % 2 = 1`}},
	{name: "division by a float zero", sql: []string{`SELECT count(*) FROM {t} WHERE 1.0::float8 / (id - 8) IS NULL`}},
}
