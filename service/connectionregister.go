package service

import (
	"context"
	"strings"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/aws"
	"portcullis.dev/portcullis/connection/setup"
)

// Registered is a connection that was registered, with what its registration brought up.
type Registered struct {
	Connection
	Statements        []string        `json:"statements,omitempty"`         // that were run with the setup credentials
	Warnings          []string        `json:"warnings,omitempty"`           // in the words of the risk
	DefaultPrivileges []setup.Default `json:"default_privileges,omitempty"` // for each role that makes tables, so that new ones are enforceable
	Missing           []setup.Missing `json:"missing,omitempty"`            // what is left for others to grant: tables of other owners
}

// register reaches the instance of a connection before it is stored: as the
// system account, or with the setup credentials, which first make that account
// ready and are then forgotten. old is the connection as stored, nil: a new
// one. With dry nothing is changed anywhere.
func (c *Connections) register(ctx context.Context, v, old *Connection, dry bool) (Registered, error) {
	if old != nil {
		v.ID = old.ID // for the stored password
		if v.Setup == nil && !reachedOtherwise(v, old) {
			return Registered{}, nil
		}
	}
	t, err := c.store.target(ctx, *v)
	if err != nil {
		return Registered{}, err
	}
	if v.Setup != nil && v.Password == nil && old != nil && v.Username != old.Username {
		t.Password = "" // a new account gets one of its own
	}
	r := setup.Request{Target: t, DryRun: dry, Admit: func(ctx context.Context, server connection.Server) error { return c.known(ctx, v, server) }}
	if v.Setup != nil {
		r.Credentials, r.TakeAccount, r.AcceptCreateRoleEscalation = v.Setup.credentials(), v.Setup.TakeAccount, v.Setup.AcceptCreateRoleEscalation
	}
	result, err := setup.Register(ctx, c.reach.dialer(), r)
	if err != nil {
		return Registered{}, instanceError("host", err)
	}
	if v.Setup != nil && v.AWS == nil && !dry {
		v.Password = &result.Target.Password
	}
	return Registered{Statements: result.Statements, Warnings: result.Warnings, DefaultPrivileges: result.DefaultPrivileges, Missing: result.Missing}, nil
}

func (s *Setup) credentials() setup.Credentials {
	c := setup.Credentials{Username: s.Username, Region: s.Region}
	if s.Password != nil {
		c.Password = *s.Password
	}
	if s.AccessKeyID != "" {
		c.AccessKey = &aws.AccessKey{ID: s.AccessKeyID}
		if s.SecretAccessKey != nil {
			c.AccessKey.Secret = *s.SecretAccessKey
		}
		if s.SessionToken != nil {
			c.AccessKey.SessionToken = *s.SessionToken
		}
	}
	return c
}

// reachedOtherwise tells whether an edit changes how the instance is reached.
func reachedOtherwise(v, old *Connection) bool {
	sameAWS := v.AWS == old.AWS || v.AWS != nil && old.AWS != nil && *v.AWS == *old.AWS
	return v.Password != nil || v.Host != old.Host || v.Port != old.Port || v.Database != old.Database || v.Username != old.Username ||
		v.TLS != old.TLS || v.CA != old.CA || v.Provider != old.Provider || v.MakeRoles != old.MakeRoles || !sameAWS
}

// known remembers which instance answered and refuses one that another connection reaches.
func (c *Connections) known(ctx context.Context, v *Connection, server connection.Server) error {
	v.systemID = server.SystemID
	if strings.HasPrefix(server.SystemID, "facts:") {
		return nil // may be shared by instances that were made alike
	}
	var other string
	err := c.store.pool.QueryRow(ctx, "SELECT coalesce((SELECT name FROM portcullis.connections WHERE system_id = $1 AND name <> $2), '')", server.SystemID, v.Name).Scan(&other)
	if err != nil || other == "" {
		return err
	}
	e := conflict("host", "%s:%d is the PostgreSQL instance that connection %q reaches already", v.Host, v.Port, other)
	e.Hint = "One connection covers all databases of an instance. A copy of a data directory counts as the same instance."
	return e
}

// reachConnections registers the connections of a state that are new or reached otherwise than before.
func (s *Server) reachConnections(ctx context.Context, list *[]Connection, dry bool) error {
	if list == nil {
		return nil
	}
	k := connectionKind()
	for i := range *list {
		v := &(*list)[i]
		at := indexed("connections", i)
		if err := k.check(v); err != nil {
			return withPrefix(at, err)
		}
		if _, err := s.reachConnection(ctx, v, dry); err != nil {
			return withPrefix(at, err)
		}
	}
	return nil
}

func (s *Server) reachConnection(ctx context.Context, v *Connection, dry bool) (r Registered, err error) {
	k := connectionKind()
	old, err := k.find(ctx, s.store.pool, k.key(v))
	if err != nil {
		return r, err
	}
	if old != nil {
		if err := checkSameInstance(v, old); err != nil {
			return r, err
		}
		if v.Password != nil { // the same password in a state file is no news
			stored, err := connectionPassword(ctx, s.store.pool, s.store, v.Name)
			if err != nil {
				return r, err
			}
			if stored == *v.Password {
				v.Password = nil
			}
		}
		if !reachedOtherwise(v, old) {
			v.Setup = nil // it was used at the registration
		}
	}
	return s.native.register(ctx, v, old, dry)
}
