package parse

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/policy"
)

// column is one of the differential test's columns: values that its type
// takes and that tend to meet.
type column struct {
	name, typeName, sqlType string
	values                  []string // as constants of SQL
}

var columns = []column{
	{"i", "integer", "integer", []string{"0", "1", "-1", "7", "2147483647", "-2147483648"}},
	{"b", "bigint", "bigint", []string{"0", "1", "7", "9223372036854775807", "-9223372036854775808"}},
	{"n", "numeric(10,3)", "numeric(10,3)", []string{"0", "1", "1.5", "1.500", "-0.001", "7", "'NaN'"}},
	{"m", "numeric", "numeric", []string{"0", "1.5", "123456789012345678901234567890.123456789", "'Infinity'", "'-Infinity'", "'NaN'", "-7"}},
	{"f", "double precision", "double precision", []string{"0", "'-0'", "0.1", "1.5", "1e300", "'NaN'", "'Infinity'", "7"}},
	{"t", "text", `text COLLATE "C"`, []string{"''", "'a'", "'a '", "'B'", "'b'", "'ä'", "'𝔘'", "'a''b'"}},
	{"u", "text", `text COLLATE "C"`, []string{"'a'", "'ben'", "'north'", "'B'"}},
	{"c", "character(3)", `character(3) COLLATE "C"`, []string{"''", "'a'", "'a  '", "'ab'", "'b'"}},
	{"o", "boolean", "boolean", []string{"true", "false"}},
	{"d", "date", "date", []string{"'2026-01-01'", "'2026-01-31'", "'infinity'", "'-infinity'", "'0044-03-15 BC'"}},
	{"s", "timestamp without time zone", "timestamp", []string{"'2026-01-01 00:00:00'", "'2026-01-01 12:30:00.5'", "'infinity'", "'0044-03-15 01:00:00 BC'"}},
	{"z", "timestamp with time zone", "timestamptz", []string{"'2026-01-01 00:00:00+00'", "'2026-01-01 01:00:00+01'", "'2025-12-31 18:30:00-05:30'", "'-infinity'"}},
	{"g", "uuid", "uuid", []string{"'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A12'"}},
	{"h", "time without time zone", "time", []string{"'00:00:00'", "'12:00:00.25'", "'24:00:00'"}},
	{"y", "bytea", "bytea", []string{`'\x'`, `'\x00ff'`, `'\x00'`}},
}

// TestConditionsAgreeWithPostgreSQL lets PostgreSQL evaluate random
// conditions on random rows and compares with what we let through.
func TestConditionsAgreeWithPostgreSQL(t *testing.T) {
	pg := testenv.StartPostgres(t, testenv.PostgresOptions{})
	conn, err := pgx.Connect(t.Context(), pg.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	random := rand.New(rand.NewPCG(7, 11))
	rows := fill(t, conn, random, 400)
	ds := &policy.DataSource{Name: "t"}
	var cols []policy.Column
	for _, c := range columns {
		cols = append(cols, policy.Column{Name: c.name, Type: c.typeName})
		ds.Columns = append(ds.Columns, policy.TaggedColumn{Column: cols[len(cols)-1]})
	}
	shown := 0
	for range 3000 {
		ours, theirs := condition(random, 3)
		c, err := Condition(ours)
		if err != nil {
			t.Fatalf("%s: %v", ours, err)
		}
		p, err := c.Bind(ben, ds)
		if err != nil {
			t.Fatalf("%s: %v", ours, err)
		}
		filter, err := p.Compile(cols)
		if err != nil {
			t.Fatalf("%s: %v", ours, err)
		}
		got := visible(rows, filter)
		want := query(t, conn, theirs)
		if !slices.Equal(got, want) {
			t.Fatalf("%s\nas %s\nbound %s\nours   %v\ntheirs %v", ours, theirs, show(p), got, want)
		}
		shown += len(got)
	}
	if shown == 0 {
		t.Error("no condition showed any row")
	}
}

// fill makes the table and returns its rows as text.
func fill(t *testing.T, conn *pgx.Conn, random *rand.Rand, n int) [][]*string {
	t.Helper()
	var defs, names, texts []string
	for _, c := range columns {
		defs = append(defs, c.name+" "+c.sqlType)
		names = append(names, c.name)
		text := c.name + "::text"
		if c.typeName == "character(3)" {
			text = fmt.Sprintf("rpad(%s::text, 3)", c.name) // as drivers deliver it
		}
		texts = append(texts, text)
	}
	exec(t, conn, "SET timezone = 'Asia/Kolkata'")
	exec(t, conn, "CREATE TABLE t (row int, "+strings.Join(defs, ", ")+")")
	for i := range n {
		values := []string{fmt.Sprint(i)}
		for _, c := range columns {
			v := "NULL"
			if random.IntN(6) > 0 {
				v = c.values[random.IntN(len(c.values))]
			}
			values = append(values, v)
		}
		exec(t, conn, "INSERT INTO t VALUES ("+strings.Join(values, ", ")+")")
	}
	out := make([][]*string, 0, n)
	rows, err := conn.Query(t.Context(), "SELECT "+strings.Join(texts, ", ")+" FROM t ORDER BY row")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		row := make([]*string, len(names))
		into := make([]any, len(names))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		out = append(out, row)
	}
	return out
}

func exec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func visible(rows [][]*string, filter policy.Filter) []int32 {
	out := []int32{}
	for i, row := range rows {
		if filter(func(c int) ([]byte, bool) {
			if row[c] == nil {
				return nil, true
			}
			return []byte(*row[c]), false
		}) {
			out = append(out, int32(i))
		}
	}
	return out
}

func query(t *testing.T, conn *pgx.Conn, where string) []int32 {
	t.Helper()
	rows, err := conn.Query(t.Context(), "SELECT row FROM t WHERE "+where+" ORDER BY row")
	if err != nil {
		t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[int32])
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	if out == nil {
		out = []int32{}
	}
	return out
}

// condition draws a condition as administrators write it, and the same with
// the @functions replaced by what holds for ben (a missing attribute is NULL).
func condition(r *rand.Rand, depth int) (ours, theirs string) {
	if depth > 0 && r.IntN(3) > 0 {
		a, b := condition(r, depth-1)
		if r.IntN(3) == 0 {
			return "NOT (" + a + ")", "NOT (" + b + ")"
		}
		op := []string{" AND ", " OR "}[r.IntN(2)]
		c, d := condition(r, depth-1)
		return "(" + a + ")" + op + "(" + c + ")", "(" + b + ")" + op + "(" + d + ")"
	}
	if r.IntN(4) == 0 {
		return function(r)
	}
	c := columns[r.IntN(len(columns))]
	text := plain(r, c)
	return text, text
}

func plain(r *rand.Rand, c column) string {
	value := func() string { return c.values[r.IntN(len(c.values))] }
	op := []string{"=", "<>", "<", "<=", ">", ">="}[r.IntN(6)]
	switch r.IntN(8) {
	case 0:
		return c.name + []string{" IS NULL", " IS NOT NULL"}[r.IntN(2)]
	case 1:
		return c.name + []string{" IN (", " NOT IN ("}[r.IntN(2)] + value() + ", " + value() + ", " + value() + ")"
	case 2:
		return c.name + []string{" BETWEEN ", " NOT BETWEEN "}[r.IntN(2)] + value() + " AND " + value()
	case 3:
		if c.name == "o" {
			return c.name + []string{"", " IS TRUE", " IS NOT TRUE", " IS FALSE", " IS NOT FALSE"}[r.IntN(5)]
		}
		return []string{"i " + op + " b", "n " + op + " m", "i " + op + " n", "t " + op + " u"}[r.IntN(4)]
	case 4:
		return value() + " " + op + " " + c.name
	}
	return c.name + " " + op + " " + value()
}

func function(r *rand.Rand) (ours, theirs string) {
	pair := [][2]string{
		{"@isInGroups('north', 'x')", "true"},
		{"@isInGroups('x')", "false"},
		{"@hasAttribute('one', 'a')", "true"},
		{"@hasAttribute('one', 'b')", "false"},
		{"@hasAttribute('none', 'b')", "NULL::boolean"},
		{"@groupsContains(u)", "u IN ('north', 'south')"},
		{"@attributeValuesContains('one', u)", "u IN ('a')"},
		{"@attributeValuesContains('id', i)", "i IN (7, 8)"},
		{"@attributeValuesContains('id', m)", "m IN (7, 8)"},
		{"@attributeValuesContains('none', u)", "NULL::boolean"},
		{"u = @username", "u = 'ben'"},
		{"@username < u", "'ben' < u"},
		{"@iam <> u", "'local' <> u"},
		{"@columnReference('u') <> 'a'", "u <> 'a'"},
	}[r.IntN(14)]
	return pair[0], pair[1]
}
