package mapping

import "strings"

// identity is who logs in by an account of AWS, however it is spelled.
type identity struct {
	kind  Kind
	owner string // number of the AWS account, "" where the spelling does not say it
	name  string // lower case: IAM's names are unique in an account whatever their case
}

// identityOf reads a name, a name with its path, or an ARN. A path is no part of
// what makes a user or role unique.
func identityOf(kind Kind, account string) identity {
	id := identity{kind: kind}
	if parts := strings.SplitN(account, ":", 6); len(parts) == 6 && strings.EqualFold(parts[0], "arn") {
		id.owner = parts[4]
	}
	id.name = strings.ToLower(nameOf(kind, account))
	return id
}

// same reports whether two spellings may name one identity: where one of them
// does not say of which AWS account it is, it may.
func (id identity) same(other identity) bool {
	return id.kind == other.kind && id.name == other.name && (id.owner == "" || other.owner == "" || id.owner == other.owner)
}

// nameOf is the name in an ARN or behind a path. Of a session of a role
// (assumed-role/ROLE/SESSION) it is the role, and the session's where that
// names the user of Identity Center.
func nameOf(kind Kind, account string) string {
	rest := account
	if parts := strings.SplitN(account, ":", 6); len(parts) == 6 && strings.EqualFold(parts[0], "arn") {
		rest = parts[5]
	} else if kind == KindIdentityCenter {
		return account
	}
	if session := strings.Split(rest, "/"); len(session) == 3 && session[0] == "assumed-role" && kind == KindIAMRole {
		return session[1]
	}
	return rest[strings.LastIndexAny(rest, "/:")+1:]
}
