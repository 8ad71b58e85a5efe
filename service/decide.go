package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/policy"
)

// DecisionRequest asks for all tables of a statement.
type DecisionRequest struct {
	Node        string           `json:"node"`
	Role        string           `json:"role"`
	RoleOID     uint32           `json:"role_oid,omitempty"`
	Database    string           `json:"database,omitempty"`
	Impersonate *policy.PersonID `json:"impersonate,omitempty"`
	DataSources []string         `json:"data_sources"` // uuids
}

// DecisionReply holds the decisions in the order asked, all of one version.
type DecisionReply struct {
	Version   int64             `json:"version"`
	Decisions []policy.Decision `json:"decisions"`
}

// maxDecisions bounds the tables of one request.
const maxDecisions = 1000

// Decide answers a node.
func (s *Store) Decide(ctx context.Context, r DecisionRequest, now time.Time) (DecisionReply, error) {
	switch {
	case r.Role == "":
		return DecisionReply{}, invalid("role", "must not be empty")
	case len(r.DataSources) > maxDecisions:
		return DecisionReply{}, invalid("data_sources", "has more than %d entries", maxDecisions)
	case r.Impersonate != nil && (r.Impersonate.IAMID == "" || r.Impersonate.UserID == ""):
		return DecisionReply{}, invalid("impersonate", "needs iamid and userid")
	}
	var reply DecisionReply
	err := s.read(ctx, func(tx pgx.Tx, snap *snapshot) error {
		q := policy.Question{Account: r.Role, Now: now, Version: snap.version}
		var err error
		if q.Person, err = accountPerson(ctx, tx, r.Node, r.Role, r.RoleOID); err != nil {
			return err
		}
		if r.Impersonate != nil && q.Person != nil {
			q.Impersonator = q.Person
			if q.Person, err = findSubject(ctx, tx, r.Impersonate.IAMID, r.Impersonate.UserID); err != nil {
				return err
			}
		}
		reply = DecisionReply{Version: snap.version, Decisions: make([]policy.Decision, 0, len(r.DataSources))}
		for _, id := range r.DataSources {
			reply.Decisions = append(reply.Decisions, snap.decide(q, id))
		}
		return nil
	})
	return reply, err
}

func (snap *snapshot) decide(q policy.Question, id string) policy.Decision {
	q.DataSourceID = id
	q.DataSource = snap.dataSources[id]
	q.Subscriptions = snap.subscribed[id]
	q.Policies = snap.policies
	if q.DataSource != nil {
		q.Limits = snap.limits[q.DataSource.Source]
	}
	return policy.Evaluate(q)
}

// accountPerson finds whom a login role belongs to; nil: nobody. A role that
// was dropped and made anew under the same name is nobody's.
func accountPerson(ctx context.Context, q querier, node, role string, oid uint32) (*policy.Person, error) {
	rows, err := q.Query(ctx, selectPeople+`JOIN portcullis.sql_accounts a ON a.person_id = p.id
		WHERE a.node = $1 AND a.role = $2 AND ($3::bigint = 0 OR a.role_oid IS NULL OR a.role_oid = $3)`, node, role, int64(oid))
	if err != nil {
		return nil, err
	}
	return onePerson(ctx, q, rows)
}

func findSubject(ctx context.Context, q querier, iamid, userid string) (*policy.Person, error) {
	rows, err := q.Query(ctx, selectPeople+"WHERE p.iamid = $1 AND p.userid = $2", iamid, userid)
	if err != nil {
		return nil, err
	}
	return onePerson(ctx, q, rows)
}

func onePerson(ctx context.Context, q querier, rows pgx.Rows) (*policy.Person, error) {
	p, err := pgx.CollectExactlyOneRow(rows, scanPerson)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return p.subject(), closeDangling(ctx, q, p.Impersonate.References("impersonate"))
}

// Explanation says how a decision comes about.
type Explanation struct {
	Decision   policy.Decision `json:"decision"`
	DataSource string          `json:"data_source"` // name
	Subscribed []string        `json:"subscribed_by"`
	Filters    []string        `json:"filters"`
	Masks      []string        `json:"masks"`
}

// Explain decides for a person by name, without key material.
func (s *Store) Explain(ctx context.Context, iamid, userid, dataSource string, now time.Time) (Explanation, error) {
	var e Explanation
	err := s.read(ctx, func(tx pgx.Tx, snap *snapshot) error {
		p, err := findSubject(ctx, tx, iamid, userid)
		if err != nil {
			return err
		}
		if p == nil {
			return notFound("user", userid)
		}
		ds := snap.find(dataSource)
		if ds == nil {
			if snap, ds, err = snap.withTable(ctx, tx, dataSource); err != nil {
				return err
			}
		}
		if ds == nil {
			return notFound("data_source", dataSource)
		}
		e = snap.explain(policy.Question{Person: p, Account: userid, Now: now, Version: snap.version}, ds)
		return nil
	})
	return e, err
}

// find returns a data source by id or name.
func (snap *snapshot) find(name string) *policy.DataSource {
	if ds := snap.dataSources[name]; ds != nil {
		return ds
	}
	for _, ds := range snap.dataSources {
		if ds.Name == name {
			return ds
		}
	}
	return nil
}

func (snap *snapshot) explain(q policy.Question, ds *policy.DataSource) Explanation {
	d := snap.decide(q, ds.ID)
	names, meant := map[string]string{}, map[string]policy.Mask{}
	for _, p := range snap.policies {
		names[p.ID], meant[p.ID] = p.Name, p.Mask
	}
	e := Explanation{DataSource: ds.Name, Subscribed: []string{}, Filters: []string{}, Masks: []string{}}
	for _, ref := range d.Policies {
		switch policy.Kind(ref.Kind) {
		case policy.KindSubscription:
			e.Subscribed = append(e.Subscribed, "policy "+names[ref.ID])
		case policy.KindFilter:
			e.Filters = append(e.Filters, names[ref.ID])
		}
	}
	for _, sub := range snap.subscribed[ds.ID] {
		if sub.Person == q.Person.PersonID && (sub.Expires.IsZero() || sub.Expires.After(q.Now)) {
			e.Subscribed = append(e.Subscribed, "individual selection")
		}
	}
	for _, column := range sortedKeys(d.Masks) {
		m := d.Masks[column]
		m.Key = nil
		d.Masks[column] = m
		by := names[m.Policy]
		if by == "" {
			by = m.Policy
		}
		e.Masks = append(e.Masks, column+": "+string(m.Kind)+" by "+by+insteadOf(meant[m.Policy], m, ds, column))
	}
	e.Decision = d
	return e
}

// insteadOf says why a column is shown as NULL where its policy means another mask.
func insteadOf(meant, shown policy.Mask, ds *policy.DataSource, column string) string {
	col := columnNamed(ds, column)
	if meant.Kind == "" || meant.Kind == shown.Kind || col == nil {
		return ""
	}
	return fmt.Sprintf(" instead of %s: %v", meant.Kind, meant.Suits(col.Type))
}
