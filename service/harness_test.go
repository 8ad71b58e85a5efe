package service

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"portcullis.dev/portcullis/internal/seal"
	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/policy"
)

// shared is the one PostgreSQL of this package's tests; each test has its own database.
var shared struct {
	env *testenv.Env
	pg  *testenv.Postgres
	n   atomic.Int64
}

func TestMain(m *testing.M) {
	code, err := withPostgres(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if code == 0 {
		if err := goleak.Find(goleak.IgnoreAnyFunction("portcullis.dev/portcullis/internal/testenv.init.func1.1")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func withPostgres(run func() int) (code int, err error) {
	ctx := context.Background()
	if shared.env, err = testenv.New(testenv.Options{}); err != nil {
		return 1, err
	}
	defer func() {
		if stopErr := shared.env.Stop(ctx); err == nil {
			err = stopErr
		}
	}()
	if shared.pg, err = shared.env.StartPostgres(ctx, testenv.PostgresOptions{}); err != nil {
		return 1, err
	}
	return run(), nil
}

// fixture is a service over a database of its own.
type fixture struct {
	t      *testing.T
	dsn    string
	key    *seal.Key
	store  *Store
	server *Server
	http   *httptest.Server
	admin  string // API key
}

func newDatabase(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("service_%d", shared.n.Add(1))
	if err := shared.pg.CreateDatabase(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	return shared.pg.DSN(name)
}

func newKey(t *testing.T) (*seal.Key, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	return keyAt(t, path), path
}

func keyAt(t *testing.T, path string) *seal.Key {
	t.Helper()
	if err := seal.CreateKeyFile(path); err != nil {
		t.Fatal(err)
	}
	key, err := seal.ReadKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func start(t *testing.T) *fixture {
	t.Helper()
	key, _ := newKey(t)
	return startOn(t, newDatabase(t), key, nil)
}

// startOn starts a (further) replica on a database.
func startOn(t *testing.T, dsn string, key *seal.Key, engine *EngineConfig) *fixture {
	t.Helper()
	log := startLog(t)
	store, err := Open(t.Context(), dsn, key, "engine", log)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, dsn: dsn, key: key, store: store}
	var follow *Engine
	if engine != nil {
		follow = NewEngine(store, *engine, log)
	}
	f.server = NewServer(store, follow, log)
	f.http = httptest.NewServer(f.server.Handler())
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { f.server.Run(ctx) })
	if follow != nil {
		wg.Go(func() { follow.Run(ctx) })
	}
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		f.http.Close()
		http.DefaultClient.CloseIdleConnections()
		store.Close()
	})
	k, err := store.CreateAPIKey(t.Context(), "test", APIKey{Name: fmt.Sprintf("admin %d", shared.n.Add(1)), Permissions: []policy.Permission{policy.PermissionAdmin}}, false)
	if err != nil {
		t.Fatal(err)
	}
	f.admin = k.Key
	return f
}

func startLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	if w.t.Context().Err() == nil {
		w.t.Log(strings.TrimSpace(string(b)))
	}
	return len(b), nil
}

// call sends a request and returns status and body.
func (f *fixture) call(method, path, bearer, body string) (int, []byte) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 20*time.Second)
	defer cancel()
	var payload io.Reader
	if body != "" {
		payload = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, f.http.URL+path, payload)
	if err != nil {
		f.t.Fatal(err)
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return res.StatusCode, raw
}

// must calls as administrator and reads a success into reply.
func (f *fixture) must(method, path string, body, reply any) {
	f.t.Helper()
	f.mustAs(f.admin, method, path, body, reply)
}

func (f *fixture) mustAs(bearer, method, path string, body, reply any) {
	f.t.Helper()
	text := ""
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			f.t.Fatal(err)
		}
		text = string(raw)
	}
	status, raw := f.call(method, path, bearer, text)
	if status >= 300 {
		f.t.Fatalf("%s %s: %d %s", method, path, status, raw)
	}
	if reply != nil {
		if err := json.Unmarshal(raw, reply); err != nil {
			f.t.Fatalf("%s %s: %v in %s", method, path, err, raw)
		}
	}
}

// apply makes the service equal to YAML.
func (f *fixture) apply(text string) ApplyReply {
	f.t.Helper()
	state, err := ParseState("state.yaml", []byte(text))
	if err != nil {
		f.t.Fatal(err)
	}
	var reply ApplyReply
	f.must("POST", "/v1/state", state.State, &reply)
	return reply
}

// nodeToken makes a key for a node and exchanges it.
func (f *fixture) nodeToken(node string) string {
	f.t.Helper()
	k, err := f.store.CreateAPIKey(f.t.Context(), "test", APIKey{Name: "node " + node, Node: node}, true)
	if err != nil {
		f.t.Fatal(err)
	}
	var reply tokenReply
	f.mustAs("", "POST", "/v1/token", tokenRequest{APIKey: k.Key, Node: node}, &reply)
	return reply.Token
}

func lines(records ...string) string { return strings.Join(records, "\n") + "\n" }

func contains(raw []byte, text string) bool { return bytes.Contains(raw, []byte(text)) }
