package node

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"portcullis.dev/portcullis/internal/apiclient"
)

const (
	dialLimit = 2 * time.Second
	maxAnswer = 1 << 20 // bytes of an answer's body
)

// client calls the policy service and counts what came of it.
type client struct {
	api     *apiclient.Client
	metrics *metrics
}

func newClient(address, caFile string, m *metrics) (*client, error) {
	roots, err := apiclient.ReadRoots(caFile)
	if err != nil {
		return nil, err
	}
	api, err := apiclient.New(address, apiclient.Options{Roots: roots, DialLimit: dialLimit, Idle: 30 * time.Second, IdlePerHost: checkers + 3})
	if err != nil {
		return nil, err
	}
	return &client{api: api, metrics: m}, nil
}

func (c *client) close() { c.api.Close() }

// count notes how a request to a path ended; status 0: without an answer.
func (c *client) count(path string, status int) {
	outcome := "failed"
	if status != 0 {
		outcome = fmt.Sprint(status)
	}
	route, _, _ := strings.Cut(path, "?")
	c.metrics.requests.WithLabelValues(route, outcome).Inc()
}

// stream opens an answer that has no end of its own; the caller closes its body.
func (c *client) stream(ctx context.Context, path, token string) (*http.Response, error) {
	resp, err := c.api.Start(ctx, apiclient.Request{Method: http.MethodGet, Path: path, Credential: token})
	if err != nil {
		c.count(path, 0)
		return nil, err
	}
	c.count(path, resp.StatusCode)
	if succeeded(resp.StatusCode) {
		return resp, nil
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, &apiclient.Unreachable{Cause: err}
	}
	return nil, apiclient.ReadRefusal(resp.StatusCode, raw)
}

func succeeded(status int) bool { return status >= 200 && status < 300 }

// call posts JSON and reads JSON.
func (c *client) call(ctx context.Context, path, token string, request, reply any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	return c.post(ctx, path, token, "application/json", body, reply)
}

func (c *client) post(ctx context.Context, path, token, contentType string, body []byte, reply any) error {
	status, answer, err := c.api.Send(ctx, apiclient.Request{
		Method: http.MethodPost, Path: path, Credential: token, ContentType: contentType, Body: body,
	}, maxAnswer)
	c.count(path, status)
	if err != nil {
		return err
	}
	if !succeeded(status) {
		return apiclient.ReadRefusal(status, answer)
	}
	if err := json.Unmarshal(answer, reply); err != nil {
		return fmt.Errorf("the policy service's answer to %s cannot be read: %w", path, err)
	}
	return nil
}
