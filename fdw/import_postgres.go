package fdw

import (
	"context"
	"fmt"
	"strings"
)

// The innermost base type below domains, at most 32 deep.
const postgresColumns = `WITH RECURSIVE base (oid, typ, typmod, depth) AS (
 SELECT t.oid, t.oid, -1, 0 FROM pg_catalog.pg_type t WHERE t.typtype <> 'd'
 UNION ALL
 SELECT d.oid, b.typ, CASE WHEN d.typtypmod >= 0 THEN d.typtypmod ELSE b.typmod END, b.depth + 1
 FROM pg_catalog.pg_type d JOIN base b ON d.typtype = 'd' AND d.typbasetype = b.oid WHERE b.depth < 32)
SELECT c.relname, a.attname,
 pg_catalog.format_type(b.typ, CASE WHEN b.depth > 0 THEN b.typmod ELSE a.atttypmod END),
 CASE WHEN t.typnamespace = CAST('pg_catalog' AS pg_catalog.regnamespace) AND t.typtype = 'b' THEN t.typname ELSE '' END,
 pg_catalog.format_type(a.atttypid, a.atttypmod), CAST(a.attnotnull AS pg_catalog.int4)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN base b ON b.oid = a.atttypid
JOIN pg_catalog.pg_type t ON t.oid = b.typ
WHERE n.nspname = CAST(? AS pg_catalog.text) AND c.relkind IN ('r', 'v', 'm', 'f', 'p') AND NOT c.relispartition
ORDER BY c.relname COLLATE pg_catalog."C", c.oid, a.attnum`

const postgresSchemas = `SELECT nspname FROM pg_catalog.pg_namespace
WHERE pg_catalog.left(CAST(nspname AS pg_catalog.text), 3) <> 'pg_' AND nspname <> 'information_schema' ORDER BY 1`

// Types whose text means the same on every PostgreSQL; an array of each too.
var postgresTypes = map[string]bool{
	"bool": true, "bytea": true, "int2": true, "int4": true, "int8": true, "float4": true, "float8": true, "numeric": true,
	"text": true, "varchar": true, "bpchar": true, "name": true, "char": true, "date": true, "time": true, "timetz": true,
	"timestamp": true, "timestamptz": true, "interval": true, "uuid": true, "json": true, "jsonb": true, "xml": true,
	"inet": true, "cidr": true, "macaddr": true, "macaddr8": true, "bit": true, "varbit": true, "point": true, "line": true,
	"lseg": true, "box": true, "path": true, "polygon": true, "circle": true, "tsvector": true, "tsquery": true, "pg_lsn": true,
}

// Import reads pg_catalog. Enums, composites, types of extensions, ranges and
// money are read as text; oid, which has no sign, as bigint.
func (postgres) Import(ctx context.Context, q Querier, r ImportRequest) ([]ImportedTable, error) {
	if err := checkImportOptions(r); err != nil {
		return nil, err
	}
	rows, err := q.QueryStrings(ctx, postgresColumns, []string{r.RemoteSchema})
	if err != nil {
		return nil, fmt.Errorf("read the remote catalog: %w", err)
	}
	var cols []remoteColumn
	for _, row := range rows {
		c := remoteColumn{table: cell(row, 0), name: cell(row, 1), remoteType: cell(row, 4), notNull: cell(row, 5) == "1"}
		switch base := cell(row, 3); {
		case base == "oid":
			c.localType = "bigint"
		case postgresTypes[base], strings.HasPrefix(base, "_") && postgresTypes[base[1:]]:
			c.localType = cell(row, 2)
		default:
			c.localType = "text"
		}
		cols = append(cols, c)
	}
	tables, err := buildImport(cols, r, r.RemoteSchema)
	if err != nil {
		return nil, err
	}
	return finish(ctx, q, r, tables, postgresSchemas)
}
