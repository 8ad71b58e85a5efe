package aws_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// verifier checks signatures of version 4 as AWS documents them, with code of
// its own: what signs here is Amazon's.
type verifier struct {
	secrets         map[string]string // by access key id
	region, service string
	now             time.Time
}

// signed is what a request says of its signature.
type signed struct{ key, scope, headers, signature, date string }

func (v verifier) check(method, host, path string, query url.Values, header func(string) string, body string, s signed) error {
	parts := strings.Split(s.scope, "/") // date/region/service/aws4_request
	if len(parts) != 4 || parts[1] != v.region || parts[2] != v.service || parts[3] != "aws4_request" || !strings.HasPrefix(s.date, parts[0]) {
		return fmt.Errorf("scope %q", s.scope)
	}
	secret, ok := v.secrets[s.key]
	if !ok {
		return fmt.Errorf("access key %q is not known", s.key)
	}
	if !slices.Contains(strings.Split(s.headers, ";"), "host") {
		return fmt.Errorf("the host is not signed")
	}
	var canonical strings.Builder
	fmt.Fprintf(&canonical, "%s\n%s\n%s\n", method, path, canonicalQuery(query))
	for _, name := range strings.Split(s.headers, ";") {
		value := header(name)
		if name == "host" {
			value = host
		}
		fmt.Fprintf(&canonical, "%s:%s\n", name, strings.Join(strings.Fields(value), " "))
	}
	fmt.Fprintf(&canonical, "\n%s\n%s", s.headers, digest(body))
	text := "AWS4-HMAC-SHA256\n" + s.date + "\n" + s.scope + "\n" + digest(canonical.String())
	key := mac([]byte("AWS4"+secret), parts[0])
	for _, part := range parts[1:] {
		key = mac(key, part)
	}
	if want := hex.EncodeToString(mac(key, text)); want != s.signature {
		return fmt.Errorf("the signature is not that of %s", s.key)
	}
	return nil
}

// fresh checks that a moment is no more than the given time ago.
func (v verifier) fresh(date string, lasts time.Duration) error {
	at, err := time.Parse("20060102T150405Z", date)
	if err != nil {
		return err
	}
	if age := v.now.Sub(at); age < -5*time.Minute || age > lasts {
		return fmt.Errorf("signed %s, which is %s ago", date, age)
	}
	return nil
}

func canonicalQuery(query url.Values) string {
	var parts []string
	for name, values := range query {
		for _, value := range values {
			if name != "X-Amz-Signature" {
				parts = append(parts, escape(name)+"="+escape(value))
			}
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, "&")
}

func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// ofHeader reads "AWS4-HMAC-SHA256 Credential=K/scope, SignedHeaders=…, Signature=…".
func ofHeader(h http.Header) signed {
	s := signed{date: h.Get("X-Amz-Date")}
	text := strings.TrimPrefix(h.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	for _, part := range strings.Split(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "Credential":
			s.key, s.scope, _ = strings.Cut(value, "/")
		case "SignedHeaders":
			s.headers = value
		case "Signature":
			s.signature = value
		}
	}
	return s
}

// The example of AWS's documentation ("Create a signed AWS API request").
func TestVerifierKnowsTheDocumentedExample(t *testing.T) {
	v := verifier{secrets: map[string]string{"AKIDEXAMPLE": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}, region: "us-east-1", service: "iam"}
	header := http.Header{"X-Amz-Date": {"20150830T123600Z"}, "Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}, "Authorization": {
		"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, " +
			"Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"}}
	query := url.Values{"Action": {"ListUsers"}, "Version": {"2010-05-08"}}
	if err := v.check("GET", "iam.amazonaws.com", "/", query, header.Get, "", ofHeader(header)); err != nil {
		t.Error(err)
	}
	query.Set("Action", "DeleteUser")
	if v.check("GET", "iam.amazonaws.com", "/", query, header.Get, "", ofHeader(header)) == nil {
		t.Error("another request passes with the signature")
	}
}
