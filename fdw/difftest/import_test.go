package difftest

import (
	"errors"
	"strings"
	"testing"

	"portcullis.dev/portcullis/fdw"
)

// Tables with names and types that are hard to bring over. $q is the quote.
var hard = map[string]string{
	"postgres": `DROP SCHEMA IF EXISTS "odd ""s" CASCADE; CREATE SCHEMA "odd ""s"; SET search_path = "odd ""s";
CREATE TYPE mood AS ENUM ('sad', 'it''s ok'); CREATE DOMAIN posint AS int CHECK (VALUE > 0); CREATE DOMAIN pos2 AS posint; CREATE TYPE pair AS (a int, b text);
CREATE TABLE "a""b?{fn x}\;--" ("c""1?" int NOT NULL, "d{e}" mood, p pos2, arr int[], moods mood[], c pair, o oid, m money, b8 bit(8), vb varbit, ip inet, r int4range, j jsonb, x xml, "ch" "char");
INSERT INTO "a""b?{fn x}\;--" VALUES (7, 'it''s ok', 3, '{1,NULL,3}', '{sad}', '(1,"a b")', 4294967295, 12.5, B'10101010', B'101', '::1/64', '[1,5)', '{"a": 1}', '<a/>', 'z');`,
	"mariadb": "DROP DATABASE IF EXISTS `odd ``s`; CREATE DATABASE `odd ``s` CHARACTER SET utf8mb4; USE `odd ``s`; SET sql_mode='';\n" +
		"CREATE TABLE `a``b?{fn x};--` (`c``1?` int unsigned NOT NULL, `d\"e` enum('sad','it''s ok'), st set('a','b'), y year, b1 bit(1), b9 bit(9), un bigint unsigned," +
		" ti tinyint(1), js json, de decimal(65,30), ip inet6, g geometry, tm time(3), z date NULL, u uuid, blb blob, lt longtext, fl float);\n" +
		"INSERT INTO `a``b?{fn x};--` VALUES (4294967295, 'it''s ok', 'a,b', 2026, b'1', b'100000001', 18446744073709551615, 5, '{\"a\": 1}'," +
		" 12345678901234567890123456789012345.123456789012345678901234567890, '::1', NULL, '23:59:59.123', '2020-02-29', uuid(), x'00ff', repeat('é', 40000), 0.1);",
	"sqlite": "DROP TABLE IF EXISTS \"a\"\"b{fn x}\\;--`\"; CREATE TABLE \"a\"\"b{fn x}\\;--`\" (id INTEGER PRIMARY KEY, \"c\"\"1\" DECIMAL(10,2), \"d`e\" DOUBLE, any_thing, b BLOB, t VARCHAR(3), big BIGINT);\n" +
		"INSERT INTO \"a\"\"b{fn x}\\;--`\" VALUES (1, 0.1, 0.30000000000000004, 5, x'', 'longer', 9223372036854775807);",
}

// TestImport brings tables over, creates them here as far as their syntax
// goes, and reads every column by them.
func TestImport(t *testing.T) {
	for _, name := range []string{"postgres", "mariadb", "sqlite"} {
		t.Run(name, func(t *testing.T) {
			s, here := open(t, name), local(t)
			if err := s.exec(hard[name]); err != nil {
				t.Fatal(err)
			}
			schema := map[string]string{"postgres": `odd "s`, "mariadb": "odd `s", "sqlite": "main"}[name]
			tables, err := s.dialect.Import(t.Context(), s, fdw.ImportRequest{Server: "srv", RemoteSchema: schema, LocalSchema: "public"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := here.Exec(t.Context(), "CREATE FOREIGN DATA WRAPPER w_"+name+"; DROP SERVER IF EXISTS srv CASCADE; CREATE SERVER srv FOREIGN DATA WRAPPER w_"+name); err != nil {
				t.Fatal(err)
			}
			found := false
			for _, table := range tables {
				if !strings.HasPrefix(table.RemoteName, "a") {
					continue
				}
				found = true
				t.Log(table.SQL, table.LeftOut)
				if _, err := here.Exec(t.Context(), table.SQL); err != nil {
					t.Fatal(err)
				}
				read(t, s, table)
			}
			if !found {
				t.Fatalf("no table among %d", len(tables))
			}
		})
	}
}

func read(t *testing.T, s *source, table fdw.ImportedTable) {
	t.Helper()
	local := &fdw.Table{LocalName: table.Name, RemoteName: table.RemoteName, RemoteSchema: table.RemoteSchema}
	var wanted []int32
	for i, c := range table.Columns {
		base, _, _ := strings.Cut(c.Type, "(")
		col := fdw.TableColumn{Attnum: int32(i + 1), Typmod: -1, Name: c.Name, RemoteName: c.RemoteName, TypeName: c.Type, BaseType: strings.TrimSpace(base)}
		if base == "bit" {
			col.Typmod = map[string]int32{"bit(1)": 1, "bit(8)": 8, "bit(9)": 9}[c.Type]
		}
		local.Columns = append(local.Columns, col)
		wanted = append(wanted, col.Attnum)
	}
	st, err := fdw.Compose(s.dialect, fdw.ScanRequest{Table: local, Wanted: wanted, Limit: -1})
	if err != nil {
		t.Fatal(err)
	}
	rows, err := s.rows(t.Context(), st, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, st.SQL)
	}
	for i, c := range table.Columns {
		v := show(rows[0][i])
		if len(v) > 100 {
			v = v[:100]
		}
		t.Logf("%s %s = %s", c.Name, c.Type, v)
		if want, ok := expected[s.name+"."+c.RemoteName]; ok && v != `"`+want+`"` {
			t.Errorf("%s is %s, want %s", c.RemoteName, v, want)
		}
	}
}

// expected are values that a wrong transfer would change.
var expected = map[string]string{
	"postgres.o": "4294967295", "postgres.arr": "{1,NULL,3}", "postgres.moods": "{sad}", "postgres.b8": "10101010", "postgres.p": "3",
	"postgres.d{e}": "it's ok", "postgres.c": `(1,"a b")`, "postgres.ip": "::1/64", "postgres.m": "$12.50",
	"mariadb.un": "18446744073709551615", "mariadb.c`1?": "4294967295", "mariadb.b9": "100000001", "mariadb.b1": "1", "mariadb.y": "2026",
	"mariadb.de": "12345678901234567890123456789012345.123456789012345678901234567890", "mariadb.ti": "5", "mariadb.st": "a,b", "mariadb.tm": "23:59:59.123",
	"mariadb.blb": `\x00ff`,
	"sqlite.c\"1": "0.1", "sqlite.d`e": "0.30000000000000004", "sqlite.any_thing": "5", "sqlite.t": "longer", "sqlite.big": "9223372036854775807", "sqlite.b": `\x`,
}

func TestImportRefusals(t *testing.T) {
	for _, name := range []string{"postgres", "mariadb", "sqlite"} {
		s := open(t, name)
		for what, c := range map[string]struct {
			r     fdw.ImportRequest
			state string
		}{
			"schema":       {fdw.ImportRequest{RemoteSchema: "no such"}, "HV00P"},
			"option":       {fdw.ImportRequest{RemoteSchema: s.schema, Options: map[string]string{"import_cas": "keep"}}, "HV00D"},
			"option value": {fdw.ImportRequest{RemoteSchema: s.schema, Options: map[string]string{"import_case": "UP"}}, "HV024"},
		} {
			_, err := s.dialect.Import(t.Context(), s, c.r)
			var e *fdw.Error
			if !errors.As(err, &e) || e.State != c.state || e.Hint == "" {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
}

// TestWrongTypesAreRefused: SQLite's loose values never become other ones.
func TestWrongTypesAreRefused(t *testing.T) {
	s := open(t, "sqlite")
	if err := s.exec("DROP TABLE IF EXISTS loose; CREATE TABLE loose (v); INSERT INTO loose VALUES ('abc'), (1.5), (x'00'), (9007199254740993), ('a' || char(0) || 'b'), (2)"); err != nil {
		t.Fatal(err)
	}
	for base, values := range map[string][]string{
		"int4": {"'abc'", "1.5", "x'00'"}, "float8": {"'abc'", "9007199254740993", "x'00'"}, "text": {"x'00'", "'a' || char(0) || 'b'"},
		"bool": {"2", "'t'", "0.5"}, "bytea": {"'abc'", "1"}, "date": {"5", "2459000.5", "x'00'"}, "numeric": {"x'00'"},
	} {
		for _, v := range values {
			if err := s.exec("DELETE FROM loose; INSERT INTO loose VALUES (" + v + ")"); err != nil {
				t.Fatal(err)
			}
			table := &fdw.Table{RemoteName: "loose", Columns: []fdw.TableColumn{{Attnum: 1, Name: "v", RemoteName: "v", BaseType: base, Typmod: -1}}}
			st, err := fdw.Compose(s.dialect, fdw.ScanRequest{Table: table, Wanted: []int32{1}, Limit: -1})
			if err != nil {
				t.Fatal(err)
			}
			rows, err := s.rows(t.Context(), st, nil)
			if err == nil {
				t.Errorf("%s as %s became %s", v, base, show(rows[0][0]))
			} else if s.dialect.Explain(err.Error()) == nil {
				t.Errorf("%s as %s: not explained: %v", v, base, err)
			}
		}
	}
}
