package run

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
	"sync"
	"time"
)

const (
	serviceTimeout = 10 * time.Second // one request, from connect to the last byte
	serviceIdle    = time.Minute      // keep-alive connections
	maxAnswer      = 16 << 20         // bytes of one answer
)

// service talks to the policy service.
type service struct {
	client *http.Client

	mu     sync.Mutex
	socket string // path of the service's Unix socket, for the dialer
}

func newService(caFile string) (*service, error) {
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, &Error{
				State:   stateSystem,
				Message: "could not read the CA certificates of the policy service",
				Detail:  err.Error(),
				Hint:    "Set portcullis.service_ca_file to a PEM file that the server can read.",
			}
		}
		tlsConfig.RootCAs = x509.NewCertPool()
		if !tlsConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &Error{
				State:   stateSystem,
				Message: fmt.Sprintf("the file %q holds no CA certificate", caFile),
				Hint:    "Set portcullis.service_ca_file to a PEM file.",
			}
		}
	}
	s := &service{}
	dialer := &net.Dialer{Resolver: &net.Resolver{PreferGo: true}}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if path := s.socketPath(); path != "" && strings.HasPrefix(address, unixHost+":") {
				return dialer.DialContext(ctx, "unix", path)
			}
			return dialer.DialContext(ctx, network, address)
		},
		TLSClientConfig:        tlsConfig,
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1 is enough and smaller
		MaxIdleConns:           2,
		IdleConnTimeout:        serviceIdle,
		MaxResponseHeaderBytes: 64 << 10,
	}
	s.client = &http.Client{
		Transport: transport,
		Timeout:   serviceTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the policy service must not redirect")
		},
	}
	return s, nil
}

func (s *service) close() { s.client.CloseIdleConnections() }

// unixHost stands for the service's socket in URLs: no name server knows it.
const unixHost = "portcullis.invalid"

func (s *service) socketPath() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.socket
}

// base turns the configured URL into the one that requests start with. A
// token only ever travels over TLS or inside the machine.
func (s *service) base(configured string) (*url.URL, error) {
	refuse := func(why string) error {
		return &Error{
			State:   stateSystem,
			Message: "the URL of the policy service cannot be used: " + why,
			Hint:    "Set an https:// URL, http:// to a loopback address, or unix:///path/of/socket with immutasys.configure().",
		}
	}
	u, err := url.Parse(configured)
	if err != nil {
		return nil, refuse("it is no URL")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, refuse("it must hold neither a user nor a query")
	}
	switch u.Scheme {
	case "unix":
		if u.Host != "" || !strings.HasPrefix(u.Path, "/") {
			return nil, refuse("the socket's path must be absolute")
		}
		s.mu.Lock()
		if s.socket != u.Path {
			s.client.CloseIdleConnections()
			s.socket = u.Path
		}
		s.mu.Unlock()
		return &url.URL{Scheme: "http", Host: unixHost}, nil
	case "http":
		if !loopback(u.Hostname()) {
			return nil, refuse("plain http reaches only this machine")
		}
	case "https":
		if u.Hostname() == "" {
			return nil, refuse("it names no host")
		}
	default:
		return nil, refuse(fmt.Sprintf("unknown scheme %q", u.Scheme))
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	return u, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// reachable says why the service cannot be asked at all, without asking it.
func (s *Session) reachable() error {
	if s.ServiceURL == "" {
		return &Error{
			State:   stateSystem,
			Message: "no policy service is configured",
			Hint:    "An administrator sets it with immutasys.configure(); see immutasys.status().",
		}
	}
	if s.Token == "" {
		return &Error{
			State:   stateSystem,
			Message: "this node has no token of the policy service yet",
			Hint:    "The node daemon exchanges the API key for one; an administrator looks at immutasys.status().",
		}
	}
	return nil
}

// call sends one request with the node's token.
func (s *service) call(ctx context.Context, session *Session, method, path string, body []byte) (status int, answer []byte, err error) {
	if err := session.reachable(); err != nil {
		return 0, nil, err
	}
	base, err := s.base(session.ServiceURL)
	if err != nil {
		return 0, nil, err
	}
	rest, err := url.Parse(path)
	if err != nil || rest.IsAbs() || rest.Host != "" || !strings.HasPrefix(rest.Path, "/v1/") {
		return 0, nil, &Error{State: "22023", Message: fmt.Sprintf("not a path of the policy service: %q", path), Hint: "Paths begin with /v1/."}
	}
	target := *base
	target.Path, target.RawPath, target.RawQuery = base.Path+rest.Path, "", rest.RawQuery
	request, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return 0, nil, &Error{State: "22023", Message: "not a request to the policy service", Detail: err.Error()}
	}
	request.Header.Set("Authorization", "Bearer "+session.Token)
	request.Header.Set("Accept", "application/json")
	if len(body) > 0 {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := s.client.Do(request)
	if err != nil {
		return 0, nil, unreachable(ctx, err)
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return 0, nil, unreachable(ctx, err)
	}
	if len(answer) > maxAnswer {
		return 0, nil, unreadable(fmt.Sprintf("more than %d bytes", maxAnswer))
	}
	return response.StatusCode, answer, nil
}

func unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return canceled()
	}
	var detail *url.Error
	if errors.As(err, &detail) {
		err = detail.Err // without the URL
	}
	return &Error{
		State:   stateSystem,
		Message: "could not reach the policy service",
		Detail:  err.Error(),
		Hint:    "Without its answer nothing is shown. An administrator looks at immutasys.status().",
	}
}

func unreadable(why string) error {
	return &Error{
		State:   stateSystem,
		Message: "the policy service gave an answer that this node cannot read",
		Detail:  why,
		Hint:    "Nothing is shown. Service and node may be of different versions; see immutasys.status().",
	}
}

func canceled() error {
	return &Error{State: "57014", Message: "canceling statement due to user request"}
}

// refused reads an error answer of the service.
func refused(status int, answer []byte) error {
	var body struct {
		Error struct{ Code, Message, Field, Hint string } `json:"error"`
	}
	e := &Error{
		State:   stateSystem,
		Message: fmt.Sprintf("the policy service refused the request (HTTP status %d)", status),
		Hint:    "An administrator looks at immutasys.status().",
	}
	if json.Unmarshal(answer, &body) == nil && body.Error.Message != "" {
		e.Detail = body.Error.Message
		if body.Error.Hint != "" {
			e.Hint = body.Error.Hint
		}
	}
	if status == http.StatusUnauthorized {
		e.Message = "the policy service refused this node's token"
	}
	return e
}

// ServiceCall calls the service; the ticket's one row is HTTP status and body.
func (e *Engine) ServiceCall(session *Session, method, path, body string) uint64 {
	return e.start("service call", func(ctx context.Context) (any, error) {
		status, answer, err := e.decisions.service.call(ctx, session, method, path, []byte(body))
		if err != nil {
			return nil, err
		}
		code, text := fmt.Sprint(status), string(answer)
		return Rows{{&code, &text}}, nil
	})
}
