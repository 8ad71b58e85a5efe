package grants

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// RoleKind says what a role that we made is for.
type RoleKind string

const (
	RoleSet      RoleKind = "set"      // holds table privileges; people are members
	RoleSchema   RoleKind = "schema"   // holds USAGE on one schema; sets are members
	RoleDatabase RoleKind = "database" // holds CONNECT on one database; schema roles are members
	RoleLogin    RoleKind = "login"    // a person's own
)

// MadeRole is a role of the instance that we made, or are about to make.
type MadeRole struct {
	Name string   `json:"name"`
	OID  uint32   `json:"oid"` // 0: about to be made, not yet seen
	Kind RoleKind `json:"kind"`
	For  string   `json:"for"` // id of the set, person, or database and schema
	// Mark stands in the role's comment from the moment it is made, so that a
	// role met after a crash is known as ours and not as somebody's of the name.
	Mark string `json:"mark"`
	// Settled is the digest of what was wanted of the role when the catalogs
	// last agreed: what has to be changed while it is the same is drift.
	Settled string    `json:"settled,omitempty"`
	Made    time.Time `json:"made"`
}

// leadsBy reports whether a role can be meant to be a member of a way.
func (m MadeRole) leadsBy(way MadeRole) bool {
	return m.Kind == RoleSet && way.Kind == RoleSchema || m.Kind == RoleSchema && way.Kind == RoleDatabase
}

// Ledger remembers, in our own store, the roles that we made on one instance.
// Their grants and memberships need no entries: they cannot be older than the
// role. Put is called, and must be durable, before the instance is changed.
type Ledger interface {
	Roles(ctx context.Context) ([]MadeRole, error)
	Put(ctx context.Context, roles ...MadeRole) error // by name
	Forget(ctx context.Context, names ...string) error
}

// Memory is a ledger that lasts as long as the process.
type Memory struct {
	mu    sync.Mutex
	roles map[string]MadeRole
}

func (m *Memory) Roles(context.Context) ([]MadeRole, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]MadeRole, 0, len(m.roles))
	for _, r := range m.roles {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b MadeRole) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (m *Memory) Put(_ context.Context, roles ...MadeRole) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.roles == nil {
		m.roles = map[string]MadeRole{}
	}
	for _, r := range roles {
		m.roles[r.Name] = r
	}
	return nil
}

func (m *Memory) Forget(_ context.Context, names ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range names {
		delete(m.roles, n)
	}
	return nil
}
