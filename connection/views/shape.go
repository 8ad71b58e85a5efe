package views

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/parts"
	"portcullis.dev/portcullis/internal/sqltext"
	"portcullis.dev/portcullis/policy"
)

// Table is a table with those who may see a part of it.
type Table struct {
	Ref     connection.ObjectRef
	Columns []policy.Column // the dictionary that was decided on, in order
	People  []Person
	HashKey []byte
}

// Person is somebody with what the evaluator decided. The zero decision shows everything.
type Person struct {
	Role   string // on the instance
	Filter *policy.Predicate
	Masks  map[string]policy.Mask // by column
}

// view is a table's barrier view, taken apart.
type view struct {
	shapes  []shape
	members []member
	keyed   bool // some shape hashes
}

// shape is what people with equal SQL have in common. Its number follows from
// that SQL: a person's transaction may still see their row of before the view was
// replaced, which must not mean another shape then.
type shape struct {
	number  int64
	filter  string
	columns []string // select list, one a column
}

// member is a person with the values that the shape's SQL refers to.
type member struct {
	role  string
	shape shape
	slots [][]string
}

// compile groups the people of a table by shape. It depends on nothing but t.
func compile(t Table) (*view, []parts.Refusal) {
	v := &view{}
	var refused []parts.Refusal
	seen := map[int64]bool{}
	people := slices.Clone(t.People)
	slices.SortFunc(people, func(a, b Person) int { return strings.Compare(a.Role, b.Role) })
	for _, p := range people {
		w := &writer{table: t}
		s, err := w.shape(p)
		if err != nil {
			refused = append(refused, parts.Refusal{Table: t.Ref, Role: p.Role, Reason: err.Error()})
			continue
		}
		s.number = s.numberOf(s.columns)
		if !seen[s.number] {
			v.shapes = append(v.shapes, s)
			seen[s.number] = true
		}
		v.keyed = v.keyed || w.keyed
		v.members = append(v.members, member{role: p.Role, shape: s, slots: w.slots})
	}
	return v, refused
}

// numberOf is the number of a shape with these columns.
func (s shape) numberOf(columns []string) int64 {
	sum := sha256.Sum256([]byte(s.filter + "\x00" + strings.Join(columns, "\x00")))
	return int64(binary.BigEndian.Uint64(sum[:]) >> 1)
}

// among is the number under which a view that was made before, with these
// columns, shows the same: the table may have got further columns since.
func (s shape) among(of []policy.Column, names []string) (number int64, ok bool) {
	texts := make([]string, len(names))
	for i, name := range names {
		at := slices.IndexFunc(of, func(c policy.Column) bool { return c.Name == name })
		if at < 0 {
			return 0, false
		}
		texts[i] = s.columns[at]
	}
	return s.numberOf(texts), true
}

// writer prints one person's decision and collects its values.
type writer struct {
	table Table
	slots [][]string
	keyed bool
}

func (w *writer) shape(p Person) (s shape, err error) {
	s.filter = "true"
	if p.Filter != nil {
		if s.filter, err = w.predicate(p.Filter); err != nil {
			return s, err
		}
	}
	for _, c := range w.table.Columns {
		text := column(c.Name)
		if m, ok := p.Masks[c.Name]; ok {
			if text, err = w.mask(c, m); err != nil {
				return s, fmt.Errorf("column %q: %w", c.Name, err)
			}
		}
		s.columns = append(s.columns, text)
	}
	for name := range p.Masks {
		if !slices.ContainsFunc(w.table.Columns, func(c policy.Column) bool { return c.Name == name }) {
			return s, fmt.Errorf("a mask is for column %q, which the table does not have", name)
		}
	}
	return s, nil
}

// me is who logged in, whatever SET ROLE says since.
const me = "(SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = session_user)"

func column(name string) string { return "t." + sqltext.Identifier(name) }

// query is the body of the view.
func (v *view) query(t Table) string {
	mine := fmt.Sprintf("(SELECT p.shape FROM portcullis_views.person p WHERE p.base = %d AND p.role = %s)", t.Ref.OID, me)
	var b strings.Builder
	b.WriteString("SELECT ")
	for i, c := range t.Columns {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s AS %s", v.choose(i, c, mine), sqltext.Identifier(c.Name))
	}
	fmt.Fprintf(&b, " FROM %s.%s t WHERE ", sqltext.Identifier(t.Ref.Schema), sqltext.Identifier(t.Ref.Name))
	if len(v.shapes) == 0 {
		b.WriteString("false")
	}
	for i, s := range v.shapes {
		if i > 0 {
			b.WriteString(" OR ")
		}
		fmt.Fprintf(&b, "(%s = %d AND (%s))", mine, s.number, s.filter)
	}
	return b.String()
}

// choose is column i as the person's shape shows it. Type, length and collation
// are always those of the table's column, so that a view can be replaced while
// people have statements prepared on it.
func (v *view) choose(i int, c policy.Column, mine string) string {
	byText := map[string][]string{}
	var order []string
	for _, s := range v.shapes {
		text := s.columns[i]
		if byText[text] == nil {
			order = append(order, text)
		}
		byText[text] = append(byText[text], fmt.Sprint(s.number))
	}
	raw := column(c.Name)
	if len(order) == 1 && order[0] == raw {
		return raw
	}
	var b strings.Builder
	fmt.Fprintf(&b, "(CASE WHEN false THEN %s", raw)
	for _, text := range order {
		fmt.Fprintf(&b, " WHEN %s IN (%s) THEN %s", mine, strings.Join(byText[text], ", "), text)
	}
	fmt.Fprintf(&b, " END)::%s", c.Type)
	return b.String()
}
