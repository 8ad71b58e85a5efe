package policyview

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// asker draws queries of two tables, T and U, that both stand for things.
// Each has one right answer but for the order of its rows.
type asker struct{ rng *rand.Rand }

func (a asker) pick(list ...string) string { return list[a.rng.IntN(len(list))] }

func (a asker) column(of ...class) *column {
	for {
		c := &columns[a.rng.IntN(len(columns))]
		for _, k := range of {
			if c.class == k {
				return c
			}
		}
		if len(of) == 0 {
			return c
		}
	}
}

// query draws one; most errors of SQL would depend on the order in which conditions run, so it has none that may fail beside others.
func (a asker) query() string {
	where := "TRUE"
	if a.rng.IntN(4) > 0 {
		where = a.condition("t", 2)
	}
	x, y := a.column().name, a.column().name
	num := a.column(whole, decimal).name
	switch a.rng.IntN(15) {
	case 0:
		return fmt.Sprintf("SELECT t.* FROM T t WHERE %s", where)
	case 1:
		return fmt.Sprintf("SELECT %s, count(*), count(%s), min(%[2]s), max(%[2]s), sum(%s) FROM T t WHERE %s GROUP BY 1", x, a.column(text, whole, decimal, double, date, moment).name, num, where)
	case 2:
		return fmt.Sprintf("SELECT DISTINCT %s, %s FROM T t WHERE %s", x, y, where)
	case 3:
		return fmt.Sprintf("SELECT t.id, u.id FROM T t JOIN U u ON t.%s = u.%[1]s WHERE %s AND u.id < 20", x, where)
	case 4:
		return fmt.Sprintf("SELECT t.id, u.%s FROM T t LEFT JOIN U u ON t.id = u.id AND %s", x, a.condition("u", 1))
	case 5:
		return fmt.Sprintf("SELECT id, t.%s, u.%[1]s FROM T t FULL JOIN U u USING (id) WHERE %s", x, where)
	case 6:
		return fmt.Sprintf("SELECT id, %s FROM T t WHERE %s IN (SELECT %[2]s FROM U u WHERE %s)", x, y, a.condition("u", 1))
	case 7:
		return fmt.Sprintf("SELECT id FROM T t WHERE %s EXISTS (SELECT FROM U u WHERE u.%s = t.%[2]s AND u.id <> t.id AND %s)", a.pick("", "NOT "), x, a.condition("u", 1))
	case 8:
		return fmt.Sprintf("SELECT id, %s FROM T t WHERE %s ORDER BY %s %s, id LIMIT %d OFFSET %d", x, where, y, a.pick("", "DESC", "NULLS FIRST"), 1+a.rng.IntN(12), a.rng.IntN(3))
	case 9:
		return fmt.Sprintf("SELECT id, row_number() OVER (PARTITION BY %s ORDER BY id), lag(%s) OVER (ORDER BY id) FROM T t WHERE %s", x, y, where)
	case 10:
		return fmt.Sprintf("SELECT %s FROM T t WHERE %s %s SELECT %[1]s FROM U u WHERE %s", x, where, a.pick("UNION ALL", "UNION", "EXCEPT", "EXCEPT ALL", "INTERSECT"), a.condition("u", 1))
	case 11:
		return fmt.Sprintf("WITH w AS %s (SELECT * FROM T t WHERE %s) SELECT t.id, w.%s FROM w JOIN T t USING (id) WHERE %s", a.pick("MATERIALIZED", "NOT MATERIALIZED"), where, x, a.condition("t", 1))
	case 12:
		return fmt.Sprintf("SELECT t.id, l.id, l.%s FROM T t CROSS JOIN LATERAL (SELECT * FROM U u WHERE u.%[1]s = t.%[1]s AND u.id > t.id ORDER BY u.id LIMIT 2) l WHERE %s AND t.id < 15", x, where)
	case 13: // fails if and only if a row that is shown has the value
		return fmt.Sprintf("SELECT count(*) FROM T t WHERE 1 / (%s - %s) < 5", a.pick("small", "price"), a.pick("0", "1", "10", "100"))
	}
	return fmt.Sprintf("SELECT %s, (SELECT count(*) FROM U u WHERE u.%[1]s IS NOT DISTINCT FROM t.%[1]s) FROM T t WHERE %s", x, where)
}

// condition is about the columns of one alias.
func (a asker) condition(alias string, depth int) string {
	if depth > 0 {
		switch a.rng.IntN(5) {
		case 0:
			return "(" + a.condition(alias, depth-1) + " AND " + a.condition(alias, depth-1) + ")"
		case 1:
			return "(" + a.condition(alias, depth-1) + " OR " + a.condition(alias, depth-1) + ")"
		case 2:
			return "NOT " + a.condition(alias, depth-1)
		}
	}
	c := a.column()
	name := alias + "." + c.name
	value := func() string { return quote(c.values[a.rng.IntN(len(c.values))]) }
	switch a.rng.IntN(9) {
	case 0:
		return "(" + name + a.pick(" IS NULL", " IS NOT NULL") + ")"
	case 1:
		return fmt.Sprintf("(%s IN (%s, %s, %s))", name, value(), value(), value())
	case 2:
		return fmt.Sprintf("(%s BETWEEN %s AND %s)", name, value(), value())
	case 3:
		return fmt.Sprintf("(%s IS DISTINCT FROM %s)", name, value())
	case 4:
		t := alias + "." + a.column(text).name
		return "(" + a.pick(t+" LIKE 'n%'", t+" NOT LIKE '%\\_%'", "lower("+t+") = 'north'", "length("+t+") > 4", t+" || 'x' = 'northx'", t+" ~ '^[a-z]'", "left("+t+", 1) = '4'") + ")"
	case 5:
		n := alias + ".small"
		return "(" + a.pick(n+" + 1 > 2", n+" * 2 < 7", "abs("+n+") = 1", "mod("+n+", 3) = 1", "- "+n+" > 0", n+" = ANY (ARRAY[1, 10])", n+" = id") + ")"
	case 6:
		return fmt.Sprintf("(coalesce(%s, %s) %s %s)", name, value(), a.pick("=", "<>"), value())
	case 7:
		return fmt.Sprintf("(CASE WHEN %s = %s THEN %s.id > 30 ELSE %[1]s IS NOT NULL END)", name, value(), alias)
	}
	return fmt.Sprintf("(%s %s %s)", name, a.pick("=", "<>", "<", "<=", ">", ">="), value())
}

// manner draws how a query is asked: plans differ, and who fetches how much.
func (a asker) manner(query string) string {
	settings := ""
	for _, s := range []string{"enable_hashjoin", "enable_mergejoin", "enable_material", "enable_hashagg", "enable_memoize"} {
		settings += "SET " + s + " = " + a.pick("on", "on", "off") + "; "
	}
	switch a.rng.IntN(4) {
	case 0:
		return settings + "PREPARE q AS " + query + "; EXECUTE q; DEALLOCATE q"
	case 1:
		return settings + "BEGIN; DECLARE c NO SCROLL CURSOR FOR " + query + "; FETCH 3 FROM c; FETCH ALL FROM c; COMMIT"
	case 2:
		return settings + "SET plan_cache_mode = force_generic_plan; PREPARE q AS " + query + "; EXECUTE q; DEALLOCATE q; RESET plan_cache_mode"
	}
	return settings + query
}

// of puts tables in place of T and U.
func of(query, t, u string) string {
	return strings.NewReplacer("FROM T ", "FROM "+t+" ", "JOIN T ", "JOIN "+t+" ", "FROM U ", "FROM "+u+" ", "JOIN U ", "JOIN "+u+" ").Replace(query)
}
