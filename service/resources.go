package service

import (
	"time"

	"portcullis.dev/portcullis/policy"
)

// The resources of the API; the same structs are the sections of a state
// file. Fields marked read-only are ignored in requests.

// Group is a set of people.
type Group struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

// Person is somebody who asks.
type Person struct {
	IAMID       string              `json:"iamid,omitempty"` // identity manager, default "local"
	UserID      string              `json:"userid"`
	Name        string              `json:"name,omitempty"`
	Email       string              `json:"email,omitempty"`
	Status      policy.Status       `json:"status,omitempty"` // active (default), disabled
	Groups      []string            `json:"groups,omitempty"`
	Attributes  map[string][]string `json:"attributes,omitempty"`
	Permissions []policy.Permission `json:"permissions,omitempty"`
	Impersonate *policy.Who         `json:"impersonate,omitempty"` // whom a holder of IMPERSONATE_USER may act as
}

// Source is a remote database and the credential used for it.
type Source struct {
	Name         string            `json:"name"` // also of the foreign server
	Driver       string            `json:"driver"`
	Host         string            `json:"host,omitempty"`
	Port         int               `json:"port,omitempty"`
	Database     string            `json:"database,omitempty"`
	Options      map[string]string `json:"options,omitempty"` // further options of the foreign server
	Username     string            `json:"username,omitempty"`
	Password     *string           `json:"password,omitempty"`      // write-only; absent: unchanged
	PasswordFile string            `json:"password_file,omitempty"` // state files only: read by the client
	HasPassword  bool              `json:"has_password,omitempty"`  // read-only
	Unmanaged    bool              `json:"unmanaged,omitempty"`     // an administrator makes foreign server and user mapping
	RegisteredBy string            `json:"registered_by,omitempty"` // read-only: node whose administrator registered it

	Limits    *Limits     `json:"limits,omitempty"`     // for everyone
	LimitsFor []LimitsFor `json:"limits_for,omitempty"` // for groups and single people
}

// DataSource is a remote table under governance.
type DataSource struct {
	ID               string   `json:"id,omitempty"` // uuid; given by the service unless stated at creation
	Name             string   `json:"name"`
	Source           string   `json:"source"`
	RemoteSchema     string   `json:"remote_schema,omitempty"`
	RemoteTable      string   `json:"remote_table"`
	LocalName        string   `json:"local_name,omitempty"` // of the foreign table, default: name
	Tags             []string `json:"tags,omitempty"`
	Columns          []Column `json:"columns,omitempty"` // tags of columns; types are learned from the source
	Discoverable     bool     `json:"discoverable,omitempty"`
	LatencyTolerance string   `json:"latency_tolerance,omitempty"` // how long a decision may be kept, default 5m
	Contact          string   `json:"contact,omitempty"`           // whom a refused person asks
	Owner            string   `json:"owner,omitempty"`
	Unmanaged        bool     `json:"unmanaged,omitempty"`     // an administrator makes and drops the foreign table
	RegisteredBy     string   `json:"registered_by,omitempty"` // read-only: node whose administrator registered it
	Synced           bool     `json:"synced,omitempty"`        // read-only: the engine's foreign table is up to date
	SyncError        string   `json:"sync_error,omitempty"`    // read-only
}

// Column is a column of a data source.
type Column struct {
	Name        string   `json:"name"`
	Type        string   `json:"type,omitempty"`
	Tags        []string `json:"tags,omitempty"`
	Unconfirmed bool     `json:"unconfirmed,omitempty"` // appeared later: masked until confirmed
}

// Policy is one rule.
type Policy struct {
	ID          string               `json:"id,omitempty"` // read-only
	Name        string               `json:"name"`
	Kind        policy.Kind          `json:"kind"`
	Description string               `json:"description,omitempty"`
	On          policy.Target        `json:"on"`
	Who         *policy.Who          `json:"who,omitempty"`     // subscription
	Access      policy.Access        `json:"access,omitempty"`  // subscription, on tables of connections: read (default), write
	Except      *policy.Who          `json:"except,omitempty"`  // mask, filter
	Columns     *policy.ColumnChoice `json:"columns,omitempty"` // mask
	Mask        *policy.Mask         `json:"mask,omitempty"`    // mask
	Final       bool                 `json:"final,omitempty"`   // mask
	Filter      string               `json:"filter,omitempty"`  // filter: row condition
	Version     int64                `json:"version,omitempty"` // read-only

	Remarks []Remark `json:"remarks,omitempty"` // read-only: what it names and nothing has
}

// Subscription gives one person access to one data source.
type Subscription struct {
	DataSource string     `json:"data_source"` // name
	IAMID      string     `json:"iamid,omitempty"`
	UserID     string     `json:"userid"`
	Expires    *time.Time `json:"expires,omitempty"`

	Access policy.Access `json:"access,omitempty"` // on tables of connections: read (default), write
}

// Account is a login role of an engine that belongs to a person.
type Account struct {
	Node         string  `json:"node,omitempty"` // default: the service's engine
	Role         string  `json:"role"`
	IAMID        string  `json:"iamid,omitempty"`
	UserID       string  `json:"userid"`
	Password     *string `json:"password,omitempty"`      // write-only; absent: unchanged
	PasswordFile string  `json:"password_file,omitempty"` // state files only
	Synced       bool    `json:"synced,omitempty"`        // read-only: the role exists as described
}

// State is the whole of what a service holds. A nil section is left alone.
type State struct {
	Groups        *[]Group        `json:"groups,omitempty"`
	People        *[]Person       `json:"people,omitempty"`
	Sources       *[]Source       `json:"sources,omitempty"`
	DataSources   *[]DataSource   `json:"data_sources,omitempty"`
	Policies      *[]Policy       `json:"policies,omitempty"`
	Subscriptions *[]Subscription `json:"subscriptions,omitempty"`
	Accounts      *[]Account      `json:"sql_accounts,omitempty"`

	Connections        *[]Connection     `json:"connections,omitempty"`
	ConnectionObjects  *[]ObjectSettings `json:"connection_objects,omitempty"`
	ConnectionAccounts *[]MappedAccount  `json:"connection_accounts,omitempty"`

	ConnectionQueryAudits *[]ConnectionQueryAudit `json:"connection_query_audits,omitempty"`
}
