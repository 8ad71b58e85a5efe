// Package filtertest draws row filters over a table that has what is odd of each
// type, so that each way of showing people their rows is compared with the evaluator.
package filtertest

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/sqltext"
	"portcullis.dev/portcullis/policy"
)

// Run is for TestMain: it draws few filters, since each is tried at servers;
// -rapid.checks asks for more. It returns the exit code.
func Run(m *testing.M) int {
	flag.Parse()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("25"); err != nil {
			panic(fmt.Sprintf("rapid.checks: %v", err))
		}
	}
	return m.Run()
}

// Name is the table's.
const Name = `"Sales ""x""".orders`

// Orders makes the table: every column has NULLs.
const Orders = `
CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE SCHEMA "Sales ""x""";
CREATE TABLE "Sales ""x""".orders (
	id integer PRIMARY KEY, small smallint, big bigint, n numeric, money numeric(10,2), f double precision, r real,
	note text COLLATE ci, name character varying(70), pad character(6), yes boolean, born date, at timestamp, "at z" timestamptz, clock time,
	uid uuid, raw bytea);
INSERT INTO "Sales ""x""".orders
SELECT i,
	(ARRAY[NULL, 0, 1, -1, 32767, -32768, 99])[i % 7 + 1],
	(ARRAY[NULL, 0, 7, -7, 9223372036854775807, -9223372036854775808, 100])[i % 6 + 1],
	(ARRAY[NULL, 'NaN', 'Infinity', '-Infinity', 0, -0.5, 12.50, 99999999999999999999999999999.99, -99999999999999999999999999999.99, 10]::numeric[])[i % 10 + 1],
	(ARRAY[NULL, 0, 99999999.99, -99999999.99, 12.34, -12.34])[i % 5 + 1],
	(ARRAY[NULL, 'NaN', 'Infinity', '-Infinity', 0, 0.1, -1e300, 5e-324]::float8[])[i % 8 + 1],
	(ARRAY[NULL, 0.1, 1e30, 'NaN']::real[])[i % 4 + 1],
	(ARRAY[NULL, '', 'a', 'A', 'ä', 'a ', '𝄞', E'line\nbreak', 'b''"\'])[i % 9 + 1],
	(ARRAY[NULL, '', 'east', 'West', 'east '])[i % 5 + 1],
	(ARRAY[NULL, '', 'x', 'x ', 'Y'])[i % 5 + 1],
	(ARRAY[NULL, true, false])[i % 3 + 1],
	(ARRAY[NULL, 'infinity', '-infinity', '2024-02-29', '0044-03-15 BC', '4713-06-01 BC', '5874897-12-31', '1999-12-31']::date[])[i % 8 + 1],
	(ARRAY[NULL, 'infinity', '2024-02-29 23:59:59.999999', '0044-03-15 BC', '4713-06-01 BC', '294276-12-31 23:59:59']::timestamp[])[i % 6 + 1],
	(ARRAY[NULL, '-infinity', '2024-03-31 01:30+00', '2024-10-27 00:30+00', '2024-10-27 01:30+00', '1900-01-01 00:00+00', '4713-06-01 00:00+00 BC']::timestamptz[])[i % 7 + 1],
	(ARRAY[NULL, '00:00', '23:59:59.5', '24:00']::time[])[i % 4 + 1],
	(ARRAY[NULL, '00000000-0000-0000-0000-000000000001', 'ffffffff-ffff-ffff-ffff-ffffffffffff']::uuid[])[i % 3 + 1],
	(ARRAY[NULL, '\x', '\x00ff', '\xff']::bytea[])[i % 4 + 1]
FROM generate_series(1, 60) i;
`

// Table is what the instance says of the table of that name.
func Table(tb testing.TB, conn *pgx.Conn) (ref connection.ObjectRef, columns []policy.Column) {
	tb.Helper()
	ref = connection.ObjectRef{Database: "postgres", Schema: `Sales "x"`, Name: "orders"}
	found, err := conn.Query(tb.Context(), "SELECT attrelid, attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 ORDER BY attnum", Name)
	if err != nil {
		tb.Fatal(err)
	}
	var c policy.Column
	if _, err := pgx.ForEachRow(found, []any{&ref.OID, &c.Name, &c.Type}, func() error { columns = append(columns, c); return nil }); err != nil {
		tb.Fatal(err)
	}
	return ref, columns
}

// Texts are the rows of what follows FROM, as text.
func Texts(tb testing.TB, conn *pgx.Conn, columns []policy.Column, from string) [][]*string {
	tb.Helper()
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = sqltext.Identifier(c.Name) + "::text"
	}
	found, err := conn.Query(tb.Context(), "SELECT ARRAY["+strings.Join(list, ", ")+"] FROM "+from)
	if err != nil {
		tb.Fatal(err)
	}
	rows, err := pgx.CollectRows(found, pgx.RowTo[[]*string])
	if err != nil {
		tb.Fatal(err)
	}
	return rows
}

// Passing are the rows that the evaluator lets pass.
func Passing(tb testing.TB, columns []policy.Column, p *policy.Predicate, rows [][]*string) (out [][]*string) {
	tb.Helper()
	holds, err := p.Compile(columns)
	if err != nil {
		tb.Fatal(err)
	}
	for _, row := range rows {
		if holds(func(i int) ([]byte, bool) {
			if row[i] == nil {
				return nil, true
			}
			return []byte(*row[i]), false
		}) {
			out = append(out, row)
		}
	}
	return out
}

// Draw makes a filter that compares columns with values that stand in the rows, mostly.
func Draw(r *rapid.T, columns []policy.Column, rows [][]*string, depth int) *policy.Predicate {
	ops := []policy.Op{policy.OpTrue, policy.OpFalse, policy.OpIsNull, policy.OpNotNull, policy.OpEq, policy.OpNe, policy.OpLt, policy.OpLe, policy.OpGt, policy.OpGe,
		policy.OpIn, policy.OpIn, policy.OpEq}
	if depth > 0 {
		ops = append(ops, policy.OpAnd, policy.OpOr, policy.OpNot, policy.OpAnd, policy.OpOr, policy.OpNot)
	}
	p := &policy.Predicate{Op: rapid.SampledFrom(ops).Draw(r, "op")}
	i := rapid.IntRange(0, len(columns)-1).Draw(r, "column")
	c := columns[i]
	value := func() policy.Value {
		row := rows[rapid.IntRange(0, len(rows)-1).Draw(r, "row")]
		if row[i] == nil {
			return policy.Value{Type: policy.ValueType(c.Type), Null: true}
		}
		text := *row[i]
		typ := policy.ValueType(c.Type)
		if typ == "bigint" && rapid.Bool().Draw(r, "numeric") {
			typ = "numeric"
			text += rapid.SampledFrom([]string{"", ".0", ".5"}).Draw(r, "fraction")
		}
		return policy.Value{Type: typ, Text: text}
	}
	switch p.Op {
	case policy.OpTrue, policy.OpFalse:
	case policy.OpAnd, policy.OpOr:
		for range rapid.IntRange(1, 3).Draw(r, "operands") {
			p.Args = append(p.Args, Draw(r, columns, rows, depth-1))
		}
	case policy.OpNot:
		p.Args = []*policy.Predicate{Draw(r, columns, rows, depth-1)}
	case policy.OpIsNull, policy.OpNotNull:
		p.Column = c.Name
	case policy.OpIn:
		p.Column = c.Name
		for range rapid.IntRange(0, 3).Draw(r, "values") {
			p.Values = append(p.Values, value())
		}
	default:
		p.Column = c.Name
		if rapid.IntRange(0, 5).Draw(r, "columns") == 0 {
			p.Other = rapid.SampledFrom(alike(columns, c)).Draw(r, "other")
		} else {
			p.Values = []policy.Value{value()}
		}
	}
	return p
}

// alike are the columns that may be compared with one.
func alike(columns []policy.Column, c policy.Column) (names []string) {
	for _, o := range columns {
		if policy.ValueType(o.Type) == policy.ValueType(c.Type) {
			names = append(names, o.Name)
		}
	}
	return names
}
