package grants

import (
	"fmt"
	"strings"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/sqltext"
)

// obstacles tells what others granted and what is in the way of changes that
// PostgreSQL refused. Only they, or a superuser, can take it back; the pending
// statement says what to run.
type obstacles struct {
	*view
	planner *planner
	target  connection.Target
	known   *evaluator       // memo of judge
	revoked map[revoked]bool // memo of again
}

// revoked is what a plan revokes from a role.
type revoked struct {
	grant  action // by which it was given
	role   string
	object connection.ObjectRef
}

const (
	circularGrant  = "0LP01" // of an invalid GRANT
	dependentExist = "2BP01"
)

// of is what is in the way of a change; nil: nothing of others is.
func (o *obstacles) of(c change, refused *connection.Error) *connection.Error {
	role, member := o.cat.names[c.role], o.cat.names[c.member]
	var statements []string
	who := c.role
	switch {
	case role == nil:
		return nil
	case c.action == joinRole && refused.SQLState == circularGrant && member != nil:
		return o.circular(role, member)
	case refused.SQLState != dependentExist:
		return nil
	case c.action == leaveRole || c.action == leaveAdmin:
		who = c.member
		statements = o.judge().passedMemberships(o.planner, role.oid, c.member)
	case c.action == revokeTable || c.action == revokeSchema || c.action == revokeDatabase:
		statements = o.judge().passedPrivileges(c, role.oid)
	}
	if len(statements) == 0 {
		return nil
	}
	return &connection.Error{Code: "passed_on", Message: fmt.Sprintf("role %s passed on what is to be revoked from it", sqltext.Identifier(who)),
		Hint: "A DBA takes back what it granted: " + strings.Join(statements, "; "), SQLState: refused.SQLState}
}

// again reports whether a change grants anew what another one takes away
// together with what should not be there.
func (o *obstacles) again(c change) bool {
	if o.revoked == nil {
		o.revoked = map[revoked]bool{}
		grant := map[action]action{revokeTable: grantTable, revokeSchema: grantSchema, revokeDatabase: grantDatabase}
		for _, list := range o.plan.tables {
			for _, r := range list {
				if r.revokes() {
					o.revoked[revoked{grant[r.action], r.role, r.object}] = true
				}
			}
		}
	}
	return o.revoked[revoked{c.action, c.role, c.object}]
}

// judge knows which statement ends what somebody granted.
func (o *obstacles) judge() *evaluator {
	if o.known == nil {
		o.known = &evaluator{cat: o.cat, want: o.want}
		o.known.findKept(o.target, o.ledger)
	}
	return o.known
}
