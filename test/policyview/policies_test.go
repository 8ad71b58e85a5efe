package policyview

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"portcullis.dev/portcullis/policy"
	"portcullis.dev/portcullis/service"
	"portcullis.dev/portcullis/test/world"
)

// rules are random policies, each with what it means as SQL over the raw rows:
// the model, written down apart from the code that it judges.
type rules struct {
	rng      *rand.Rand
	people   []service.Person
	policies []service.Policy
	masks    map[string][]rule // by column, the one that is picked first
	filters  []rule
}

// rule is one policy: whom it spares, and its SQL for a person.
type rule struct {
	policy service.Policy
	sql    func(p *service.Person) string
}

var groups = []string{"blue", "red", "everything"}

// draw makes policies for the three tables.
func draw(rng *rand.Rand) *rules {
	r := &rules{rng: rng, masks: map[string][]rule{}}
	for _, id := range []string{world.Hera, world.Eve, world.Max} {
		p := service.Person{UserID: id, Groups: r.some(groups), Attributes: map[string][]string{}}
		for _, a := range []struct {
			name   string
			values []string
		}{{"region", byName("region").values}, {"role", []string{"auditor", "clerk"}}} {
			if values := r.some(a.values); len(values) > 0 { // else the person lacks it
				p.Attributes[a.name] = values
			}
		}
		r.people = append(r.people, p)
	}
	r.policies = append(r.policies, service.Policy{Name: "readers", Kind: policy.KindSubscription, On: things(), Who: &policy.Who{Everyone: true}})
	for i := range columns {
		if r.rng.IntN(2) == 0 {
			r.mask(&columns[i], true)
		}
		if r.rng.IntN(2) == 0 {
			r.mask(&columns[i], false)
		}
	}
	for n := range r.rng.IntN(3) {
		said, meant := filter{r.rng}.condition(2)
		p := service.Policy{Name: fmt.Sprintf("rows %d", n), Kind: policy.KindFilter, On: things(), Filter: said, Except: r.except()}
		r.policies = append(r.policies, p)
		r.filters = append(r.filters, rule{p, meant})
	}
	return r
}

func things() policy.Target {
	return policy.Target{DataSources: []string{"things_pg", "things_my", "things_lite"}}
}

// some draws up to all of a list.
func (r *rules) some(list []string) []string {
	var out []string
	for _, v := range list {
		if r.rng.IntN(3) == 0 {
			out = append(out, v)
		}
	}
	return out
}

// except draws whom a policy does not apply to.
func (r *rules) except() *policy.Who {
	var w policy.Who
	switch r.rng.IntN(6) {
	case 0:
		w.Group = groups[r.rng.IntN(len(groups))]
	case 1:
		w.Person = &policy.PersonID{IAMID: "local", UserID: []string{world.Hera, world.Eve, world.Max}[r.rng.IntN(3)]}
	case 2:
		w.Attribute = &policy.AttributeValue{Name: "role", Value: "auditor"}
	case 3:
		w.Not = &policy.Who{Attribute: &policy.AttributeValue{Name: "role", Value: "clerk"}}
	default:
		return nil
	}
	return &w
}

// holds is the truth of a condition about a person: 1, 0, or -1 for unknown.
func holds(w *policy.Who, p *service.Person) int {
	is := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	switch {
	case w == nil:
		return 0
	case w.Not != nil:
		if t := holds(w.Not, p); t >= 0 {
			return 1 - t
		}
		return -1
	case w.Attribute != nil:
		values := p.Attributes[w.Attribute.Name]
		if len(values) == 0 {
			return -1
		}
		return is(slices.Contains(values, w.Attribute.Value))
	case w.Person != nil:
		return is(w.Person.UserID == p.UserID)
	}
	return is(slices.Contains(p.Groups, w.Group))
}

// mask draws a mask of a column; a final one is picked before one that is not.
func (r *rules) mask(c *column, final bool) {
	m, meant := r.kind(c)
	p := service.Policy{Name: fmt.Sprintf("%s %v", c.name, final), Kind: policy.KindMask, On: things(),
		Columns: &policy.ColumnChoice{Names: []string{c.name}}, Mask: &m, Final: final, Except: r.except()}
	r.policies = append(r.policies, p)
	r.masks[c.name] = append(r.masks[c.name], rule{p, func(*service.Person) string { return meant }})
}

func (r *rules) kind(c *column) (policy.Mask, string) {
	raw := "raw." + c.name
	constant := func(value string) (policy.Mask, string) {
		m := policy.Mask{Kind: policy.MaskConstant, Constant: &value}
		if r.rng.IntN(2) == 0 {
			m.Nulls = policy.NullsMask
			return m, quote(value)
		}
		return m, fmt.Sprintf("CASE WHEN %s IS NOT NULL THEN %s END", raw, quote(value))
	}
	pick := r.rng.IntN(4)
	switch {
	case pick == 0:
		return policy.Mask{Kind: policy.MaskNull}, "NULL"
	case pick == 1 || c.class == double || c.class == truth:
		return constant(c.values[r.rng.IntN(len(c.values))])
	case c.class == text && pick == 2:
		// The model takes hashes from the answer, after it has looked at them.
		m := policy.Mask{Kind: policy.MaskHash}
		if r.rng.IntN(2) == 0 {
			m.Nulls = policy.NullsMask
		}
		return m, "hashes." + c.name
	case c.class == text:
		return r.regex(raw)
	case c.class == whole || c.class == decimal:
		return r.round(c)
	}
	unit := []string{"year", "quarter", "month", "week", "day"}[r.rng.IntN(5)]
	return policy.Mask{Kind: policy.MaskTruncate, Unit: unit}, fmt.Sprintf("date_trunc('%s', %s::timestamp)", unit, raw)
}

// regex draws patterns that mean the same in both languages of expressions.
func (r *rules) regex(raw string) (policy.Mask, string) {
	pattern := []string{`^(.).*$`, `^[^@]*@(.*)$`, `[0-9]+`, `o`}[r.rng.IntN(4)]
	m := policy.Mask{Kind: policy.MaskRegex, Pattern: pattern, Replacement: "<>", Global: r.rng.IntN(2) == 0, Keep: r.rng.IntN(2) == 0}
	there, flags := "<>", ""
	if strings.Contains(pattern, "(") {
		m.Replacement, there = "$1<>", `\1<>`
	}
	if m.Global {
		flags = "g"
	}
	unmatched := "NULL"
	if m.Keep {
		unmatched = raw
	}
	return m, fmt.Sprintf("CASE WHEN %s ~ '%s' THEN regexp_replace(%[1]s, '%[2]s', '%[3]s', '%[4]s') ELSE %[5]s END", raw, pattern, there, flags, unmatched)
}

func (r *rules) round(c *column) (policy.Mask, string) {
	base := []string{"10", "7", "1000"}[r.rng.IntN(3)]
	if c.class == decimal {
		base = []string{"10", "0.5", "1000"}[r.rng.IntN(3)]
	}
	// Division rounds; the remainder is exact. Shown are as many decimals as the base has.
	meant := fmt.Sprintf("round(raw.%s - mod(mod(raw.%[1]s, %[2]s::numeric) + %[2]s, %[2]s), scale(%[2]s))", c.name, base)
	if c.name == "qty" {
		// What lies below the type's end is shown as the end.
		meant = "greatest(" + meant + ", -9223372036854775808)"
		meant = fmt.Sprintf("CASE WHEN raw.qty IS NOT NULL THEN %s END", meant)
	}
	return policy.Mask{Kind: policy.MaskRound, Base: base}, meant
}

// view is the policy view of a person: a query over the raw rows of a source,
// and over the hashes that the person was shown.
func (r *rules) view(p *service.Person, raw, hashes string, typeOf map[string]string) string {
	list := []string{"raw.id"}
	for _, c := range columns {
		shown := "raw." + c.name
		if meant := r.shown(p, c.name); meant != "" {
			shown = meant
		}
		list = append(list, fmt.Sprintf("(%s)::%s AS %s", shown, typeOf[c.name], c.name))
	}
	sql := fmt.Sprintf("SELECT %s FROM %s raw LEFT JOIN %s hashes USING (id)", strings.Join(list, ", "), raw, hashes)
	where := "true"
	for _, f := range r.filters {
		if holds(f.policy.Except, p) != 1 {
			where += " AND (" + f.sql(p) + ")"
		}
	}
	return strings.Replace(sql, "FROM "+raw+" raw", "FROM (SELECT * FROM "+raw+" WHERE "+where+") raw", 1)
}

// shown is what a column's mask means for a person, "" if it is not masked.
// The exceptions of the picked mask count, no other's.
func (r *rules) shown(p *service.Person, column string) string {
	if list := r.masks[column]; len(list) > 0 && holds(list[0].policy.Except, p) != 1 {
		return list[0].sql(p)
	}
	return ""
}

// hashed are the columns that a person sees as hashes.
func (r *rules) hashed(p *service.Person) []string {
	var out []string
	for _, c := range columns {
		if strings.HasPrefix(r.shown(p, c.name), "hashes.") {
			out = append(out, c.name)
		}
	}
	return out
}
