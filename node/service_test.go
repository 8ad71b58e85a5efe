package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"portcullis.dev/portcullis/internal/seal"
	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/service"
)

// realService is the policy service on a PostgreSQL of its own.
type realService struct {
	t   *testing.T
	cfg service.Config
	url string
	key string // administrator's

	stop func()
}

func startRealService(t *testing.T) *realService {
	pg := testenv.StartPostgres(t, testenv.PostgresOptions{})
	if err := pg.CreateDatabase(t.Context(), "store"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &realService{t: t, cfg: service.Config{
		Listen: "127.0.0.1:0", StoreURL: pg.DSN("store"), KeyFile: filepath.Join(dir, "store.key"), Node: nodeName,
		AdminKeyFile: filepath.Join(dir, "admin.key"), Log: slog.New(slog.DiscardHandler)}}
	if err := seal.CreateKeyFile(s.cfg.KeyFile); err != nil {
		t.Fatal(err)
	}
	s.start()
	t.Cleanup(func() { s.stop() })
	raw, err := os.ReadFile(s.cfg.AdminKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	s.key = strings.TrimSpace(string(raw))
	return s
}

// start also starts a stopped service, on the same address.
func (s *realService) start() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan string, 1), make(chan error, 1)
	s.cfg.Ready = func(url string) { ready <- url }
	go func() { ended <- service.Serve(ctx, s.cfg) }()
	select {
	case s.url = <-ready:
	case err := <-ended:
		cancel()
		s.t.Fatal(err)
	}
	s.cfg.Listen = strings.TrimPrefix(s.url, "http://")
	s.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("the service ended with %v", err)
		}
		s.stop = func() {}
	}
}

func (s *realService) call(method, path string, body, reply any) {
	s.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequest(method, s.url+path, bytes.NewReader(raw))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.key)
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode >= 300 {
		s.t.Fatalf("%s %s: %s %s %v", method, path, res.Status, answer, err)
	}
	if reply != nil {
		if err := json.Unmarshal(answer, reply); err != nil {
			s.t.Fatal(err)
		}
	}
}

func TestAgainstTheRealService(t *testing.T) {
	s := startRealService(t)
	var made service.APIKey
	s.call("POST", "/v1/api_keys", map[string]string{"name": "node a", "node": nodeName}, &made)
	keyPath, _ := keyFile(t)
	sealed, err := seal.Seal(keyPath, made.Key)
	if err != nil {
		t.Fatal(err)
	}
	s.call("POST", "/v1/people", service.Person{UserID: "pia"}, nil)
	s.call("POST", "/v1/sql_accounts", service.Account{Node: nodeName, Role: "pia", UserID: "pia"}, nil)

	writer := &spoolWriter{t: t, dir: t.TempDir()}
	boot := func() *daemonUnderTest {
		d := start(t, Options{KeyFile: keyPath, Spool: writer.dir})
		d.configure(s.url, sealed)
		return d
	}
	d := boot()
	d.expect("TOKEN", func(f []string) bool { return strings.HasPrefix(f[1], "pt_") })
	d.expect("LEASE", nil)
	d.send("CHECK", hexText("pia"))
	if answer, _, reason := d.expectAccount("pia"); answer != "ok" {
		t.Fatalf("pia: %s %q", answer, reason)
	}
	d.send("CHECK", hexText("nobody"))
	if answer, _, reason := d.expectAccount("nobody"); answer != "denied" || !strings.Contains(reason, "no person") {
		t.Fatalf("nobody: %s %q", answer, reason)
	}

	began := time.Now()
	s.call("PUT", "/v1/people/pia", service.Person{UserID: "pia", Status: "disabled"}, nil)
	if answer, _, reason := d.expectAccount("pia"); answer != "denied" || !strings.Contains(reason, "not active") {
		t.Fatalf("pia disabled: %s %q", answer, reason)
	}
	d.expect("EPOCH", nil)
	if took := time.Since(began); took > time.Second {
		t.Errorf("pushed after %v", took)
	}
	d.stop()

	// Daemons that end in mid-ship, a service that ends in between: each record is there once.
	const lives, each = 6, 50
	total := 0
	for life := range lives {
		d := boot()
		var end int64
		for range each {
			end = writer.write(1, writer.line(fmt.Sprintf("record %d", total)))
			total++
			d.spool(1, end)
		}
		if life == lives/2 {
			s.stop()
			s.start()
		}
		if life == lives-1 {
			d.expectShipped(1, end)
		}
		d.stop()
	}
	if err := os.Remove(filepath.Join(writer.dir, placeFile)); err != nil { // everything once more
		t.Fatal(err)
	}
	d = boot()
	end := writer.write(1, writer.line("last"))
	d.spool(1, end)
	d.expectShipped(1, end)

	// What the service refuses is put aside, what stands beside it is stored at once.
	writer.write(1, fmt.Sprintf("%d %064x {\"kind\":\"nameless\"}\n", writer.seq+1, writer.seq+1))
	writer.seq++
	end = writer.write(1, writer.line("beside"))
	total++
	d.spool(1, end)
	d.expectShipped(1, end)
	raw, err := os.ReadFile(filepath.Join(writer.dir, refusedFile))
	if err != nil || strings.Count(string(raw), "# ") != 1 || !strings.Contains(string(raw), "# id must be a text") || !strings.Contains(string(raw), "nameless") {
		t.Errorf("put aside: %s %v", raw, err)
	}
	var heads []service.AuditHead
	s.call("GET", "/v1/audit/heads", nil, &heads)
	if len(heads) != 1 || heads[0].Seq != int64(writer.seq) || heads[0].Records != int64(total+1) {
		t.Errorf("heads %+v", heads)
	}
	var findings []service.AuditFinding
	s.call("GET", "/v1/audit/findings", nil, &findings)
	if len(findings) != 1 || findings[0].Kind != "gap" || findings[0].First != heads[0].Seq-1 {
		t.Errorf("findings %+v", findings)
	}

	var entries []service.AuditEntry
	s.call("GET", "/v1/audit?limit=1000&kind=intent&node=node%20a", nil, &entries)
	ids := map[string]bool{}
	for _, e := range entries {
		ids[e.ID] = true
	}
	if len(entries) != total+1 || len(ids) != total+1 {
		t.Errorf("%d entries with %d ids of %d", len(entries), len(ids), total+1)
	}

	s.call("DELETE", "/v1/api_keys/node%20a", nil, nil)
	d.expectStatus("token", "none")
}
