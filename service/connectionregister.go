package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/aws"
	"portcullis.dev/portcullis/connection/dial"
	"portcullis.dev/portcullis/connection/setup"
)

// Registered is a connection that was registered, with what its registration brought up.
type Registered struct {
	Connection
	Reached
}

// Reached is what reaching an instance brought up.
type Reached struct {
	Statements        []string        `json:"statements,omitempty"`         // that were run with the setup credentials
	Warnings          []string        `json:"warnings,omitempty"`           // in the words of the risk
	DefaultPrivileges []setup.Default `json:"default_privileges,omitempty"` // for each role that makes tables, so that new ones are enforceable
	Missing           []setup.Missing `json:"missing,omitempty"`            // what is left for others to grant: tables of other owners
}

// ReachedConnection says of which connection of a state.
type ReachedConnection struct {
	Connection string `json:"connection"`
	Reached
}

// Replaced is the answer to a connection that was edited.
type Replaced struct {
	changeReply
	Reached
}

// register reaches the instance of a connection before it is stored: as the
// system account, or with the setup credentials, which first make that account
// ready and are then forgotten. old is the connection as stored, nil: a new
// one. stated are those of the same state that were reached, by their system
// identifiers. own is the turn of the request; without one nothing is changed anywhere.
func (c *Connections) register(ctx context.Context, v, old *Connection, stated map[string]string, own *turn) (Reached, error) {
	if old != nil {
		v.ID = old.ID // for the stored password
		if v.Setup == nil && !reachedOtherwise(v, old) {
			return Reached{}, nil
		}
	}
	t, err := c.store.target(ctx, *v)
	if err != nil {
		return Reached{}, err
	}
	if v.Setup != nil && v.Password == nil && old != nil && v.Username != old.Username {
		t.Password = "" // a new account gets one of its own
	}
	dry := own == nil
	r := setup.Request{Target: t, DryRun: dry, Admit: func(ctx context.Context, server connection.Server) error {
		if err := own.take(ctx, server.SystemID); err != nil {
			return err
		}
		return c.known(ctx, v, stated, server)
	}}
	if v.Setup != nil {
		r.Credentials, r.TakeAccount, r.AcceptCreateRoleEscalation = v.Setup.credentials(), v.Setup.TakeAccount, v.Setup.AcceptCreateRoleEscalation
	}
	result, err := setup.Register(ctx, c.reach.dialer(), r)
	if err != nil {
		return Reached{}, unarmed(v, t, instanceError("host", err))
	}
	if v.Setup != nil && v.AWS == nil && !dry {
		v.Password = &result.Target.Password
	}
	return Reached{Statements: result.Statements, Warnings: result.Warnings, DefaultPrivileges: result.DefaultPrivileges, Missing: result.Missing}, nil
}

// unarmed says of a login that failed without a password where one comes from.
func unarmed(v *Connection, t connection.Target, err error) error {
	var e *Error
	if v.Setup == nil && v.AWS == nil && t.Password == "" && errors.As(err, &e) && e.Code == dial.CodeCredentials {
		e.Message = fmt.Sprintf("%s is asked for a password there, and none was given", v.Username)
		e.Hint = "Give --setup-user, a DBA's account that makes it ready, or --password-file with its password (in a state file setup or password_file)."
	}
	return err
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
func (c *Connections) known(ctx context.Context, v *Connection, stated map[string]string, server connection.Server) error {
	v.systemID = server.SystemID
	if strings.HasPrefix(server.SystemID, "facts:") {
		return nil // may be shared by instances that were made alike
	}
	other := stated[server.SystemID]
	if other == "" {
		err := c.store.pool.QueryRow(ctx, "SELECT coalesce((SELECT name FROM portcullis.connections WHERE system_id = $1 AND id::text <> $2), '')", server.SystemID, v.ID).Scan(&other)
		if err != nil {
			return err
		}
	} else if other == v.Name {
		return nil
	}
	if other == "" {
		return nil
	}
	e := conflict("host", "%s:%d is the PostgreSQL instance that connection %q reaches already", v.Host, v.Port, other)
	e.Hint = "One connection covers all databases of an instance. A copy of a data directory counts as the same instance."
	return e
}

// reachConnections registers the connections of a state that are new or reached
// otherwise than before. Setup credentials that stay in a state were used at the
// registration.
func (s *Server) reachConnections(ctx context.Context, list *[]Connection, own *turn) (all []ReachedConnection, err error) {
	if list == nil {
		return nil, nil
	}
	k := connectionKind()
	stated := map[string]string{}
	for i := range *list {
		v := &(*list)[i]
		at := indexed("connections", i)
		if err := k.check(v); err != nil {
			return nil, withPrefix(at, err)
		}
		reached, err := s.reachConnection(ctx, v, stated, false, own)
		if err != nil {
			return nil, withPrefix(at, err)
		}
		if v.systemID != "" {
			stated[v.systemID] = v.Name
		}
		if len(reached.Statements)+len(reached.Warnings)+len(reached.DefaultPrivileges)+len(reached.Missing) > 0 {
			all = append(all, ReachedConnection{Connection: v.Name, Reached: reached})
		}
	}
	return all, nil
}

// reachConnection reaches the instance of a connection as an edit has it. With
// again setup credentials are used though nothing else differs.
func (s *Server) reachConnection(ctx context.Context, v *Connection, stated map[string]string, again bool, own *turn) (r Reached, err error) {
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
			if stored == *v.Password && v.Username == old.Username {
				v.Password = nil
			}
		}
		if !again && !reachedOtherwise(v, old) {
			v.Setup = nil
		}
	}
	return s.native.register(ctx, v, old, stated, own)
}

// replaceConnection edits a connection. What its setup credentials made ready is
// looked at right away.
func (s *Server) replaceConnection(w http.ResponseWriter, r *http.Request, c caller) error {
	k := connectionKind()
	v, err := decodeConnection(w, r)
	if err != nil {
		return err
	}
	if name := r.PathValue("name"); v.Name != name {
		return invalid("name", "is %q in the body and %q in the path", v.Name, name)
	}
	if err := longRequest(w); err != nil {
		return err
	}
	own := &turn{of: s.native}
	defer own.end(r.Context())
	reached, err := s.reachConnection(r.Context(), &v, nil, true, own)
	if err != nil {
		return err
	}
	var action string
	version, err := s.store.Change(r.Context(), c.actor(), func(ch *change) (err error) {
		action, err = k.save(r.Context(), ch, &v)
		return err
	})
	if err == nil && len(reached.Statements) > 0 {
		_, err = s.store.askSync(r.Context(), c.actor(), v.Name, "")
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, Replaced{changeReply{Version: version, Action: action}, reached})
	return nil
}
