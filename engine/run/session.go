package run

import "time"

// Session is who asks, in which circumstances (pc_session).
type Session struct {
	RoleOID  uint32
	PID      int
	Governed bool
	Lease    time.Duration // what is left of the node's lease
	Start    int64         // microseconds since 1970
	Epoch    uint64        // policy epoch in shared memory

	Role          string // session_user
	Database      string
	ClientAddress string // "": local
	Application   string
	Impersonate   *Impersonation
	Node          string
	ServiceURL    string // "": not configured
	Token         string // "": none yet
}

// Impersonation is the person as whom the session acts.
type Impersonation struct {
	IAMID  string `json:"iamid"`
	UserID string `json:"userid"`
}

// identity is everything of a session that a decision may depend on. A
// decision made for one identity is of no use to another.
type identity struct {
	service, node, role, database string
	roleOID                       uint32
	epoch                         uint64
	impersonates                  bool
	as                            Impersonation
}

func (s *Session) identity() identity {
	id := identity{
		service: s.ServiceURL, node: s.Node, role: s.Role, database: s.Database,
		roleOID: s.RoleOID, epoch: s.Epoch,
	}
	if s.Impersonate != nil {
		id.impersonates, id.as = true, *s.Impersonate
	}
	return id
}
