package service

import (
	"context"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/mapping"
	"portcullis.dev/portcullis/policy"
)

// everybody reads all people as policies see them, each table once: there may
// be 10,000 of them. emails are what the service knows beside attributes.
func everybody(ctx context.Context, q querier) (people []policy.Person, emails map[policy.PersonID]string, err error) {
	rows, err := q.Query(ctx, "SELECT id, iamid, userid, status, email FROM portcullis.people ORDER BY id")
	if err != nil {
		return nil, nil, err
	}
	at, emails := map[int64]int{}, map[policy.PersonID]string{}
	var id int64
	var p policy.Person
	var email string
	if _, err = pgx.ForEachRow(rows, []any{&id, &p.IAMID, &p.UserID, &p.Status, &email}, func() error {
		at[id] = len(people)
		people = append(people, p)
		if email != "" {
			emails[p.PersonID] = email
		}
		return nil
	}); err != nil {
		return nil, nil, err
	}
	var name, value string
	if rows, err = q.Query(ctx, "SELECT person_id, group_name FROM portcullis.group_members ORDER BY person_id, group_name"); err != nil {
		return nil, nil, err
	}
	if _, err = pgx.ForEachRow(rows, []any{&id, &name}, func() error {
		if i, ok := at[id]; ok {
			people[i].Groups = append(people[i].Groups, name)
		}
		return nil
	}); err != nil {
		return nil, nil, err
	}
	if rows, err = q.Query(ctx, "SELECT person_id, name, value FROM portcullis.attributes ORDER BY person_id, name, value"); err != nil {
		return nil, nil, err
	}
	_, err = pgx.ForEachRow(rows, []any{&id, &name, &value}, func() error {
		i, ok := at[id]
		if !ok {
			return nil
		}
		if people[i].Attributes == nil {
			people[i].Attributes = map[string][]string{}
		}
		people[i].Attributes[name] = append(people[i].Attributes[name], value)
		return nil
	})
	return people, emails, err
}

// withEmails lets accounts be mapped by the e-mail address that the service
// knows, where no attribute of that name says otherwise.
func withEmails(people []policy.Person, emails map[policy.PersonID]string) []policy.Person {
	people = slices.Clone(people)
	for i := range people {
		p := &people[i]
		if email := emails[p.PersonID]; email != "" && len(p.Attributes["email"]) == 0 {
			p.Attributes = maps.Clone(p.Attributes)
			if p.Attributes == nil {
				p.Attributes = map[string][]string{}
			}
			p.Attributes["email"] = []string{email}
		}
	}
	return people
}

// mapPeople fills in who has which role.
func (w *wanting) mapPeople(people []policy.Person, accounts []connection.Account) {
	w.people, w.roles = map[policy.PersonID]*policy.Person{}, map[policy.PersonID]string{}
	byText := map[string]*policy.Person{}
	for i := range people {
		p := &people[i]
		w.people[p.PersonID] = p
		text := p.IAMID + "/" + p.UserID
		if _, twice := byText[text]; twice {
			p = nil // a slash in a name: nobody can tell whose account it is
		}
		byText[text] = p
	}
	for _, a := range accounts {
		if p := byText[a.Person]; p != nil && p.Status == policy.StatusActive {
			w.roles[p.PersonID] = a.Role
		}
	}
}

// resolve maps people to accounts of an instance.
func (a *ConnectionAccounts) resolve(c Connection, people []policy.Person, entries []mapping.Entry, in mapping.Instance) {
	accounts, problems := mapping.Resolve(mapping.Config{Automatic: c.Mapping, MakeRoles: c.MakeRoles, Manual: entries}, people, in)
	a.Accounts = accounts
	for _, p := range problems {
		if p.Warning {
			a.Warnings = append(a.Warnings, p)
		} else {
			a.Unmapped = append(a.Unmapped, p)
		}
	}
}

// watched are the accounts whose access is compared: those that people have, and
// superusers that they log in as, who are given nothing and reach everything.
func (a *ConnectionAccounts) watched() []connection.Account {
	out := slices.Clone(a.Accounts)
	at := map[string]int{}
	for _, p := range a.Unmapped {
		if p.Role == "" {
			continue
		}
		name := p.Person.IAMID + "/" + p.Person.UserID
		if i, ok := at[p.Role]; ok {
			out[i].Person += ", " + name
			continue
		}
		at[p.Role] = len(out)
		out = append(out, connection.Account{Person: name, Role: p.Role})
	}
	return out
}
