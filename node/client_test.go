package node

import (
	"encoding/pem"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"portcullis.dev/portcullis/internal/seal"
)

func mustSeal(t *testing.T, key string) string {
	t.Helper()
	sealed, err := seal.Seal(key, apiKey)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func TestTLSMustVerify(t *testing.T) {
	s := newFaultyService(t)
	s.server.StartTLS()
	key, sealed := keyFile(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}

	unverified := start(t, Options{KeyFile: key})
	unverified.configure(s.server.URL, sealed)
	unverified.expectStatus("last_error", "certificate")

	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	nothing := start(t, Options{KeyFile: key, CAFile: empty})
	nothing.configure(s.server.URL, sealed)
	nothing.expectStatus("last_error", "holds no certificate")

	verified := start(t, Options{KeyFile: key, CAFile: ca})
	verified.configure(s.server.URL, sealed)
	verified.expect("LEASE", nil)
}

func TestUnixSocketService(t *testing.T) {
	s := newFaultyService(t)
	path := filepath.Join(t.TempDir(), "service.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s.server.Listener.Close()
	s.server.Listener = l
	s.server.Start()
	key, sealed := keyFile(t)
	d := start(t, Options{KeyFile: key})
	d.configure("unix://"+path, sealed)
	d.expect("LEASE", nil)
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	target := newFaultyService(t)
	target.server.Start()
	s := newFaultyService(t)
	s.onToken = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, target.server.URL+"/v1/token", http.StatusTemporaryRedirect)
	}
	s.server.Start()
	key, sealed := keyFile(t)
	d := start(t, Options{KeyFile: key})
	d.configure(s.server.URL, sealed)
	d.expectStatus("last_error", "307")
	if target.mu.Lock(); target.issued != 0 {
		t.Error("the API key was sent to where the service pointed")
	}
	target.mu.Unlock()
}
