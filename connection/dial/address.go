package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/connection"
)

func isSocket(host string) bool { return strings.HasPrefix(host, "/") }

func (d *Dialer) lookup(t connection.Target) pgconn.LookupFunc {
	return func(ctx context.Context, host string) ([]string, error) {
		if d.Guard == nil {
			return net.DefaultResolver.LookupHost(ctx, host)
		}
		addrs, err := d.admit(ctx, t, host)
		if err != nil {
			return nil, err
		}
		out := make([]string, len(addrs))
		for i, a := range addrs {
			out[i] = a.String()
		}
		return out, nil
	}
}

// admit asks the guard. That a name does not resolve is none of its refusals.
func (d *Dialer) admit(ctx context.Context, t connection.Target, host string) ([]netip.Addr, error) {
	if d.Guard == nil {
		return nil, nil
	}
	addrs, err := d.Guard(ctx, host, uint16(t.Port))
	var dns *net.DNSError
	if err == nil || errors.As(err, &dns) || ctx.Err() != nil {
		return addrs, err
	}
	return nil, &connection.Error{Code: CodeAddress, Message: where(t) + " may not be reached", Detail: err.Error(),
		Hint: "The operator of the service sets which hosts connections may reach.", Err: err}
}

// dialFunc connects to one resolved address.
func dialFunc(t connection.Target) pgconn.DialFunc {
	keepAlive := net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}
	dialer := net.Dialer{KeepAliveConfig: keepAlive}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if err := refusePlain(t, network, address); err != nil {
			return nil, err
		}
		return dialer.DialContext(ctx, network, address)
	}
}

// refusePlain keeps connections without TLS on this machine, by the address
// that is dialled and not by its name.
func refusePlain(t connection.Target, network, address string) error {
	if network == "unix" || t.TLS != connection.TLSDisable {
		return nil
	}
	where, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("address %q: %w", address, err)
	}
	if addr := where.Addr().Unmap(); !addr.IsLoopback() {
		return &connection.Error{Code: CodeTLSRequired,
			Message: fmt.Sprintf("%s is on another machine (%s), which is never reached without TLS", t.Host, addr),
			Hint:    "Register the connection with TLS verify-full."}
	}
	return nil
}
