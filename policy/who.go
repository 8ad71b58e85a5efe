package policy

import (
	"errors"
	"fmt"
)

// Who is a condition on people. Exactly one field is set; anything else is
// an error, which denies.
type Who struct {
	Everyone  bool            `json:"everyone,omitempty"`
	Group     string          `json:"group,omitempty"`
	Attribute *AttributeValue `json:"attribute,omitempty"`
	Person    *PersonID       `json:"person,omitempty"`
	Any       []*Who          `json:"any,omitempty"`
	All       []*Who          `json:"all,omitempty"`
	Not       *Who            `json:"not,omitempty"`

	missing bool // the group or person does not exist
}

// AttributeValue names a value of an attribute.
type AttributeValue struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Validate reports what is wrong with the condition.
func (w *Who) Validate() error { return w.validate(0) }

func (w *Who) validate(depth int) error {
	if w == nil {
		return errors.New("condition is empty")
	}
	if depth > maxDepth {
		return fmt.Errorf("condition is nested deeper than %d", maxDepth)
	}
	set := 0
	for _, is := range []bool{w.Everyone, w.Group != "", w.Attribute != nil, w.Person != nil, w.Any != nil, w.All != nil, w.Not != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		return errors.New("set exactly one of everyone, group, attribute, person, any, all, not")
	}
	switch {
	case w.Attribute != nil && (w.Attribute.Name == "" || w.Attribute.Value == ""):
		return errors.New("attribute needs name and value")
	case w.Person != nil && (w.Person.IAMID == "" || w.Person.UserID == ""):
		return errors.New("person needs iamid and userid")
	case w.Any != nil && len(w.Any) == 0, w.All != nil && len(w.All) == 0:
		return errors.New("any and all need at least one condition")
	case w.Not != nil:
		return w.Not.validate(depth + 1)
	}
	for _, sub := range append(append([]*Who{}, w.Any...), w.All...) {
		if err := sub.validate(depth + 1); err != nil {
			return err
		}
	}
	return nil
}

// Matches reports whether the condition holds for the person: true, false,
// or unknown (reported as false) where it reads an attribute that the person
// does not have, or a group or person that does not exist, negated or not.
func (w *Who) Matches(p *Person) (bool, error) {
	if err := w.Validate(); err != nil {
		return false, err
	}
	return w.eval(p) == isTrue, nil
}

func (w *Who) eval(p *Person) truth {
	switch {
	case w.missing:
		return unknown
	case w.Everyone:
		return isTrue
	case w.Group != "":
		return truthOf(p.inGroup(w.Group))
	case w.Attribute != nil:
		return hasAttribute(p, w.Attribute.Name, w.Attribute.Value)
	case w.Person != nil:
		return truthOf(p.PersonID == *w.Person)
	case w.Not != nil:
		return not(w.Not.eval(p))
	case w.Any != nil:
		return fold(w.Any, p, isTrue)
	}
	return fold(w.All, p, isFalse)
}

// fold evaluates a list that is decided by the first decisive value.
func fold(list []*Who, p *Person, decisive truth) truth {
	result := not(decisive)
	for _, w := range list {
		switch t := w.eval(p); t {
		case decisive:
			return decisive
		case unknown:
			result = unknown
		}
	}
	return result
}

// hasAttribute is unknown where the person has no attribute of that name.
func hasAttribute(p *Person, name, value string) truth {
	values := p.Attributes[name]
	if len(values) == 0 {
		return unknown
	}
	for _, v := range values {
		if v == value {
			return isTrue
		}
	}
	return isFalse
}
