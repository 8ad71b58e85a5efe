package policyview

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"portcullis.dev/portcullis/service"
)

// filter draws row conditions, as governors write them and as SQL for a person.
type filter struct{ rng *rand.Rand }

type meaning func(p *service.Person) string

func always(sql string) meaning { return func(*service.Person) string { return sql } }

func (f filter) condition(depth int) (string, meaning) {
	if depth == 0 || f.rng.IntN(3) == 0 {
		return f.leaf()
	}
	a, meantA := f.condition(depth - 1)
	if f.rng.IntN(4) == 0 {
		return "NOT (" + a + ")", func(p *service.Person) string { return "NOT (" + meantA(p) + ")" }
	}
	b, meantB := f.condition(depth - 1)
	op := []string{" AND ", " OR "}[f.rng.IntN(2)]
	return "(" + a + ")" + op + "(" + b + ")", func(p *service.Person) string { return "(" + meantA(p) + ")" + op + "(" + meantB(p) + ")" }
}

func (f filter) leaf() (string, meaning) {
	switch f.rng.IntN(6) {
	case 0:
		return "@attributeValuesContains('region', region)", func(p *service.Person) string { return among("region", p.Attributes["region"]) }
	case 1:
		return "@hasAttribute('role', 'clerk')", func(p *service.Person) string {
			if len(p.Attributes["role"]) == 0 {
				return "NULL::boolean"
			}
			return fmt.Sprint(slices.Contains(p.Attributes["role"], "clerk"))
		}
	case 2:
		return "@isInGroups('blue', 'red')", func(p *service.Person) string {
			return fmt.Sprint(slices.Contains(p.Groups, "blue") || slices.Contains(p.Groups, "red"))
		}
	}
	return f.comparison()
}

// among is what membership in an attribute's values means: unknown without any.
func among(column string, values []string) string {
	if len(values) == 0 {
		return "NULL::boolean"
	}
	var list []string
	for _, v := range values {
		list = append(list, quote(v))
	}
	return column + " IN (" + strings.Join(list, ", ") + ")"
}

// comparison is of a column with constants. Text compares byte by byte.
func (f filter) comparison() (string, meaning) {
	c := &columns[f.rng.IntN(len(columns))]
	value := func() string {
		v := c.values[f.rng.IntN(len(c.values))]
		if c.class == text || c.class == date || c.class == moment {
			return quote(v)
		}
		return v
	}
	if c.class == truth || f.rng.IntN(6) == 0 {
		s := c.name + []string{" IS NULL", " IS NOT NULL"}[f.rng.IntN(2)]
		return s, always(s)
	}
	here := c.name
	if c.class == text {
		here += ` COLLATE "C"`
	}
	var rest string
	switch f.rng.IntN(4) {
	case 0:
		rest = " IN (" + value() + ", " + value() + ")"
	case 1:
		rest = " BETWEEN " + value() + " AND " + value()
	default:
		rest = " " + []string{"=", "<>", "<", "<=", ">", ">="}[f.rng.IntN(6)] + " " + value()
	}
	return c.name + rest, always(here + rest)
}
