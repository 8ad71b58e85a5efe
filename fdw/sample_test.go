package fdw

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// sample is a condition as PostgreSQL 15 plans and prints it
// (debug_print_plan), its constants treated as the shim does.
type sample struct {
	SQL    string   `json:"sql"`
	Tree   string   `json:"tree"`
	Consts []string `json:"consts"`
	Facts  []string `json:"facts"` // kind, oid, schema, name, left, right, result, volatility
}

func (s sample) tree(t testing.TB) Tree {
	out := Tree{Text: s.Tree, Facts: []ObjectFact{
		{Kind: 'c', Fact: Fact{OID: 100, Result: 'd'}}, {Kind: 'c', Fact: Fact{OID: 950, Result: 'c'}},
	}}
	for i := range s.Consts {
		out.Consts = append(out.Consts, &s.Consts[i])
	}
	for _, line := range s.Facts {
		f := strings.Split(line, "\t")
		number := func(i int) uint32 {
			v, err := strconv.ParseUint(f[i], 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			return uint32(v)
		}
		out.Facts = append(out.Facts, ObjectFact{Kind: f[0][0], Fact: Fact{OID: number(1), Schema: f[2], Name: f[3],
			Left: number(4), Right: number(5), Result: number(6), Volatility: f[7][0]}})
	}
	return out
}

func samples(t testing.TB) []sample {
	raw, err := os.ReadFile("testdata/pg15.json")
	if err != nil {
		t.Fatal(err)
	}
	var out []sample
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// sampleTable is the table that the samples were planned on.
func sampleTable() *Table {
	t := &Table{LocalName: "t", RemoteName: "t"}
	for i, c := range []struct{ name, base, typ string }{
		{"id", "int4", "integer"}, {"b", "int8", "bigint"}, {"n", "numeric", "numeric(10,2)"}, {"f", "float8", "double precision"},
		{"s", "text", "text"}, {"v", "varchar", "character varying(20)"}, {"c", "bpchar", "character(5)"}, {"k", "bool", "boolean"},
		{"d", "date", "date"}, {"ts", "timestamp", "timestamp without time zone"}, {"tz", "timestamptz", "timestamp with time zone"},
		{"u", "uuid", "uuid"}, {"r", "int2", "smallint"}, {"y", "bytea", "bytea"},
	} {
		t.Columns = append(t.Columns, TableColumn{Attnum: int32(i + 1), TypeOID: baseOID(c.base), Typmod: -1, Name: c.name, RemoteName: c.name,
			TypeName: c.typ, BaseType: c.base, CollationKind: 'd'})
	}
	return t
}

func dialects() []Dialect { return []Dialect{postgres{}, mariadb{}, sqlite{}} }

// TestConditionsAsPrinted compares what each dialect makes of each sample
// with the golden file, which is reviewed by eye.
func TestConditionsAsPrinted(t *testing.T) {
	for _, d := range dialects() {
		t.Run(d.Name(), func(t *testing.T) {
			var b strings.Builder
			for _, s := range samples(t) {
				c, err := ReadQuals(s.tree(t))
				if err != nil {
					t.Fatalf("%s: %v", s.SQL, err)
				}
				fmt.Fprintf(&b, "-- %s\n", s.SQL)
				for _, e := range c.List {
					b.WriteString(describe(t, d, e, sampleTable(), c.Facts))
				}
			}
			golden(t, "testdata/conditions_"+d.Name()+".sql", b.String())
		})
	}
}

func describe(t *testing.T, d Dialect, e Expr, table *Table, f *Facts) string {
	exact, why := d.Exact(e, table, f)
	if exact == No {
		return "   here: " + why + "\n"
	}
	w := &SQLWriter{}
	if err := d.Print(e, table, f, w); err != nil {
		t.Fatal(err)
	}
	out := map[Exactness]string{Fallible: "fallible", Guarded: "guarded", Total: "total"}[exact] + ": " + w.SQL()
	for _, a := range w.Args() {
		v, err := a.Value(nil)
		if err != nil {
			t.Fatal(err)
		}
		out += " | " + shown(v)
	}
	return "   " + out + "\n"
}

func shown(v Value) string {
	switch {
	case v.Null:
		return "NULL"
	case v.Bind == BindInt64:
		return fmt.Sprint("int ", v.Int)
	case v.Bind == BindFloat64:
		return fmt.Sprint("float ", v.Float)
	case v.Bind == BindBytes:
		return fmt.Sprintf("bytes %x", v.Bytes)
	}
	return fmt.Sprintf("text %q", v.Text)
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s differs (go test -update writes it anew):\n%s", file, got)
	}
}
