package aws_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/aws"
	"portcullis.dev/portcullis/connection/dial"
	"portcullis.dev/portcullis/connection/setup"
	"portcullis.dev/portcullis/internal/testenv"
)

func timeout() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Minute)
}

func identity(secret string) *aws.Tokens {
	return &aws.Tokens{Identity: credentials.NewStaticCredentialsProvider(ownKey, secret, "")}
}

func (c *cloud) role() connection.AWSRole {
	return connection.AWSRole{Region: region, ARN: roleARN, ExternalID: externalID, STSEndpoint: c.sts.URL}
}

func wantAWS(t *testing.T, err error, detail string, secrets ...string) {
	t.Helper()
	var e *connection.Error
	if !errors.As(err, &e) || e.Code != aws.Code || e.Hint == "" || !strings.Contains(e.Error(), detail) {
		t.Fatalf("want %s with %q, got %v", aws.Code, detail, err)
	}
	for _, secret := range secrets {
		if strings.Contains(fmt.Sprintf("%+v %v", *e, e.Err), secret) {
			t.Errorf("a secret is in %v", e)
		}
	}
}

func TestTokenPerConnection(t *testing.T) {
	c := newCloud(t)
	var last string
	for i := 1; i <= 2; i++ {
		token, err := identity(ownSecret).Token(t.Context(), c.role(), "db.example.com", 5432, "gate")
		if err != nil {
			t.Fatal(err)
		}
		if c.requests != i || token == last {
			t.Errorf("%d requests after %d tokens", c.requests, i)
		}
		last = token
		if err := c.login(token, "db.example.com:5432", "gate"); err != nil {
			t.Error(err)
		}
	}
	for name, err := range map[string]error{"another host": c.login(last, "other.example.com:5432", "gate"), "another user": c.login(last, "db.example.com:5432", "root"),
		"a changed token": c.login(strings.Replace(last, "DBUser=gate", "DBUser=root", 1), "db.example.com:5432", "root")} {
		if err == nil {
			t.Errorf("the token is valid for %s", name)
		}
	}
	c.now = func() time.Time { return time.Now().Add(16 * time.Minute) }
	if c.login(last, "db.example.com:5432", "gate") == nil {
		t.Error("the token is valid after 16 minutes")
	}
}

func TestRefusedRoles(t *testing.T) {
	c := newCloud(t)
	token := func(tokens *aws.Tokens, change func(*connection.AWSRole)) error {
		role := c.role()
		change(&role)
		_, err := tokens.Token(t.Context(), role, "db.example.com", 5432, "gate")
		return err
	}
	wantAWS(t, token(identity("stolen"), func(*connection.AWSRole) {}), "SignatureDoesNotMatch", "stolen")
	wantAWS(t, token(identity(ownSecret), func(r *connection.AWSRole) { r.ExternalID = "guess" }), "AccessDenied", ownSecret)
	wantAWS(t, token(identity(ownSecret), func(r *connection.AWSRole) { r.ARN = "arn:aws:iam::123456789012:role/other" }), "AccessDenied")
	wantAWS(t, token(identity(ownSecret), func(r *connection.AWSRole) { r.ExternalID = "" }), "external id")
	wantAWS(t, token(identity(ownSecret), func(r *connection.AWSRole) { r.ARN = "arn:aws:iam::1:user/x" }), "no ARN of an IAM role")
	wantAWS(t, token(identity(ownSecret), func(r *connection.AWSRole) { r.Region = "eu-central-1.evil.example/" }), "no AWS region")
	for _, endpoint := range []string{"http://sts.example.com", "https://u:p@sts.example.com", "sts.amazonaws.com", "http://localhost:1"} {
		wantAWS(t, token(identity(ownSecret), func(r *connection.AWSRole) { r.STSEndpoint = endpoint }), "https URL")
	}
	nobody := &aws.Tokens{Identity: sdk.CredentialsProviderFunc(func(context.Context) (sdk.Credentials, error) {
		return sdk.Credentials{}, errors.New("no identity is here")
	})}
	if err := token(nobody, func(*connection.AWSRole) {}); err == nil || !strings.HasSuffix(err.Error(), "cannot be assumed: no identity is here") {
		t.Errorf("steps of the SDK are told: %v", err)
	}
	c.sts.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := identity(ownSecret).Token(ctx, c.role(), "db.example.com", 5432, "gate")
	wantAWS(t, err, "cannot be assumed")
}

// An instance is registered with an access key that is then forgotten, and
// reached with tokens of the role from then on.
func TestRegisteredWithAnAccessKeyReachedWithARole(t *testing.T) {
	c := newCloud(t)
	p := testenv.StartServer(t, testenv.ServerOptions{Major: 16})
	if err := p.Exec(t.Context(), "postgres", "CREATE ROLE rds_iam; CREATE ROLE master LOGIN SUPERUSER PASSWORD 'x'"); err != nil {
		t.Fatal(err)
	}
	f, ca := startFront(t, c, p)
	port := f.address.Addr().(*net.TCPAddr).Port
	role := c.role()
	target := connection.Target{Name: "rds", Provider: connection.ProviderRDS, Host: "localhost", Port: port, Database: "postgres", CA: ca,
		Username: "gate", AWS: &role, Mode: connection.ModeBroker, Prefix: "portcullis_"}
	key := aws.AccessKey{ID: "AKIADBA", Secret: "secret-of-the-dba"}
	c.issued[key.ID] = issue{secret: key.Secret}
	d := &dial.Dialer{Timeout: time.Minute, Tokens: identity(ownSecret)}
	r := setup.Request{Target: target, Credentials: setup.Credentials{Username: "master", AccessKey: &key, Region: region}}
	res, err := setup.Register(t.Context(), d, r)
	if err != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		t.Fatalf("%v; %v", err, f.refused)
	}
	if res.Target.Password != "" || len(res.Missing) > 0 || c.requests == 0 {
		t.Errorf("got %+v after %d tokens of the role", res, c.requests)
	}
	if text := asJSON(res) + fmt.Sprintf("%+v %#v", r.Credentials, key); strings.Contains(text, key.Secret) {
		t.Error("the DBA's key is in the result")
	}
	delete(c.issued, key.ID) // withdrawn: nothing needs it any more
	conn, err := d.Connect(t.Context(), res.Target, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Error(err)
	}
	var e *connection.Error
	_, err = setup.Register(t.Context(), d, r)
	if !errors.As(err, &e) || e.Code != dial.CodeCredentials {
		t.Errorf("a withdrawn key registers: %v", err)
	}
	// A password goes to no server that takes a token's place, and no token to
	// a server that does not ask for it plainly.
	target.Port, target.CA, target.TLS = p.Port, "", connection.TLSDisable
	if _, err := d.Connect(t.Context(), target, ""); err == nil {
		t.Error("a token was given to a server that asks for SCRAM")
	}
}

func startFront(t *testing.T, c *cloud, p *testenv.Postgres) (*front, string) {
	t.Helper()
	authority, err := testenv.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM, err := authority.Certify("localhost")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f := &front{cloud: c, cert: cert, address: l}
	f.backend = func(user, database string) *pgconn.Config { // roles have no password here; the superuser becomes them
		cfg, err := pgconn.ParseConfig(p.DSN(database))
		if err != nil {
			panic(err)
		}
		cfg.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
			_, err := conn.Exec(ctx, `SET SESSION AUTHORIZATION "`+user+`"`).ReadAll()
			return err
		}
		return cfg
	}
	go f.serve()
	return f, string(authority.PEM)
}
