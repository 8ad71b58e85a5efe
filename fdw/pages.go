package fdw

import (
	"context"
	"strconv"
	"strings"
)

// Paged is a dialect whose driver keeps whole results in memory. A large table
// is read in pages there, each by a statement of its own: the rows that follow
// the last page's last key, so many of them, in the order of the key. All pages
// see the transaction's one snapshot.
type Paged interface {
	Dialect

	// PlanSQL asks for the plan of a statement, with the values of its parameters.
	// From then on until the transaction ends the table may not become another one.
	PlanSQL(sql string) string

	// InPages tells from the plan how many rows the source expects to read, if pages cost it
	// no more than the whole statement, else 0; small: the table is not worth asking about for a while.
	InPages(plan [][]*string) (rows int64, small bool)

	// PageKey finds the key to read a table in pages by, nil if there is none whose
	// pages would be exact. To be asked after the plan.
	PageKey(ctx context.Context, q Querier, t *Table) (*PageKey, error)

	// pageColumn says how a column of the key is fetched, and what compares it
	// with the last page's value: text before and after the mark.
	pageColumn(c PageColumn) (Transfer, binding, error)

	// byPageKey follows the table's name and has the source read along the key.
	byPageKey() string
}

// PageKey are the columns of a key: unique, never NULL, in the key's order.
type PageKey struct {
	Columns  []PageColumn
	RowBytes int // that a row takes at the source, 0: not known
}

// PageColumn is an integer column of a key.
type PageColumn struct {
	Name string
	Wide bool // holds unsigned numbers of 64 bits
}

// Pages are the statements that a Statement is read in pages by, without their LIMIT.
type Pages struct {
	first, next string
	key         []pageColumn
}

type pageColumn struct {
	at   int  // in Statement.Columns
	bind Bind // BindInt64, or BindText for its decimal text
}

// PageSQL is the statement of a page of so many rows: the first one, or one
// whose values are the Statement's and then those of After.
func (p *Pages) PageSQL(first bool, rows int) string {
	sql := p.next
	if first {
		sql = p.first
	}
	return sql + " LIMIT " + strconv.Itoa(rows)
}

// Row hands out values of one row of a page, by column of the select list.
type Row interface {
	Int64(column int) (int64, bool)
	Text(column int) (string, bool)
}

// After are the values by which a page follows a row; false: the row has no key.
func (p *Pages) After(row Row) (values []Value, ok bool) {
	for i, k := range p.key {
		v := Value{Bind: k.bind}
		if k.bind == BindInt64 {
			v.Int, ok = row.Int64(k.at)
		} else {
			v.Text, ok = row.Text(k.at)
		}
		if !ok {
			return nil, false
		}
		values = append(values, v)
		if i < len(p.key)-1 {
			values = append(values, v)
		}
	}
	return values, true
}

// pageable tells whether a statement may be read in pages: one that has no
// condition of the user's, which an index may answer, and needs all rows.
func (c *composer) pageable(limited bool) bool {
	_, can := c.d.(Paged)
	return can && !limited && len(c.total)+len(c.guarded) == 0
}

// pageColumns fetches the key, too.
func (c *composer) pageColumns() error {
	if c.r.Page == nil {
		return nil
	}
	c.s.Pages = &Pages{}
	for _, k := range c.r.Page.Columns {
		t, b, err := c.d.(Paged).pageColumn(k)
		if err != nil {
			return err
		}
		// bigint and numeric: no column of another type here is mistaken for it.
		key := &TableColumn{RemoteName: k.Name, TypeName: map[bool]string{false: "bigint", true: "numeric"}[k.Wide]}
		at := c.fetched(k.Name, t)
		if at < 0 {
			at = c.selected(key, t)
			c.s.Columns[at].forPages = true
		}
		c.s.Pages.key = append(c.s.Pages.key, pageColumn{at, b.bind})
	}
	return nil
}

// fetched finds a column that is in the select list already, -1: it is not.
func (c *composer) fetched(remote string, t Transfer) int {
	for i, s := range c.s.Columns {
		if s.Remote == remote && s.Select == t.Select && s.Kind == t.Kind {
			return i
		}
	}
	return -1
}

// pages writes the statements of pages: head is the select list and the table,
// where the statement's own conditions.
func (c *composer) pages(head string, where []fragment) error {
	if c.r.Page == nil {
		return nil
	}
	d := c.d.(Paged)
	var after, order strings.Builder
	closing := 0
	for i, k := range c.r.Page.Columns {
		name, err := d.Quote(k.Name)
		if err != nil {
			return err
		}
		_, b, err := d.pageColumn(k)
		if err != nil {
			return err
		}
		mark := b.before + "?" + b.after
		after.WriteString("(" + name + " > " + mark)
		if i < len(c.r.Page.Columns)-1 {
			after.WriteString(" OR " + name + " = " + mark + " AND ")
		}
		closing++
		if i > 0 {
			order.WriteString(", ")
		}
		order.WriteString(name)
	}
	after.WriteString(strings.Repeat(")", closing))
	write := func(conditions []fragment) string {
		sql := head + d.byPageKey()
		if len(conditions) > 0 {
			sql += " WHERE " + join(conditions).sql
		}
		return sql + " ORDER BY " + order.String()
	}
	c.s.Pages.first = write(where)
	c.s.Pages.next = write(append(append([]fragment{}, where...), fragment{sql: after.String()}))
	return nil
}
