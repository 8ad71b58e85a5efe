package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	dialLimit   = 2 * time.Second
	maxAnswer   = 1 << 20 // bytes of an answer's body
	maxResponse = 64 << 10
)

// client calls the policy service. Idle connections end with close.
type client struct {
	base      string
	http      *http.Client
	transport *http.Transport
	metrics   *metrics
}

// newClient accepts https://host[:port][/path], http:// to loopback only, and
// unix:///path/of/socket. Redirects and proxies are never followed: the
// service's address is what the administrator wrote.
func newClient(address, caFile string, m *metrics) (*client, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("the service URL cannot be read")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("the service URL must not carry a user, query or fragment")
	}
	dialer := &net.Dialer{Timeout: dialLimit, KeepAlive: 5 * time.Second}
	// HTTP/1.1 only: a request that times out then closes its connection, so a
	// half-open one is never used again.
	t := &http.Transport{
		DialContext:     dialer.DialContext,
		TLSNextProto:    map[string]func(string, *tls.Conn) http.RoundTripper{},
		IdleConnTimeout: 30 * time.Second, MaxIdleConnsPerHost: checkers + 3,
		TLSHandshakeTimeout: dialLimit, MaxResponseHeaderBytes: maxResponse,
	}
	base := strings.TrimSuffix(u.String(), "/")
	switch {
	case u.Scheme == "https" && u.Host != "":
		if t.TLSClientConfig, err = tlsConfig(caFile); err != nil {
			return nil, err
		}
	case u.Scheme == "http" && u.Host != "":
		if !isLoopbackName(u.Hostname()) {
			return nil, fmt.Errorf("the service URL must be https unless it is on this machine; %s is not loopback", u.Hostname())
		}
		t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			return dialLoopback(ctx, dialer, network, addr)
		}
	case u.Scheme == "unix" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		path := u.Path
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return dialer.DialContext(ctx, "unix", path) }
		base = "http://localhost"
	default:
		return nil, errors.New("the service URL must begin with https://, http:// (loopback only) or unix:///")
	}
	return &client{
		base:      base,
		transport: t,
		http: &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}},
		metrics: m,
	}, nil
}

func tlsConfig(caFile string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read CA file: %w", err)
	}
	cfg.RootCAs = x509.NewCertPool()
	if !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("CA file %s holds no certificate", caFile)
	}
	return cfg, nil
}

func isLoopbackName(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// dialLoopback checks what a name led to: "localhost" is what the resolver says.
func dialLoopback(ctx context.Context, d *net.Dialer, network, addr string) (net.Conn, error) {
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("%s is not a loopback address", conn.RemoteAddr()), conn.Close())
	}
	return conn, nil
}

func (c *client) close() { c.transport.CloseIdleConnections() }

// apiError is an answer of the service that is not a success.
type apiError struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Field   string `json:"field"`
	Hint    string `json:"hint"`
}

func (e *apiError) Error() string {
	text := fmt.Sprintf("the policy service answered %d", e.Status)
	for _, part := range []string{e.Code, e.Message, e.Field, e.Hint} {
		if part != "" {
			text += ": " + part
		}
	}
	return text
}

func isStatus(err error, status int) bool {
	var e *apiError
	return errors.As(err, &e) && e.Status == status
}

// do sends one request; the caller closes the body of a success.
func (c *client) do(ctx context.Context, method, path, token, contentType string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		c.metrics.requests.WithLabelValues(path, "failed").Inc()
		return nil, unreachable(err)
	}
	c.metrics.requests.WithLabelValues(path, fmt.Sprint(resp.StatusCode)).Inc()
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return resp, nil
	}
	return nil, readError(resp)
}

// unreachable leaves out the URL that net/http puts before each error.
func unreachable(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Errorf("the policy service cannot be reached: %w", err)
}

func readError(resp *http.Response) error {
	defer resp.Body.Close()
	answer := struct {
		Error apiError `json:"error"`
	}{}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse))
	if err == nil && json.Unmarshal(raw, &answer) != nil {
		answer.Error = apiError{} // not ours: say the status only
	}
	answer.Error.Status = resp.StatusCode
	return &answer.Error
}

// call posts JSON and reads JSON; reply may be nil.
func (c *client) call(ctx context.Context, path, token string, request, reply any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	return c.post(ctx, path, token, "application/json", body, reply)
}

func (c *client) post(ctx context.Context, path, token, contentType string, body []byte, reply any) error {
	resp, err := c.do(ctx, http.MethodPost, path, token, contentType, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return unreachable(err)
	}
	if len(raw) > maxAnswer {
		return fmt.Errorf("the policy service's answer to %s is over %d bytes", path, maxAnswer)
	}
	if err := json.Unmarshal(raw, reply); err != nil {
		return fmt.Errorf("the policy service's answer to %s cannot be read: %w", path, err)
	}
	return nil
}
