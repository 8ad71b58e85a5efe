package policy

import "fmt"

// Shaping are the policies that could hide rows or values of a data source
// from somebody: the filters on it, and for each column the mask that is
// picked. It depends on no person, so tables with equal shaping and equal
// columns show themselves to the same people. hidden is true where a column
// is masked for everyone.
func Shaping(ds *DataSource, policies []Policy) (shaping []*Policy, hidden bool, err error) {
	q := Question{DataSource: ds, Policies: policies}
	used := map[*Policy]bool{}
	for _, col := range ds.Columns {
		if col.Unconfirmed {
			hidden = true
			continue
		}
		if p := q.maskPolicy(ds, col); p != nil {
			used[p] = true
		}
	}
	for i := range policies {
		p := &policies[i]
		switch p.Kind {
		case KindSubscription:
		case KindMask, KindFilter:
			if used[p] || p.Kind == KindFilter && p.On.Matches(ds) {
				shaping = append(shaping, p)
			}
		default:
			return nil, false, fmt.Errorf("policy %q is of unknown kind %q", p.Name, p.Kind)
		}
	}
	return shaping, hidden, nil
}

// Plain reports whether the person, if subscribed, sees every row and every
// value of the data source: no policy of its Shaping hides anything. What
// cannot be understood hides.
func Plain(person *Person, ds *DataSource, shaping []*Policy) bool {
	q := Question{Person: person, DataSource: ds}
	for _, p := range shaping {
		if out, err := q.excepted(p); err != nil || !out && !p.showsAll(person, ds) {
			return false
		}
	}
	return true
}

// showsAll reports whether a policy that applies still hides nothing: a
// filter may be true for a person whatever the row.
func (p *Policy) showsAll(person *Person, ds *DataSource) bool {
	if p.Kind != KindFilter || p.Filter == nil {
		return false
	}
	f, err := p.bind(person, ds)
	return err == nil && f.Op == OpTrue
}
