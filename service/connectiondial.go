package service

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/aws"
	"portcullis.dev/portcullis/connection/dial"
	"portcullis.dev/portcullis/engine/guard"
)

// Reach says how the service may reach the instances of connections.
type Reach struct {
	AllowedHosts string // as portcullis.allowed_hosts has them, default *: all but reserved addresses
	CAFolder     string // holds PROVIDER.pem for the providers whose CA the system does not know, "": none
}

// reach dials instances within what the operator allows.
type reach struct {
	guard  *guard.Guard
	folder string
	tokens aws.Tokens
}

func newReach(r Reach) (*reach, error) {
	if r.AllowedHosts == "" {
		r.AllowedHosts = "*"
	}
	g, err := guard.Parse(r.AllowedHosts)
	return &reach{guard: g, folder: r.CAFolder}, err
}

// dialer of instances; addresses are checked right before they are dialled.
func (r *reach) dialer() *dial.Dialer {
	return &dial.Dialer{
		ApplicationName: "portcullis connection", Tokens: &r.tokens, Bundles: r.bundle,
		Guard: func(ctx context.Context, host string, port uint16) ([]netip.Addr, error) {
			return r.guard.Admit(ctx, host, port, false)
		},
	}
}

// bundle reads the CA of a provider, "" if the operator gave none.
func (r *reach) bundle(p connection.Provider) (string, error) {
	if r.folder == "" {
		return "", nil
	}
	raw, err := os.ReadFile(filepath.Join(r.folder, string(p)+".pem"))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return string(raw), err
}

// opener opens sessions of the system account.
func (r *reach) opener(t connection.Target) func(ctx context.Context, database string) (*pgx.Conn, error) {
	d := r.dialer()
	return func(ctx context.Context, database string) (*pgx.Conn, error) { return d.Connect(ctx, t, database) }
}

// SetReach says how the service may reach instances. Call it before Run.
func (s *Server) SetReach(r Reach) (err error) {
	s.native.reach, err = newReach(r)
	return err
}
