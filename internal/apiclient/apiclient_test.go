package apiclient

import (
	"context"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAddresses(t *testing.T) {
	for address, ok := range map[string]bool{
		"https://portcullis.example:8443":    true,
		"https://portcullis.example/under/":  true,
		"http://127.0.0.1:8080":              true,
		"http://127.8.9.1":                   true,
		"http://[::1]:8080":                  true,
		"http://localhost:8080":              true,
		"unix:///run/portcullis.sock":        true,
		"http://portcullis.example":          false,
		"http://10.0.0.1:8080":               false,
		"http://0.0.0.0:8080":                false,
		"http://localhost.example":           false,
		"http://127.0.0.1.example":           false,
		"http://127.0.0.1@portcullis.test":   false,
		"https://user:pw@portcullis.example": false,
		"https://portcullis.example/?a=b":    false,
		"https://portcullis.example/#x":      false,
		"https://":                           false,
		"https://:8443":                      false,
		"unix://host/path":                   false,
		"unix:relative":                      false,
		"file:///etc/passwd":                 false,
		"portcullis.example":                 false,
		"":                                   false,
		"://":                                false,
		"https://a b":                        false,
		"HTTP://portcullis.example":          false,
	} {
		c, err := New(address, Options{})
		if (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
		if err != nil && strings.Contains(err.Error(), "pw") {
			t.Errorf("%q: the error repeats the password: %v", address, err)
		}
		if c != nil {
			c.Close()
		}
	}
}

// echo answers with what it was asked and by whom.
func echo(w http.ResponseWriter, r *http.Request) {
	_, _ = w.Write([]byte(r.Method + " " + r.URL.EscapedPath() + "?" + r.URL.RawQuery + " " + r.Header.Get("Authorization")))
}

func send(t *testing.T, address string, o Options, r Request) (int, string, error) {
	t.Helper()
	c, err := New(address, o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	status, answer, err := c.Send(t.Context(), r, 1000)
	return status, string(answer), err
}

func TestPathsKeepTheirEscapes(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(echo))
	defer server.Close()
	status, answer, err := send(t, server.URL+"/under/", Options{}, Request{Method: http.MethodPut, Path: "/v1/data_sources/a%2Fb%20c?x=1", Credential: "pk_1", Body: []byte("{}"), ContentType: "application/json"})
	if err != nil || status != 200 || answer != "PUT /under/v1/data_sources/a%2Fb%20c?x=1 Bearer pk_1" {
		t.Errorf("%d %q %v", status, answer, err)
	}
	for _, path := range []string{"", "v1", "//other.example/v1", "http://other.example/v1", "%zz"} {
		if _, _, err := send(t, server.URL, Options{}, Request{Method: http.MethodGet, Path: path, Credential: "pk_1"}); err == nil {
			t.Errorf("path %q was taken", path)
		}
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "service.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	server.Listener.Close()
	server.Listener = l
	server.Start()
	defer server.Close()
	if status, answer, err := send(t, "unix://"+path, Options{}, Request{Method: http.MethodGet, Path: "/v1/x"}); err != nil || status != 200 || answer != "GET /v1/x? " {
		t.Errorf("%d %q %v", status, answer, err)
	}
}

func TestTLSMustVerify(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(echo))
	defer server.Close()
	if _, _, err := send(t, server.URL, Options{}, Request{Method: http.MethodGet, Path: "/", Credential: "pk_1"}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown certificate: %v", err)
	}
	folder := t.TempDir()
	ca, empty := filepath.Join(folder, "ca.pem"), filepath.Join(folder, "empty.pem")
	for file, content := range map[string][]byte{ca: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), empty: []byte("nothing")} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots, err := ReadRoots(ca)
	if err != nil {
		t.Fatal(err)
	}
	if status, _, err := send(t, server.URL, Options{Roots: roots}, Request{Method: http.MethodGet, Path: "/"}); err != nil || status != 200 {
		t.Errorf("a known certificate: %d %v", status, err)
	}
	for _, file := range []string{empty, filepath.Join(folder, "missing.pem")} {
		if _, err := ReadRoots(file); err == nil {
			t.Errorf("%s was taken", file)
		}
	}
}

func TestRedirectsAndProxiesAreNotFollowed(t *testing.T) {
	asked := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer other.Close()
	t.Setenv("HTTP_PROXY", other.URL)
	t.Setenv("http_proxy", other.URL)
	server := httptest.NewServer(http.RedirectHandler(other.URL+"/v1/token", http.StatusTemporaryRedirect))
	defer server.Close()
	status, _, err := send(t, server.URL, Options{}, Request{Method: http.MethodPost, Path: "/v1/token", Credential: "pk_1", Body: []byte("{}")})
	if err != nil || status != http.StatusTemporaryRedirect || asked {
		t.Errorf("%d %v, the other server was asked: %t", status, err, asked)
	}
}

// A name that leads out of the machine must not be sent a credential in the clear.
func TestLoopbackIsCheckedAfterTheName(t *testing.T) {
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, a := range addresses {
		ip := a.(*net.IPNet).IP
		if ip.To4() == nil {
			continue
		}
		conn, err := dialLoopback(t.Context(), &net.Dialer{Timeout: time.Second}, "tcp", net.JoinHostPort(ip.String(), port))
		if (err == nil) != ip.IsLoopback() {
			t.Errorf("%s: %v", ip, err)
		}
		if conn != nil {
			conn.Close()
		}
	}
}

func TestFailures(t *testing.T) {
	long := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(strings.Repeat("x", 1001)))
	}))
	defer long.Close()
	var tooLong *TooLong
	if _, _, err := send(t, long.URL, Options{}, Request{Method: http.MethodGet, Path: "/v1/x"}); !errors.As(err, &tooLong) || tooLong.Most != 1000 {
		t.Errorf("a long answer: %v", err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	var gone *Unreachable
	_, _, err = send(t, "http://"+silent.Addr().String(), Options{Limit: 20 * time.Millisecond}, Request{Method: http.MethodGet, Path: "/v1/x", Credential: "pk_1"})
	if !errors.As(err, &gone) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no answer: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	for answer, want := range map[string]string{
		`{"error":{"code":"invalid","message":"too long","field":"name","hint":"Shorten it."}}`: "the policy service answered 422: invalid: too long: name: Shorten it.",
		`<html>`: "the policy service answered 422",
		`{}`:     "the policy service answered 422",
	} {
		err := error(ReadRefusal(422, []byte(answer)))
		if err.Error() != want || !IsStatus(err, 422) || IsStatus(err, 401) {
			t.Errorf("%s: %v", answer, err)
		}
	}
}
