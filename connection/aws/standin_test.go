package aws_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

const (
	region     = "eu-central-1"
	roleARN    = "arn:aws:iam::123456789012:role/gate"
	externalID = "9f1c-external"
	ownKey     = "AKIASERVICE"
	ownSecret  = "secret-of-the-service"
)

// cloud stands in for STS and for the login of RDS. It gives credentials only
// to a request that the service's identity signed, with the right external id.
type cloud struct {
	sts *httptest.Server

	mu       sync.Mutex
	issued   map[string]issue // by access key id
	requests int
	now      func() time.Time
}

type issue struct{ secret, session string }

func newCloud(t *testing.T) *cloud {
	c := &cloud{issued: map[string]issue{}, now: time.Now}
	c.sts = httptest.NewServer(http.HandlerFunc(c.assumeRole))
	t.Cleanup(c.sts.Close)
	return c
}

func (c *cloud) assumeRole(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	s := ofHeader(r.Header)
	v := verifier{secrets: map[string]string{ownKey: ownSecret}, region: region, service: "sts", now: c.now()}
	err := v.check(r.Method, r.Host, r.URL.Path, r.URL.Query(), func(name string) string {
		if name == "content-length" {
			return fmt.Sprint(r.ContentLength)
		}
		return r.Header.Get(name)
	}, string(body), s)
	if err == nil {
		err = v.fresh(s.date, 5*time.Minute)
	}
	fail := func(status int, code, message string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error></ErrorResponse>`, code, message)
	}
	switch {
	case err != nil:
		fail(403, "SignatureDoesNotMatch", err.Error())
	case form.Get("Action") != "AssumeRole" || form.Get("RoleArn") != roleARN || form.Get("ExternalId") != externalID:
		fail(403, "AccessDenied", "not authorized to perform: sts:AssumeRole")
	case form.Get("DurationSeconds") != "900" || form.Get("RoleSessionName") != "portcullis":
		fail(400, "ValidationError", "lifetime or name of the session")
	default:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.requests++
		id := fmt.Sprint("ASIA", c.requests)
		c.issued[id] = issue{secret: "assumed secret/+" + id, session: "session/token+=" + id}
		fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials><AccessKeyId>%s</AccessKeyId>
			<SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`,
			id, c.issued[id].secret, c.issued[id].session, c.now().Add(15*time.Minute).UTC().Format(time.RFC3339))
	}
}

// login checks a token as RDS does: signature, end, host, port and user.
func (c *cloud) login(token, host, user string) error {
	u, err := url.Parse("https://" + token)
	if err != nil {
		return err
	}
	q := u.Query()
	key, scope, _ := strings.Cut(q.Get("X-Amz-Credential"), "/")
	c.mu.Lock()
	issued := maps.Clone(c.issued)
	c.mu.Unlock()
	v := verifier{secrets: map[string]string{key: issued[key].secret}, region: region, service: "rds-db", now: c.now()}
	s := signed{key: key, scope: scope, headers: q.Get("X-Amz-SignedHeaders"), signature: q.Get("X-Amz-Signature"), date: q.Get("X-Amz-Date")}
	switch {
	case issued[key].secret == "":
		return fmt.Errorf("access key %q was not issued", key)
	case u.Host != host || q.Get("DBUser") != user || q.Get("Action") != "connect" || q.Get("X-Amz-Expires") != "900":
		return fmt.Errorf("token of %s for %s", u.Host, q.Get("DBUser"))
	case q.Get("X-Amz-Security-Token") != issued[key].session:
		return fmt.Errorf("session token %q", q.Get("X-Amz-Security-Token"))
	}
	if err := v.check("GET", u.Host, "/", q, func(string) string { return "" }, "", s); err != nil {
		return err
	}
	return v.fresh(s.date, 900*time.Second)
}

// front is PostgreSQL with the login of RDS before it: it asks for a token
// plainly over TLS, checks it, and then logs in to the instance itself.
type front struct {
	cloud   *cloud
	cert    tls.Certificate
	backend func(user, database string) *pgconn.Config
	address net.Listener

	mu      sync.Mutex
	refused []error
}

func (f *front) serve() {
	for {
		conn, err := f.address.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			if err := f.session(conn); err != nil {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.refused = append(f.refused, err)
			}
		}()
	}
}

func (f *front) session(raw net.Conn) error {
	plain := pgproto3.NewBackend(raw, raw)
	if first, err := plain.ReceiveStartupMessage(); err != nil {
		return err
	} else if _, ok := first.(*pgproto3.SSLRequest); !ok {
		return fmt.Errorf("no TLS: %T", first)
	}
	if _, err := raw.Write([]byte("S")); err != nil {
		return err
	}
	conn := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{f.cert}})
	defer conn.Close()
	b := pgproto3.NewBackend(conn, conn)
	message, err := b.ReceiveStartupMessage()
	if err != nil {
		return err
	}
	start, ok := message.(*pgproto3.StartupMessage)
	if !ok {
		return fmt.Errorf("unexpected %T", message)
	}
	b.Send(&pgproto3.AuthenticationCleartextPassword{})
	if err := b.Flush(); err != nil {
		return err
	}
	if err := b.SetAuthType(pgproto3.AuthTypeCleartextPassword); err != nil {
		return err
	}
	answer, err := b.Receive()
	if err != nil {
		return err
	}
	token := answer.(*pgproto3.PasswordMessage).Password
	user := start.Parameters["user"]
	port := f.address.Addr().(*net.TCPAddr).Port
	if err := f.cloud.login(token, fmt.Sprintf("localhost:%d", port), user); err != nil {
		b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28P01", Message: "PAM authentication failed for user", Routine: "auth_failed"})
		_ = b.Flush()
		return err
	}
	return f.relay(conn, b, user, start.Parameters)
}

func (f *front) relay(conn net.Conn, b *pgproto3.Backend, user string, parameters map[string]string) error {
	cfg := f.backend(user, parameters["database"])
	maps.Copy(cfg.RuntimeParams, parameters)
	delete(cfg.RuntimeParams, "user")
	delete(cfg.RuntimeParams, "database")
	ctx, cancel := timeout()
	defer cancel()
	server, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	pid, secret := server.PID(), server.SecretKey()
	b.Send(&pgproto3.AuthenticationOk{})
	for _, name := range []string{"server_version", "in_hot_standby", "client_encoding", "standard_conforming_strings", "TimeZone", "DateStyle", "integer_datetimes"} {
		b.Send(&pgproto3.ParameterStatus{Name: name, Value: server.ParameterStatus(name)})
	}
	b.Send(&pgproto3.BackendKeyData{ProcessID: pid, SecretKey: secret})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	if err := b.Flush(); err != nil {
		return err
	}
	h, err := server.Hijack()
	if err != nil {
		return err
	}
	defer h.Conn.Close()
	go func() { _, _ = io.Copy(conn, h.Conn); conn.Close() }()
	_, _ = io.Copy(h.Conn, conn)
	return nil
}

func asJSON(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}
