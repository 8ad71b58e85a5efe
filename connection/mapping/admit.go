package mapping

import (
	"fmt"
	"strings"

	"portcullis.dev/portcullis/internal/sqltext"
)

// admit refuses what can be nobody's account. Where no role is there yet, mayMake
// says so later: two people who want it are told that first.
func (r *resolver) admit(c candidate) (candidate, bool) {
	refuse := func(code, format string, args ...any) (candidate, bool) {
		r.refuse(c.person, c.account, code, format, args...)
		return c, false
	}
	switch c.kind {
	case KindRole, KindIAMUser, KindIAMRole, KindIdentityCenter:
	default:
		return refuse(CodeBadKind, "kind %q is none of role, iam_user, iam_role and identity_center", c.kind)
	}
	if wrong := validName(c.role); wrong != "" {
		return refuse(CodeInvalid, "the name of the account %s", wrong)
	}
	if why := r.reservedName(c.role); why != "" {
		return refuse(CodeReserved, "%s", why)
	}
	role, there := r.roles[c.role]
	switch {
	case !there:
	case role.Superuser:
		r.refuse(c.person, c.account, CodeSuperuser, "%s is a superuser: no GRANT limits it, so it can be nobody's account", c.role)
		r.problems[len(r.problems)-1].Role = c.role
		return c, false
	case !role.Login:
		return refuse(CodeNoLogin, "%s is a role without LOGIN: its members would get what the person may", c.role)
	}
	return c, true
}

// reservedName says why a name may be nobody's account, "" if it may.
func (r *resolver) reservedName(name string) string {
	switch {
	case name == r.in.SystemAccount:
		return name + " is the account of the service itself"
	case strings.HasPrefix(name, "pg_"):
		return "names that begin with pg_ are PostgreSQL's own"
	case name == "public", name == "none", name == "current_user", name == "session_user", name == "current_role":
		return name + " is a keyword where roles are named"
	case name == "rdsadmin", strings.HasPrefix(name, "rds_"):
		return "names that begin with rds_, and rdsadmin, are Amazon's own"
	}
	if r.in.Prefix != "" && strings.HasPrefix(name, r.in.Prefix) {
		return "names that begin with " + r.in.Prefix + " are the service's own: they hold grants, or were made for somebody else"
	}
	return ""
}

// mayMake reports whether the service makes the role of a person who has none. It
// has the person's name, without the prefix: that stands for roles that hold grants.
func (r *resolver) mayMake(c candidate) bool {
	near := ""
	if other, ok := r.folded[strings.ToLower(c.role)]; ok && other != c.role {
		near = "; there is " + other + ", and names are case-sensitive"
	}
	if !r.cfg.MakeRoles || c.kind != KindRole {
		r.refuse(c.person, c.account, CodeNoRole, "there is no role %s on the instance%s", c.role, near)
		if c.kind != KindRole {
			r.aDBARuns(fmt.Sprintf("CREATE ROLE %s LOGIN; %s", sqltext.Identifier(c.role), grantIAM(c.role)))
		}
		return false
	}
	if near != "" {
		r.warn(c, CodeCaseDiffers, "a role of this person's own is made%s", near)
	}
	return true
}

// warnOf tells, in the words of the risk, what an account reaches beside the policies.
func (r *resolver) warnOf(c candidate, role Role) {
	if role.BypassRLS {
		r.warn(c, CodeBypassRLS, "%s has BYPASSRLS: row policies do not apply, so it reads every row of each table that it may read", c.role)
	}
	if role.CreateRole {
		r.warn(c, CodeCreateRole, "%s has CREATEROLE: it can give itself what others may%s", c.role,
			", up to PostgreSQL 15 even the operating system's files and programs")
	}
	if role.Owner {
		r.warn(c, CodeOwner, "%s owns tables under enforcement: an owner gives itself and others whatever it likes there", c.role)
	}
	if role.Members > 0 {
		r.warn(c, CodeHasMembers, "%d other roles are members of %s: they all reach what this person may, and are not in the policies", role.Members, c.role)
	}
}

// rdsIAM is the role whose members log in by tokens of IAM, on RDS and Aurora.
const rdsIAM = "rds_iam"

func grantIAM(role string) string {
	return fmt.Sprintf("GRANT %s TO %s;", rdsIAM, sqltext.Identifier(role))
}

// aDBARuns says what helps against the last problem.
func (r *resolver) aDBARuns(statement string) { r.problems[len(r.problems)-1].Statement = statement }

// warnOfLogin tells of an account that is mapped by IAM and takes no tokens: the
// person holds what the policies give, and cannot log in.
func (r *resolver) warnOfLogin(c candidate) {
	if c.kind == KindRole || r.roles[c.role].IAM {
		return
	}
	if _, there := r.roles[rdsIAM]; !there {
		r.warn(c, CodeNoIAM, "the instance has no role %s, so nobody logs in as %s by IAM: only Amazon RDS and Aurora take its tokens, where IAM authentication is on", rdsIAM, c.role)
		return
	}
	r.warn(c, CodeNoIAM, "%s is no member of %s, so IAM's tokens do not log in as it", c.role, rdsIAM)
	r.aDBARuns(grantIAM(c.role))
}

func (r *resolver) warnOfKind(c candidate) {
	switch c.kind {
	case KindIAMRole:
		r.warn(c, CodeIAMRole, "everybody who may assume the IAM role %s logs in as this person and reaches what the person may; only its trust policy keeps it to one", c.account)
	case KindIdentityCenter:
		r.warn(c, CodeIdentity, "everybody whose permission set allows rds-db:connect as %s reaches what this person may; let the permission set name the database user by ${aws:PrincipalTag/…}", c.role)
	}
}
