package fdw

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Connector/ODBC 3.1 stores every result before it hands on the first row, so
// tables are read in pages. What makes that exact, by the Knowledge Base:
//
//   - A transaction that has used a table, be it in an EXPLAIN, keeps others from
//     altering, renaming, truncating or dropping it until it ends ("Metadata
//     Locking"). So the key that is asked for after the plan is the key at every page.
//   - Under REPEATABLE READ all reads of a transaction see the snapshot of the first,
//     in InnoDB ("SET TRANSACTION"). Other engines have none.
//   - No two rows have equal primary keys and no part of one is NULL ("Getting
//     Started with Indexes").
//   - FORCE INDEX fails where there is no such index ("FORCE INDEX").
//
// Integers are compared as such and all values arrive exactly. Text is left
// out: a key in another character set would go there and back.

// pagesFrom is how many rows the source must expect to read before it is asked
// for a key: fewer take less time than asking twice, and some MB.
const pagesFrom = 10000

func (mariadb) PlanSQL(sql string) string { return "EXPLAIN " + sql }

// InPages accepts a plan that goes through the whole table, which InnoDB keeps
// in the order of its primary key, or along that key: pages go the same way.
func (mariadb) InPages(plan [][]*string) (rows int64, small bool) {
	if len(plan) == 0 {
		return 0, false
	}
	if len(plan) > 1 || cell(plan[0], 1) != "SIMPLE" {
		return 0, true // a view that is no plain one of a table
	}
	how, key := cell(plan[0], 3), cell(plan[0], 5)
	rows, err := strconv.ParseInt(cell(plan[0], 8), 10, 64)
	if err != nil || rows < pagesFrom {
		return 0, err == nil
	}
	if how != "ALL" && key != "PRIMARY" {
		return 0, false
	}
	return rows, false
}

const mariadbPageKey = "SELECT s.column_name, c.column_type, CAST(t.avg_row_length AS CHAR)," +
	" CAST(s.index_type = 'BTREE' AND s.collation = 'A' AND s.sub_part IS NULL AND c.is_nullable = 'NO' AS CHAR)" +
	" FROM information_schema.tables t, information_schema.statistics s, information_schema.columns c" +
	" WHERE t.table_schema = %[1]s AND t.table_name = ? AND s.table_schema = %[1]s AND s.table_name = ?" +
	" AND c.table_schema = %[1]s AND c.table_name = ? AND CAST(t.table_name AS BINARY) = CAST(? AS BINARY)" +
	" AND s.index_name = 'PRIMARY' AND c.column_name = s.column_name" +
	" AND t.table_type = 'BASE TABLE' AND t.engine = 'InnoDB'" +
	" AND @@in_transaction = 1 AND @@tx_isolation = 'REPEATABLE-READ'" +
	" ORDER BY s.seq_in_index"

// PageKey reads information_schema, which shows nothing of an index to who may
// not read all of its columns. The names stand in the WHERE clause as constants:
// elsewhere MariaDB would open every table of every database.
func (d mariadb) PageKey(ctx context.Context, q Querier, t *Table) (*PageKey, error) {
	schema, values := "DATABASE()", []string{t.RemoteName, t.RemoteName, t.RemoteName, t.RemoteName}
	if t.RemoteSchema != "" {
		schema = "?"
		values = []string{t.RemoteSchema, t.RemoteName, t.RemoteSchema, t.RemoteName, t.RemoteSchema, t.RemoteName, t.RemoteName}
	}
	rows, err := q.QueryStrings(ctx, fmt.Sprintf(mariadbPageKey, schema), values)
	if err != nil {
		return nil, fmt.Errorf("read the key of a remote table: %w", err)
	}
	key := &PageKey{}
	for _, row := range rows {
		c := PageColumn{Name: cell(row, 0)}
		of := cell(row, 1)
		if cell(row, 3) != "1" { // without one of its parts a key is not unique
			return nil, nil
		}
		whole, _, _ := strings.Cut(of, " ") // int(11) unsigned zerofill
		whole, _, _ = strings.Cut(whole, "(")
		switch whole {
		case "tinyint", "smallint", "mediumint", "int", "bigint":
			c.Wide = whole == "bigint" && strings.Contains(of, "unsigned")
		default:
			return nil, nil
		}
		key.RowBytes, _ = strconv.Atoi(cell(row, 2))
		key.Columns = append(key.Columns, c)
	}
	if len(key.Columns) == 0 {
		return nil, nil
	}
	return key, nil
}

// pageColumn: package odbc refuses to read an unsigned BIGINT as a number.
func (d mariadb) pageColumn(c PageColumn) (Transfer, binding, error) {
	col, err := d.Quote(c.Name)
	if err != nil {
		return Transfer{}, binding{}, err
	}
	if c.Wide {
		return Transfer{Select: "CAST(" + col + " AS CHAR)", Kind: KindText, MaxLen: 20}, binding{before: "CAST(", after: " AS UNSIGNED)", bind: BindText}, nil
	}
	return Transfer{Select: col, Kind: KindInt64}, binding{before: "CAST(", after: " AS SIGNED)", bind: BindInt64}, nil
}

// byPageKey: without it ORDER BY and LIMIT could lead the optimizer elsewhere.
func (mariadb) byPageKey() string { return " FORCE INDEX (PRIMARY)" }
