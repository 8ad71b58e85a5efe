package dial

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/connection"
)

// Networks is a guard of lists: an address must be in one of allow (if there
// are any) and in none of deny.
func Networks(allow, deny []netip.Prefix) Guard {
	return func(_ context.Context, addr netip.Addr) error {
		in := func(p netip.Prefix) bool { return p.Contains(addr) }
		if slices.ContainsFunc(deny, in) || len(allow) > 0 && !slices.ContainsFunc(allow, in) {
			return fmt.Errorf("%s is outside of the networks that connections may reach", addr)
		}
		return nil
	}
}

func isSocket(host string) bool { return strings.HasPrefix(host, "/") }

// dialFunc connects to one resolved address, after the guard had its say.
func (d *Dialer) dialFunc(t connection.Target) pgconn.DialFunc {
	keepAlive := net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}
	dialer := net.Dialer{KeepAliveConfig: keepAlive}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if network != "unix" {
			if err := d.admit(ctx, t, address); err != nil {
				return nil, err
			}
		}
		return dialer.DialContext(ctx, network, address)
	}
}

func (d *Dialer) admit(ctx context.Context, t connection.Target, address string) error {
	where, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("address %q: %w", address, err)
	}
	addr := where.Addr().Unmap()
	if t.TLS == connection.TLSDisable && !addr.IsLoopback() {
		return &connection.Error{Code: CodeTLSRequired,
			Message: fmt.Sprintf("%s is on another machine (%s), which is never reached without TLS", t.Host, addr),
			Hint:    "Register the connection with TLS verify-full."}
	}
	if d.Guard == nil {
		return nil
	}
	if err := d.Guard(ctx, addr); err != nil {
		return &connection.Error{Code: CodeAddress, Message: "the address of " + t.Host + " may not be reached",
			Detail: err.Error(), Hint: "The operator of the service sets which networks connections may reach.", Err: err}
	}
	return nil
}
