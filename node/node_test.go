package node

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestTokenEpochLeaseAndAccounts(t *testing.T) {
	s := newFaultyService(t)
	s.server.Start()
	key, sealed := keyFile(t)
	d := start(t, Options{KeyFile: key})
	d.configure(s.server.URL, sealed)

	f := d.expect("TOKEN", nil)
	expires, err := strconv.ParseInt(f[0], 10, 64)
	if left := time.Until(time.UnixMilli(expires)); err != nil || left > 5*time.Minute || left < 4*time.Minute || f[1] != "token-1" {
		t.Fatalf("TOKEN %v: %v left, %v", f, left, err)
	}
	if f := d.expect("EPOCH", nil); f[0] != "7" {
		t.Fatalf("EPOCH %v", f)
	}
	for range 3 {
		if f := d.expect("LEASE", nil); f[0] != "5000" {
			t.Fatalf("LEASE %v", f)
		}
	}
	for _, c := range []struct{ role, answer, ttl, reason string }{
		{"known\tü", "ok", "60000", ""},
		{`Robert"); DROP`, "denied", "1500", "no person is mapped to this account\nask a steward"},
	} {
		d.send("CHECK", hexText(c.role))
		if answer, ttl, reason := d.expectAccount(c.role); answer != c.answer || ttl != c.ttl || reason != c.reason {
			t.Errorf("%q: %s %s %q", c.role, answer, ttl, reason)
		}
	}

	s.events <- `{"type":"version","version":18446744073709551}`
	d.expect("EPOCH", func(f []string) bool { return f[0] == "18446744073709551" })
	s.events <- `{"type":"account","role":"eve","ok":false,"reason":"left the company"}`
	if answer, ttl, reason := d.expectAccount("eve"); answer != "denied" || ttl != "60000" || reason != "left the company" {
		t.Errorf("push: %s %s %q", answer, ttl, reason)
	}
}

func TestServiceDownAtStartAndLater(t *testing.T) {
	key, sealed := keyFile(t)
	first := newFaultyService(t)
	address := first.server.Listener.Addr().String()
	first.close()

	d := start(t, Options{KeyFile: key, CheckLimit: 200 * time.Millisecond})
	d.configure("http://"+address, sealed)
	d.expectStatus("last_error", "cannot be reached")
	d.send("CHECK", hexText("known"))
	if answer, ttl, reason := d.expectAccount("known"); answer != "denied" || ttl != "1000" || !strings.Contains(reason, "policy service") {
		t.Fatalf("service down: %s %s %q", answer, ttl, reason)
	}

	for range 2 { // comes up, goes down, comes up
		s := newFaultyService(t)
		s.server.Listener.Close()
		s.server.Listener = listenAgain(t, address)
		s.server.Start()
		d.expect("EPOCH", nil)
		d.expect("LEASE", nil)
		d.expectStatus("service", "connected")
		s.close()
		d.expectStatus("service", "cannot be reached")
	}
	for line := range drain(d, 300*time.Millisecond) {
		if line[0] == "LEASE" {
			t.Fatal("a lease without a service")
		}
	}
}

func listenAgain(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// drain yields what comes within a time.
func drain(d *daemonUnderTest, limit time.Duration) func(func([]string) bool) {
	return func(yield func([]string) bool) {
		deadline := time.After(limit)
		for {
			select {
			case line, ok := <-d.lines:
				if !ok || !yield(line) {
					return
				}
			case <-deadline:
				return
			}
		}
	}
}

func TestTokenIsRenewedBeforeItEnds(t *testing.T) {
	s := newFaultyService(t)
	s.life = 3 * time.Second
	s.server.Start()
	key, sealed := keyFile(t)
	d := start(t, Options{KeyFile: key})
	d.configure(s.server.URL, sealed)
	d.expect("TOKEN", func(f []string) bool { return f[1] == "token-1" })
	got := time.Now()
	d.expect("TOKEN", func(f []string) bool { return f[1] == "token-2" })
	if waited := time.Since(got); waited < time.Second || waited > 2500*time.Millisecond {
		t.Errorf("renewed after %v of 3 s", waited)
	}
}

func TestRefusedTokenIsReplaced(t *testing.T) {
	s := newFaultyService(t)
	s.server.Start()
	key, sealed := keyFile(t)
	d := start(t, Options{KeyFile: key})
	d.configure(s.server.URL, sealed)
	d.expect("LEASE", nil)
	s.set(func() { s.token = "withdrawn" })
	d.send("CHECK", hexText("known"))
	d.expect("TOKEN", func(f []string) bool { return f[1] == "token-2" })
	if answer, _, _ := d.expectAccount("known"); answer != "ok" {
		t.Error("the check was not asked again with the new token")
	}
	s.events <- "END" // the stream must find the new token, too
	d.expect("EPOCH", nil)
}

func TestTokenThatIsAlwaysRefusedIsNotAskedForInALoop(t *testing.T) {
	s := newFaultyService(t)
	s.onToken = func(w http.ResponseWriter, r *http.Request) {
		s.set(func() { s.issued++ })
		fmt.Fprint(w, `{"token":"never-good","expires_in_ms":300000}`)
	}
	s.token = "another"
	s.server.Start()
	key, sealed := keyFile(t)
	d := start(t, Options{KeyFile: key})
	d.configure(s.server.URL, sealed)
	d.expectStatus("last_error", "401")
	for range drain(d, 1500*time.Millisecond) {
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.issued > 12 {
		t.Errorf("%d tokens in 1.5 s", s.issued)
	}
}

func TestSilentStreamIsReplacedAndRenewsNothing(t *testing.T) {
	s := newFaultyService(t)
	s.onEvents = func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.streams++
		n := s.streams
		s.mu.Unlock()
		switch n {
		case 1: // half-open: accepts and never answers
			<-r.Context().Done()
		case 2: // heartbeats before the version: what happened meanwhile is unknown
			for range 3 {
				fmt.Fprintln(w, `{"type":"heartbeat"}`)
			}
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		default:
			s.answerEvents(w, r)
		}
	}
	s.server.Start()
	key, sealed := keyFile(t)
	d := start(t, Options{KeyFile: key, Silence: 150 * time.Millisecond})
	d.configure(s.server.URL, sealed)
	for n := 0; n < 2; {
		f := d.expect("STATUS", nil)
		if f[0] == "last_error" && strings.Contains(unhexText(f[1]), "silent") {
			n++
		}
	}
	for _, line := range d.seen {
		if strings.HasPrefix(line, "LEASE") || strings.HasPrefix(line, "EPOCH") {
			t.Fatalf("%s from a stream that told nothing", line)
		}
	}
	d.expect("EPOCH", nil)
	d.expect("LEASE", nil)
}

func TestBadStreamLinesEndTheStreamWithoutLease(t *testing.T) {
	for name, line := range map[string]string{
		"no JSON":           "\x00\xff garbage",
		"no version":        `{"type":"version"}`,
		"negative version":  `{"type":"version","version":-1}`,
		"version of text":   `{"type":"version","version":"8"}`,
		"account of nobody": `{"type":"account","ok":true}`,
		"oversized":         `{"type":"version","version":7,"x":"` + strings.Repeat("x", maxEvent) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newFaultyService(t)
			s.onEvents = func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprintln(w, line)
				w.(http.Flusher).Flush()
				select {
				case <-r.Context().Done():
				case <-s.quit:
				}
			}
			s.server.Start()
			key, sealed := keyFile(t)
			d := start(t, Options{KeyFile: key, Silence: 20 * time.Second})
			d.configure(s.server.URL, sealed)
			d.expectStatus("last_error", "events")
			for _, line := range d.seen {
				if strings.HasPrefix(line, "LEASE") {
					t.Error("the line renewed the lease")
				}
			}
		})
	}
}

func TestUnknownEventIsPassedOver(t *testing.T) {
	s := newFaultyService(t)
	s.server.Start()
	key, sealed := keyFile(t)
	d := start(t, Options{KeyFile: key})
	d.configure(s.server.URL, sealed)
	d.expect("LEASE", nil)
	s.events <- `{"type":"from-the-future","role":"x"}`
	s.events <- `{"type":"version","version":8}`
	d.expect("EPOCH", func(f []string) bool { return f[0] == "8" })
	if s.mu.Lock(); s.streams != 1 {
		t.Errorf("%d streams", s.streams)
	}
	s.mu.Unlock()
}

func TestSlowLoginAnswerIsADenialInTime(t *testing.T) {
	s := newFaultyService(t)
	s.onLogin = func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // lets the server notice that the client left
		<-r.Context().Done()
	}
	s.server.Start()
	key, sealed := keyFile(t)
	d := start(t, Options{KeyFile: key, CheckLimit: 300 * time.Millisecond})
	d.configure(s.server.URL, sealed)
	d.expect("LEASE", nil)
	began := time.Now()
	for i := range 3 * checkers {
		d.send("CHECK", hexText(fmt.Sprintf("known%d", i)))
	}
	for range 3 * checkers {
		f := d.expect("ACCOUNT", nil)
		if f[1] != "denied" {
			t.Error("slow is not yes")
		}
		reason, _ := hex.DecodeString(f[3])
		if want := "the policy service cannot be asked about this account: it does not answer in time"; !strings.HasPrefix(string(reason), want) {
			t.Errorf("the reason is %q", reason)
		}
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestUnreadableLoginAnswersDeny(t *testing.T) {
	for _, body := range []string{"", "{}", "[]", `{"ok":"true"}`, `{"ok":1}`, "<html>", strings.Repeat(" ", maxAnswer+1) + `{"ok":true}`} {
		s := newFaultyService(t)
		s.onLogin = func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, body) }
		s.server.Start()
		key, sealed := keyFile(t)
		d := start(t, Options{KeyFile: key})
		d.configure(s.server.URL, sealed)
		d.expect("LEASE", nil)
		d.send("CHECK", hexText("known"))
		if answer, _, _ := d.expectAccount("known"); answer != "denied" {
			t.Errorf("answer %.30q lets in", body)
		}
		d.stop()
		s.close()
	}
}

func TestGarbageFromTheWorkerIsPassedOver(t *testing.T) {
	s := newFaultyService(t)
	s.server.Start()
	key, sealed := keyFile(t)
	d := start(t, Options{KeyFile: key})
	for _, line := range []string{
		"", "\t\t\t", "HELLO", "CONFIG", "CONFIG\tzz\tzz\tzz", "CONFIG\t00\t00\t00", "CONFIG\tff\tff\tff", "CHECK", "CHECK\tabc", "CHECK\t61\t61",
		"SPOOL", "SPOOL\t-1\t0", "SPOOL\t1\t-1", "SPOOL\t99999999999999999999\t1", "SPOOL\tx\ty", "\xff\xfe\x00",
		"CHECK\t" + strings.Repeat("61", maxLine), strings.Repeat("x", 5*maxLine),
	} {
		d.send(line)
	}
	d.configure(s.server.URL, sealed)
	d.expect("LEASE", nil)
}

func TestUnconfiguredNodeRefusesLogins(t *testing.T) {
	key, sealed := keyFile(t)
	d := start(t, Options{KeyFile: key, CheckLimit: 20 * time.Millisecond})
	d.send("CHECK", hexText("known"))
	if answer, _, reason := d.expectAccount("known"); answer != "denied" || !strings.Contains(reason, "not been told") {
		t.Errorf("before CONFIG: %s %q", answer, reason)
	}
	for url, part := range map[string]string{"": "has no policy service", "http://192.0.2.1:80": "not loopback", "ftp://x": "must begin with"} {
		d.configure(url, sealed)
		d.send("CHECK", hexText("x"+url))
		if answer, _, reason := d.expectAccount("x" + url); answer != "denied" || !strings.Contains(reason, part) {
			t.Errorf("%q: %s %q", url, answer, reason)
		}
	}
}

func TestChangedConfigurationTakesOver(t *testing.T) {
	one, two := newFaultyService(t), newFaultyService(t)
	one.server.Start()
	two.server.Start()
	key, sealed := keyFile(t)
	_, foreign := keyFile(t)
	d := start(t, Options{KeyFile: key})
	d.configure(one.server.URL, sealed)
	d.expect("LEASE", nil)
	d.configure(two.server.URL, foreign)
	d.expectStatus("last_error", "key file does not open")
	d.configure(two.server.URL, sealed)
	d.expect("LEASE", nil)
	if two.mu.Lock(); two.issued != 1 {
		t.Errorf("the second service issued %d tokens", two.issued)
	}
	two.mu.Unlock()
}

func TestWrongAPIKeyIsTold(t *testing.T) {
	s := newFaultyService(t)
	s.server.Start()
	key, _ := keyFile(t)
	d := start(t, Options{KeyFile: key})
	d.configure(s.server.URL, "")
	d.expectStatus("token", "no API key")
	d.configure(s.server.URL, "plain text key")
	d.expectStatus("token", "not a sealed text")
	s.set(func() { s.onToken = func(w http.ResponseWriter, r *http.Request) { refuse(w, 403, "revoked") } })
	_, sealed := key, mustSeal(t, key)
	d.configure(s.server.URL, sealed)
	d.expectStatus("token", "403: revoked: refused by the test")
}

func TestUnusableTokensAreNotTaken(t *testing.T) {
	for _, body := range []string{`{}`, `{"token":"a b","expires_in_ms":1000}`, `{"token":"a\nTOKEN 1 x","expires_in_ms":1000}`, `{"token":"é","expires_in_ms":1}`,
		`{"token":"t","expires_in_ms":0}`, `{"token":"t","expires_in_ms":-5}`, `{"token":"t","expires_in_ms":9223372036854775807}`,
		`{"token":"` + strings.Repeat("x", maxToken+1) + `","expires_in_ms":1000}`} {
		s := newFaultyService(t)
		s.onToken = func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, body) }
		s.server.Start()
		key, sealed := keyFile(t)
		d := start(t, Options{KeyFile: key})
		d.configure(s.server.URL, sealed)
		d.expectStatus("last_error", "not a token")
		for _, line := range d.seen {
			if strings.HasPrefix(line, "TOKEN") {
				t.Errorf("%.60s was taken", body)
			}
		}
		d.stop()
		s.close()
	}
}

func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "a\tb\nc\x00": "a b c ", "bad\xffbyte": "bad?byte",
		strings.Repeat("ü", 400): strings.Repeat("ü", 248) + "…",
	} {
		if got := oneLine(in, maxStatus); got != want {
			t.Errorf("%.20q: %q", in, got)
		}
	}
	if got := oneLine(string(bytes.Repeat([]byte("ü"), 1000)), 10); len(got) > 10 {
		t.Errorf("%d bytes", len(got))
	}
}
