package service

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sort"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/policy"
)

// DefaultIAM is the identity manager of people that name none.
const DefaultIAM = "local"

func groupKind() *kind[Group] {
	return &kind[Group]{
		name: "groups", permission: policy.PermissionUserAdmin, keyFields: []string{"name"},
		key:       func(g *Group) []string { return []string{g.Name} },
		normalize: func(g *Group) error { return checkName("name", g.Name, 256) },
		public:    func(g Group) Group { return g },
		list:      listGroups,
		put: func(ctx context.Context, c *change, g, _ *Group) error {
			_, err := c.Exec(ctx, `INSERT INTO portcullis.groups (name, description) VALUES ($1, $2)
				ON CONFLICT (name) DO UPDATE SET description = EXCLUDED.description`, g.Name, g.Description)
			return err
		},
		remove: func(ctx context.Context, c *change, g *Group) error {
			if err := checkNoLimits(ctx, c, g); err != nil {
				return err
			}
			_, err := c.Exec(ctx, "DELETE FROM portcullis.groups WHERE name = $1", g.Name)
			return err
		},
		gone: func(g *Group) removed { return removed{group: g.Name} },
	}
}

func listGroups(ctx context.Context, q querier, key []string) ([]Group, error) {
	rows, err := q.Query(ctx, `SELECT name, description FROM portcullis.groups
		WHERE $1::text IS NULL OR name = $1 ORDER BY name`, part(key, 0))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (g Group, err error) {
		return g, r.Scan(&g.Name, &g.Description)
	})
}

func personKind() *kind[Person] {
	return &kind[Person]{
		name: "people", permission: policy.PermissionUserAdmin, keyFields: []string{"userid", "iamid"},
		key:       func(p *Person) []string { return []string{p.UserID, p.IAMID} },
		normalize: normalizePerson,
		public:    func(p Person) Person { return p },
		list:      listPeople,
		put:       putPerson,
		verify:    verifyPerson,
		remove:    removePerson,
		gone:      func(p *Person) removed { return removed{person: policy.PersonID{IAMID: p.IAMID, UserID: p.UserID}} },
	}
}

func normalizePerson(p *Person) error {
	if p.IAMID == "" {
		p.IAMID = DefaultIAM
	}
	if p.Status == "" {
		p.Status = policy.StatusActive
	}
	if err := checkName("userid", p.UserID, 256); err != nil {
		return err
	}
	if err := checkName("iamid", p.IAMID, 256); err != nil {
		return err
	}
	if p.Status != policy.StatusActive && p.Status != policy.StatusDisabled {
		return invalid("status", "must be active or disabled, not %q", p.Status)
	}
	for i, g := range p.Groups {
		if err := checkName(fmt.Sprintf("groups[%d]", i), g, 256); err != nil {
			return err
		}
	}
	for i, have := range p.Permissions {
		if !slices.Contains(policy.Permissions(), have) {
			return invalid(fmt.Sprintf("permissions[%d]", i), "unknown permission %q, known are %v", have, policy.Permissions())
		}
	}
	for name, values := range p.Attributes {
		if err := checkName("attributes", name, 256); err != nil {
			return err
		}
		if len(values) == 0 {
			return invalid("attributes."+name, "needs at least one value")
		}
		for _, v := range values {
			if err := checkText("attributes."+name, v, 4096); err != nil {
				return err
			}
		}
		p.Attributes[name] = sortedSet(values)
	}
	if p.Impersonate != nil {
		if err := p.Impersonate.Validate(); err != nil {
			return invalid("impersonate", "%v", err)
		}
	}
	p.Groups, p.Permissions = sortedSet(p.Groups), sortedSet(p.Permissions)
	return nil
}

// sortedSet returns the distinct values in order, nil for none.
func sortedSet[T ~string](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	out := slices.Clone(list)
	sort.Slice(out, func(i, j int) bool { return out[i] < out[j] })
	return slices.Compact(out)
}

const selectPeople = `
SELECT p.iamid, p.userid, p.name, p.email, p.status, p.impersonate,
       coalesce((SELECT array_agg(m.group_name ORDER BY m.group_name COLLATE "C") FROM portcullis.group_members m WHERE m.person_id = p.id), '{}'),
       coalesce((SELECT array_agg(x.permission ORDER BY x.permission COLLATE "C") FROM portcullis.permissions x WHERE x.person_id = p.id), '{}'),
       coalesce((SELECT json_object_agg(name, vals) FROM (SELECT a.name, array_agg(a.value ORDER BY a.value COLLATE "C") AS vals
           FROM portcullis.attributes a WHERE a.person_id = p.id GROUP BY a.name) v), '{}')
FROM portcullis.people p `

func listPeople(ctx context.Context, q querier, key []string) ([]Person, error) {
	rows, err := q.Query(ctx, selectPeople+`WHERE $1::text IS NULL OR p.userid = $1 AND p.iamid = $2 ORDER BY p.iamid, p.userid`,
		part(key, 0), part(key, 1))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanPerson)
}

func scanPerson(r pgx.CollectableRow) (p Person, err error) {
	var attributes, impersonate []byte
	var groups, permissions []string
	if err := r.Scan(&p.IAMID, &p.UserID, &p.Name, &p.Email, &p.Status, &impersonate, &groups, &permissions, &attributes); err != nil {
		return p, err
	}
	if err := json.Unmarshal(attributes, &p.Attributes); err != nil {
		return p, err
	}
	if len(p.Attributes) == 0 {
		p.Attributes = nil
	}
	if impersonate != nil {
		if err := json.Unmarshal(impersonate, &p.Impersonate); err != nil {
			return p, err
		}
	}
	p.Groups = sortedSet(groups)
	for _, x := range permissions {
		p.Permissions = append(p.Permissions, policy.Permission(x))
	}
	return p, nil
}

func putPerson(ctx context.Context, c *change, p, _ *Person) error {
	var impersonate []byte
	if p.Impersonate != nil {
		var err error
		if impersonate, err = json.Marshal(p.Impersonate); err != nil {
			return err
		}
	}
	var id int64
	err := c.QueryRow(ctx, `INSERT INTO portcullis.people (iamid, userid, name, email, status, impersonate) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (iamid, userid) DO UPDATE SET name = EXCLUDED.name, email = EXCLUDED.email, status = EXCLUDED.status, impersonate = EXCLUDED.impersonate
		RETURNING id`, p.IAMID, p.UserID, p.Name, p.Email, p.Status, impersonate).Scan(&id)
	if err != nil {
		return err
	}
	if err := checkGroups(ctx, c, p); err != nil {
		return err
	}
	for _, table := range []string{"group_members", "attributes", "permissions"} {
		if _, err := c.Exec(ctx, "DELETE FROM portcullis."+table+" WHERE person_id = $1", id); err != nil {
			return err
		}
	}
	if _, err := c.Exec(ctx, "INSERT INTO portcullis.group_members (person_id, group_name) SELECT $1, unnest($2::text[])", id, p.Groups); err != nil {
		return constraint("groups", err)
	}
	if _, err := c.Exec(ctx, "INSERT INTO portcullis.permissions (person_id, permission) SELECT $1, unnest($2::text[])", id, p.Permissions); err != nil {
		return err
	}
	for name, values := range p.Attributes {
		if _, err := c.Exec(ctx, "INSERT INTO portcullis.attributes (person_id, name, value) SELECT $1, $2, unnest($3::text[])", id, name, values); err != nil {
			return constraint("attributes."+name, err)
		}
	}
	return nil
}

// checkGroups refuses to put a person into a group that does not exist.
func checkGroups(ctx context.Context, q querier, p *Person) error {
	refs := make([]policy.Reference, 0, len(p.Groups))
	for _, g := range p.Groups {
		refs = append(refs, policy.Reference{Field: "groups", Group: g})
	}
	return checkReferences(ctx, q, refs)
}

// verifyPerson refuses a group that the same change deletes, and whom nobody can act as.
func verifyPerson(ctx context.Context, c *change, p *Person) error {
	if err := c.checkGroupsKept(p); err != nil {
		return err
	}
	return checkReferences(ctx, c, p.Impersonate.References("impersonate"))
}

// checkGroupsKept spares a query for each person: that their groups existed was checked.
func (c *change) checkGroupsKept(p *Person) error {
	for _, g := range c.gone {
		if g.group != "" && slices.Contains(p.Groups, g.group) {
			return invalid("groups", "there is no group %q", g.group)
		}
	}
	return nil
}

// removePerson also lets their SQL accounts be dropped.
func removePerson(ctx context.Context, c *change, p *Person) error {
	if _, err := c.Exec(ctx, `INSERT INTO portcullis.dropped_accounts SELECT a.node, a.role FROM portcullis.sql_accounts a
		JOIN portcullis.people p ON p.id = a.person_id WHERE p.iamid = $1 AND p.userid = $2 ON CONFLICT DO NOTHING`, p.IAMID, p.UserID); err != nil {
		return err
	}
	_, err := c.Exec(ctx, "DELETE FROM portcullis.people WHERE iamid = $1 AND userid = $2", p.IAMID, p.UserID)
	return err
}

// personID finds the key of a person; field names it in the error.
func personID(ctx context.Context, q querier, field, iamid, userid string) (int64, error) {
	var id int64
	err := q.QueryRow(ctx, "SELECT id FROM portcullis.people WHERE iamid = $1 AND userid = $2", iamid, userid).Scan(&id)
	if err == pgx.ErrNoRows {
		return 0, invalid(field, "there is no person %q in %q", userid, iamid)
	}
	return id, err
}

// subject makes the policy model's person.
func (p *Person) subject() *policy.Person {
	return &policy.Person{
		PersonID: policy.PersonID{IAMID: p.IAMID, UserID: p.UserID}, Status: p.Status, Groups: p.Groups,
		Attributes: p.Attributes, Permissions: p.Permissions, Impersonate: p.Impersonate,
	}
}
