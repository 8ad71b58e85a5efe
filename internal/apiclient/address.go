package apiclient

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
)

// dial is what http.Transport connects with.
type dial = func(ctx context.Context, network, address string) (net.Conn, error)

// address is a service's URL taken apart.
type address struct {
	base     *url.URL // what requests start with
	socket   string   // path of a Unix socket instead of a host
	loopback bool     // plain http: must end inside this machine
}

// parseAddress says in its error what is wrong and never repeats the URL,
// which might hold a password.
func parseAddress(text string) (address, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return address{}, errors.New("the service URL cannot be read")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return address{}, errors.New("the service URL must not carry a user, query or fragment")
	case u.Scheme == "unix" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		return address{base: &url.URL{Scheme: "http", Host: "localhost"}, socket: u.Path}, nil
	case u.Scheme == "http" && u.Hostname() != "":
		if !isLoopbackName(u.Hostname()) {
			return address{}, fmt.Errorf("the service URL must be https unless it is on this machine; %s is not loopback", u.Hostname())
		}
	case u.Scheme == "https" && u.Hostname() != "":
	default:
		return address{}, errors.New("the service URL must begin with https://, http:// (loopback only) or unix:///")
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	return address{base: u, loopback: u.Scheme == "http"}, nil
}

func isLoopbackName(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (a address) dialing(d *net.Dialer) dial {
	switch {
	case a.socket != "":
		return func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", a.socket) }
	case a.loopback:
		return func(ctx context.Context, network, address string) (net.Conn, error) {
			return dialLoopback(ctx, d, network, address)
		}
	}
	return d.DialContext
}

// dialLoopback checks what a name led to: "localhost" is what the resolver says.
func dialLoopback(ctx context.Context, d *net.Dialer, network, address string) (net.Conn, error) {
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("%s is not a loopback address", conn.RemoteAddr()), conn.Close())
	}
	return conn, nil
}

// ReadRoots reads the CA certificates that a service verifies against from a
// PEM file; without a file it returns nil, the system's.
func ReadRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read CA file: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("CA file %s holds no certificate", file)
	}
	return roots, nil
}
