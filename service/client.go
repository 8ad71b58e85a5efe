package service

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

// Client calls a service with an API key.
type Client struct {
	base string
	key  string
	http *http.Client
}

// NewClient makes a client for http://, https:// or unix:///path. caFile
// names the CA of the service, "": the system's.
func NewClient(rawURL, apiKey, caFile string) (*Client, error) {
	t := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, TLSHandshakeTimeout: 10 * time.Second}
	base := strings.TrimRight(rawURL, "/")
	if path, ok := strings.CutPrefix(rawURL, "unix://"); ok {
		base = "http://localhost"
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}
	} else if u, err := url.Parse(rawURL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("the service's URL %q must begin with http://, https:// or unix:///", rawURL)
	}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("CA file: %w", err)
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA file %s holds no certificate", caFile)
		}
	}
	return &Client{base: base, key: apiKey, http: &http.Client{Transport: t, Timeout: time.Minute}}, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Call sends body as JSON (nil: none) and reads the answer into reply. A
// refusal is an *Error.
func (c *Client) Call(ctx context.Context, method, path string, body, reply any) error {
	var payload io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		payload = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, payload)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("call the policy service: %w", err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 256<<20))
	if err != nil {
		return fmt.Errorf("read the policy service's answer: %w", err)
	}
	if res.StatusCode >= 300 {
		return refusal(res.StatusCode, raw)
	}
	if reply == nil {
		return nil
	}
	return json.Unmarshal(raw, reply)
}

func refusal(status int, raw []byte) error {
	var body struct {
		Error *Error `json:"error"`
	}
	if err := json.Unmarshal(raw, &body); err != nil || body.Error == nil {
		return errors.New("the policy service answered " + http.StatusText(status))
	}
	body.Error.Status = status
	return body.Error
}
