package node

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"portcullis.dev/portcullis/internal/seal"
)

// The thread that starts servers lives as long as the process (testenv).
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("portcullis.dev/portcullis/internal/testenv.init.func1.1"))
}

const (
	patience = 10 * time.Second // nothing here takes so long
	apiKey   = "pk_test.s3cr3t-of-the-node"
	nodeName = "node a"
)

// worker is the worker's end of the socket.
type worker struct {
	t     *testing.T
	conn  *net.UnixConn
	lines chan []string
	seen  []string
}

// daemonUnderTest is a running daemon with its worker.
type daemonUnderTest struct {
	*worker
	opts Options
	logs *lockedBuffer
	stop func() // closes the socket and waits for Run
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func socketPair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if a, err = ConnFromFD(uintptr(fds[0])); err != nil {
		t.Fatal(err)
	}
	if b, err = ConnFromFD(uintptr(fds[1])); err != nil {
		t.Fatal(err)
	}
	return a, b
}

func keyFile(t *testing.T) (path, sealedKey string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "node.key")
	if err := seal.CreateKeyFile(path); err != nil {
		t.Fatal(err)
	}
	sealedKey, err := seal.Seal(path, apiKey)
	if err != nil {
		t.Fatal(err)
	}
	return path, sealedKey
}

// start runs a daemon; options that are empty get what tests need.
func start(t *testing.T, opts Options) *daemonUnderTest {
	t.Helper()
	mine, its := socketPair(t)
	d := &daemonUnderTest{logs: &lockedBuffer{}}
	opts.Control = its
	opts.Log = slog.New(slog.NewTextHandler(d.logs, nil))
	if opts.Spool == "" {
		opts.Spool = t.TempDir()
	}
	d.opts = opts
	d.worker = &worker{t: t, conn: mine, lines: make(chan []string, 10000)}
	ended, read := make(chan error, 1), make(chan struct{})
	go func() { ended <- Run(context.Background(), opts) }()
	go func() {
		defer close(read)
		defer close(d.lines)
		for in := bufio.NewScanner(mine); in.Scan(); {
			d.lines <- strings.Split(in.Text(), "\t")
		}
	}()
	d.stop = sync.OnceFunc(func() {
		_ = mine.CloseWrite()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the daemon ended with %v", err)
			}
		case <-time.After(patience):
			t.Error("the daemon outlives its worker")
		}
		<-read
		_ = mine.Close()
		if strings.Contains(d.logs.String(), apiKey) {
			t.Error("the log shows the API key")
		}
	})
	t.Cleanup(func() {
		d.stop()
		if t.Failed() {
			t.Logf("lines: %q\nlog:\n%s", d.seen, d.logs)
		}
	})
	return d
}

func (w *worker) send(fields ...string) {
	w.t.Helper()
	if _, err := w.conn.Write([]byte(strings.Join(fields, "\t") + "\n")); err != nil {
		w.t.Fatal(err)
	}
}

func (w *worker) last() string {
	if len(w.seen) == 0 {
		return ""
	}
	return w.seen[len(w.seen)-1]
}

func (w *worker) configure(url, sealed string) {
	w.t.Helper()
	w.send("CONFIG", hexText(url), hexText(sealed), hexText(nodeName))
}

// expect returns the fields of the next line of a kind that fits; others are passed over.
func (w *worker) expect(kind string, fits func(f []string) bool) []string {
	w.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case line, ok := <-w.lines:
			if !ok {
				w.t.Fatalf("the daemon ended before %s", kind)
			}
			if line[0] != "LEASE" || !strings.HasPrefix(w.last(), "LEASE") {
				w.seen = append(w.seen, strings.Join(line, " "))
			}
			if line[0] == kind && (fits == nil || fits(line[1:])) {
				return line[1:]
			}
		case <-deadline:
			w.t.Fatalf("no %s", kind)
		}
	}
}

func (w *worker) expectStatus(key, part string) string {
	w.t.Helper()
	f := w.expect("STATUS", func(f []string) bool { return f[0] == key && strings.Contains(unhexText(f[1]), part) })
	return unhexText(f[1])
}

func (w *worker) expectAccount(role string) (answer, ttl, reason string) {
	w.t.Helper()
	f := w.expect("ACCOUNT", func(f []string) bool { return unhexText(f[0]) == role })
	return f[1], f[2], unhexText(f[3])
}

func unhexText(s string) string {
	raw, err := hex.DecodeString(s)
	if err != nil {
		return "not hex: " + s
	}
	return string(raw)
}

// faultyService answers as the policy service does, and misbehaves where told.
type faultyService struct {
	t      *testing.T
	server *httptest.Server
	quit   chan struct{} // ends the streams

	mu        sync.Mutex
	life      time.Duration // of tokens
	token     string
	issued    int
	streams   int
	records   map[string]json.RawMessage // by id and kind
	arrivals  []string                   // ids in the order they came, repeats included
	beat      time.Duration
	events    chan string // lines for the stream
	onToken   http.HandlerFunc
	onEvents  http.HandlerFunc
	onLogin   http.HandlerFunc
	onRecords func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc)
}

func newFaultyService(t *testing.T) *faultyService {
	s := &faultyService{t: t, life: 5 * time.Minute, beat: 20 * time.Millisecond,
		records: map[string]json.RawMessage{}, events: make(chan string, 100), quit: make(chan struct{})}
	s.server = httptest.NewUnstartedServer(s.mux())
	t.Cleanup(s.close)
	return s
}

func (s *faultyService) close() {
	select {
	case <-s.quit:
	default:
		close(s.quit)
	}
	s.server.CloseClientConnections()
	s.server.Close()
}

func (s *faultyService) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// pick reads a handler under the lock, and falls back to the true one.
func (s *faultyService) pick(h *http.HandlerFunc, truth http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		special := *h
		s.mu.Unlock()
		if special != nil {
			special(w, r)
			return
		}
		truth(w, r)
	}
}

func (s *faultyService) mux() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/token", s.pick(&s.onToken, s.answerToken))
	mux.HandleFunc("GET /v1/node/events", s.auth(s.pick(&s.onEvents, s.answerEvents)))
	mux.HandleFunc("POST /v1/node/login", s.auth(s.pick(&s.onLogin, s.answerLogin)))
	mux.HandleFunc("POST /v1/audit/records", s.auth(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		special := s.onRecords
		s.mu.Unlock()
		if special != nil {
			special(w, r, s.storeRecords)
			return
		}
		s.storeRecords(w, r)
	}))
	return mux
}

func (s *faultyService) auth(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		good := r.Header.Get("Authorization") == "Bearer "+s.token
		s.mu.Unlock()
		if !good {
			refuse(w, 401, "token")
			return
		}
		next(w, r)
	}
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":{"code":%q,"message":"refused by the test"}}`, code)
}

func (s *faultyService) answerToken(w http.ResponseWriter, r *http.Request) {
	var body struct {
		APIKey string `json:"api_key"`
		Node   string `json:"node"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.APIKey != apiKey || body.Node != nodeName {
		refuse(w, 401, "api_key")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.issued++
	s.token = fmt.Sprintf("token-%d", s.issued)
	fmt.Fprintf(w, `{"token":%q,"expires_in_ms":%d}`, s.token, s.life.Milliseconds())
}

func (s *faultyService) answerEvents(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.streams++
	beat := s.beat
	s.mu.Unlock()
	say := func(line string) {
		fmt.Fprintln(w, line)
		w.(http.Flusher).Flush()
	}
	say(`{"type":"version","version":7}`)
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-s.quit:
			return
		case line := <-s.events:
			if line == "END" {
				return
			}
			say(line)
		case <-ticker.C:
			say(`{"type":"heartbeat"}`)
		}
	}
}

func (s *faultyService) answerLogin(w http.ResponseWriter, r *http.Request) {
	var body struct{ Node, Role string }
	_ = json.NewDecoder(r.Body).Decode(&body)
	if body.Node == nodeName && strings.HasPrefix(body.Role, "known") {
		fmt.Fprint(w, `{"ok":true,"ttl_ms":60000}`)
		return
	}
	fmt.Fprint(w, `{"ok":false,"reason":"no person is mapped to this account","hint":"ask a steward","ttl_ms":1500}`)
}

func (s *faultyService) storeRecords(w http.ResponseWriter, r *http.Request) {
	stored, repeated := 0, 0
	s.mu.Lock()
	defer s.mu.Unlock()
	in := bufio.NewScanner(r.Body)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var rec struct{ ID, Kind string }
		if err := json.Unmarshal(in.Bytes(), &rec); err != nil || rec.ID == "" {
			refuse(w, 400, "record")
			return
		}
		s.arrivals = append(s.arrivals, rec.ID)
		if _, there := s.records[rec.ID+rec.Kind]; there {
			repeated++
			continue
		}
		s.records[rec.ID+rec.Kind] = bytes.Clone(in.Bytes())
		stored++
	}
	fmt.Fprintf(w, `{"stored":%d,"repeated":%d}`, stored, repeated)
}

func (s *faultyService) stored() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.records)
}

// spoolWriter writes segments as the worker does.
type spoolWriter struct {
	t   *testing.T
	dir string
	seq int
}

func (w *spoolWriter) line(id string) string {
	w.seq++
	return fmt.Sprintf("%d %064x {\"id\":%q,\"kind\":\"intent\",\"statement\":\"select '%d'\"}\n", w.seq, w.seq, id, w.seq)
}

// write appends text to a segment and returns its length.
func (w *spoolWriter) write(segment int, text string) int64 {
	w.t.Helper()
	f, err := os.OpenFile(filepath.Join(w.dir, fmt.Sprintf("%08d.log", segment)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		w.t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		w.t.Fatal(err)
	}
	return info.Size()
}

func (d *daemonUnderTest) expectShipped(segment int, offset int64) {
	d.t.Helper()
	d.expect("SHIPPED", func(f []string) bool { return f[0] == fmt.Sprint(segment) && f[1] == fmt.Sprint(offset) })
}
