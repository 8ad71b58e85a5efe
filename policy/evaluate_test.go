package policy

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func person(id string, groups ...string) *Person {
	return &Person{PersonID: PersonID{"local", id}, Status: StatusActive, Groups: groups, Attributes: map[string][]string{}}
}

func table() *DataSource {
	col := func(name, typeName string, tags ...string) TaggedColumn {
		return TaggedColumn{Column: Column{Name: name, Type: typeName}, Tags: tags}
	}
	return &DataSource{
		ID: "d1", Name: "orders", Source: "src", RemoteSchema: "shop", RemoteTable: "orders", Discoverable: true, Tolerance: time.Minute,
		Contact: "office", HashKey: []byte("key"), Tags: []string{"Shop"},
		Columns: []TaggedColumn{col("id", "bigint"), col("mail", "text", "PII.Email"), col("name", "text", "PII"), col("total", "numeric", "Money"), col("shape", "point", "PII")},
	}
}

func everyone() Policy {
	return Policy{ID: "s", Name: "all", Kind: KindSubscription, On: Target{All: true}, Who: &Who{Everyone: true}}
}

func ask(p *Person, policies ...Policy) Question {
	ds := table()
	return Question{Person: p, Account: "acc", DataSource: ds, DataSourceID: ds.ID, Policies: policies, Now: noon, Version: 7}
}

func TestDenials(t *testing.T) {
	disabled := person("off")
	disabled.Status = StatusDisabled
	unknown := person("odd")
	unknown.Status = "suspended" // from a newer service
	broken := everyone()
	broken.Who = &Who{}
	cases := []struct {
		name     string
		q        Question
		says     string
		discover bool
	}{
		{"nobody", ask(nil, everyone()), `account "acc" belongs to no person`, true},
		{"disabled", ask(disabled, everyone()), "not active", true},
		{"unknown status", ask(unknown, everyone()), "not active", true},
		{"no policy", ask(person("ana")), `not subscribed to data source "orders"`, true},
		{"unknown table", Question{Person: person("ana"), DataSourceID: "x"}, "does not exist", false},
		{"broken policy", ask(person("ana"), everyone(), broken), "cannot be applied", true},
		{"unknown kind", ask(person("ana"), everyone(), Policy{Kind: "quota", On: Target{All: true}}), "unknown kind", true},
		{"filter that is nothing", ask(person("ana"), everyone(), Policy{Kind: KindFilter, On: Target{All: true}}), "empty", true},
		{"filter of unknown operator", ask(person("ana"), everyone(), Policy{Kind: KindFilter, On: Target{All: true},
			Filter: &Condition{Op: "like", Left: &Operand{Kind: OperandColumn, Text: "mail"}}}), "unknown operator", true},
		{"filter of unknown column", ask(person("ana"), everyone(), Policy{Kind: KindFilter, On: Target{All: true},
			Filter: &Condition{Op: OpIsNull, Left: &Operand{Kind: OperandColumn, Text: "nix"}}}), "no column", true},
		{"broken exception", ask(person("ana"), everyone(), Policy{Kind: KindMask, On: Target{All: true}, Columns: ColumnChoice{Names: []string{"id"}},
			Mask: Mask{Kind: MaskNull}, Except: &Who{Group: "a", Everyone: true}}), "exactly one", true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d := Evaluate(c.q)
			if d.Allowed || !strings.Contains(d.Reason, c.says) || d.Discoverable != c.discover {
				t.Errorf("%+v", d)
			}
			if d.Source != "" || d.Columns != nil || d.Filter != nil || d.Masks != nil {
				t.Errorf("a denial tells of the table: %+v", d)
			}
		})
	}
	hidden := ask(person("ana"))
	hidden.DataSource.Discoverable = false
	if d := Evaluate(hidden); d.Discoverable {
		t.Errorf("%+v", d)
	}
	if d := Evaluate(Question{}); d.Allowed {
		t.Error("the empty question is allowed")
	}
}

func TestUnknownMaskKindShowsNothing(t *testing.T) {
	d := Evaluate(ask(person("ana"), everyone(), Policy{ID: "m", Kind: KindMask, On: Target{All: true}, Columns: ColumnChoice{Names: []string{"mail"}}, Mask: Mask{Kind: "k-anonymise"}}))
	if !d.Allowed || d.Masks["mail"].Kind != MaskNull {
		t.Errorf("%+v", d)
	}
}

func TestWhichMaskWins(t *testing.T) {
	mask := func(id string, order int64, choice ColumnChoice, kind MaskKind) Policy {
		return Policy{ID: id, Name: id, Kind: KindMask, Order: order, On: Target{All: true}, Columns: choice, Mask: Mask{Kind: kind}}
	}
	pii := ColumnChoice{Tags: []string{"PII"}}
	email := ColumnChoice{Tags: []string{"PII.Email"}}
	named := ColumnChoice{Names: []string{"mail"}}
	except := func(p Policy, w *Who) Policy { p.Except = w; return p }
	final := func(p Policy) Policy { p.Final = true; return p }
	ana := person("ana", "safety")
	cases := []struct {
		name     string
		policies []Policy
		want     MaskKind // of mail, "" raw
	}{
		{"a tag includes those below", []Policy{mask("a", 1, pii, MaskNull)}, MaskNull},
		{"a deeper tag wins", []Policy{mask("a", 1, pii, MaskNull), mask("b", 2, email, MaskHash)}, MaskHash},
		{"the name wins over tags", []Policy{mask("a", 1, email, MaskNull), mask("b", 2, named, MaskHash)}, MaskHash},
		{"the older wins", []Policy{mask("b", 2, email, MaskHash), mask("a", 1, email, MaskNull)}, MaskNull},
		{"final wins", []Policy{mask("a", 1, named, MaskHash), final(mask("b", 2, pii, MaskNull))}, MaskNull},
		{"the winner's exception shows raw", []Policy{mask("a", 1, pii, MaskNull), except(mask("b", 2, email, MaskHash), &Who{Group: "safety"})}, ""},
		{"no other policy's exception counts", []Policy{except(mask("a", 1, pii, MaskNull), &Who{Group: "safety"}), mask("b", 2, email, MaskHash)}, MaskHash},
		{"PIIX is not below PII", []Policy{mask("a", 1, ColumnChoice{Tags: []string{"PI"}}, MaskNull)}, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d := Evaluate(ask(ana, append(c.policies, everyone())...))
			if !d.Allowed || d.Masks["mail"].Kind != c.want {
				t.Errorf("%+v", d)
			}
		})
	}
}

func TestMasksThatDoNotFitTheTypeBecomeNull(t *testing.T) {
	d := Evaluate(ask(person("ana"), everyone(), Policy{ID: "m", Kind: KindMask, On: Target{All: true}, Columns: ColumnChoice{Tags: []string{"PII"}},
		Mask: Mask{Kind: MaskRegex, Pattern: "x"}}))
	if d.Masks["mail"].Kind != MaskRegex || d.Masks["shape"].Kind != MaskNull {
		t.Errorf("%+v", d.Masks)
	}
}

func TestImpersonation(t *testing.T) {
	target := person("target", "safety")
	actor := person("actor")
	actor.Permissions = []Permission{PermissionImpersonate}
	limited := person("limited")
	limited.Permissions = []Permission{PermissionImpersonate}
	limited.Impersonate = &Who{Group: "research"}
	admin := person("admin")
	admin.Permissions = []Permission{PermissionAdmin}
	secret := Policy{ID: "m", Kind: KindMask, On: Target{All: true}, Columns: ColumnChoice{Names: []string{"mail"}}, Mask: Mask{Kind: MaskNull}, Except: &Who{Group: "safety"}}
	cases := []struct {
		name          string
		actor, target *Person
		allowed       bool
		masked        bool
	}{
		{"oneself", nil, target, true, false},
		{"exceptions are not inherited", actor, target, true, true},
		{"without the permission", person("x"), target, false, false},
		{"not of these people", limited, target, false, false},
		{"of these people", limited, person("r", "research"), true, true},
		{"ADMIN does not include it", admin, target, false, false},
		{"never of administrators", actor, admin, false, false},
		{"of nobody", actor, nil, false, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			q := ask(c.target, everyone(), secret)
			q.Impersonator = c.actor
			d := Evaluate(q)
			if d.Allowed != c.allowed || (len(d.Masks) > 0) != c.masked {
				t.Errorf("%+v", d)
			}
			if d.Allowed && c.actor != nil && d.Person.Impersonator != c.actor.UserID {
				t.Errorf("person %+v", d.Person)
			}
		})
	}
}

func TestWhoIsThreeValued(t *testing.T) {
	p := person("ana", "a")
	p.Attributes["x"] = []string{"1"}
	attr := func(name, value string) *Who { return &Who{Attribute: &AttributeValue{name, value}} }
	cases := []struct {
		who  *Who
		want bool
	}{
		{&Who{Group: "a"}, true},
		{&Who{Not: &Who{Group: "a"}}, false},
		{attr("x", "1"), true},
		{&Who{Not: attr("x", "2")}, true},
		{attr("none", "1"), false},
		{&Who{Not: attr("none", "1")}, false},
		{&Who{Not: &Who{Any: []*Who{attr("none", "1"), {Group: "b"}}}}, false},
		{&Who{Any: []*Who{attr("none", "1"), {Group: "a"}}}, true},
		{&Who{All: []*Who{{Group: "a"}, {Person: &PersonID{"local", "ana"}}}}, true},
		{&Who{Person: &PersonID{"other", "ana"}}, false},
	}
	for i, c := range cases {
		got, err := c.who.Matches(p)
		if err != nil || got != c.want {
			t.Errorf("case %d: %v %v", i, got, err)
		}
	}
	for _, bad := range []*Who{nil, {}, {Group: "a", Everyone: true}, {Any: []*Who{}}, {All: []*Who{nil}}, {Not: &Who{}}, {Person: &PersonID{}}, {Attribute: &AttributeValue{Name: "x"}}} {
		if ok, err := bad.Matches(p); ok || err == nil {
			t.Errorf("%+v: %v %v", bad, ok, err)
		}
	}
}

func TestMaxAge(t *testing.T) {
	q := ask(person("ana"))
	q.Subscriptions = []Subscription{{DataSource: "d1", Person: q.Person.PersonID, Expires: noon.Add(10 * time.Second)}}
	if d := Evaluate(q); !d.Allowed || d.MaxAgeMS != 10000 {
		t.Errorf("%+v", d)
	}
	q.Now = noon.Add(10 * time.Second)
	if d := Evaluate(q); d.Allowed {
		t.Errorf("%+v", d)
	}
	q = ask(person("ana"), everyone())
	q.DataSource.Tolerance = 1000 * time.Hour
	if d := Evaluate(q); d.MaxAgeMS != MaxTolerance.Milliseconds() {
		t.Errorf("%+v", d)
	}
}

func TestUnconfirmedColumnsAreMasked(t *testing.T) {
	q := ask(person("ana"), everyone())
	q.DataSource.Columns[0].Unconfirmed = true
	if d := Evaluate(q); d.Masks["id"].Kind != MaskNull {
		t.Errorf("%+v", d)
	}
}

// TestEvaluateAgainstNaiveModel draws policies and compares with a model that
// is written down as the rules read, without the evaluator's helpers.
func TestEvaluateAgainstNaiveModel(t *testing.T) {
	groups := []string{"a", "b", "c"}
	tags := []string{"PII", "PII.Email", "PII.Email.Work", "Money"}
	rapid.Check(t, func(t *rapid.T) {
		some := func(list []string, label string) []string {
			return rapid.SliceOfNDistinct(rapid.SampledFrom(list), 0, 2, rapid.ID[string]).Draw(t, label)
		}
		p := person("p", some(groups, "groups")...)
		ds := &DataSource{ID: "d", Name: "d", HashKey: []byte("k")}
		for i := range 3 {
			ds.Columns = append(ds.Columns, TaggedColumn{Column: Column{Name: fmt.Sprint("c", i), Type: "text"}, Tags: some(tags, "tags")})
		}
		var policies []Policy
		for i := range rapid.IntRange(0, 6).Draw(t, "policies") {
			m := Policy{ID: fmt.Sprint("p", i), Kind: KindMask, Order: int64(rapid.IntRange(0, 3).Draw(t, "order")*10 + i), On: Target{All: true},
				Final: rapid.IntRange(0, 4).Draw(t, "final") == 0, Columns: ColumnChoice{Tags: some(tags, "on"), Names: some([]string{"c0", "c1"}, "names")}, Mask: Mask{Kind: MaskHash, Nulls: rapid.SampledFrom([]NullsMode{NullsKeep, NullsMask}).Draw(t, "nulls")}}
			if g := rapid.SampledFrom(append(groups, "")).Draw(t, "except"); g != "" {
				m.Except = &Who{Group: g}
			}
			policies = append(policies, m)
		}
		got := Evaluate(Question{Person: p, DataSource: ds, DataSourceID: "d", Policies: append(policies, everyone()), Now: noon})
		for _, c := range ds.Columns {
			if want := naiveMask(p, c, policies); got.Masks[c.Name].Policy != want {
				t.Fatalf("column %+v: got %q, want %q", c, got.Masks[c.Name].Policy, want)
			}
			for _, m := range policies {
				if m.ID == got.Masks[c.Name].Policy && got.Masks[c.Name].Nulls != m.Mask.Nulls {
					t.Fatalf("column %+v: nulls is %q, want %q", c, got.Masks[c.Name].Nulls, m.Mask.Nulls)
				}
			}
		}
	})
}

func naiveMask(p *Person, c TaggedColumn, policies []Policy) string {
	type candidate struct {
		policy Policy
		depth  int
	}
	var all []candidate
	for _, m := range policies {
		depth := 0
		for _, t := range m.Columns.Tags {
			for _, have := range c.Tags {
				parts, own := strings.Split(have, "."), strings.Split(t, ".")
				if len(own) <= len(parts) && slices.Equal(parts[:len(own)], own) && len(own) > depth {
					depth = len(own)
				}
			}
		}
		if slices.Contains(m.Columns.Names, c.Name) {
			depth = 1000000
		}
		if depth > 0 {
			all = append(all, candidate{m, depth})
		}
	}
	if len(all) == 0 {
		return ""
	}
	sort.Slice(all, func(i, j int) bool {
		a, b := all[i], all[j]
		if a.policy.Final != b.policy.Final {
			return a.policy.Final
		}
		if a.depth != b.depth {
			return a.depth > b.depth
		}
		return a.policy.Order < b.policy.Order
	})
	winner := all[0].policy
	if winner.Except != nil && slices.Contains(p.Groups, winner.Except.Group) {
		return ""
	}
	return winner.ID
}

func TestCompileRefusesWhatItDoesNotKnow(t *testing.T) {
	cols := []Column{{Name: "i", Type: "integer"}, {Name: "t", Type: "text"}, {Name: "p", Type: "point"}}
	deep := &Predicate{Op: OpTrue}
	for range maxDepth + 2 {
		deep = &Predicate{Op: OpNot, Args: []*Predicate{deep}}
	}
	one := func(typeName, text string) []Value { return []Value{{Type: typeName, Text: text}} }
	for _, p := range []*Predicate{
		{}, {Op: "like", Column: "t"}, {Op: OpAnd}, {Op: OpNot}, {Op: OpOr, Args: []*Predicate{nil}},
		{Op: OpEq, Column: "nix", Values: one("text", "a")}, {Op: OpEq, Column: "i"}, {Op: OpEq, Column: "p", Values: one("text", "a")},
		{Op: OpEq, Column: "i", Values: one("text", "1")}, {Op: OpEq, Column: "i", Values: one("bigint", "x")}, {Op: OpEq, Column: "t", Values: one("bigint", "1")},
		{Op: OpIn, Column: "i", Values: one("text", "1")}, {Op: OpEq, Column: "i", Other: "t"}, {Op: OpEq, Column: "i", Other: "nix"}, deep,
	} {
		if _, err := p.Compile(cols); err == nil {
			t.Errorf("%+v compiles", p)
		}
	}
}

func TestFiltersHideWhatCannotBeRead(t *testing.T) {
	cols := []Column{{Name: "i", Type: "integer"}}
	for _, p := range []*Predicate{
		{Op: OpEq, Column: "i", Values: []Value{{Type: "bigint", Text: "1"}}},
		{Op: OpNe, Column: "i", Values: []Value{{Type: "bigint", Text: "1"}}},
		{Op: OpNot, Args: []*Predicate{{Op: OpIn, Column: "i", Values: []Value{{Type: "bigint", Text: "1"}, {Type: "bigint", Text: "2"}}}}},
		{Op: OpEq, Column: "i", Values: []Value{{Type: "bigint", Null: true}}},
	} {
		filter, err := p.Compile(cols)
		if err != nil {
			t.Fatal(err)
		}
		if filter(func(int) ([]byte, bool) { return []byte("garbage"), false }) || filter(func(int) ([]byte, bool) { return nil, true }) {
			t.Errorf("%+v shows the row", p)
		}
	}
}

func TestFilterDoesNotAllocatePerRow(t *testing.T) {
	cols := []Column{{Name: "i", Type: "bigint"}, {Name: "t", Type: "text"}}
	p := &Predicate{Op: OpAnd, Args: []*Predicate{
		{Op: OpGe, Column: "i", Values: []Value{{Type: "bigint", Text: "5"}}},
		{Op: OpIn, Column: "t", Values: []Value{{Type: "text", Text: "a"}, {Type: "text", Text: "b"}}},
	}}
	filter, err := p.Compile(cols)
	if err != nil {
		t.Fatal(err)
	}
	values := [][]byte{[]byte("123456"), []byte("b")}
	get := func(i int) ([]byte, bool) { return values[i], false }
	if n := testing.AllocsPerRun(100, func() { filter(get) }); n > 0 {
		t.Errorf("%v allocations a row", n)
	}
}
