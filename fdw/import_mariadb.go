package fdw

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

const mariadbColumns = "SELECT c.table_name, c.column_name, c.data_type, c.column_type, c.is_nullable," +
	" CAST(c.numeric_precision AS CHAR), CAST(c.numeric_scale AS CHAR), CAST(c.character_maximum_length AS CHAR), CAST(c.datetime_precision AS CHAR)" +
	" FROM information_schema.columns c" +
	" WHERE CAST(c.table_schema AS BINARY) = CAST(? AS BINARY)" +
	" ORDER BY CAST(c.table_name AS BINARY), c.ordinal_position"

const mariadbSchemas = "SELECT schema_name FROM information_schema.schemata" +
	" WHERE schema_name NOT IN ('information_schema', 'performance_schema', 'mysql', 'sys') ORDER BY 1"

// Import reads information_schema.
func (mariadb) Import(ctx context.Context, q Querier, r ImportRequest) ([]ImportedTable, error) {
	if err := checkImportOptions(r); err != nil {
		return nil, err
	}
	rows, err := q.QueryStrings(ctx, mariadbColumns, []string{r.RemoteSchema})
	if err != nil {
		return nil, fmt.Errorf("read the remote catalog: %w", err)
	}
	var cols []remoteColumn
	for _, row := range rows {
		c := remoteColumn{table: cell(row, 0), name: cell(row, 1), remoteType: cell(row, 3), notNull: cell(row, 4) == "NO"}
		c.localType = mariadbType(row, optionTrue(r.Options["import_boolean"]))
		// A zero date in a NOT NULL column is refused when read, not turned to NULL.
		cols = append(cols, c)
	}
	tables, err := buildImport(cols, r, r.RemoteSchema)
	if err != nil {
		return nil, err
	}
	return finish(ctx, q, r, tables, mariadbSchemas)
}

// mariadbType maps a type so that every value fits; "" where none does.
func mariadbType(row []*string, booleans bool) string {
	full := strings.ToLower(cell(row, 3))
	unsigned := strings.Contains(full, "unsigned")
	precision, scale, length, fraction := cell(row, 5), cell(row, 6), cell(row, 7), cell(row, 8)
	switch strings.ToLower(cell(row, 2)) {
	case "tinyint":
		if booleans && strings.HasPrefix(full, "tinyint(1)") {
			return "boolean"
		}
		return "smallint"
	case "smallint":
		return map[bool]string{false: "smallint", true: "integer"}[unsigned]
	case "mediumint", "year":
		return "integer"
	case "int":
		return map[bool]string{false: "integer", true: "bigint"}[unsigned]
	case "bigint":
		return map[bool]string{false: "bigint", true: "numeric(20,0)"}[unsigned]
	case "decimal":
		return "numeric(" + precision + "," + scale + ")"
	case "float":
		return "real"
	case "double":
		return "double precision"
	case "date":
		return "date"
	case "time":
		return "time(" + or(fraction, "0") + ") without time zone"
	case "datetime":
		return "timestamp(" + or(fraction, "0") + ") without time zone"
	case "timestamp":
		return "timestamp(" + or(fraction, "0") + ") with time zone"
	case "char", "varchar":
		// CHAR is read without its padding, so it is no character(n) here.
		if n, err := strconv.Atoi(length); err == nil && n > 0 {
			return "character varying(" + length + ")"
		}
		return "text"
	case "tinytext", "text", "mediumtext", "longtext", "enum", "set", "json":
		return "text"
	case "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob":
		return "bytea"
	case "bit":
		return "bit(" + or(precision, "1") + ")"
	case "uuid":
		return "uuid"
	case "inet4", "inet6":
		return "inet"
	}
	return ""
}
