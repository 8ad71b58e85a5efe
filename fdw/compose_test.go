package fdw

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"portcullis.dev/portcullis/internal/sqltext"
	"portcullis.dev/portcullis/policy"
)

func decision(filter *policy.Predicate, masks map[string]policy.Mask) *policy.Decision {
	d := &policy.Decision{Allowed: true, RemoteTable: "t", Filter: filter, Masks: masks}
	for _, c := range sampleTable().Columns {
		d.Columns = append(d.Columns, policy.Column{Name: c.RemoteName, Type: c.TypeName})
	}
	return d
}

func filterOn(column, op, typ, text string) *policy.Predicate {
	return &policy.Predicate{Op: policy.Op(op), Column: column, Values: []policy.Value{{Type: typ, Text: text}}}
}

func conditionsOf(t testing.TB, sql ...string) Conditions {
	out := Conditions{Facts: newFacts(nil)}
	for _, want := range sql {
		found := false
		for _, s := range samples(t) {
			if s.SQL != want {
				continue
			}
			c, err := ReadQuals(s.tree(t))
			if err != nil {
				t.Fatal(err)
			}
			out.List, found = append(out.List, c.List...), true
			out.Facts = c.Facts
		}
		if !found {
			t.Fatalf("no sample %q", want)
		}
	}
	return out
}

func TestComposed(t *testing.T) {
	hash := policy.Mask{Kind: policy.MaskHash, Key: []byte("k")}
	star := "***"
	for _, c := range []struct {
		name string
		r    ScanRequest
	}{
		{"all rows of a plain session", ScanRequest{Wanted: []int32{1, 5}, Limit: -1}},
		{"no column wanted", ScanRequest{Limit: -1}},
		{"limit", ScanRequest{Wanted: []int32{1}, Conditions: conditionsOf(t, "id = 5"), Limit: 10}},
		{"guard", ScanRequest{Wanted: []int32{1}, Conditions: conditionsOf(t, "id = 5", "s like 'a%'"), Limit: 3,
			Decision: decision(filterOn("id", "<", "integer", "7"), nil)}},
		{"guarded without a filter", ScanRequest{Wanted: []int32{1}, Conditions: conditionsOf(t, "s like 'a%'"), Limit: 3, Decision: decision(nil, nil)}},
		{"condition on a masked column", ScanRequest{Wanted: []int32{1, 5}, Conditions: conditionsOf(t, "s is distinct from 'a'"), Limit: 3,
			Decision: decision(nil, map[string]policy.Mask{"s": hash})}},
		{"masks without the raw value", ScanRequest{Wanted: []int32{5, 6, 1}, Limit: 3, Decision: decision(nil, map[string]policy.Mask{
			"s": {Kind: policy.MaskNull}, "v": {Kind: policy.MaskConstant, Constant: &star}})}},
		{"a constant for missing values too", ScanRequest{Wanted: []int32{5, 1}, Limit: 3, Decision: decision(nil, map[string]policy.Mask{
			"s": {Kind: policy.MaskConstant, Constant: &star, Nulls: policy.NullsMask}})}},
		{"filter on a masked column", ScanRequest{Wanted: []int32{5}, Limit: 3,
			Decision: decision(filterOn("s", "=", "text", "é"), map[string]policy.Mask{"s": hash})}},
		{"filter for the engine", ScanRequest{Wanted: []int32{1}, Conditions: conditionsOf(t, "id = 5", "s like 'a%'"), Limit: 3,
			Decision: decision(filterOn("u", "=", "text", "x"), nil)}},
		{"filter in part for the engine", ScanRequest{Wanted: []int32{1}, Limit: 3, Decision: decision(&policy.Predicate{Op: policy.OpAnd,
			Args: []*policy.Predicate{filterOn("id", ">", "bigint", "1"), filterOn("u", "=", "text", "x")}}, nil)}},
		{"no row", ScanRequest{Wanted: []int32{1}, Limit: -1, Decision: decision(&policy.Predicate{Op: policy.OpFalse}, nil)}},
		{"nothing listed", ScanRequest{Wanted: []int32{1}, Limit: -1, Decision: decision(&policy.Predicate{Op: policy.OpIn, Column: "id"}, nil)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b strings.Builder
			for _, d := range dialects() {
				c.r.Table, c.r.QueryID = sampleTable(), 42
				s, err := Compose(d, c.r)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&b, "-- %s\n%s\n", d.Name(), s.SQL)
				for _, a := range s.Args {
					v, err := a.Value(nil)
					if err != nil {
						t.Fatal(err)
					}
					fmt.Fprintf(&b, "   ? %s\n", shown(v))
				}
				for i, o := range s.Outputs {
					fmt.Fprintf(&b, "   column %d: from %d, masked %t\n", i, o.Selected, o.Mask != nil)
				}
				fmt.Fprintf(&b, "   filter here: %t %v, left out: %v\n", s.Filter != nil, s.FilterColumns, s.LeftOut)
			}
			golden(t, "testdata/compose_"+strings.ReplaceAll(c.name, " ", "_")+".txt", b.String())
		})
	}
}

func TestComposeRefuses(t *testing.T) {
	denied, elsewhere := decision(nil, nil), decision(nil, nil)
	denied.Allowed, elsewhere.RemoteTable = false, "other"
	for name, r := range map[string]ScanRequest{
		"denied":                    {Decision: denied},
		"decided for another table": {Decision: elsewhere},
		"filter on a lost column":   {Decision: decision(filterOn("gone", "=", "text", "x"), nil)},
		"condition of an ungoverned session that cannot go": {Conditions: conditionsOf(t, "(id, b) < (1, 2)")},
	} {
		r.Table, r.Limit = sampleTable(), -1
		if s, err := Compose(postgres{}, r); err == nil {
			t.Errorf("%s: %s", name, s.SQL)
		}
	}
}

// TestUnknownColumnsAreMasked: a column that the dictionary does not know is
// neither fetched nor tested.
func TestUnknownColumnsAreMasked(t *testing.T) {
	d := decision(nil, nil)
	d.Columns = d.Columns[:1] // only id
	s, err := Compose(postgres{}, ScanRequest{Table: sampleTable(), Wanted: []int32{1, 5}, Limit: -1, Decision: d,
		Conditions: conditionsOf(t, "s is distinct from 'a'")})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(s.SQL, `"s"`) || s.Outputs[1].Selected != -1 {
		t.Error(s.SQL)
	}
}

// TestNamesCannotEscape: whatever a name holds, it stays one quoted token.
func TestNamesCannotEscape(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom([]rune("\"`'\\;?{}-/* a")))).Draw(t, "name")
		for _, d := range dialects() {
			q, err := d.Quote(name)
			if err != nil {
				continue
			}
			mark := q[:1]
			inner := q[1 : len(q)-1]
			if q[len(q)-1:] != mark || strings.Count(strings.ReplaceAll(inner, mark+mark, ""), mark) != 0 || strings.ReplaceAll(inner, mark+mark, mark) != name {
				t.Fatalf("%s: %q became %s", d.Name(), name, q)
			}
		}
		l := strings.TrimPrefix(sqltext.Literal(name), "E")
		if inner := l[1 : len(l)-1]; strings.Contains(strings.ReplaceAll(inner, "''", ""), "'") || strings.ReplaceAll(strings.ReplaceAll(inner, "''", "'"), `\\`, `\`) != name {
			t.Fatalf("%q became %s", name, l)
		}
	})
}

// TestValuesNeverReachTheText: constants travel as bound values only.
func TestValuesNeverReachTheText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := "zq" + rapid.String().Draw(t, "value") + "qz"
		for _, d := range dialects() {
			s, err := Compose(d, ScanRequest{Table: sampleTable(), Wanted: []int32{1}, Limit: -1, Decision: decision(filterOn("s", "=", "text", value), nil)})
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(s.SQL, "zq") {
				t.Fatal(s.SQL)
			}
		}
	})
}

func TestArrayText(t *testing.T) {
	for in, want := range map[string]string{
		`{}`: "[]", `{1,2}`: `["1" "2"]`, `{a,"b,c",NULL,"NULL"}`: `["a" "b,c" nil "NULL"]`, `{{1,2},{3,4}}`: `["1" "2" "3" "4"]`,
		`[0:1]={7,8}`: `["7" "8"]`, `{"a\"b\\c"}`: `["a\"b\\c"]`, `{""}`: `[""]`,
	} {
		items, ok := arrayElements(in)
		var out []string
		for _, i := range items {
			if i == nil {
				out = append(out, "nil")
			} else {
				out = append(out, fmt.Sprintf("%q", *i))
			}
		}
		if got := "[" + strings.Join(out, " ") + "]"; !ok || got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	for _, in := range []string{"", "{", "}", "1,2", `{"a}`, "{1}}"} {
		if _, ok := arrayElements(in); ok {
			t.Errorf("%q accepted", in)
		}
	}
}
