package fdw

import "strings"

// readableOnly hides rows in which a column that the row filter reads holds
// what is none of its type: it compares with nothing, here or at the source.
func (c *composer) readableOnly() error {
	p, ok := c.d.(partial)
	if !ok || c.r.Decision.Filter == nil {
		return nil
	}
	seen := map[string]bool{}
	var failed error
	filterColumns(c.r.Decision.Filter, func(name string) {
		col := c.dictionary[name]
		if col == nil || seen[name] {
			return
		}
		seen[name] = true
		sql, err := p.Readable(col)
		if err != nil {
			failed = err
			return
		}
		if sql != "" {
			c.rowFilter = append(c.rowFilter, fragment{sql: sql})
		}
	})
	return failed
}

// unreadable keeps the source from failing on rows that only the engine can
// hide: values that are none of their column's type are fetched as NULL, with a
// column that says so.
func (c *composer) unreadable() error {
	p, ok := c.d.(partial)
	if !ok || c.s.Filter == nil {
		return nil
	}
	var conditions []string
	for i, out := range c.s.Outputs {
		if out.Selected < 0 || out.Mask != nil {
			continue
		}
		readable, err := p.Readable(c.r.Table.ByAttnum(c.r.Wanted[i]))
		if err != nil {
			return err
		}
		if readable == "" {
			continue
		}
		s := &c.s.Columns[out.Selected]
		s.Select = "CASE WHEN " + readable + " THEN " + s.Select + " END"
		conditions = append(conditions, "("+readable+")")
	}
	c.require(conditions)
	return nil
}

// tested makes a row an error that a condition at the source let through by a
// value that is none of its column's type, where that value is not fetched, which
// would fail too. (A governed session also evaluates every condition itself, and so
// fetches what they read.)
func (c *composer) tested() error {
	p, ok := c.d.(partial)
	if !ok || c.r.Decision != nil {
		return nil
	}
	seen := map[int32]bool{}
	for _, attnum := range c.r.Wanted {
		seen[attnum] = true
	}
	var conditions []string
	var failed error
	for _, e := range c.r.Conditions.List {
		walk(e, func(x Expr) {
			ref, ok := x.(*Column)
			if !ok || seen[ref.Attnum] {
				return
			}
			seen[ref.Attnum] = true
			readable, err := p.Readable(c.r.Table.ByAttnum(ref.Attnum))
			if err != nil {
				failed = err
			} else if readable != "" {
				conditions = append(conditions, "("+readable+")")
			}
		})
	}
	c.require(conditions)
	return failed
}

// require puts a column into the select list that is 0 in rows that must not be shown.
func (c *composer) require(conditions []string) {
	if len(conditions) == 0 {
		return
	}
	c.s.Readable = len(c.s.Columns)
	c.s.Columns = append(c.s.Columns, Selected{
		Transfer: Transfer{Select: "CASE WHEN " + strings.Join(conditions, " AND ") + " THEN 1 ELSE 0 END", Kind: KindInt64}, Type: "integer"})
}
