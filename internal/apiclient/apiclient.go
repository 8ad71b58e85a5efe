// Package apiclient sends requests to the policy service. It is the one place
// that says where a credential may travel: over TLS that verifies, or inside
// the machine, and only to the address that an administrator wrote.
package apiclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// maxHeader bounds the headers of an answer, bytes.
const maxHeader = 64 << 10

// Options say how a Client connects. The zero value of a duration or number
// is net/http's own default.
type Options struct {
	Roots       *x509.CertPool // the service's certificate verifies against these, nil: the system's
	Resolver    *net.Resolver  // nil: the system's
	DialLimit   time.Duration  // one connect, TLS handshake apart
	Limit       time.Duration  // a whole request with its answer; 0: none, for streams
	Idle        time.Duration  // a connection is kept so long for the next request
	IdlePerHost int
}

// Client reaches one service. It is safe for concurrent use.
type Client struct {
	base *url.URL
	http *http.Client
}

// Request is one request; Path begins with /, is escaped and may have a query.
type Request struct {
	Method      string
	Path        string
	Credential  string // API key or token, "": none
	ContentType string // of Body
	Body        []byte // nil: none
}

// New makes a Client for an address: https://host[:port][/path], http:// to
// loopback only, or unix:///path/of/socket. Redirects and proxies are never
// followed.
func New(address string, o Options) (*Client, error) {
	target, err := parseAddress(address)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: o.DialLimit, KeepAlive: 5 * time.Second, Resolver: o.Resolver}
	return &Client{
		base: target.base,
		http: &http.Client{
			Timeout:       o.Limit,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{
				DialContext:     target.dialing(dialer),
				TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.Roots},
				// HTTP/1.1 only: a request that times out then closes its connection,
				// so a half-open one is never used again.
				TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{},
				TLSHandshakeTimeout:    o.DialLimit,
				IdleConnTimeout:        o.Idle,
				MaxIdleConnsPerHost:    o.IdlePerHost,
				MaxResponseHeaderBytes: maxHeader,
			},
		},
	}, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Start sends a request and returns the answer, whatever its status; the
// caller closes its body.
func (c *Client) Start(ctx context.Context, r Request) (*http.Response, error) {
	path, err := url.Parse(r.Path)
	if err != nil || path.IsAbs() || path.Host != "" || len(path.Path) == 0 || path.Path[0] != '/' {
		return nil, fmt.Errorf("not a path of the policy service: %q", r.Path)
	}
	target := *c.base
	target.Path += path.Path
	target.RawPath = c.base.EscapedPath() + path.EscapedPath()
	target.RawQuery = path.RawQuery
	request, err := http.NewRequestWithContext(ctx, r.Method, target.String(), bytes.NewReader(r.Body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	if r.Body != nil {
		request.Header.Set("Content-Type", r.ContentType)
	}
	if r.Credential != "" {
		request.Header.Set("Authorization", "Bearer "+r.Credential)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, unreachable(err)
	}
	return response, nil
}

// Send sends a request and reads the whole answer, of at most so many bytes.
func (c *Client) Send(ctx context.Context, r Request, most int64) (status int, answer []byte, err error) {
	response, err := c.Start(ctx, r)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(response.Body, most+1))
	if err != nil {
		return 0, nil, unreachable(err)
	}
	if int64(len(answer)) > most {
		return 0, nil, &TooLong{Path: r.Path, Most: most}
	}
	return response.StatusCode, answer, nil
}

// Unreachable says that no answer came.
type Unreachable struct{ Cause error }

func (e *Unreachable) Error() string {
	return "the policy service cannot be reached: " + e.Cause.Error()
}

func (e *Unreachable) Unwrap() error { return e.Cause }

// unreachable leaves out the URL that net/http puts before each error.
func unreachable(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return &Unreachable{Cause: err}
}

// TooLong says that an answer has more bytes than were expected.
type TooLong struct {
	Path string
	Most int64 // bytes
}

func (e *TooLong) Error() string {
	return fmt.Sprintf("the policy service's answer to %s is over %d bytes", e.Path, e.Most)
}
