package fdw

import (
	"context"
	"fmt"
	"strings"
)

const sqliteColumns = `SELECT m.name, p.name, p.type, CASE WHEN p."notnull" OR (p.pk = 1 AND upper(p.type) = 'INTEGER' AND m.type = 'table'
 AND (SELECT max(x.pk) FROM pragma_table_info(m.name) x) = 1) THEN '1' ELSE '0' END
FROM main.sqlite_master m JOIN pragma_table_xinfo(m.name) p
WHERE m.type IN ('table', 'view') AND substr(m.name, 1, 7) <> 'sqlite_' AND p.hidden <> 1
ORDER BY m.name, p.cid`

// Import reads sqlite_master. The one schema is main.
func (sqlite) Import(ctx context.Context, q Querier, r ImportRequest) ([]ImportedTable, error) {
	if err := checkImportOptions(r); err != nil {
		return nil, err
	}
	if r.RemoteSchema != "main" {
		return nil, &Error{State: stateNoSchemas, Message: "remote schema \"" + printable(r.RemoteSchema) + "\" does not exist",
			Hint: "A SQLite database has one schema, main."}
	}
	rows, err := q.QueryStrings(ctx, sqliteColumns, nil)
	if err != nil {
		return nil, fmt.Errorf("read the remote catalog: %w", err)
	}
	var cols []remoteColumn
	for _, row := range rows {
		declared := cell(row, 2)
		cols = append(cols, remoteColumn{table: cell(row, 0), name: cell(row, 1), remoteType: declared,
			localType: sqliteType(declared), notNull: cell(row, 3) == "1"})
	}
	tables, err := buildImport(cols, r, "main")
	if err != nil {
		return nil, err
	}
	return finish(ctx, q, r, tables, "SELECT 'main'")
}

// sqliteType maps a declared type: the names of dates and booleans first, then
// by SQLite's rules of affinity (datatype3.html, section 3.1). SQLite enforces
// no lengths, so they are left out.
func sqliteType(declared string) string {
	name := strings.ToUpper(strings.TrimSpace(declared))
	base, _, _ := strings.Cut(name, "(")
	switch strings.TrimSpace(base) {
	case "BOOLEAN", "BOOL":
		return "boolean"
	case "DATE":
		return "date"
	case "DATETIME", "TIMESTAMP":
		return "timestamp without time zone"
	case "TIME":
		return "time without time zone"
	case "NUMERIC", "DECIMAL", "DEC", "NUMBER", "MONEY":
		return "numeric"
	case "UUID", "JSON", "JSONB", "STRING", "":
		return "text"
	}
	switch {
	case strings.Contains(name, "INT"):
		return "bigint"
	case strings.Contains(name, "CHAR"), strings.Contains(name, "CLOB"), strings.Contains(name, "TEXT"):
		return "text"
	case strings.Contains(name, "BLOB"), strings.Contains(name, "BINARY"):
		return "bytea"
	case strings.Contains(name, "REAL"), strings.Contains(name, "FLOA"), strings.Contains(name, "DOUB"):
		return "double precision"
	}
	return "text"
}
