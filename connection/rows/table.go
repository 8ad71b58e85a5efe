package rows

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/filter"
	"portcullis.dev/portcullis/connection/grants"
	"portcullis.dev/portcullis/connection/parts"
	"portcullis.dev/portcullis/policy"
)

// Table is a table with those who may see some of its rows.
type Table struct {
	Ref     connection.ObjectRef
	Columns []policy.Column // the dictionary that was decided on
	People  []Person
}

// Person is somebody with what the evaluator decided.
type Person struct {
	Role   string // on the instance
	Filter *policy.Predicate
	Write  bool // may change the rows that they see
}

// form is the filter of people who differ in values only. Its number follows
// from it: whoever sees an old row of the values' table must not find another form by it.
type form struct {
	Form   int64        `json:"form"`
	Filter *filter.Expr `json:"filter"`
}

// member is a person with the values that the form refers to.
type member struct {
	role  string
	write bool
	form  int64
	slots [][]string
}

// compiled is a table taken apart.
type compiled struct {
	table   Table
	forms   []form
	members []member
	digest  string // of the policies
}

// version is of what the owner's functions write; another one makes policies anew.
const version = 1

func compile(t Table, prefix string) (*compiled, []parts.Refusal, error) {
	c := &compiled{table: t}
	var refused []parts.Refusal
	people := slices.Clone(t.People)
	slices.SortFunc(people, func(a, b Person) int { return strings.Compare(a.Role, b.Role) })
	for _, p := range people {
		m := member{role: p.Role, write: p.Write, slots: [][]string{}}
		e := &filter.Expr{Op: "true"}
		if p.Filter != nil {
			var err error
			e, err = filter.Compile(t.Columns, p.Filter, func(values ...string) int { m.slots = append(m.slots, values); return len(m.slots) })
			if err != nil {
				refused = append(refused, parts.Refusal{Table: t.Ref, Role: p.Role, Reason: err.Error()})
				continue
			}
		}
		text, err := json.Marshal(e)
		if err != nil {
			return nil, nil, fmt.Errorf("the filter of %s: %w", p.Role, err)
		}
		sum := sha256.Sum256(text)
		m.form = int64(binary.BigEndian.Uint64(sum[:])>>1 | 1) // 0 lets pass
		if !slices.ContainsFunc(c.forms, func(f form) bool { return f.Form == m.form }) {
			c.forms = append(c.forms, form{m.form, e})
		}
		c.members = append(c.members, m)
	}
	slices.SortFunc(c.forms, func(a, b form) int { return cmp.Compare(a.Form, b.Form) })
	text, err := json.Marshal(c.change(prefix))
	if err != nil {
		return nil, nil, fmt.Errorf("the policies of %s: %w", t.Ref.Name, err)
	}
	sum := sha256.Sum256(fmt.Appendf(text, " %d", version))
	c.digest = hex.EncodeToString(sum[:])
	return c, refused, nil
}

// change is what row_policies is told.
func (c *compiled) change(prefix string) map[string]any {
	return map[string]any{"oid": c.table.Ref.OID, "schema": c.table.Ref.Schema, "name": c.table.Ref.Name, "digest": c.digest, "forms": c.forms,
		"readers": roleOf(prefix, c.table.Ref, connection.Read), "writers": roleOf(prefix, c.table.Ref, connection.WriteRows)}
}

func set(of connection.ObjectRef, a connection.Access) connection.AccessSet {
	return connection.AccessSet{ID: fmt.Sprintf("rows:%s:%d", of.Database, of.OID), Access: a, Tables: []connection.ObjectRef{of}, Rows: true}
}

func roleOf(prefix string, of connection.ObjectRef, a connection.Access) string {
	return grants.RoleOf(prefix, set(of, a))
}

// Made is a table whose policies are in place.
type Made struct {
	Base             connection.ObjectRef
	Readers, Writers []string
}

// Planned is how a table stands once its policies are made, but for people whose
// filter is refused.
func Planned(t Table) (m Made) {
	m.Base = t.Ref
	for _, p := range t.People {
		m.add(p.Role, p.Write)
	}
	return m
}

func (m *Made) add(role string, write bool) {
	if write {
		m.Writers = append(m.Writers, role)
	} else {
		m.Readers = append(m.Readers, role)
	}
}

// Sets are the grants that people need to see their rows.
func (m Made) Sets() (out []connection.AccessSet) {
	for access, members := range map[connection.Access][]string{connection.Read: m.Readers, connection.WriteRows: m.Writers} {
		if len(members) > 0 {
			s := set(m.Base, access)
			s.Members = members
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b connection.AccessSet) int { return cmp.Compare(a.Access, b.Access) })
	return out
}

func (c *compiled) made() Made {
	m := Made{Base: c.table.Ref}
	for _, p := range c.members {
		m.add(p.role, p.write)
	}
	return m
}

// content is what is written for a table: who sees which rows.
type content struct {
	people []seer
	sum    string
	absent []string // roles that are not there
}

type seer struct {
	Role   uint32     `json:"role"`
	Name   string     `json:"name"` // a role that is renamed is written anew
	Form   int64      `json:"form"`
	Values [][]string `json:"values"`
}

// content lists the people whose form is among these; nil: all of them.
func (c *compiled) content(roles map[string]uint32, among []int64) (out content, err error) {
	out.people = []seer{}
	for _, m := range c.members {
		oid, there := roles[m.role]
		switch {
		case !there:
			out.absent = append(out.absent, m.role)
		case among == nil || slices.Contains(among, m.form):
			out.people = append(out.people, seer{oid, m.role, m.form, m.slots})
		}
	}
	text, err := json.Marshal(out.people)
	sum := sha256.Sum256(text)
	out.sum = hex.EncodeToString(sum[:])
	return out, err
}
