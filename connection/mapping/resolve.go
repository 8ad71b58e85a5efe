package mapping

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/policy"
)

// Resolve says which account each person has. Who is in no account has a
// problem that says why; warnings come beside an account. Both are in the
// order of the persons' ids, whatever order people come in.
func Resolve(cfg Config, people []policy.Person, in Instance) ([]connection.Account, []Problem) {
	r := newResolver(cfg, in)
	people = slices.Clone(people)
	slices.SortFunc(people, func(a, b policy.Person) int { return comparePersons(a.PersonID, b.PersonID) })
	r.checkEntries(people)
	var found []candidate
	for i := range people {
		if c, ok := r.candidate(&people[i]); ok {
			found = append(found, c)
		}
	}
	found = slices.DeleteFunc(r.dropShared(found), func(c candidate) bool {
		_, there := r.roles[c.role]
		return !there && !r.mayMake(c)
	})
	accounts := r.accounts(found)
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		return cmp.Or(comparePersons(a.Person, b.Person), strings.Compare(a.Code, b.Code))
	})
	return accounts, r.problems
}

// Refusals say of which people the account can be nobody's, or not theirs,
// whatever roles the instance has: those who share one, and reserved names.
func Refusals(cfg Config, people []policy.Person, in Instance) map[policy.PersonID]Problem {
	r := newResolver(cfg, in)
	r.checkEntries(people)
	var found []candidate
	for i := range people {
		if c, ok := r.candidate(&people[i]); ok {
			found = append(found, c)
		}
	}
	r.dropShared(found)
	out := map[policy.PersonID]Problem{}
	for _, p := range r.problems {
		switch p.Code {
		case CodeShared, CodeReserved, CodeInvalid:
			out[p.Person] = p
		}
	}
	return out
}

func comparePersons(a, b policy.PersonID) int {
	return cmp.Or(strings.Compare(a.IAMID, b.IAMID), strings.Compare(a.UserID, b.UserID))
}

// candidate is an account that a person is to have, if nobody else is.
type candidate struct {
	person  policy.PersonID
	account string // what the identity provider calls it: role, IAM user, ARN
	role    string // of the instance
	kind    Kind
}

type resolver struct {
	cfg      Config
	in       Instance
	roles    map[string]Role
	folded   map[string]string // lower case: a role's name as it is
	entries  map[policy.PersonID]Entry
	problems []Problem
}

func newResolver(cfg Config, in Instance) *resolver {
	r := &resolver{cfg: cfg, in: in, roles: map[string]Role{}, folded: map[string]string{}, entries: map[policy.PersonID]Entry{}}
	for _, role := range in.Roles {
		r.roles[role.Name] = role
		r.folded[strings.ToLower(role.Name)] = role.Name
	}
	return r
}

func (r *resolver) refuse(p policy.PersonID, account, code, format string, args ...any) {
	r.problems = append(r.problems, Problem{Person: p, Account: account, Code: code, Message: fmt.Sprintf(format, args...)})
}

func (r *resolver) warn(c candidate, code, format string, args ...any) {
	r.problems = append(r.problems, Problem{Person: c.person, Account: c.account, Code: code, Message: fmt.Sprintf(format, args...), Warning: true})
}

// checkEntries tells what was mapped by hand for nobody, or twice: then neither counts.
func (r *resolver) checkEntries(people []policy.Person) {
	known := map[policy.PersonID]bool{}
	for _, p := range people {
		known[p.PersonID] = true
	}
	twice := map[policy.PersonID]bool{}
	for _, e := range r.cfg.Manual {
		if _, ok := r.entries[e.Person]; ok {
			twice[e.Person] = true
		}
		r.entries[e.Person] = e
		if !known[e.Person] {
			r.refuse(e.Person, e.Account, CodeUnknown, "nobody has this id in the service")
		}
	}
	for p := range twice {
		r.refuse(p, "", CodeDuplicate, "is mapped by hand twice; neither counts")
		r.entries[p] = Entry{Person: p, State: None}
	}
}

// candidate is the account that a person asks for, refused where no such
// account may be anybody's.
func (r *resolver) candidate(p *policy.Person) (candidate, bool) {
	c, ok := r.wanted(p)
	if !ok {
		return c, false
	}
	return r.admit(c)
}

func (r *resolver) wanted(p *policy.Person) (candidate, bool) {
	none := candidate{}
	if p.Status != policy.StatusActive {
		r.refuse(p.PersonID, "", CodeInactive, "is deactivated")
		return none, false
	}
	e := r.entries[p.PersonID]
	switch e.State {
	case None:
		if !r.reported(p.PersonID) {
			r.refuse(p.PersonID, "", CodeNone, "is mapped to no account by hand")
		}
		return none, false
	case Manual:
		return r.byHand(e)
	case Unset:
	default:
		r.refuse(p.PersonID, e.Account, CodeBadState, "mapping %q is none of manual, none and unset", e.State)
		return none, false
	}
	if r.cfg.Automatic == nil {
		r.refuse(p.PersonID, "", CodeNoMapping, "is not mapped, and there is no automatic mapping")
		return none, false
	}
	return r.automatic(p, *r.cfg.Automatic)
}

func (r *resolver) reported(p policy.PersonID) bool {
	return slices.ContainsFunc(r.problems, func(have Problem) bool { return have.Person == p })
}

func (r *resolver) byHand(e Entry) (candidate, bool) {
	c := candidate{person: e.Person, account: e.Account, role: e.Role, kind: cmp.Or(e.Kind, KindRole)}
	if c.role == "" {
		c.role = nameOfKind(e.Account, c.kind)
	}
	return c, true
}

func (r *resolver) automatic(p *policy.Person, a Automatic) (candidate, bool) {
	values := valuesOf(p, a.Attribute)
	switch {
	case len(values) == 0:
		r.refuse(p.PersonID, "", CodeNoValue, "has no value of %q, from which accounts are mapped", a.Attribute)
		return candidate{}, false
	case len(values) > 1:
		r.refuse(p.PersonID, "", CodeManyValues, "has %d values of %q; an account needs one", len(values), a.Attribute)
		return candidate{}, false
	}
	value := strings.TrimSuffix(strings.TrimPrefix(values[0], a.StripPrefix), a.StripSuffix)
	if a.Lower {
		value = strings.ToLower(value)
	}
	if value == "" {
		r.refuse(p.PersonID, "", CodeInvalid, "nothing is left of %q after stripping", values[0])
		return candidate{}, false
	}
	name := strings.ReplaceAll(cmp.Or(a.Template, "{}"), "{}", value)
	return candidate{person: p.PersonID, account: name, role: nameOfKind(name, a.Kind), kind: cmp.Or(a.Kind, KindRole)}, true
}

// nameOfKind is the role that an account has if nothing else is said. An ARN
// would be a role of that very name.
func nameOfKind(account string, k Kind) string {
	if cmp.Or(k, KindRole) == KindRole {
		return account
	}
	return nameOf(k, account)
}

func valuesOf(p *policy.Person, attribute string) []string {
	switch attribute {
	case "userid":
		return []string{p.UserID}
	case "email":
		if values := distinct(p.Attributes["email"]); len(values) > 0 || !strings.Contains(p.UserID, "@") {
			return values
		}
		return []string{p.UserID}
	}
	return distinct(p.Attributes[attribute])
}

func distinct(values []string) []string {
	values = slices.Clone(values)
	slices.Sort(values)
	return slices.DeleteFunc(slices.Compact(values), func(v string) bool { return v == "" })
}

// dropShared refuses every account that two people would have: the instance
// and its log could not tell them apart, and each would reach what the other may.
func (r *resolver) dropShared(all []candidate) []candidate {
	roles, identities := map[string][]candidate{}, map[string][]candidate{}
	for _, c := range all {
		roles[c.role] = append(roles[c.role], c)
		if c.kind != KindRole {
			name := identityOf(c.kind, c.account).name
			identities[name] = append(identities[name], c)
		}
	}
	return slices.DeleteFunc(all, func(c candidate) bool {
		sharing := roles[c.role]
		if c.kind != KindRole && len(sharing) < 2 {
			id := identityOf(c.kind, c.account)
			sharing = slices.DeleteFunc(slices.Clone(identities[id.name]), func(o candidate) bool { return !id.same(identityOf(o.kind, o.account)) })
		}
		if len(sharing) < 2 {
			return false
		}
		r.refuse(c.person, c.account, CodeShared, "%s", sharedText(c, sharing))
		return true
	})
}

func sharedText(c candidate, sharing []candidate) string {
	var others []string
	for _, o := range sharing {
		if o.person != c.person {
			others = append(others, o.person.IAMID+"/"+o.person.UserID)
		}
	}
	who := others[0]
	if len(others) > 1 {
		who = fmt.Sprintf("%s and %d more", others[0], len(others)-1)
	}
	switch c.kind {
	case KindIAMRole:
		return fmt.Sprintf("the IAM role is also %s's: the instance sees that the role logged in and not who assumed it, so a role can stand for one person only", who)
	case KindIdentityCenter:
		return fmt.Sprintf("the Identity Center user is also %s's; an account stands for one person", who)
	}
	return fmt.Sprintf("the account is also %s's: each would reach what the other may, and the instance's log could not tell them apart", who)
}

func (r *resolver) accounts(all []candidate) []connection.Account {
	out := make([]connection.Account, 0, len(all))
	for _, c := range all {
		role, there := r.roles[c.role]
		if there {
			r.warnOf(c, role)
		}
		r.warnOfKind(c)
		r.warnOfLogin(c)
		out = append(out, connection.Account{Person: c.person.IAMID + "/" + c.person.UserID, Role: c.role, Make: !there})
	}
	return out
}

func validName(name string) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > 63:
		return fmt.Sprintf("has %d bytes; PostgreSQL cuts names after 63, where two could become one", len(name))
	case strings.ContainsRune(name, 0) || !utf8.ValidString(name):
		return "is no valid text"
	}
	return ""
}
