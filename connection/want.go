package connection

// Access is what a subscription gives on a table.
type Access string

const (
	Read  Access = "read"
	Write Access = "write"
	// WriteRows is Write for people who see some rows only: TRUNCATE knows no rows.
	WriteRows Access = "write rows"
)

// Privileges are the table privileges of an access.
func (a Access) Privileges() []string {
	switch a {
	case Write:
		return []string{"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"}
	case WriteRows:
		return []string{"SELECT", "INSERT", "UPDATE", "DELETE"}
	}
	return []string{"SELECT"}
}

// Want is all that the policies want of one instance.
type Want struct {
	Accounts []Account
	Sets     []AccessSet
	// Managed are all tables under enforcement, wanted by somebody or not:
	// what people reach of them beyond the sets is reported.
	Managed []ObjectRef
	// Unenforceable are those of which the crawl said why our grants cannot be
	// made. They are tried, since a part may do, and not listed again.
	Unenforceable []ObjectRef
	// Parts are tables of which people may see a part only, subscribed or not:
	// views that show them these tables are reported.
	Parts []Part
}

// Part is tables of which policies hide something from people.
type Part struct {
	Tables   []ObjectRef
	Roles    []string // of these people
	Policies []string // names, for reports
}

// Account is a mapped person.
type Account struct {
	Person string `json:"person"`         // iamid/userid, for reports
	Role   string `json:"role"`           // on the instance, case-sensitive
	Make   bool   `json:"make,omitempty"` // may be made when it is missing
}

// AccessSet is a NOLOGIN role that holds grants; its members are people. There
// is one for each subscription policy and access, and one for each table and
// access that has individual subscriptions: a person who comes or goes is then
// one membership, a table that comes or goes one grant, whatever the numbers.
type AccessSet struct {
	ID      string // stable: of the policy or the data source, with the access
	Access  Access
	Tables  []ObjectRef
	Members []string // roles of people
	// Rows: policies on its tables show the members some rows only. What gets past
	// the policies is reported.
	Rows bool
}
