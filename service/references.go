package service

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/policy"
)

// Names in policies, in impersonate and of owners must mean something: a
// misspelt group below not would open a table to everybody. They are looked
// at when all of a change is made, so that one state file may hold a policy
// and the people that it names in any order, and so that nothing is deleted
// that is still named. What dangles all the same (stored by an older version)
// is unknown to the evaluator, which closes.

// names is what references may mean.
type names struct {
	groups  map[string]bool
	people  map[policy.PersonID]bool
	userids map[string]bool
}

// existing finds which of the groups and people that are referred to exist.
func existing(ctx context.Context, q querier, refs []policy.Reference) (names, error) {
	n := names{groups: map[string]bool{}, people: map[policy.PersonID]bool{}, userids: map[string]bool{}}
	var groups, users []string
	for _, r := range refs {
		if r.Group != "" {
			groups = append(groups, r.Group)
		} else {
			users = append(users, r.UserID)
		}
	}
	if len(groups) > 0 {
		rows, err := q.Query(ctx, "SELECT name FROM portcullis.groups WHERE name = ANY ($1)", sortedSet(groups))
		if err != nil {
			return n, err
		}
		defer rows.Close()
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				return n, err
			}
			n.groups[name] = true
		}
		if err := rows.Err(); err != nil {
			return n, err
		}
	}
	if len(users) == 0 {
		return n, nil
	}
	rows, err := q.Query(ctx, "SELECT iamid, userid FROM portcullis.people WHERE userid = ANY ($1)", sortedSet(users))
	if err != nil {
		return n, err
	}
	defer rows.Close()
	for rows.Next() {
		var id policy.PersonID
		if err := rows.Scan(&id.IAMID, &id.UserID); err != nil {
			return n, err
		}
		n.people[id], n.userids[id.UserID] = true, true
	}
	return n, rows.Err()
}

func (n names) has(r policy.Reference) bool {
	switch {
	case r.Group != "":
		return n.groups[r.Group]
	case r.IAMID == "":
		return n.userids[r.UserID]
	}
	return n.people[policy.PersonID{IAMID: r.IAMID, UserID: r.UserID}]
}

// nobody says that what a reference names does not exist.
func nobody(r policy.Reference) string {
	text := fmt.Sprintf("there is no person %q", r.UserID)
	switch {
	case r.Group != "":
		text = fmt.Sprintf("there is no group %q", r.Group)
	case r.IAMID != "":
		text += fmt.Sprintf(" in %q", r.IAMID)
	}
	if r.At > 0 {
		return fmt.Sprintf("at position %d: %s", r.At, text)
	}
	return text
}

// checkReferences refuses what names nobody.
func checkReferences(ctx context.Context, q querier, refs []policy.Reference) error {
	n, err := existing(ctx, q, refs)
	if err != nil {
		return err
	}
	for _, r := range refs {
		if !n.has(r) {
			e := invalid(r.Field, "%s", nobody(r))
			e.Hint = "Groups and people that a policy names are made before it, or in the same state file."
			return e
		}
	}
	return nil
}

// closeDangling makes conditions on groups and people that do not exist unknown.
func closeDangling(ctx context.Context, q querier, refs []policy.Reference) error {
	n, err := existing(ctx, q, refs)
	if err != nil {
		return err
	}
	for _, r := range refs {
		if !n.has(r) {
			r.Missing()
		}
	}
	return nil
}

// afterwards has check run when all of the change is made. Its error is put
// at the place in the state that is being looked at.
func (c *change) afterwards(check func(context.Context) error) {
	place := c.place
	c.checks = append(c.checks, func(ctx context.Context) error {
		err := check(ctx)
		if err != nil && place != "" {
			return withPrefix(place, err)
		}
		return err
	})
}

// settle runs what was left for the end of the change.
func (c *change) settle(ctx context.Context) error {
	if err := c.writeLog(ctx); err != nil {
		return err
	}
	for _, check := range c.checks {
		if err := check(ctx); err != nil {
			return err
		}
	}
	c.checks = nil
	if err := c.settleWaiting(ctx); err != nil {
		return err
	}
	if err := c.checkMapped(ctx); err != nil {
		return err
	}
	if err := c.remarkStated(ctx); err != nil {
		return err
	}
	if len(c.gone) == 0 {
		return nil
	}
	gone := c.gone
	c.gone = nil
	return c.checkNothingNames(ctx, gone)
}

// removed is an entry that the change has deleted.
type removed struct {
	kind string
	key  string // as people read it

	// One of these.
	group      string
	person     policy.PersonID
	dataSource string
	connection string
}

// namedBy is a reference and who states it.
type namedBy struct {
	policy.Reference
	by string
}

// checkNothingNames refuses to delete what a policy, or a person's
// impersonate, still names.
func (c *change) checkNothingNames(ctx context.Context, gone []removed) error {
	stated, policies, err := c.allReferences(ctx)
	if err != nil {
		return err
	}
	refs := make([]policy.Reference, 0, len(stated))
	for _, s := range stated {
		refs = append(refs, s.Reference)
	}
	n, err := existing(ctx, c, refs)
	if err != nil {
		return err
	}
	for _, g := range gone {
		for _, s := range stated {
			if g.refersTo(s.Reference) && !n.has(s.Reference) {
				return stillNamed(g, s.by+" ("+s.Field+")")
			}
		}
		if by := namesDataSource(policies, g.dataSource); by != "" {
			return stillNamed(g, by)
		}
		if by := namesTableOf(policies, g.connection); by != "" {
			return stillNamed(g, by)
		}
		if by, err := c.ownedBy(ctx, g.person.UserID); err != nil {
			return err
		} else if by != "" {
			return stillNamed(g, by)
		}
	}
	return nil
}

func (g removed) refersTo(r policy.Reference) bool {
	if r.Group != "" {
		return r.Group == g.group
	}
	return r.UserID == g.person.UserID && (r.IAMID == "" || r.IAMID == g.person.IAMID)
}

// namesDataSource finds a policy that names it.
func namesDataSource(policies []Policy, name string) string {
	if name == "" {
		return ""
	}
	for _, p := range policies {
		if i := slices.Index(p.On.DataSources, name); i >= 0 {
			return fmt.Sprintf("policy %q (%s)", p.Name, indexed("on.data_sources", i))
		}
	}
	return ""
}

// namesTableOf finds a policy that names a table of a connection: one that is
// registered under the name later would have it.
func namesTableOf(policies []Policy, connection string) string {
	if connection == "" {
		return ""
	}
	for _, p := range policies {
		if i := slices.IndexFunc(p.On.DataSources, func(name string) bool { return strings.HasPrefix(name, connection+".") }); i >= 0 {
			return fmt.Sprintf("policy %q (%s)", p.Name, indexed("on.data_sources", i))
		}
	}
	return ""
}

// ownedBy finds a data source whose owner is nobody any more.
func (c *change) ownedBy(ctx context.Context, userid string) (by string, err error) {
	var name *string
	err = c.QueryRow(ctx, `SELECT min(d.name) FROM portcullis.data_sources d
		WHERE d.owner = $1 AND d.owner <> '' AND NOT EXISTS (SELECT FROM portcullis.people p WHERE p.userid = $1)`, userid).Scan(&name)
	if err != nil || name == nil {
		return "", err
	}
	return fmt.Sprintf("data source %q (owner)", *name), nil
}

func stillNamed(g removed, by string) error {
	e := conflict(g.kind, "%s cannot be deleted: %s names it", g.key, by)
	e.Hint = "Change or delete what names it first, or in the same state file: without it that would mean something else."
	return e
}

// allReferences lists what all policies and people refer to.
func (c *change) allReferences(ctx context.Context) (stated []namedBy, policies []Policy, err error) {
	if policies, err = listPolicies(ctx, c, nil); err != nil {
		return nil, nil, err
	}
	for i := range policies {
		m := policies[i].model(0)
		for _, r := range m.References() {
			stated = append(stated, namedBy{r, fmt.Sprintf("policy %q", m.Name)})
		}
	}
	if err := c.ownersNamed(ctx, &stated); err != nil {
		return nil, nil, err
	}
	rows, err := c.Query(ctx, selectPeople+"WHERE p.impersonate IS NOT NULL")
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		p, err := scanPerson(rows)
		if err != nil {
			return nil, nil, err
		}
		for _, r := range p.Impersonate.References("impersonate") {
			stated = append(stated, namedBy{r, fmt.Sprintf("person %q", p.UserID)})
		}
	}
	return stated, policies, rows.Err()
}

// ownersNamed adds the owners of connections and of what is in them.
func (c *change) ownersNamed(ctx context.Context, stated *[]namedBy) error {
	rows, err := c.Query(ctx, `SELECT name, owners FROM portcullis.connections WHERE owners <> '[]'
		UNION ALL SELECT full_name, owners FROM portcullis.connection_objects WHERE owners <> '[]' AND dropped IS NULL
		UNION ALL SELECT full_name, owners FROM portcullis.connection_waiting WHERE owners <> '[]'`)
	if err != nil {
		return err
	}
	var name string
	var owners []Owner
	_, err = pgx.ForEachRow(rows, []any{&name, &owners}, func() error {
		for _, r := range ownerReferences(owners) {
			*stated = append(*stated, namedBy{r, name})
		}
		owners = nil
		return nil
	})
	return err
}
