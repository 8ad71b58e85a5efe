package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/broker"
	"portcullis.dev/portcullis/connection/mapping"
	"portcullis.dev/portcullis/policy"
)

// Connection is a PostgreSQL instance that people reach themselves and whose
// GRANTs follow the subscription policies.
type Connection struct {
	ID           string              `json:"id,omitempty"`       // read-only
	Name         string              `json:"name"`               // first part of the names of its data sources
	Provider     connection.Provider `json:"provider,omitempty"` // postgresql (default), rds, aurora, crunchy, neon
	Host         string              `json:"host"`               // name, address, or directory of a Unix socket
	Port         int                 `json:"port,omitempty"`     // default 5432
	Database     string              `json:"database,omitempty"` // where crawling begins, default postgres
	TLS          connection.TLSMode  `json:"tls,omitempty"`      // verify-full (default), disable (loopback and Unix sockets only)
	CA           string              `json:"ca,omitempty"`       // PEM; default: the provider's, else the system's
	CAFile       string              `json:"ca_file,omitempty"`  // state files only: read by the client
	Username     string              `json:"username,omitempty"` // the system account, default portcullis
	Password     *string             `json:"password,omitempty"` // write-only; absent: unchanged
	PasswordFile string              `json:"password_file,omitempty"`
	HasPassword  bool                `json:"has_password,omitempty"` // read-only
	AWS          *connection.AWSRole `json:"aws,omitempty"`          // tokens of this role in place of a password

	Mode        connection.Mode         `json:"mode,omitempty"`         // broker (default), grantor
	Prefix      string                  `json:"prefix,omitempty"`       // of the roles that we make, default portcullis_
	MakeRoles   bool                    `json:"make_roles,omitempty"`   // login roles are made for people who have none
	Mapping     *mapping.Automatic      `json:"mapping,omitempty"`      // how people find their accounts; absent: one by one only (connection_accounts)
	Views       bool                    `json:"views,omitempty"`        // people who may see a part of a table get a view of it
	RowSecurity bool                    `json:"row_security,omitempty"` // people who may see some rows of a table see these under its own name, by row-level security (broker mode)
	Kinds       []connection.ObjectKind `json:"kinds,omitempty"`        // what is enforced on, default tables and partitioned tables
	SyncEvery   string                  `json:"sync_every,omitempty"`   // crawls and checks for drift, 10s to 24h, default 5m
	State       string                  `json:"state,omitempty"`        // enable (default), disable
	Tags        []string                `json:"tags,omitempty"`         // of every table
	Owners      []Owner                 `json:"owners,omitempty"`

	Deleting bool `json:"deleting,omitempty"` // read-only: what it gave is being taken back

	// Setup makes the system account ready. It is used once, at registration,
	// and never stored.
	Setup *Setup `json:"setup,omitempty"`

	systemID string // of the instance that answered at registration
}

// Setup are the credentials of somebody who may make the system account ready:
// a user name and password, or an AWS access key that makes a token for the user.
type Setup struct {
	Username     string  `json:"username"`
	Password     *string `json:"password,omitempty"`
	PasswordFile string  `json:"password_file,omitempty"` // state files only

	AccessKeyID     string  `json:"access_key_id,omitempty"`
	SecretAccessKey *string `json:"secret_access_key,omitempty"`
	SessionToken    *string `json:"session_token,omitempty"`
	Region          string  `json:"region,omitempty"`

	// TakeAccount lets an account that exists become the system account: its password is set anew.
	TakeAccount bool `json:"take_account,omitempty"`
	// AcceptCreateRoleEscalation allows CREATEROLE, which grantor mode needs for
	// the roles that hold grants, on PostgreSQL 15 and older, where it reaches
	// the operating system.
	AcceptCreateRoleEscalation bool `json:"accept_createrole_escalation,omitempty"`
}

// Owner is a person or a group that answers for an object.
type Owner struct {
	Group  string `json:"group,omitempty"`
	IAMID  string `json:"iamid,omitempty"`
	UserID string `json:"userid,omitempty"`
}

// States of a level; inherit is not for connections.
const (
	stateEnable  = "enable"
	stateDisable = "disable"
	stateInherit = "inherit"
)

const (
	defaultSyncEvery = 5 * time.Minute
	leastSyncEvery   = 10 * time.Second
)

func allKinds() []connection.ObjectKind {
	return []connection.ObjectKind{connection.KindTable, connection.KindPartitioned, connection.KindView, connection.KindMaterialised, connection.KindForeign}
}

func connectionKind() *kind[Connection] {
	return &kind[Connection]{
		name: "connections", permission: policy.PermissionSourceAdmin, keyFields: []string{"name"},
		key:       func(c *Connection) []string { return []string{c.Name} },
		normalize: normalizeConnection,
		public:    publicConnection,
		list:      listConnections,
		put:       putConnection,
		settle:    settleConnection,
		remove:    removeConnection,
		gone:      func(v *Connection) removed { return removed{connection: v.Name} },
		verify: func(ctx context.Context, c *change, v *Connection) error {
			return checkReferences(ctx, c, ownerReferences(v.Owners))
		},
	}
}

func publicConnection(c Connection) Connection {
	c.ID, c.Password, c.PasswordFile, c.HasPassword, c.Deleting, c.Setup = "", nil, "", false, false, nil
	return c
}

func normalizeConnection(c *Connection) error {
	fillConnection(c)
	switch {
	case c.PasswordFile != "":
		return invalid("password_file", "is for state files: send password")
	case c.CAFile != "":
		return invalid("ca_file", "is for state files: send ca")
	case c.Setup != nil && c.Setup.PasswordFile != "":
		return invalid("setup.password_file", "is for state files: send password")
	case strings.ContainsAny(c.Name, `."/`):
		return invalid("name", "must not contain a dot, a slash or quotes: it is the first part of connection.database.schema.table")
	}
	for field, name := range map[string]string{"name": c.Name, "database": c.Database, "username": c.Username} {
		if err := checkIdentifier(field, name); err != nil {
			return err
		}
	}
	if err := checkName("host", c.Host, 1024); err != nil {
		return err
	}
	if c.Port < 1 || c.Port > 65535 {
		return invalid("port", "must be between 1 and 65535, not %d", c.Port)
	}
	if err := c.checkChoices(); err != nil {
		return err
	}
	if err := broker.CheckPrefix(c.Prefix); err != nil {
		return instanceError("prefix", err)
	}
	every, err := time.ParseDuration(c.SyncEvery)
	if err != nil || every < leastSyncEvery || every > 24*time.Hour {
		return invalid("sync_every", "%q is not a duration between 10s and 24h, such as 5m", c.SyncEvery)
	}
	c.SyncEvery = every.Truncate(time.Millisecond).String()
	if c.Tags, err = normalizeTags("tags", c.Tags); err != nil {
		return err
	}
	if err := checkMapping(c.Mapping); err != nil {
		return err
	}
	return normalizeOwners(c.Owners)
}

func checkMapping(m *mapping.Automatic) error {
	switch {
	case m == nil:
		return nil
	case m.Attribute == "":
		return invalid("mapping.attribute", "must be userid, email or the name of an attribute")
	case m.Kind != "" && !slices.Contains(mapping.Kinds(), m.Kind):
		return invalid("mapping.kind", "must be one of %q, not %q", mapping.Kinds(), m.Kind)
	case m.Template != "" && !strings.Contains(m.Template, "{}"):
		return invalid("mapping.template", "%q has no {} for the value: everybody would have this one account", m.Template)
	}
	return nil
}

func fillConnection(c *Connection) {
	c.ID, c.HasPassword, c.Deleting = "", false, false
	for _, d := range []struct {
		field *string
		value string
	}{{(*string)(&c.Provider), string(connection.ProviderPostgreSQL)}, {&c.Database, "postgres"}, {&c.Username, "portcullis"}, {(*string)(&c.TLS), string(connection.TLSVerifyFull)},
		{(*string)(&c.Mode), string(connection.ModeBroker)}, {&c.Prefix, connection.DefaultPrefix}, {&c.SyncEvery, defaultSyncEvery.String()}, {&c.State, stateEnable}} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	if c.Port == 0 {
		c.Port = 5432
	}
	if len(c.Kinds) == 0 {
		c.Kinds = []connection.ObjectKind{connection.KindTable, connection.KindPartitioned}
	}
	c.Kinds = sortedSet(c.Kinds)
}

func (c *Connection) checkChoices() error {
	providers := []connection.Provider{connection.ProviderPostgreSQL, connection.ProviderRDS, connection.ProviderAurora, connection.ProviderCrunchy, connection.ProviderNeon}
	switch {
	case !slices.Contains(providers, c.Provider):
		return invalid("provider", "must be one of %v, not %q", providers, c.Provider)
	case c.TLS != connection.TLSVerifyFull && c.TLS != connection.TLSDisable:
		return invalid("tls", "must be verify-full or disable, not %q", c.TLS)
	case c.Mode != connection.ModeBroker && c.Mode != connection.ModeGrantor:
		return invalid("mode", "must be broker or grantor, not %q", c.Mode)
	case c.RowSecurity && c.Mode != connection.ModeBroker:
		return invalid("row_security", "needs broker mode: only who owns a table can give it policies, and functions of the owner do so there")
	case c.State != stateEnable && c.State != stateDisable:
		return invalid("state", "must be enable or disable, not %q", c.State)
	case c.AWS != nil && c.Password != nil:
		return invalid("password", "is not needed where aws makes tokens")
	case c.AWS != nil && (c.AWS.Region == "" || c.AWS.ARN == ""):
		return invalid("aws", "needs region and role_arn")
	case c.Password != nil && *c.Password == "":
		return invalid("password", "must not be empty")
	case c.Setup != nil && c.Setup.Username == "":
		return invalid("setup.username", "must not be empty")
	}
	for i, k := range c.Kinds {
		if !slices.Contains(allKinds(), k) {
			return invalid(indexed("kinds", i), "must be one of %q, not %q", allKinds(), k)
		}
	}
	return nil
}

func normalizeOwners(owners []Owner) error {
	for i := range owners {
		o := &owners[i]
		at := indexed("owners", i)
		switch {
		case (o.Group == "") == (o.UserID == ""):
			return invalid(at, "needs either group or userid")
		case o.Group != "" && o.IAMID != "":
			return invalid(at+".iamid", "belongs to userid, not to group")
		case o.UserID != "" && o.IAMID == "":
			o.IAMID = DefaultIAM
		}
	}
	return nil
}

// ownerReferences are the groups and people that owners name.
func ownerReferences(owners []Owner) []policy.Reference {
	var refs []policy.Reference
	for i, o := range owners {
		at := indexed("owners", i)
		if o.Group != "" {
			refs = append(refs, policy.Reference{Field: at + ".group", Group: o.Group})
		} else {
			refs = append(refs, policy.Reference{Field: at + ".userid", UserID: o.UserID, IAMID: o.IAMID})
		}
	}
	return refs
}

const selectConnections = `
SELECT c.id::text, c.name, c.provider, c.host, c.port, c.database, c.tls, c.ca, c.username, c.sealed_password IS NOT NULL, c.aws, c.mode, c.prefix, c.make_roles,
       c.mapping, c.kinds, c.sync_every_ms, c.enforce, c.tags, c.owners, coalesce(c.system_id, ''), c.deleting, c.views, c.row_security
FROM portcullis.connections c `

func everyConnection(ctx context.Context, q querier, key []string) ([]Connection, error) {
	rows, err := q.Query(ctx, selectConnections+`WHERE $1::text IS NULL OR c.name = $1 OR c.id::text = $1 ORDER BY c.name`, part(key, 0))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanConnection)
}

func listConnections(ctx context.Context, q querier, key []string) ([]Connection, error) {
	list, err := everyConnection(ctx, q, key)
	if key != nil {
		return list, err
	}
	// A state lists what stays.
	return slices.DeleteFunc(list, func(c Connection) bool { return c.Deleting }), err
}

func scanConnection(r pgx.CollectableRow) (c Connection, err error) {
	var kinds []string
	var every int64
	var enforce bool
	if err := r.Scan(&c.ID, &c.Name, &c.Provider, &c.Host, &c.Port, &c.Database, &c.TLS, &c.CA, &c.Username, &c.HasPassword, &c.AWS, &c.Mode, &c.Prefix, &c.MakeRoles,
		&c.Mapping, &kinds, &every, &enforce, &c.Tags, &c.Owners, &c.systemID, &c.Deleting, &c.Views, &c.RowSecurity); err != nil {
		return c, err
	}
	for _, k := range kinds {
		c.Kinds = append(c.Kinds, connection.ObjectKind(k))
	}
	c.SyncEvery = (time.Duration(every) * time.Millisecond).String()
	c.Tags = sortedSet(c.Tags)
	if len(c.Owners) == 0 {
		c.Owners = nil
	}
	c.State = stateEnable
	if !enforce {
		c.State = stateDisable
	}
	return c, nil
}

func putConnection(ctx context.Context, c *change, v, old *Connection) error {
	id := uuid.NewString()
	if old != nil {
		if old.Deleting {
			return conflict("name", "the connection %q is being deleted", v.Name)
		}
		if err := checkSameInstance(v, old); err != nil {
			return err
		}
		id = old.ID
	}
	var sealed *string
	if v.Password != nil {
		text, err := c.store.key.Seal([]byte(*v.Password))
		if err != nil {
			return err
		}
		sealed = &text
	}
	every, err := time.ParseDuration(v.SyncEvery)
	if err != nil {
		return invalid("sync_every", "%q is not a duration", v.SyncEvery)
	}
	kinds := make([]string, 0, len(v.Kinds))
	for _, k := range v.Kinds {
		kinds = append(kinds, string(k))
	}
	_, err = c.Exec(ctx, `INSERT INTO portcullis.connections (id, name, provider, host, port, database, tls, ca, username, sealed_password, aws, mode, prefix, make_roles,
			mapping, kinds, sync_every_ms, enforce, tags, owners, system_id, sync_wanted, views, row_security)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, nullif($21, ''), 1, $22, $23)
		ON CONFLICT (name) DO UPDATE SET provider = EXCLUDED.provider, host = EXCLUDED.host, port = EXCLUDED.port, database = EXCLUDED.database, tls = EXCLUDED.tls,
			ca = EXCLUDED.ca, username = EXCLUDED.username, sealed_password = coalesce(EXCLUDED.sealed_password, portcullis.connections.sealed_password),
			aws = EXCLUDED.aws, mode = EXCLUDED.mode, prefix = EXCLUDED.prefix, make_roles = EXCLUDED.make_roles, mapping = EXCLUDED.mapping, kinds = EXCLUDED.kinds,
			sync_every_ms = EXCLUDED.sync_every_ms, enforce = EXCLUDED.enforce, tags = EXCLUDED.tags, owners = EXCLUDED.owners, views = EXCLUDED.views, row_security = EXCLUDED.row_security,
			system_id = coalesce(EXCLUDED.system_id, portcullis.connections.system_id),
			objects_version = portcullis.connections.objects_version + 1`,
		id, v.Name, v.Provider, v.Host, v.Port, v.Database, v.TLS, v.CA, v.Username, sealed, jsonOrNil(v.AWS), v.Mode, v.Prefix, v.MakeRoles,
		jsonOrNil(v.Mapping), kinds, every.Milliseconds(), v.State == stateEnable, listOrEmpty(v.Tags), listOrEmpty(v.Owners), v.systemID, v.Views, v.RowSecurity)
	return sameInstanceTwice(v, err)
}

// checkSameInstance refuses to turn a connection to another instance: what was
// given there could no longer be taken back.
func checkSameInstance(v, old *Connection) error {
	switch {
	case v.systemID != "" && old.systemID != "" && v.systemID != old.systemID:
		e := conflict("host", "%s:%d is another PostgreSQL instance than the one that connection %q was registered for", v.Host, v.Port, v.Name)
		e.Hint = fmt.Sprintf("If it is the same one, upgraded or restored: portcullis connection replaced %s --host %s --port %d --system-id %s. Else register it under a name of its own.",
			v.Name, v.Host, v.Port, v.systemID)
		return e
	case v.Prefix != old.Prefix:
		return conflict("prefix", "cannot change: roles named %s… exist", old.Prefix)
	case v.Mode != old.Mode:
		e := conflict("mode", "cannot change from %s to %s: delete the connection and register it anew", old.Mode, v.Mode)
		e.Hint = fmt.Sprintf("Before that, keep what portcullis connection print-script %s --removal prints, and let a DBA run it once the connection is deleted: what one mode left is in the way of the other.", connection.ShellWord(v.Name))
		return e
	}
	return nil
}

// sameInstanceTwice explains the violated uniqueness of system_id.
func sameInstanceTwice(v *Connection, err error) error {
	var violated *pgconn.PgError
	if !errors.As(err, &violated) || violated.ConstraintName != "connections_system_id" {
		return err
	}
	e := conflict("host", "%s:%d is a PostgreSQL instance that another connection reaches already", v.Host, v.Port)
	e.Hint = "List them with: portcullis connection list. A copy of a data directory counts as the same instance."
	return e
}

func jsonOrNil[T any](v *T) any {
	if v == nil {
		return nil
	}
	return v
}

func listOrEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// settleConnection forgets a stated password that equals the stored one. Setup
// was used before, when the connection was registered.
func settleConnection(ctx context.Context, c *change, v *Connection) error {
	v.Setup = nil
	if v.Password == nil {
		return nil
	}
	stored, err := connectionPassword(ctx, c, c.store, v.Name)
	if err == nil && stored == *v.Password {
		v.Password = nil
	}
	return err
}

// connectionPassword opens the stored password of a system account, "" if there is none.
func connectionPassword(ctx context.Context, q querier, s *Store, name string) (string, error) {
	var sealed *string
	if err := q.QueryRow(ctx, "SELECT sealed_password FROM portcullis.connections WHERE name = $1", name).Scan(&sealed); err != nil || sealed == nil {
		return "", err
	}
	raw, err := s.key.Unseal(*sealed)
	return string(raw), err
}

// removeConnection begins to take back what was given; the row goes when that is done.
func removeConnection(ctx context.Context, c *change, v *Connection) error {
	_, err := c.Exec(ctx, "UPDATE portcullis.connections SET deleting = true WHERE name = $1", v.Name)
	return err
}

// target is what it takes to reach the instance.
func (s *Store) target(ctx context.Context, v Connection) (connection.Target, error) {
	t := v.target()
	if v.AWS != nil {
		return t, nil
	}
	var err error
	if v.Password != nil {
		t.Password = *v.Password
	} else if v.ID != "" {
		t.Password, err = connectionPassword(ctx, s.pool, s, v.Name)
	}
	return t, err
}

// targetNamed is a connection with what it takes to reach its instance.
func (s *Store) targetNamed(ctx context.Context, name string) (v Connection, t connection.Target, err error) {
	if v, err = s.connectionNamed(ctx, name); err == nil {
		t, err = s.target(ctx, v)
	}
	return v, t, err
}

func (c *Connection) target() connection.Target {
	return connection.Target{
		Name: c.Name, Provider: c.Provider, Host: c.Host, Port: c.Port, Database: c.Database, TLS: c.TLS, CA: c.CA,
		Username: c.Username, AWS: c.AWS, Mode: c.Mode, Prefix: c.Prefix, MakeRoles: c.MakeRoles, RowSecurity: c.RowSecurity,
	}
}

// fullName joins the parts of a name as connection.database.schema.table.
func fullName(parts ...string) string { return connection.FullName(parts...) }

// instanceError tells a caller what an instance, or the code that talks to it, refused.
func instanceError(field string, err error) error {
	var e *connection.Error
	if !errors.As(err, &e) {
		return err
	}
	return &Error{Status: http.StatusUnprocessableEntity, Code: e.Code, Field: field, Message: e.Error(), Hint: e.Hint}
}
