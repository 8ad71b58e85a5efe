package fdw

import (
	"context"
	"fmt"
	"strings"
)

const sqliteTables = `SELECT m.name, m.type FROM main.sqlite_master m
WHERE m.type IN ('table', 'view') AND substr(m.name, 1, 7) <> 'sqlite_' ORDER BY m.name`

// An INTEGER that alone is the primary key is never NULL.
const sqliteColumns = `SELECT p.name, p.type, CASE WHEN p."notnull" OR (p.pk = 1 AND upper(p.type) = 'INTEGER' AND ? = 'table'
 AND (SELECT max(x.pk) FROM pragma_table_info(?) x) = 1) THEN '1' ELSE '0' END
FROM pragma_table_xinfo(?) p WHERE p.hidden <> 1 ORDER BY p.cid`

// Import reads sqlite_master. The one schema is main.
func (sqlite) Import(ctx context.Context, q Querier, r ImportRequest) ([]ImportedTable, error) {
	if err := checkImportOptions(r); err != nil {
		return nil, err
	}
	if r.RemoteSchema != "main" {
		return nil, &Error{State: stateNoSchemas, Message: "remote schema \"" + printable(r.RemoteSchema) + "\" does not exist",
			Hint: "A SQLite database has one schema, main."}
	}
	names, err := q.QueryStrings(ctx, sqliteTables, nil)
	if err != nil {
		return nil, fmt.Errorf("read the remote catalog: %w", err)
	}
	var cols []remoteColumn
	var broken []ImportedTable
	for _, name := range names {
		table := ImportedTable{RemoteSchema: "main", RemoteName: cell(name, 0), Name: r.localName(cell(name, 0))}
		if !r.includes(table.Name) {
			continue
		}
		found, err := sqliteTable(ctx, q, table.RemoteName, cell(name, 1))
		if ctx.Err() != nil {
			return nil, err
		}
		if err != nil { // a view of what is gone, a table of a module that is not loaded
			if err := table.leaveOut(&Error{State: stateTableNotFound, Hint: "Mend or drop it at the source, or leave it out with EXCEPT.",
				Message: fmt.Sprintf("remote %s %q cannot be read: %v", cell(name, 1), printable(table.RemoteName), err)}, r); err != nil {
				return nil, err
			}
			broken = append(broken, table)
		}
		cols = append(cols, found...)
	}
	tables, err := buildImport(cols, r, "main")
	if err != nil {
		return nil, err
	}
	tables = append(tables, broken...)
	return finish(ctx, q, r, tables, "SELECT 'main'")
}

func sqliteTable(ctx context.Context, q Querier, table, kind string) ([]remoteColumn, error) {
	rows, err := q.QueryStrings(ctx, sqliteColumns, []string{kind, table, table})
	if err != nil {
		return nil, err
	}
	var cols []remoteColumn
	for _, row := range rows {
		declared := cell(row, 1)
		cols = append(cols, remoteColumn{table: table, name: cell(row, 0), remoteType: declared,
			localType: sqliteType(declared), notNull: cell(row, 2) == "1"})
	}
	return cols, nil
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
