package policy

import (
	"fmt"
	"sort"
	"time"
)

// Question is all that a decision reads.
type Question struct {
	Person       *Person // nil: the account is mapped to nobody
	Impersonator *Person // who acts as Person; nil: the person themselves
	Account      string  // name of the login role, for texts

	DataSource    *DataSource // nil: unknown
	DataSourceID  string      // as asked
	Subscriptions []Subscription
	Policies      []Policy
	Limits        []LimitRule // of the data source's source

	Now     time.Time
	Version int64
}

// MaxTolerance bounds how long any decision may be kept.
const MaxTolerance = 24 * time.Hour

// Evaluate decides. It denies whatever is not allowed explicitly, and
// everything that it cannot understand.
func Evaluate(q Question) Decision {
	d := Decision{DataSource: q.DataSourceID, Version: q.Version}
	if reason := accountDenial(q); reason != "" {
		d.Reason = reason
		d.Discoverable = true // says nothing about the table
		d.Contact = accountContact
		return d
	}
	d.Person = PersonRef{IAMID: q.Person.IAMID, UserID: q.Person.UserID}
	if q.Impersonator != nil {
		d.Person.Impersonator, d.Person.ImpersonatorIAMID = q.Impersonator.UserID, q.Impersonator.IAMID
	}
	if q.DataSource == nil {
		d.Reason = "the data source does not exist"
		return d
	}
	ds := q.DataSource
	d.Discoverable = ds.Discoverable
	d.Contact = ds.Contact
	d.MaxAgeMS = maxAge(q, ds)
	applied, allowed, err := subscribed(q, ds)
	if err != nil {
		return refuse(d, err)
	}
	if !allowed {
		d.Reason = fmt.Sprintf("%s is not subscribed to data source %q", q.Person.UserID, ds.Name)
		return d
	}
	return q.shape(d, ds, applied)
}

const accountContact = "an administrator of Portcullis"

func accountDenial(q Question) string {
	switch {
	case q.Person == nil && q.Impersonator != nil:
		return "the person to act as does not exist"
	case q.Person == nil:
		return fmt.Sprintf("account %q belongs to no person", q.Account)
	case q.Person.Status != StatusActive:
		return fmt.Sprintf("%s is not active", q.Person.UserID)
	case q.Impersonator == nil:
		return ""
	}
	return MayImpersonate(q.Impersonator, q.Person)
}

// MayImpersonate returns why one person may not act as the other, or "".
func MayImpersonate(actor, target *Person) string {
	switch {
	case actor.Status != StatusActive:
		return fmt.Sprintf("%s is not active", actor.UserID)
	case !actor.Has(PermissionImpersonate):
		return fmt.Sprintf("%s lacks permission %s", actor.UserID, PermissionImpersonate)
	case target.administers():
		return fmt.Sprintf("%s holds administrative permissions, nobody may act as them", target.UserID)
	case actor.Impersonate == nil:
		return ""
	}
	ok, err := actor.Impersonate.Matches(target)
	if err != nil || !ok {
		return fmt.Sprintf("%s may not act as %s", actor.UserID, target.UserID)
	}
	return ""
}

// refuse denies because of a defect in the policies; the person reads whom to ask only.
func refuse(d Decision, err error) Decision {
	return Decision{
		DataSource: d.DataSource, Version: d.Version, Person: d.Person, Contact: d.Contact,
		Discoverable: d.Discoverable, Reason: "a policy of the data source cannot be applied: " + err.Error(),
	}
}

// maxAge is the tolerance, cut at the next time at which the answer changes by itself.
func maxAge(q Question, ds *DataSource) int64 {
	age := min(max(ds.Tolerance, 0), MaxTolerance)
	for _, s := range q.Subscriptions {
		if s.DataSource == ds.ID && s.Person == q.Person.PersonID && !s.Expires.IsZero() && s.Expires.After(q.Now) {
			age = min(age, s.Expires.Sub(q.Now))
		}
	}
	return age.Milliseconds()
}

// subscribed looks for an individual subscription or a policy that subscribes the person.
func subscribed(q Question, ds *DataSource) (applied []PolicyRef, allowed bool, err error) {
	for _, s := range q.Subscriptions {
		if s.DataSource == ds.ID && s.Person == q.Person.PersonID && (s.Expires.IsZero() || s.Expires.After(q.Now)) {
			allowed = true
		}
	}
	for _, p := range q.Policies {
		if p.Kind != KindSubscription || !p.On.Matches(ds) {
			continue
		}
		ok, err := p.Who.Matches(q.Person)
		if err != nil {
			return nil, false, fmt.Errorf("policy %q: %w", p.Name, err)
		}
		if ok {
			allowed = true
			applied = append(applied, p.ref())
		}
	}
	return applied, allowed, nil
}

func (p *Policy) ref() PolicyRef {
	return PolicyRef{ID: p.ID, Version: p.Version, Kind: string(p.Kind)}
}

// shape fills in what an allowed person sees.
func (q Question) shape(d Decision, ds *DataSource, applied []PolicyRef) Decision {
	filters, refs, err := q.filters(ds)
	if err != nil {
		return refuse(d, err)
	}
	applied = append(applied, refs...)
	masks, refs, err := q.masks(ds)
	if err != nil {
		return refuse(d, err)
	}
	d.Allowed = true
	d.Limits = q.limits()
	d.Policies = append(applied, refs...)
	d.Source, d.RemoteSchema, d.RemoteTable, d.Unmanaged = ds.Source, ds.RemoteSchema, ds.RemoteTable, ds.Unmanaged
	for _, c := range ds.Columns {
		d.Columns = append(d.Columns, c.Column)
	}
	if len(filters) > 0 {
		if f := join(OpAnd, filters); f.Op != OpTrue {
			d.Filter = f
		}
	}
	if len(masks) > 0 {
		d.Masks = masks
	}
	return d
}

// excepted reports whether the policy does not apply. Where somebody acts as
// another, both must be excepted: neither inherits from the other.
func (q Question) excepted(p *Policy) (bool, error) {
	if p.Except == nil {
		return false, nil
	}
	ok, err := p.Except.Matches(q.Person)
	if err == nil && ok && q.Impersonator != nil {
		ok, err = p.Except.Matches(q.Impersonator)
	}
	if err != nil {
		return false, fmt.Errorf("policy %q: %w", p.Name, err)
	}
	return ok, nil
}

func (q Question) filters(ds *DataSource) ([]*Predicate, []PolicyRef, error) {
	var filters []*Predicate
	var refs []PolicyRef
	for i := range q.Policies {
		p := &q.Policies[i]
		switch p.Kind {
		case KindFilter:
		case KindMask, KindSubscription:
			continue
		default:
			return nil, nil, fmt.Errorf("policy %q is of unknown kind %q", p.Name, p.Kind)
		}
		if !p.On.Matches(ds) {
			continue
		}
		out, err := q.excepted(p)
		if err != nil {
			return nil, nil, err
		}
		if out {
			continue
		}
		f, err := p.bind(q.Person, ds)
		if err != nil {
			return nil, nil, fmt.Errorf("policy %q: %w", p.Name, err)
		}
		filters = append(filters, f)
		refs = append(refs, p.ref())
	}
	return filters, refs, nil
}

// masks picks one policy a column (final, then deeper tag, then older) and
// lets its exceptions decide, no other policy's.
func (q Question) masks(ds *DataSource) (map[string]Mask, []PolicyRef, error) {
	masks := map[string]Mask{}
	used := map[string]*Policy{}
	for _, col := range ds.Columns {
		if col.Unconfirmed {
			masks[col.Name] = Mask{Kind: MaskNull, Policy: "unconfirmed column"}
			continue
		}
		p := q.maskPolicy(ds, col)
		if p == nil {
			continue
		}
		out, err := q.excepted(p)
		if err != nil {
			return nil, nil, err
		}
		if out {
			continue
		}
		m := p.Mask
		m.Policy = p.ID
		if m.Kind == MaskHash {
			m.Key = ds.HashKey
			if len(m.Key) == 0 {
				return nil, nil, fmt.Errorf("policy %q: the data source has no hash key", p.Name)
			}
		}
		if err := m.Suits(col.Type); err != nil {
			// A mask by tag may meet a type that it cannot be shown in, and so may one
			// by name once the source has changed: NULL hides the value.
			m = Mask{Kind: MaskNull, Policy: p.ID}
		}
		masks[col.Name] = m
		used[p.ID] = p
	}
	return masks, sortedRefs(used), nil
}

func (q Question) maskPolicy(ds *DataSource, col TaggedColumn) *Policy {
	var best *Policy
	bestDepth := 0
	for i := range q.Policies {
		p := &q.Policies[i]
		if p.Kind != KindMask || !p.On.Matches(ds) {
			continue
		}
		depth := p.depth(col)
		if depth == 0 {
			continue
		}
		if best == nil || p.beats(depth, best, bestDepth) {
			best, bestDepth = p, depth
		}
	}
	return best
}

func (p *Policy) beats(depth int, best *Policy, bestDepth int) bool {
	switch {
	case p.Final != best.Final:
		return p.Final
	case depth != bestDepth:
		return depth > bestDepth
	}
	return p.Order < best.Order
}

func sortedRefs(used map[string]*Policy) []PolicyRef {
	refs := make([]PolicyRef, 0, len(used))
	for _, p := range used {
		refs = append(refs, p.ref())
	}
	sort.Slice(refs, func(i, j int) bool { return refs[i].ID < refs[j].ID })
	return refs
}
