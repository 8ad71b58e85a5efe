package policy

import (
	"slices"
	"time"
)

// Status of a person. Anything but active denies.
type Status string

const (
	StatusActive   Status = "active"
	StatusDisabled Status = "disabled"
)

// Permission is a right within Portcullis itself.
type Permission string

const (
	PermissionAdmin       Permission = "ADMIN"            // everything below, and people, sources and keys
	PermissionGovernance  Permission = "GOVERNANCE"       // policies, tags
	PermissionUserAdmin   Permission = "USER_ADMIN"       // people, groups, attributes, accounts
	PermissionSourceAdmin Permission = "SOURCE_ADMIN"     // sources and data sources
	PermissionAudit       Permission = "AUDIT"            // reads the audit
	PermissionImpersonate Permission = "IMPERSONATE_USER" // acts as another person
)

// Permissions lists every permission.
func Permissions() []Permission {
	return []Permission{PermissionAdmin, PermissionGovernance, PermissionUserAdmin, PermissionSourceAdmin, PermissionAudit, PermissionImpersonate}
}

// administrative permissions make their holder a person whom nobody may act as.
func (p Permission) administrative() bool { return p != PermissionImpersonate && p != PermissionAudit }

// PersonID names a person: the identity manager and the name in it.
type PersonID struct {
	IAMID  string `json:"iamid"`
	UserID string `json:"userid"`
}

// Person is what a decision may read of somebody.
type Person struct {
	PersonID
	Status      Status
	Groups      []string
	Attributes  map[string][]string
	Permissions []Permission

	// Impersonate says whom a holder of IMPERSONATE_USER may act as; nil:
	// everyone without administrative permissions.
	Impersonate *Who
}

// Has reports whether the person holds the permission, by itself or through ADMIN.
func (p *Person) Has(want Permission) bool {
	for _, have := range p.Permissions {
		if have == want || have == PermissionAdmin && want != PermissionImpersonate {
			return true
		}
	}
	return false
}

func (p *Person) administers() bool {
	for _, have := range p.Permissions {
		if have.administrative() {
			return true
		}
	}
	return false
}

func (p *Person) inGroup(name string) bool {
	for _, g := range p.Groups {
		if g == name {
			return true
		}
	}
	return false
}

// DataSource is a remote table under governance.
type DataSource struct {
	ID           string // uuid
	Name         string
	Source       string // name of the source
	RemoteSchema string
	RemoteTable  string
	Columns      []TaggedColumn
	Unmanaged    bool // an administrator makes the foreign table
	Tags         []string
	Discoverable bool          // a refusal may say that the table exists
	Tolerance    time.Duration // how long a decision may be kept
	Contact      string        // whom a denied person asks
	HashKey      []byte        // key of the hash mask
}

// TaggedColumn is a column with its tags.
type TaggedColumn struct {
	Column
	Tags []string
	// Unconfirmed columns appeared after the data source was created. They
	// are masked for everyone until confirmed.
	Unconfirmed bool
	// Former are names by which policies still mean the column.
	Former []FormerName
}

// FormerName is the name that a column had while a policy named it by that.
type FormerName struct {
	Policy string // its id
	Name   string
}

// isNamed reports whether a policy means the column by a name.
func (c *TaggedColumn) isNamed(policyID, name string) bool {
	return c.Name == name || slices.Contains(c.Former, FormerName{policyID, name})
}

// Subscription is access given to one person by selection.
type Subscription struct {
	DataSource string // id
	Person     PersonID
	Access     Access
	Expires    time.Time // zero: never
}

// Access is what a subscription gives on a table of a PostgreSQL connection.
// Data sources are only ever read: there both mean the same.
type Access string

const (
	AccessRead  Access = "read"
	AccessWrite Access = "write"
)

// Kind of a policy.
type Kind string

const (
	KindSubscription Kind = "subscription"
	KindMask         Kind = "mask"
	KindFilter       Kind = "filter"
)

// Policy is one rule over data sources.
type Policy struct {
	ID      string
	Version int64
	Name    string
	Kind    Kind
	Order   int64 // age: smaller is older
	On      Target

	Who    *Who   // subscription: whom it subscribes
	Access Access // subscription: what it gives on tables of connections
	Except *Who   // mask, filter: whom it does not apply to

	Columns ColumnChoice // mask
	Mask    Mask         // mask
	Final   bool         // mask: wins over masks that are not final

	Filter *Condition // filter: rows that are shown
}

// Target chooses data sources. The empty target chooses none.
type Target struct {
	All         bool     `json:"all,omitempty"`
	DataSources []string `json:"data_sources,omitempty"` // names
	Tags        []string `json:"tags,omitempty"`         // of the table or any of its columns; a tag includes those below it
}

// ColumnChoice chooses the columns of a mask.
type ColumnChoice struct {
	Names []string `json:"names,omitempty"`
	Tags  []string `json:"tags,omitempty"` // a tag includes those below it: PII includes PII.Email
}

// Matches reports whether the target chooses the data source.
func (t Target) Matches(ds *DataSource) bool {
	if t.All {
		return true
	}
	for _, name := range t.DataSources {
		if name == ds.Name {
			return true
		}
	}
	for _, tag := range t.Tags {
		if anyTagDepth(ds.Tags, tag) > 0 {
			return true
		}
		for _, c := range ds.Columns {
			if anyTagDepth(c.Tags, tag) > 0 {
				return true
			}
		}
	}
	return false
}
