package fdw

import (
	"strings"
	"testing"
)

func TestNodeText(t *testing.T) {
	for _, c := range []struct{ name, in, field, want string }{
		{"escaped name", `{ALIAS :aliasname a\ b\{c :colnames ("x" "y\ z")}`, "aliasname", "a b{c"},
		{"bytes of a constant", `{CONST :constvalue 4 [ 5 0 0 0 ] :location 3}`, "location", "3"},
		{"negative bytes", `{CONST :constvalue 4 [ -1 0 0 0 ] :location 3}`, "location", "3"},
		{"lists of numbers", `{PLAN :relids (b 1 2) :oids (o 16396) :ints (i 1 -2) :location 7}`, "location", "7"},
		{"empty char", `{RTE :relkind  :location 4}`, "location", "4"},
		{"null node", `{X :arg <> :location 1}`, "location", "1"},
		{"string of quotes", `{X :name "\<\>" :location 1}`, "name", "<>"},
	} {
		n, err := parseNode(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := n.get(c.field).atom; got != c.want {
			t.Errorf("%s: %s is %q, want %q", c.name, c.field, got, c.want)
		}
	}
}

func TestNodeTextRefused(t *testing.T) {
	for name, in := range map[string]string{
		"empty": "", "no end": "{VAR :varno 1", "list without end": "(1 2", "stray": "{VAR} }", "no tag": "{ :a 1}",
		"bare field": "{VAR varno 1}", "too deep": strings.Repeat("(", 5000) + strings.Repeat(")", 5000),
	} {
		if _, err := parseNode(in); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestConstantsOutOfRange: an index from the shim never reads beyond the list.
func TestConstantsOutOfRange(t *testing.T) {
	for _, at := range []string{"-1", "1", "99999999999"} {
		_, err := ReadQuals(Tree{Text: "({CONST :consttype 23 :constcollid 0 :location " + at + "})", Consts: []*string{nil}})
		if err == nil {
			t.Errorf("location %s accepted", at)
		}
	}
}

func FuzzReadQuals(f *testing.F) {
	for _, s := range samples(f) {
		f.Add(s.Tree, "1")
	}
	f.Add(`({OPEXPR :opno 96 :opresulttype 16 :opcollid 0 :inputcollid 0 :args <>})`, "")
	f.Add(`({BOOLEXPR :boolop not :args <>})`, "")
	var facts []ObjectFact
	for _, s := range samples(f) {
		facts = append(facts, s.tree(f).Facts...)
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		tree := Tree{Text: text, Facts: facts, Consts: []*string{&value, nil, &value, &value}}
		c, err := ReadQuals(tree)
		if err != nil {
			return
		}
		for _, e := range c.List {
			for _, d := range dialects() {
				exact, _ := d.Exact(e, sampleTable(), c.Facts)
				w := &SQLWriter{}
				err := d.Print(e, sampleTable(), c.Facts, w)
				if (exact != No) != (err == nil) {
					t.Fatalf("%s: exact %d, but printing says %v", d.Name(), exact, err)
				}
				if exact != No && strings.Count(w.SQL(), "?") != len(w.Args()) {
					t.Fatalf("%s: marks and values differ: %s", d.Name(), w.SQL())
				}
			}
		}
	})
}
