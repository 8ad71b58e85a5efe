package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"portcullis.dev/portcullis/internal/apiclient"
)

const (
	callLimit  = time.Minute
	longLimit  = 10 * time.Minute
	longAnswer = 256 << 20 // bytes of an answer
)

// Client calls a service with an API key.
type Client struct {
	key string
	api *apiclient.Client
}

// NewClient makes a client for https://, http:// to loopback or unix:///path.
// caFile names the CA of the service, "": the system's.
func NewClient(address, apiKey, caFile string) (*Client, error) {
	return newClient(address, apiKey, caFile, callLimit)
}

// NewPatientClient makes a client for requests that wait for an instance, or
// change much.
func NewPatientClient(address, apiKey, caFile string) (*Client, error) {
	return newClient(address, apiKey, caFile, longLimit)
}

func newClient(address, apiKey, caFile string, limit time.Duration) (*Client, error) {
	roots, err := apiclient.ReadRoots(caFile)
	if err != nil {
		return nil, err
	}
	api, err := apiclient.New(address, apiclient.Options{Roots: roots, DialLimit: 10 * time.Second, Limit: limit})
	if err != nil {
		return nil, err
	}
	return &Client{key: apiKey, api: api}, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.api.Close() }

// Call sends body as JSON (nil: none) and reads the answer into reply. A
// refusal is an *Error.
func (c *Client) Call(ctx context.Context, method, path string, body, reply any) error {
	request := apiclient.Request{Method: method, Path: path, Credential: c.key, ContentType: "application/json"}
	if body != nil {
		var err error
		if request.Body, err = json.Marshal(body); err != nil {
			return err
		}
	}
	status, answer, err := c.api.Send(ctx, request, longAnswer)
	if err != nil {
		return err
	}
	if status >= http.StatusMultipleChoices {
		return refusal(status, answer)
	}
	if reply == nil {
		return nil
	}
	if err := json.Unmarshal(answer, reply); err != nil {
		return fmt.Errorf("the policy service's answer to %s cannot be read: %w", path, err)
	}
	return nil
}

func refusal(status int, answer []byte) error {
	r := apiclient.ReadRefusal(status, answer)
	if r.Message == "" {
		return errors.New("the policy service answered " + http.StatusText(status))
	}
	return &Error{Status: status, Code: r.Code, Message: r.Message, Field: r.Field, Hint: r.Hint}
}
