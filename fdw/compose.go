package fdw

import (
	"fmt"
	"strconv"
	"strings"

	"portcullis.dev/portcullis/policy"
)

// ScanRequest is a scan of one table.
type ScanRequest struct {
	Table      *Table
	Wanted     []int32          // attnums, in the order of the block's columns
	Conditions Conditions       // those that Exact accepted while planning
	Limit      int64            // at most so many rows are needed and no other condition waits here; -1: all
	Decision   *policy.Decision // nil: an ungoverned session
	QueryID    int64

	// Indirect has no column selected as it is that must be described as hoped
	// for: it was not.
	Indirect bool

	// Page has the statement read in pages by a key that the source told of.
	Page *PageKey
}

// Selected is one column of the remote select list.
type Selected struct {
	Transfer
	Remote string // name of the remote column, "" for the constant of an empty list
	Type   string // PostgreSQL type of the value that is fetched

	forPages bool // nothing but the next page reads it
}

// Output is one column of the block that the executor gets.
type Output struct {
	Selected int          // index in Statement.Columns, -1: nothing is fetched, every row shows NULL
	Mask     *policy.Mask // computed by the engine over what is fetched, nil: none
}

// Statement is what to send, and what to do with what comes back.
type Statement struct {
	SQL     string
	Args    []Arg
	Columns []Selected // the select list
	Outputs []Output   // one for each of ScanRequest.Wanted

	// Filter is what remains of the row filter for the engine, nil if nothing
	// does. FilterColumns finds its columns in Columns by remote name.
	Filter        *policy.Predicate
	FilterColumns map[string]int

	// Readable is the column of Columns that says 0 where a value of a row that
	// Filter and the conditions let through cannot be read, -1: all can.
	Readable int

	// Told is how many columns follow Columns in the result, for their
	// description only; Checks are what the description must say.
	Told   int
	Checks []Check
	hopes  []hope

	// Pageable: the statement may be read in pages, if the source has a key for
	// that. Pages is how, where ScanRequest.Page said so.
	Pageable bool
	Pages    *Pages

	LeftOut []string // why conditions were left out; for the log, not for users
}

// Compose writes the remote statement of a scan:
//
//	row filter AND total conditions AND CASE WHEN row filter THEN guarded conditions ELSE false END
//
// Without a decision every condition must go; with one, all of them are also
// evaluated above the scan, and those that may not go are left out.
func Compose(d Dialect, r ScanRequest) (*Statement, error) {
	c := &composer{d: d, r: r, s: &Statement{FilterColumns: map[string]int{}, Readable: -1}}
	if err := c.admit(); err != nil {
		return nil, err
	}
	if err := c.outputs(); err != nil {
		return nil, err
	}
	if err := c.filter(); err != nil {
		return nil, err
	}
	if err := c.unreadable(); err != nil {
		return nil, err
	}
	if err := c.conditions(); err != nil {
		return nil, err
	}
	if err := c.tested(); err != nil {
		return nil, err
	}
	if err := c.pageColumns(); err != nil {
		return nil, err
	}
	if err := c.witnesses(); err != nil {
		return nil, err
	}
	return c.s, c.write()
}

type composer struct {
	d          Dialect
	r          ScanRequest
	s          *Statement
	dictionary map[string]*TableColumn // governed: by remote name
	rowFilter  []fragment
	total      []fragment
	guarded    []fragment
	leftOut    bool
	told       []string // select list behind the columns
}

// fragment is a piece of SQL with the values of its marks.
type fragment struct {
	sql  string
	args []Arg
}

// admit checks that the decision is one for this table.
func (c *composer) admit() error {
	dec := c.r.Decision
	if dec == nil {
		return nil
	}
	if !dec.Allowed {
		return &Error{State: "42501", Message: "permission denied for table " + c.r.Table.LocalName}
	}
	if dec.RemoteTable != c.r.Table.RemoteName {
		return Disagrees(c.r.Table, "table_name")
	}
	if !c.sameSchema(dec.RemoteSchema) {
		return Disagrees(c.r.Table, "schema_name")
	}
	c.dictionary = map[string]*TableColumn{}
	for _, col := range dec.Columns {
		c.dictionary[col.Name] = dictionaryColumn(col, c.r.Table.ByRemoteName(col.Name))
	}
	return nil
}

// Disagrees is the refusal of a foreign table whose option (or server) is not
// what the decision was made for.
func Disagrees(t *Table, option string) *Error {
	return &Error{
		State:   "42501",
		Message: "permission denied for table " + t.LocalName,
		Detail:  "The " + option + " of the foreign table is not that of its data source.",
		Hint:    "An administrator creates the table anew from the data source, or has the policy service read the source again.",
	}
}

func (c *composer) sameSchema(decided string) bool {
	have := c.r.Table.RemoteSchema
	switch c.d.Name() {
	case "postgres":
		return or(have, "public") == or(decided, "public")
	case "sqlite":
		return or(have, "main") == or(decided, "main")
	}
	return have == decided
}

// masked reports that users see something else than the raw column. New and
// renamed columns are unknown to the decision and shown as NULL.
func (c *composer) masked(remote string) bool {
	if c.r.Decision == nil {
		return false
	}
	_, mask := c.r.Decision.Masks[remote]
	return mask || c.dictionary[remote] == nil
}

// outputs fills the select list with what the query needs.
func (c *composer) outputs() error {
	for _, attnum := range c.r.Wanted {
		col := c.r.Table.ByAttnum(attnum)
		if col == nil {
			return &Error{State: stateInternal, Message: fmt.Sprintf("column %d is not in the table", attnum)}
		}
		out, err := c.output(col)
		if err != nil {
			return err
		}
		c.s.Outputs = append(c.s.Outputs, out)
	}
	return nil
}

func (c *composer) output(col *TableColumn) (Output, error) {
	if !c.masked(col.RemoteName) {
		at, err := c.fetch(col)
		return Output{Selected: at}, err
	}
	mask, ok := c.r.Decision.Masks[col.RemoteName]
	raw := c.dictionary[col.RemoteName]
	switch {
	case !ok || raw == nil || mask.Kind == policy.MaskNull, mask.Kind == policy.MaskConstant && mask.Constant == nil:
		return Output{Selected: -1}, nil
	case mask.Kind == policy.MaskConstant && mask.Nulls == policy.NullsMask:
		// Nothing of the column matters, not even whether it is NULL.
		return Output{Selected: c.selected(raw, Transfer{Select: "1", Kind: KindInt64}), Mask: &mask}, nil
	case mask.Kind == policy.MaskConstant:
		at, err := c.fetchPresence(raw)
		return Output{Selected: at, Mask: &mask}, err
	}
	at, err := c.fetchMasked(raw)
	return Output{Selected: at, Mask: &mask}, err
}

// fetchPresence puts into the select list whether a column is NULL, without
// its value: NULL stays NULL under a constant mask (POLICY, "Masks").
func (c *composer) fetchPresence(col *TableColumn) (int, error) {
	isNull, err := c.print(&NullTest{Arg: &Column{Type: col.TypeOID, Collation: oidC, Of: col}}, nil)
	if err != nil {
		return 0, err
	}
	c.s.Columns = append(c.s.Columns, Selected{
		Transfer: Transfer{Select: "CASE WHEN " + isNull.sql + " THEN NULL ELSE 1 END", Kind: KindInt64},
		Remote:   col.RemoteName, Type: col.TypeName})
	return len(c.s.Columns) - 1, nil
}

// fetchMasked fetches a raw value for its mask: one that is none of the
// column's type is NULL, since an error would tell of it.
func (c *composer) fetchMasked(col *TableColumn) (int, error) {
	t, err := c.d.Transfer(col)
	if err != nil {
		return 0, err
	}
	if p, ok := c.d.(partial); ok {
		readable, err := p.Readable(col)
		if err != nil {
			return 0, err
		}
		if readable != "" {
			t.Select = "CASE WHEN " + readable + " THEN " + t.Select + " END"
		}
	}
	return c.selected(col, t), nil
}

// fetch puts a column into the select list once.
func (c *composer) fetch(col *TableColumn) (int, error) {
	t, err := c.d.Transfer(col)
	if err != nil {
		return 0, err
	}
	if d, ok := c.d.(direct); ok && !c.r.Indirect {
		if plain, ok := d.Direct(col); ok {
			at := c.selected(col, plain)
			c.s.hopes = append(c.s.hopes, hope{at, col})
			return at, nil
		}
	}
	return c.selected(col, t), nil
}

func (c *composer) selected(col *TableColumn, t Transfer) int {
	for i, s := range c.s.Columns {
		if s.Remote == col.RemoteName && s.Transfer == t && s.Type == col.TypeName {
			return i
		}
	}
	c.s.Columns = append(c.s.Columns, Selected{Transfer: t, Remote: col.RemoteName, Type: col.TypeName})
	return len(c.s.Columns) - 1
}

// filter sends what the source computes exactly of the row filter, and keeps
// the rest for the engine, which gets the columns that it reads.
func (c *composer) filter() error {
	if c.r.Decision == nil {
		return nil
	}
	var here []*policy.Predicate
	for _, p := range conjuncts(c.r.Decision.Filter) {
		f, err := c.filterFragment(p)
		if err != nil {
			c.s.LeftOut = append(c.s.LeftOut, "row filter: "+err.Error())
			here = append(here, p)
			continue
		}
		c.rowFilter = append(c.rowFilter, f)
	}
	if err := c.readableOnly(); err != nil {
		return err
	}
	if len(here) == 0 {
		return nil
	}
	c.s.Filter = &policy.Predicate{Op: policy.OpAnd, Args: here}
	if len(here) == 1 {
		c.s.Filter = here[0]
	}
	var failed error
	filterColumns(c.s.Filter, func(name string) {
		col := c.dictionary[name]
		if col == nil {
			failed = &Error{State: "42501", Message: "the row filter of table " + c.r.Table.LocalName + " cannot be applied",
				Hint: "The data source has changed since the policy was made; ask an administrator to refresh it."}
			return
		}
		at, err := c.fetch(col)
		if err != nil {
			failed = err
		}
		c.s.FilterColumns[name] = at
	})
	return failed
}

func (c *composer) filterFragment(p *policy.Predicate) (fragment, error) {
	e, err := filterExpr(p, func(name string) *TableColumn { return c.dictionary[name] })
	if err != nil {
		return fragment{}, err
	}
	exact, why := c.d.Exact(e, c.r.Table, nil)
	if exact != Total {
		return fragment{}, decline("%s", why)
	}
	return c.print(e, nil)
}

func (c *composer) print(e Expr, f *Facts) (fragment, error) {
	w := &SQLWriter{}
	err := c.d.Print(e, c.r.Table, f, w)
	return fragment{w.SQL(), w.Args()}, err
}

// conditions sorts the user's conditions into total and guarded ones.
func (c *composer) conditions() error {
	for _, e := range c.r.Conditions.List {
		why := c.hidden(e)
		exact := No
		if why == "" {
			exact, why = c.d.Exact(e, c.r.Table, c.r.Conditions.Facts)
		}
		if exact == Fallible && c.r.Decision != nil {
			exact, why = No, "it may fail, and what an error of the source says is hidden where a policy holds"
		}
		// A guard needs the whole row filter at the source.
		if exact == Guarded && c.s.Filter != nil {
			exact, why = No, "it may fail on rows that only the engine can hide"
		}
		if exact == No {
			if c.r.Decision == nil {
				return &Error{State: stateInternal, Message: "a condition that was planned for the source cannot be sent: " + why}
			}
			c.leftOut = true
			c.s.LeftOut = append(c.s.LeftOut, why)
			continue
		}
		f, err := c.print(e, c.r.Conditions.Facts)
		if err != nil {
			return err
		}
		if exact == Total {
			c.total = append(c.total, f)
		} else {
			c.guarded = append(c.guarded, f)
		}
	}
	return nil
}

// hidden refuses conditions on columns whose raw values users may not test.
func (c *composer) hidden(e Expr) (why string) {
	walk(e, func(x Expr) {
		col, ok := x.(*Column)
		if !ok {
			return
		}
		if of := c.r.Table.ByAttnum(col.Attnum); of == nil || c.masked(of.RemoteName) {
			why = "it reads a masked or unknown column"
		}
	})
	return why
}

func (c *composer) write() error {
	relation, err := c.d.Relation(c.r.Table)
	if err != nil {
		return err
	}
	if len(c.s.Columns) == 0 {
		c.s.Columns = []Selected{{Transfer: Transfer{Select: "1", Kind: KindInt64}, Type: "integer"}}
	}
	w := &SQLWriter{}
	// Behind SELECT: drivers look at the first word.
	w.Raw("SELECT /* portcullis query=", strconv.FormatInt(c.r.QueryID, 10), " */ ")
	for i, s := range c.s.Columns {
		if i > 0 {
			w.Raw(", ")
		}
		w.Raw(s.Select)
	}
	for _, witness := range c.told {
		w.Raw(", ", witness)
	}
	w.Raw(" FROM ", relation)
	head := w.SQL()
	where := append(append([]fragment{}, c.rowFilter...), c.total...)
	if len(c.guarded) > 0 {
		where = append(where, c.guard())
	}
	if len(where) > 0 {
		all := join(where)
		w.Raw(" WHERE ", all.sql)
		w.args = append(w.args, all.args...)
	}
	limited := c.r.Limit >= 0 && !c.leftOut && c.s.Filter == nil
	if limited {
		w.Raw(" LIMIT ", strconv.FormatInt(c.r.Limit, 10))
	}
	c.s.SQL, c.s.Args = w.SQL(), w.Args()
	c.s.Pageable = c.pageable(limited)
	return c.pages(head, where)
}

// guard evaluates guarded conditions on visible rows only: CASE computes no
// arm before its condition holds, in all three sources.
func (c *composer) guard() fragment {
	conditions := join(c.guarded)
	if len(c.rowFilter) == 0 {
		return conditions
	}
	f := join(c.rowFilter)
	return fragment{
		sql:  "CASE WHEN " + f.sql + " THEN " + conditions.sql + " ELSE (1 = 0) END",
		args: append(append([]Arg{}, f.args...), conditions.args...),
	}
}

func join(fs []fragment) fragment {
	var out fragment
	var parts []string
	for _, f := range fs {
		parts = append(parts, f.sql)
		out.args = append(out.args, f.args...)
	}
	out.sql = strings.Join(parts, " AND ")
	return out
}
