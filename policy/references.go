package policy

import (
	"fmt"
	"strings"
)

// Reference is a name of a group or a person that a condition states. What it
// names may not exist; then the condition is unknown, as one on an attribute
// that a person does not have: neither it nor its negation holds.
type Reference struct {
	Field  string // where it stands: who.any[0].not.group; of row conditions filter
	At     int    // row conditions: position in the text, characters from 1
	Group  string
	UserID string // of a person, or of people whatever their identity manager where IAMID is ""
	IAMID  string

	missing *bool
}

// Missing marks that nothing of that name exists.
func (r Reference) Missing() { *r.missing = true }

// References are the groups and people that the condition names; field is its
// own place.
func (w *Who) References(field string) []Reference {
	if w == nil {
		return nil
	}
	var refs []Reference
	if w.Group != "" {
		refs = append(refs, Reference{Field: field + ".group", Group: w.Group, missing: &w.missing})
	}
	if w.Person != nil {
		refs = append(refs, Reference{Field: field + ".person", UserID: w.Person.UserID, IAMID: w.Person.IAMID, missing: &w.missing})
	}
	refs = append(refs, w.Not.References(field+".not")...)
	for i, sub := range w.Any {
		refs = append(refs, sub.References(fmt.Sprintf("%s.any[%d]", field, i))...)
	}
	for i, sub := range w.All {
		refs = append(refs, sub.References(fmt.Sprintf("%s.all[%d]", field, i))...)
	}
	return refs
}

// References are the groups and people that a row condition names by constants.
func (c *Condition) References(field string) []Reference {
	if c == nil {
		return nil
	}
	var refs []Reference
	users := c.Left != nil && c.Left.Kind == OperandUsername
	for _, o := range c.List {
		switch {
		case o.Kind != OperandString:
		case c.Op == OpIsInGroups:
			refs = append(refs, Reference{Field: field, At: o.At, Group: o.Text, missing: &o.missing})
		case users:
			refs = append(refs, Reference{Field: field, At: o.At, UserID: o.Text, missing: &o.missing})
		}
	}
	for _, sub := range c.Args {
		refs = append(refs, sub.References(field)...)
	}
	return refs
}

// References are all groups and people that the policy names.
func (p *Policy) References() []Reference {
	refs := append(p.Who.References("who"), p.Except.References("except")...)
	return append(refs, p.Filter.References("filter")...)
}

// Attributes are the names and values of attributes that the condition
// compares; a Value of "" is any.
func (w *Who) Attributes() []AttributeValue {
	if w == nil {
		return nil
	}
	var all []AttributeValue
	if w.Attribute != nil {
		all = append(all, *w.Attribute)
	}
	all = append(all, w.Not.Attributes()...)
	for _, sub := range append(append([]*Who{}, w.Any...), w.All...) {
		all = append(all, sub.Attributes()...)
	}
	return all
}

// Attributes are those that a row condition names.
func (c *Condition) Attributes() []AttributeValue {
	if c == nil {
		return nil
	}
	var all []AttributeValue
	switch {
	case c.Op == OpHasAttribute && len(c.List) == 2:
		all = append(all, AttributeValue{Name: c.List[0].Text, Value: c.List[1].Text})
	case c.Op == OpAttributeValuesContains && len(c.List) == 1:
		all = append(all, AttributeValue{Name: c.List[0].Text})
	}
	for _, sub := range c.Args {
		all = append(all, sub.Attributes()...)
	}
	return all
}

// Columns are the names of columns that a row condition states.
func (c *Condition) Columns() []string {
	if c == nil {
		return nil
	}
	var all []string
	for _, o := range append([]*Operand{c.Left}, c.List...) {
		if o != nil && o.Kind == OperandColumn {
			all = append(all, o.Text)
		}
	}
	for _, sub := range c.Args {
		all = append(all, sub.Columns()...)
	}
	return all
}

// HasTag reports whether one of the tags is the tag or lies below it.
func HasTag(tags []string, tag string) bool { return anyTagDepth(tags, tag) > 0 }

// CheckTag reports why a text is no tag.
func CheckTag(tag string) error {
	for _, part := range strings.Split(tag, ".") {
		if strings.TrimSpace(part) == "" {
			return fmt.Errorf("tag %q has an empty part: write Parent.Child", tag)
		}
	}
	return nil
}
