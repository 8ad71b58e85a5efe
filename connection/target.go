package connection

import "strings"

// Mode says what the system account may do on the instance.
type Mode string

const (
	// ModeBroker: the owner installed definer functions that grant on listed
	// tables to roles of one prefix; the account may execute them, no more.
	ModeBroker Mode = "broker"
	// ModeGrantor: the account holds the five table privileges WITH GRANT
	// OPTION, so it can itself read and write everything that it manages.
	ModeGrantor Mode = "grantor"
)

// TLSMode is as libpq's sslmode; nothing weaker than verify-full leaves the machine.
type TLSMode string

const (
	TLSVerifyFull TLSMode = "verify-full"
	// TLSDisable is accepted for loopback and Unix sockets only.
	TLSDisable TLSMode = "disable"
)

// Provider is the deployment of an instance.
type Provider string

const (
	ProviderPostgreSQL Provider = "postgresql"
	ProviderRDS        Provider = "rds"
	ProviderAurora     Provider = "aurora"
	ProviderCrunchy    Provider = "crunchy"
	ProviderNeon       Provider = "neon"
)

// Target is everything that it takes to reach one instance and act on it.
type Target struct {
	Name     string // of the connection
	Provider Provider
	Host     string // name, address, or directory of a Unix socket
	Port     int
	Database string // where roles are handled and crawling begins
	TLS      TLSMode
	CA       string // PEM; "": the provider's own, else the system's
	Username string
	Password string   // secret; empty with AWS
	AWS      *AWSRole // tokens in place of a password

	Mode   Mode
	Prefix string // of every role that we make; lower case, ends with _
	// MakeRoles lets the account make login roles for people who have none.
	MakeRoles bool
	// RowSecurity lets the account give tables policies, by functions of their owner.
	RowSecurity bool
}

// AWSRole is a role assumed in another account, with tokens made for each connection.
type AWSRole struct {
	Region      string `json:"region"`
	ARN         string `json:"role_arn"`
	ExternalID  string `json:"external_id"`
	STSEndpoint string `json:"sts_endpoint,omitempty"` // "": AWS's own of the region
}

// DefaultPrefix is the prefix of the roles that are made for a connection.
const DefaultPrefix = "portcullis_"

// BrokerSchema holds the definer functions of the broker, in every database.
const BrokerSchema = "portcullis_broker"

// OwnerRole is the NOLOGIN CREATEROLE role under which roles are made on
// PostgreSQL 16 and later; the system account is a member of it.
func (t Target) OwnerRole() string { return t.Prefix + "owner" }

// ViewsOwner is the NOLOGIN role that owns the views of tables of which people
// may see a part; where it is, the system account may act as it.
func (t Target) ViewsOwner() string { return t.Prefix + "views" }

// Ours reports whether a role name is one that only we make.
func (t Target) Ours(role string) bool { return strings.HasPrefix(role, t.Prefix) }
