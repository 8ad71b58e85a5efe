package node

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// shipping is a service, a spool and what starts daemons on them.
type shipping struct {
	*spoolWriter
	service *faultyService
	key     string
	sealed  string
}

func newShipping(t *testing.T) *shipping {
	s := newFaultyService(t)
	s.server.Start()
	key, sealed := keyFile(t)
	return &shipping{spoolWriter: &spoolWriter{t: t, dir: t.TempDir()}, service: s, key: key, sealed: sealed}
}

func (s *shipping) start(t *testing.T) *daemonUnderTest {
	d := start(t, Options{KeyFile: s.key, Spool: s.dir})
	d.configure(s.service.server.URL, s.sealed)
	return d
}

func (d *daemonUnderTest) spool(segment int, offset int64) {
	d.t.Helper()
	d.send("SPOOL", fmt.Sprint(segment), fmt.Sprint(offset))
}

func TestRecordsAreShippedInOrderWithTheirPlaceInTheChain(t *testing.T) {
	s := newShipping(t)
	d := s.start(t)
	end := s.write(1, s.line("a")+s.line("b"))
	d.spool(1, end)
	d.expectShipped(1, end)
	third := s.write(1, s.line("c"))
	fourth := s.write(1, s.line("unsynced"))
	d.spool(1, third)
	d.expectShipped(1, third)
	if got := strings.Join(s.service.arrivals, " "); got != "a b c" {
		t.Errorf("arrived: %s", got)
	}
	var rec struct {
		Seq   int
		Chain string
		ID    string
	}
	if err := json.Unmarshal(s.service.records["bintent"], &rec); err != nil || rec.Seq != 2 || rec.Chain != fmt.Sprintf("%064x", 2) || rec.ID != "b" {
		t.Errorf("%+v %v", rec, err)
	}
	d.spool(1, fourth)
	d.expectShipped(1, fourth)
}

func TestSegmentsFollowEachOther(t *testing.T) {
	s := newShipping(t)
	s.write(3, s.line("a"))
	s.write(3, `4 00 {"id":"torn by a failed sy`) // abandoned segment
	s.write(7, s.line("b"))
	s.write(8, "")
	end := s.write(9, s.line("c"))
	d := s.start(t)
	d.spool(9, end)
	d.expectShipped(9, end)
	if got := strings.Join(s.service.arrivals, " "); got != "a b c" {
		t.Errorf("arrived: %s", got)
	}
	d.stop()

	// Segments that were shipped may go; the place is kept.
	for _, n := range []string{"00000003.log", "00000007.log", "00000008.log"} {
		if err := os.Remove(filepath.Join(s.dir, n)); err != nil {
			t.Fatal(err)
		}
	}
	d = s.start(t)
	d.spool(9, end)
	next := s.write(10, s.line("d"))
	d.spool(10, next)
	d.expectShipped(10, next)
	if got := strings.Join(s.service.arrivals, " "); got != "a b c d" {
		t.Errorf("arrived: %s", got)
	}
}

func TestLostAnswerMeansARepeatAndNoLoss(t *testing.T) {
	s := newShipping(t)
	s.service.set(func() {
		n := 0
		s.service.onRecords = func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			if n++; n > 2 {
				next(w, r)
				return
			}
			next(discard{http.Header{}}, r) // stored, then the connection breaks
			panic(http.ErrAbortHandler)
		}
	})
	d := s.start(t)
	end := s.write(1, s.line("a")+s.line("b"))
	d.spool(1, end)
	d.expectStatus("audit", "not shipped")
	d.expectShipped(1, end)
	if s.service.stored() != 2 || len(s.service.arrivals) != 6 {
		t.Errorf("stored %d, arrived %v", s.service.stored(), s.service.arrivals)
	}
}

type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

func TestServiceErrorsHoldTheSpoolBack(t *testing.T) {
	for _, answer := range []struct {
		status int
		body   string
	}{
		{500, ""}, {503, "<html>"}, {429, `{"error":{"code":"slow","message":"later"}}`}, {404, ""}, {403, ""},
		{200, "not json"}, {200, "{}"}, {200, `{"stored":1,"repeated":0}`}, // of two
	} {
		t.Run(fmt.Sprint(answer), func(t *testing.T) {
			s := newShipping(t)
			bad := true
			s.service.set(func() {
				s.service.onRecords = func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
					s.service.mu.Lock()
					now := bad
					bad = false
					s.service.mu.Unlock()
					if now {
						w.WriteHeader(answer.status)
						_, _ = io.WriteString(w, answer.body)
						return
					}
					next(w, r)
				}
			})
			d := s.start(t)
			end := s.write(1, s.line("a")+s.line("b"))
			d.spool(1, end)
			d.expectStatus("audit", "not shipped")
			d.expectShipped(1, end)
			if s.service.stored() != 2 {
				t.Errorf("stored %d", s.service.stored())
			}
			if _, err := os.Stat(filepath.Join(s.dir, refusedFile)); err == nil {
				t.Error("records were put aside for the service's own failure")
			}
		})
	}
}

func TestRecordsThatAreNoneDoNotHoldUpTheRest(t *testing.T) {
	s := newShipping(t)
	d := s.start(t)
	text := s.line("a") +
		"not a line\n" +
		"\n" +
		"7 zz {\"id\":\"x\"}\n" +
		"8 00 {\"id\":\"x\"\n" +
		"9 00 [1]\n" +
		"10 00 {}\n" + // the service refuses it: no id
		s.line("b")
	end := s.write(1, text)
	d.spool(1, end)
	d.expectShipped(1, end)
	if got := s.service.stored(); got != 2 {
		t.Errorf("stored %d", got)
	}
	raw, err := os.ReadFile(filepath.Join(s.dir, refusedFile))
	if err != nil || strings.Count(string(raw), "# ") != 6 || !strings.Contains(string(raw), "\n10 00 {}\n") {
		t.Errorf("put aside: %s %v", raw, err)
	}
}

// poisoned fails as a whole on batches that hold one of the given ids.
func (s *shipping) poisoned(ids ...string) {
	s.service.set(func() {
		s.service.onRecords = func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				s.t.Error(err)
			}
			for _, id := range ids {
				if strings.Contains(string(body), fmt.Sprintf("%q", id)) {
					w.WriteHeader(500)
					return
				}
			}
			r.Body = io.NopCloser(strings.NewReader(string(body)))
			next(w, r)
		}
	})
}

// A record on which the service fails each time is put aside, others are not.
func TestRecordThatTheServiceFailsOnDoesNotHoldUpTheRest(t *testing.T) {
	s := newShipping(t)
	s.poisoned("r3", "r4", "r90")
	d := s.start(t)
	var text strings.Builder
	for i := range 100 {
		text.WriteString(s.line(fmt.Sprintf("r%d", i)))
	}
	end := s.write(1, text.String())
	d.spool(1, end)
	d.expectStatus("audit", "not shipped")
	d.expectShipped(1, end)
	if got := s.service.stored(); got != 97 {
		t.Errorf("stored %d", got)
	}
	raw, err := os.ReadFile(filepath.Join(s.dir, refusedFile))
	if err != nil || strings.Count(string(raw), "# ") != 3 || !strings.Contains(string(raw), `"r90"`) {
		t.Errorf("put aside: %s %v", raw, err)
	}
}

// A service that fails on everything is at fault itself: nothing is put aside.
func TestServiceThatFailsOnEverythingConvictsNoRecord(t *testing.T) {
	s := newShipping(t)
	tries := make(chan struct{}, 1000)
	s.service.set(func() {
		s.service.onRecords = func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			tries <- struct{}{}
			w.WriteHeader(500)
		}
	})
	d := s.start(t)
	end := s.write(1, s.line("a")+s.line("b"))
	d.spool(1, end)
	for range wholeTries + 4 { // the batch was also sent in parts by now
		<-tries
	}
	s.poisoned("b")
	d.expectShipped(1, end)
	raw, err := os.ReadFile(filepath.Join(s.dir, refusedFile))
	if err != nil || s.service.stored() != 1 || strings.Count(string(raw), "# ") != 1 || !strings.Contains(string(raw), `"b"`) {
		t.Errorf("stored %d, put aside: %s %v", s.service.stored(), raw, err)
	}
	// A lone one is found out by those that were taken before.
	s.poisoned("c")
	end = s.write(1, s.line("c"))
	d.spool(1, end)
	d.expectShipped(1, end)
}

// Where the place cannot be kept, as on a full disk, the worker is told of it
// all the same: it makes room then.
func TestPlaceThatCannotBeKept(t *testing.T) {
	s := newShipping(t)
	if err := os.Mkdir(filepath.Join(s.dir, placeFile+".new"), 0o700); err != nil {
		t.Fatal(err)
	}
	d := s.start(t)
	end := s.write(1, s.line("a"))
	d.spool(1, end)
	d.expectShipped(1, end)
	end = s.write(1, s.line("b"))
	d.spool(1, end)
	d.expectShipped(1, end)
	if len(s.service.arrivals) != 2 {
		t.Errorf("arrived: %v", s.service.arrivals)
	}
}

func TestTooLargeBatchIsHalved(t *testing.T) {
	s := newShipping(t)
	const limit = 2000
	s.service.set(func() {
		s.service.onRecords = func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			if r.ContentLength > limit {
				refuse(w, 413, "size")
				return
			}
			next(w, r)
		}
	})
	d := s.start(t)
	var text strings.Builder
	for i := range 100 {
		text.WriteString(s.line(fmt.Sprintf("r%02d", i)))
	}
	end := s.write(1, text.String())
	d.spool(1, end)
	d.expectShipped(1, end)
	if s.service.stored() != 100 {
		t.Errorf("stored %d", s.service.stored())
	}
}

func TestLongRecordsAndManyBatches(t *testing.T) {
	s := newShipping(t)
	d := s.start(t)
	var end int64
	for i := range 20 {
		body, err := json.Marshal(map[string]string{"id": fmt.Sprint("r", i), "kind": "intent", "statement": strings.Repeat("x", 100_000*(i%9+1))})
		if err != nil {
			t.Fatal(err)
		}
		end = s.write(1, fmt.Sprintf("%d 00 %s\n", i, body))
	}
	d.spool(1, end)
	d.expectShipped(1, end)
	if s.service.stored() != 20 || len(s.service.arrivals) != 20 {
		t.Errorf("stored %d, arrived %d", s.service.stored(), len(s.service.arrivals))
	}
}

func TestDamagedOrForeignPlace(t *testing.T) {
	for name, content := range map[string]string{"empty": "", "garbage": "x y", "negative": "1 -5", "of another spool": "99 12345\n", "beyond": "1 99999999\n"} {
		t.Run(name, func(t *testing.T) {
			s := newShipping(t)
			if err := os.WriteFile(filepath.Join(s.dir, placeFile), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			end := s.write(1, s.line("a")+s.line("b"))
			d := s.start(t)
			d.spool(1, end)
			d.expectShipped(1, end)
			if s.service.stored() != 2 {
				t.Errorf("stored %d", s.service.stored())
			}
		})
	}
}

// A daemon that is stopped again and again while it ships, against a sink
// that fails at random, loses nothing and repeats only what the store drops.
func TestRestartsInMidShipLoseNothing(t *testing.T) {
	s := newShipping(t)
	random := rand.New(rand.NewPCG(1, 2))
	s.service.set(func() {
		s.service.onRecords = func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			s.service.mu.Lock()
			fate := random.IntN(4)
			s.service.mu.Unlock()
			switch fate {
			case 0:
				refuse(w, 503, "busy")
			case 1:
				next(discard{http.Header{}}, r)
				panic(http.ErrAbortHandler)
			default:
				next(w, r)
			}
		}
	})
	const segments, perSegment = 12, 40
	total := 0
	for segment := 1; segment <= segments; segment++ {
		d := s.start(t)
		var end int64
		for range perSegment {
			end = s.write(segment, s.line(fmt.Sprintf("r%d", total)))
			total++
			d.spool(segment, end)
		}
		if segment == segments {
			d.expectShipped(segment, end)
		} else if segment%3 == 0 {
			d.expect("SHIPPED", func(f []string) bool { return f[0] == fmt.Sprint(segment) })
		}
		d.stop()
	}
	if s.service.stored() != total {
		t.Errorf("stored %d of %d", s.service.stored(), total)
	}
	first := map[string]int{}
	for i, id := range s.service.arrivals {
		if _, there := first[id]; !there {
			first[id] = i
		}
	}
	for i := 1; i < total; i++ {
		if first[fmt.Sprintf("r%d", i-1)] > first[fmt.Sprintf("r%d", i)] {
			t.Fatalf("record %d came before %d", i, i-1)
		}
	}
}

func TestSlowSinkDoesNotDelayTokensOrLogins(t *testing.T) {
	s := newShipping(t)
	release := make(chan struct{})
	s.service.set(func() {
		s.service.onRecords = func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			<-release
			next(w, r)
		}
	})
	d := s.start(t)
	end := s.write(1, s.line("a"))
	d.spool(1, end)
	began := time.Now()
	d.expect("LEASE", nil)
	d.send("CHECK", hexText("known"))
	if answer, _, _ := d.expectAccount("known"); answer != "ok" || time.Since(began) > 2*time.Second {
		t.Errorf("%s after %v", answer, time.Since(began))
	}
	close(release)
	d.expectShipped(1, end)
}

func FuzzParseRecord(f *testing.F) {
	f.Add([]byte(`1 00 {"id":"a"}`))
	f.Add([]byte(`1 00 { }`))
	f.Add([]byte(`  `))
	f.Fuzz(func(t *testing.T, line []byte) {
		if r := parseRecord(line); r.body != nil && !json.Valid(r.body) {
			t.Errorf("%q became %q", line, r.body)
		}
	})
}
