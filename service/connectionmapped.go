package service

import (
	"context"
	"net/http"
	"slices"
	"time"

	"portcullis.dev/portcullis/connection/mapping"
	"portcullis.dev/portcullis/policy"
)

// MappedPerson is the answer to a mapping by hand.
type MappedPerson struct {
	changeReply
	Problems []mapping.Problem `json:"problems,omitempty"` // why the person gets nothing, or what the account reaches beside the policies
}

// rolesWithin bounds how long a mapping waits for the instance: it is made all the
// same, and the next round says what is wrong with it.
const rolesWithin = 5 * time.Second

// putMappedAccount says with its answer what the instance knows of the account.
func (s *Server) putMappedAccount(w http.ResponseWriter, r *http.Request, c caller) error {
	a, reply, err := saved(s, mappedAccountKind(), w, r, c)
	if err != nil {
		return err
	}
	mapped := MappedPerson{changeReply: reply}
	if a.State == mapping.Manual {
		ctx, cancel := context.WithTimeout(r.Context(), rolesWithin)
		defer cancel()
		problems, err := s.native.mappingProblems(ctx, a.Connection)
		if err != nil {
			s.log.Info("what an instance knows of an account could not be read", "connection", a.Connection, "error", err)
		}
		mapped.Problems = slices.DeleteFunc(problems, func(p mapping.Problem) bool { return p.Person != policy.PersonID{IAMID: a.IAMID, UserID: a.UserID} })
	}
	writeJSON(w, http.StatusOK, mapped)
	return nil
}

// mappingProblems maps everybody by the roles that an instance has now.
func (c *Connections) mappingProblems(ctx context.Context, name string) ([]mapping.Problem, error) {
	v, target, err := c.store.targetNamed(ctx, name)
	if err != nil {
		return nil, err
	}
	roles, err := c.readRoles(ctx, target, v.ID)
	if err != nil {
		return nil, err
	}
	people, emails, err := everybody(ctx, c.store.pool)
	if err != nil {
		return nil, err
	}
	entries, err := mappedEntries(ctx, c.store.pool, v.ID)
	if err != nil {
		return nil, err
	}
	_, problems := mapping.Resolve(mapping.Config{Automatic: v.Mapping, MakeRoles: v.MakeRoles, Manual: entries}, withEmails(people, emails),
		mapping.Instance{Prefix: v.Prefix, SystemAccount: target.Username, Roles: roles})
	return problems, nil
}
