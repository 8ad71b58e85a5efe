// Package classify proposes tags for tables and their columns, for a person to
// confirm: those that comments and security labels state, and those that the
// names of columns and a sample of their values suggest. A proposal says why,
// and never holds a value.
//
// What is stated (see Stated):
//
//	COMMENT ON COLUMN customer.mail IS 'How we write to them. [tags: PII.Email]';
//	COMMENT ON TABLE customer IS E'Who buys here.\ntags: Sales, PII';
//	SECURITY LABEL FOR portcullis ON COLUMN customer.mail IS 'PII.Email';
package classify

import (
	"cmp"
	"slices"
	"strings"

	"portcullis.dev/portcullis/connection"
)

// Basis is what a proposal rests on.
type Basis string

const (
	Comment Basis = "comment"
	Label   Basis = "security label"
	Name    Basis = "name"
	Values  Basis = "values"
)

// Proposal is a tag that a table or a column may deserve.
type Proposal struct {
	Column     string  `json:"column,omitempty"` // "": the table itself
	Tag        string  `json:"tag"`
	Confidence float64 `json:"confidence"` // 0 to 1; 1: somebody stated it
	Basis      []Basis `json:"basis"`
	Reason     string  `json:"reason"` // for people; no value of the table
}

// Tags that are proposed from names and values.
const (
	TagEmail      = "PII.Email"
	TagPhone      = "PII.Phone"
	TagName       = "PII.Name"
	TagBirth      = "PII.BirthDate"
	TagNationalID = "PII.NationalID"
	TagIP         = "PII.IPAddress"
	TagAddress    = "PII.Address"
	TagIBAN       = "Finance.IBAN"
	TagCard       = "Finance.CreditCard"
	TagSecret     = "Secret"
)

// Propose takes together what is stated of a table, what its names suggest, and
// what was found in a sample: one proposal for each column and tag, the likeliest first.
func Propose(o connection.Object, sampled []Proposal) []Proposal {
	return merge(slices.Concat(Stated(o), ByName(o), sampled))
}

// merge makes one proposal of those with the same column and tag. Independent
// reasons add up: what is left to doubt is the product of the doubts.
func merge(list []Proposal) []Proposal {
	type key struct{ column, tag string }
	at := map[key]int{}
	var out []Proposal
	for _, p := range list {
		k := key{p.Column, p.Tag}
		i, ok := at[k]
		if !ok {
			at[k] = len(out)
			p.Basis = slices.Clone(p.Basis)
			out = append(out, p)
			continue
		}
		have := &out[i]
		have.Confidence = 1 - (1-have.Confidence)*(1-p.Confidence)
		have.Basis = append(have.Basis, p.Basis...)
		if !strings.Contains(have.Reason, p.Reason) {
			have.Reason += "; " + p.Reason
		}
	}
	for i := range out {
		slices.Sort(out[i].Basis)
		out[i].Basis = slices.Compact(out[i].Basis)
	}
	slices.SortStableFunc(out, func(a, b Proposal) int {
		return cmp.Or(cmp.Compare(b.Confidence, a.Confidence), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Tag, b.Tag))
	})
	return out
}
