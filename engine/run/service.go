package run

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"portcullis.dev/portcullis/internal/apiclient"
	"portcullis.dev/portcullis/internal/seal"
)

const (
	serviceTimeout = 10 * time.Second // one request, from connect to the last byte
	serviceIdle    = time.Minute      // keep-alive connections
	maxAnswer      = 16 << 20         // bytes of one answer
)

// service talks to the policy service, wherever the session was told it is.
type service struct {
	roots *x509.CertPool

	mu      sync.Mutex
	address string // of the client
	client  *apiclient.Client
}

func newService(caFile string) (*service, error) {
	roots, err := apiclient.ReadRoots(caFile)
	if err != nil {
		return nil, &Error{
			State:   stateSystem,
			Message: "could not read the CA certificates of the policy service",
			Detail:  err.Error(),
			Hint:    "Set portcullis.service_ca_file to a PEM file that the server can read.",
		}
	}
	return &service{roots: roots}, nil
}

func (s *service) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil {
		s.client.Close()
	}
}

// at returns the client of an address; the one of an older address goes.
func (s *service) at(address string) (*apiclient.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil && s.address == address {
		return s.client, nil
	}
	client, err := apiclient.New(address, apiclient.Options{
		Roots: s.roots, Limit: serviceTimeout, Idle: serviceIdle, IdlePerHost: 2,
		Resolver: &net.Resolver{PreferGo: true}, // the C library's would hold threads of a backend
	})
	if err != nil {
		return nil, &Error{
			State:   stateSystem,
			Message: "the URL of the policy service cannot be used",
			Detail:  err.Error(),
			Hint:    "Set an https:// URL, http:// to a loopback address, or unix:///path/of/socket with immutasys.configure().",
		}
	}
	if s.client != nil {
		s.client.Close()
	}
	s.address, s.client = address, client
	return client, nil
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
	client, err := s.at(session.ServiceURL)
	if err != nil {
		return 0, nil, err
	}
	if !strings.HasPrefix(path, "/v1/") {
		return 0, nil, &Error{State: "22023", Message: fmt.Sprintf("not a path of the policy service: %q", path), Hint: "Paths begin with /v1/."}
	}
	request := apiclient.Request{Method: method, Path: path, Credential: session.Token, ContentType: "application/json"}
	if len(body) > 0 {
		request.Body = body
	}
	status, answer, err = client.Send(ctx, request, maxAnswer)
	if err != nil {
		return 0, nil, unanswered(ctx, err)
	}
	return status, answer, nil
}

// unanswered is the error of a request without a whole answer.
func unanswered(ctx context.Context, err error) error {
	var unreachable *apiclient.Unreachable
	var tooLong *apiclient.TooLong
	switch {
	case ctx.Err() != nil:
		return canceled()
	case errors.As(err, &tooLong):
		return unreadable(err.Error())
	case errors.As(err, &unreachable):
		return &Error{
			State:   stateSystem,
			Message: "could not reach the policy service",
			Detail:  unreachable.Cause.Error(),
			Hint:    "Without its answer nothing is shown. An administrator looks at immutasys.status().",
		}
	}
	return &Error{State: "22023", Message: "not a request to the policy service", Detail: err.Error()}
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
	e := &Error{
		State:   stateSystem,
		Message: fmt.Sprintf("the policy service refused the request (HTTP status %d)", status),
		Hint:    "An administrator looks at immutasys.status().",
	}
	if r := apiclient.ReadRefusal(status, answer); r.Message != "" {
		e.Detail = r.Message
		if r.Hint != "" {
			e.Hint = r.Hint
		}
	}
	if status == http.StatusUnauthorized {
		e.Message = "the policy service refused this node's token"
	}
	return e
}

// ServiceCall calls the service; the ticket's one row is HTTP status and body.
// The session's token may be an API key instead, also a sealed one: so that
// its text is nowhere but here.
func (e *Engine) ServiceCall(session *Session, method, path, body string) uint64 {
	caller := *session
	return e.start("service call", func(ctx context.Context) (any, error) {
		var err error
		if caller.Token, err = e.openAPIKey(caller.Token); err != nil {
			return nil, err
		}
		status, answer, err := e.decisions.service.call(ctx, &caller, method, path, []byte(body))
		if err != nil {
			return nil, err
		}
		code, text := fmt.Sprint(status), string(answer)
		return Rows{{&code, &text}}, nil
	})
}

// openAPIKey unseals a sealed API key. What else is sealed (passwords of
// sources) is never sent anywhere.
func (e *Engine) openAPIKey(text string) (string, error) {
	if !seal.IsSealed(text) {
		return text, nil
	}
	key, err := seal.Unseal(e.cfg.KeyFile, text)
	if err == nil && !strings.HasPrefix(key, "pk_") {
		err = errors.New("what is sealed is no API key")
	}
	if err != nil {
		return "", &Error{
			State:   stateSystem,
			Message: "the sealed API key cannot be used",
			Detail:  err.Error(),
			Hint:    "Store it again with immutasys.set_admin_key(); portcullis.key_file names the key file that it is sealed with.",
		}
	}
	return key, nil
}
