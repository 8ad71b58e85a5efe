package service

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/policy"
)

// Remark tells of what a policy names and nothing has yet: tags, attributes
// and columns of tables to come are open-ended, so it is taken, but it may be
// a misspelling that leaves something open.
type Remark struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// inUse is what tags, attributes and columns there are.
type inUse struct {
	tags       []string
	attributes map[policy.AttributeValue]bool // a Value of "": any
	columns    map[string]bool
	learning   bool // the columns of some data source are not known yet
}

// remark finds what the policies name and nothing has, for each of them.
func remark(ctx context.Context, q querier, policies []*Policy) ([][]Remark, error) {
	if len(policies) == 0 {
		return nil, nil
	}
	use, err := loadInUse(ctx, q)
	if err != nil {
		return nil, err
	}
	policyNames := make([]string, len(policies))
	for i, p := range policies {
		policyNames[i] = p.Name
	}
	named, err := nameRemarks(ctx, q, policyNames, "")
	if err != nil {
		return nil, err
	}
	ofPolicy := map[string][]Remark{}
	for _, r := range named {
		ofPolicy[r.Policy] = append(ofPolicy[r.Policy], r.Remark)
	}
	all := make([][]Remark, len(policies))
	for i, p := range policies {
		all[i] = append(ofPolicy[p.Name], use.remarks(p)...)
	}
	return all, nil
}

func (u *inUse) remarks(p *Policy) []Remark {
	var all []Remark
	say := func(field, format string, args ...any) {
		all = append(all, Remark{field, fmt.Sprintf(format, args...)})
	}
	u.tagRemarks("on.tags", p.On.Tags, say)
	if p.Columns != nil {
		u.tagRemarks("columns.tags", p.Columns.Tags, say)
		for i, name := range p.Columns.Names {
			if !u.columns[name] && !u.learning {
				say(indexed("columns.names", i), "no table that is known has a column %q", name)
			}
		}
	}
	m := p.model(0)
	for _, at := range []struct {
		field string
		named []policy.AttributeValue
	}{{"who", m.Who.Attributes()}, {"except", m.Except.Attributes()}, {"filter", m.Filter.Attributes()}} {
		for _, a := range at.named {
			switch {
			case !u.attributes[policy.AttributeValue{Name: a.Name}]:
				say(at.field, "nobody has an attribute %q", a.Name)
			case !u.attributes[a]:
				say(at.field, "nobody's attribute %q has the value %q", a.Name, a.Value)
			}
		}
	}
	return all
}

func (u *inUse) tagRemarks(field string, named []string, say func(field, format string, args ...any)) {
	for i, tag := range named {
		if !policy.HasTag(u.tags, tag) {
			say(indexed(field, i), "no table and no column has the tag %q or one below it", tag)
		}
	}
}

func loadInUse(ctx context.Context, q querier) (*inUse, error) {
	u := &inUse{attributes: map[policy.AttributeValue]bool{}, columns: map[string]bool{}}
	rows, err := q.Query(ctx, `SELECT unnest(tags) FROM portcullis.data_sources UNION SELECT unnest(tags) FROM portcullis.columns
		UNION SELECT unnest(tags) FROM portcullis.connections UNION SELECT unnest(tags) FROM portcullis.connection_objects
		UNION SELECT unnest(tags) FROM portcullis.connection_waiting
		UNION SELECT jsonb_array_elements_text(t.tags) FROM (SELECT column_tags FROM portcullis.connection_objects WHERE column_tags <> '{}'
			UNION ALL SELECT column_tags FROM portcullis.connection_waiting) c, jsonb_each(c.column_tags) AS t (name, tags)`)
	if err != nil {
		return nil, err
	}
	if u.tags, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		return nil, err
	}
	if rows, err = q.Query(ctx, "SELECT DISTINCT name, value FROM portcullis.attributes"); err != nil {
		return nil, err
	}
	var a policy.AttributeValue
	if _, err = pgx.ForEachRow(rows, []any{&a.Name, &a.Value}, func() error {
		u.attributes[a], u.attributes[policy.AttributeValue{Name: a.Name}] = true, true
		return nil
	}); err != nil {
		return nil, err
	}
	if err := q.QueryRow(ctx, "SELECT EXISTS (SELECT FROM portcullis.data_sources WHERE synced IS NULL)").Scan(&u.learning); err != nil {
		return nil, err
	}
	// Columns of connections are those that were crawled.
	if rows, err = q.Query(ctx, `SELECT name FROM portcullis.columns
		UNION SELECT c ->> 'name' FROM portcullis.connection_objects o, `+elementsSQL("o.columns")+` c WHERE o.dropped IS NULL`); err != nil {
		return nil, err
	}
	var name string
	_, err = pgx.ForEachRow(rows, []any{&name}, func() error {
		u.columns[name] = true
		return nil
	})
	return u, err
}

// annotatePolicies fills in the remarks.
func annotatePolicies(ctx context.Context, q querier, list []Policy) error {
	policies := make([]*Policy, len(list))
	for i := range list {
		policies[i] = &list[i]
	}
	all, err := remark(ctx, q, policies)
	for i := range all {
		list[i].Remarks = all[i]
	}
	return err
}

// remarkStated adds the remarks on the policies that the change states, at
// their places.
func (c *change) remarkStated(ctx context.Context) error {
	policies := make([]*Policy, len(c.stated))
	for i, s := range c.stated {
		policies[i] = s.policy
	}
	all, err := remark(ctx, c, policies)
	for i, remarks := range all {
		for _, r := range remarks {
			if place := c.stated[i].place; place != "" {
				r.Field = place + "." + r.Field
			}
			c.remarks = append(c.remarks, r)
		}
	}
	c.stated = nil
	return err
}

// statedPolicy is one that a request states, at its place in the state.
type statedPolicy struct {
	place  string
	policy *Policy
}
