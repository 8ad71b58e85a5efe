package run

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"portcullis.dev/portcullis/policy"
)

func TestKeysOfSharedDecisionsCoverEveryInput(t *testing.T) {
	session := func() *Session {
		return &Session{RoleOID: 10, Role: "ann", Database: "immuta", Node: "n1", ServiceURL: "http://s", Epoch: 1}
	}
	seen := map[[KeySize]byte]string{}
	add := func(name string, key [KeySize]byte) {
		if other, twice := seen[key]; twice {
			t.Errorf("%s and %s have one key", name, other)
		}
		seen[key] = name
	}
	one := DecisionKeys(session(), []string{dsOne})
	add("first", one[0])
	add("first as a question", one[1])
	add("another data source", DecisionKeys(session(), []string{dsTwo})[0])
	for name, change := range map[string]func(*Session){
		"role":          func(s *Session) { s.Role = "bob" },
		"quoted role":   func(s *Session) { s.Role = `ann" "immuta` },
		"role oid":      func(s *Session) { s.RoleOID++ },
		"node":          func(s *Session) { s.Node = "n2" },
		"database":      func(s *Session) { s.Database = "other" },
		"service":       func(s *Session) { s.ServiceURL = "http://t" },
		"epoch":         func(s *Session) { s.Epoch++ },
		"impersonation": func(s *Session) { s.Impersonate = &Impersonation{IAMID: "i", UserID: "u"} },
		"nobody":        func(s *Session) { s.Impersonate = &Impersonation{} },
	} {
		s := session()
		change(s)
		keys := DecisionKeys(s, []string{dsOne})
		add(name, keys[0])
		add(name+" as a question", keys[1])
	}
	there, back := DecisionKeys(session(), []string{dsOne, dsTwo, dsOne}), DecisionKeys(session(), []string{dsTwo, dsOne})
	if there[3] != back[2] || there[0] != back[1] || there[0] != one[0] {
		t.Error("the order of the tables makes another question")
	}
}

// What one session was answered serves another, with the same content and no call.
func TestDecisionsGoFromSessionToSession(t *testing.T) {
	s, calls := answering(t, func(decisionsRequest) (int, any) {
		d := allowed(dsOne)
		d.Masks = map[string]policy.Mask{"name": {Kind: policy.MaskHash, Key: []byte(strings.Repeat("k", 32))}}
		return http.StatusOK, map[string]any{"version": 7, "decisions": []policy.Decision{d}}
	})
	first, second := newTestEngine(t, nil), newTestEngine(t, nil)
	asked, err := decideAll(t, first, s, dsOne)
	if err != nil {
		t.Fatal(err)
	}
	encoded, maxAge := first.DecideEncoded(s, dsOne)
	if encoded == nil || maxAge != time.Minute {
		t.Fatalf("encoded %q for %v", encoded, maxAge)
	}
	if _, complete, err := second.DecideCached(s, []string{dsOne}); complete || err != nil {
		t.Fatalf("cached before it was offered: %v", err)
	}
	if !second.DecideOffer(s, dsOne, encoded, maxAge/2) {
		t.Fatal("the offer was refused")
	}
	given, err := decideAll(t, second, s, dsOne)
	if err != nil || calls.Load() != 1 || given[0].Digest != asked[0].Digest || !given[0].Allowed || given[0].ID == 0 {
		t.Errorf("%+v after %d calls, asked was %+v: %v", given, calls.Load(), asked, err)
	}
	without := *s
	without.Lease = 0
	if _, _, err := second.DecideCached(&without, []string{dsOne}); err == nil {
		t.Error("a cached decision was given without a lease")
	}
}

func TestRefusalsAreNotShared(t *testing.T) {
	s, _ := answering(t, func(decisionsRequest) (int, any) {
		return http.StatusOK, map[string]any{"version": 7, "decisions": []policy.Decision{{DataSource: dsOne, Reason: "no", MaxAgeMS: 60000, Version: 7}}}
	})
	e := newTestEngine(t, nil)
	if answers, err := decideAll(t, e, s, dsOne); err != nil || answers[0].Allowed {
		t.Fatalf("%+v, %v", answers, err)
	}
	if encoded, _ := e.DecideEncoded(s, dsOne); encoded != nil {
		t.Errorf("%s", encoded)
	}
}

func TestOffersAreReadAsCarefullyAsAnswers(t *testing.T) {
	s, _ := answering(t, decisionsOf)
	e := newTestEngine(t, nil)
	good, err := json.Marshal(allowed(dsOne))
	if err != nil {
		t.Fatal(err)
	}
	for name, offer := range map[string]struct {
		encoded string
		left    time.Duration
	}{
		"no decision":         {"{", time.Second},
		"unknown field":       {strings.Replace(string(good), "{", `{"also":1,`, 1), time.Second},
		"other data source":   {strings.ReplaceAll(string(good), dsOne, dsTwo), time.Second},
		"longer than its age": {string(good), time.Hour},
		"mask without a key":  {strings.Replace(string(good), `"person"`, `"masks":{"name":{"kind":"hash"}},"person"`, 1), time.Second},
	} {
		if e.DecideOffer(s, dsOne, []byte(offer.encoded), offer.left) {
			t.Errorf("%s: taken", name)
		}
	}
	if !e.DecideOffer(s, dsOne, good, time.Millisecond) {
		t.Error("a good one was refused")
	}
	waitUntil(t, func() bool { // its time is over
		_, complete, err := e.DecideCached(s, []string{dsOne})
		return !complete && err == nil
	})
}
