// Package mapping decides which role of an instance is which person. It is
// pure: the service gives people and what it knows of the instance's roles.
package mapping

import "portcullis.dev/portcullis/policy"

// Kind is what stands behind an account of the instance.
type Kind string

const (
	KindRole           Kind = "role"            // a PostgreSQL role, by password or however the instance does it
	KindIAMUser        Kind = "iam_user"        // AWS IAM user: the role of the same name with rds_iam
	KindIAMRole        Kind = "iam_role"        // AWS IAM role: of one person, or nobody can tell who it was
	KindIdentityCenter Kind = "identity_center" // AWS IAM Identity Center: by the attribute its user name comes from
)

// Kinds lists every kind.
func Kinds() []Kind { return []Kind{KindRole, KindIAMUser, KindIAMRole, KindIdentityCenter} }

// State is how one person is mapped.
type State string

const (
	Unset  State = ""       // as the automatic mapping says
	Manual State = "manual" // to the named account
	None   State = "none"   // to nothing, whatever the automatic mapping says
)

// Config of a connection.
type Config struct {
	Automatic *Automatic `json:"automatic,omitempty"` // nil: people are mapped by hand only
	MakeRoles bool       `json:"make_roles,omitempty"`
	Manual    []Entry    `json:"manual,omitempty"`
}

// Automatic maps each person by an attribute.
type Automatic struct {
	// Attribute is "userid", "email", or the name of an attribute. It must
	// have exactly one value; email is the attribute of that name, else a
	// userid that is an address.
	Attribute   string `json:"attribute"`
	StripPrefix string `json:"strip_prefix,omitempty"` // taken away where it is there
	StripSuffix string `json:"strip_suffix,omitempty"` // "@example.com"
	Lower       bool   `json:"lower,omitempty"`        // otherwise case-sensitive, as PostgreSQL is
	Template    string `json:"template,omitempty"`     // "{}_ro": {} is the value; "" is "{}"
	Kind        Kind   `json:"kind,omitempty"`         // default role
}

// Entry is the mapping of one person by hand.
type Entry struct {
	Person  policy.PersonID `json:"person"`
	State   State           `json:"state"`
	Account string          `json:"account,omitempty"` // the role; for an IAM user or role its name or ARN
	Role    string          `json:"role,omitempty"`    // of the database, where Account is an ARN and the names differ
	Kind    Kind            `json:"kind,omitempty"`
}

// Role is what is known of a role of the instance.
type Role struct {
	Name       string
	OID        uint32
	Login      bool
	Superuser  bool
	BypassRLS  bool
	CreateRole bool
	Members    int  // roles that are members of it, directly or not: they all get what it gets
	Owner      bool // owns a table under enforcement
	IAM        bool // is a member of rds_iam: logs in by AWS IAM's tokens
}

// Instance is what mapping must know of the instance.
type Instance struct {
	Prefix        string // of our own roles
	SystemAccount string
	Roles         []Role
}

// Problem with the mapping of one person.
type Problem struct {
	Person  policy.PersonID `json:"person"`
	Account string          `json:"account,omitempty"`
	Code    string          `json:"code"`
	Message string          `json:"message"`
	// Role of the instance that the person logs in as all the same: a superuser,
	// whose access is reported although nobody limits it.
	Role string `json:"role,omitempty"`
	// Warning: mapped all the same, but the account reaches more than the
	// policies give, or nobody can log in as it. Otherwise the person is unmapped
	// and gets nothing.
	Warning bool `json:"warning,omitempty"`
	// Statement that a DBA runs against it, where there is one.
	Statement string `json:"statement,omitempty"`
}

// OfRole reports whether the role as it is on the instance, or its absence, is the problem.
func (p Problem) OfRole() bool {
	return p.Code == CodeNoRole || p.Code == CodeNoLogin || p.Code == CodeSuperuser
}

// Codes of problems.
const (
	CodeNone        = "none"             // set to none by hand
	CodeNoValue     = "no_value"         // the attribute is missing
	CodeManyValues  = "several_values"   // the attribute has several values
	CodeNoMapping   = "no_mapping"       // no automatic mapping, nothing by hand
	CodeNoRole      = "no_role"          // the role is not there and may not be made
	CodeShared      = "shared_account"   // two people, one account
	CodeReserved    = "reserved"         // pg_*, our own, the system account
	CodeInvalid     = "invalid_name"     // no name of a role
	CodeSuperuser   = "superuser"        //
	CodeNoLogin     = "no_login"         // a group, not an account
	CodeBypassRLS   = "bypass_rls"       //
	CodeCreateRole  = "create_role"      //
	CodeOwner       = "owner"            //
	CodeHasMembers  = "has_members"      //
	CodeIAMRole     = "iam_role"         //
	CodeNoIAM       = "no_rds_iam"       // tokens of IAM do not log in as the account
	CodeIdentity    = "identity_center"  //
	CodeUnknown     = "unknown_person"   // an entry for nobody
	CodeCaseDiffers = "case_differs"     // a role that differs in case only
	CodeInactive    = "inactive"         // a deactivated person gets nothing
	CodeBadKind     = "unknown_kind"     //
	CodeBadState    = "unknown_state"    //
	CodeDuplicate   = "duplicate_manual" // two entries for one person
)
