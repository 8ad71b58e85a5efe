// Package dial reaches the PostgreSQL instance of a connection: with TLS that
// verifies the server, with a password or an AWS token, with settings of the
// session that no ALTER ROLE of the instance overrides. What goes wrong is told
// as a connection.Error with a code of its own and never with a secret.
package dial

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
)

// TokenSource makes the password of one connection to an AWS database.
type TokenSource interface {
	Token(ctx context.Context, role connection.AWSRole, host string, port int, user string) (string, error)
}

// Guard finds the addresses of a host that may be dialled, an error if there
// is none. Only these are dialled, so a name that changes its mind meanwhile
// gains nothing. A Unix socket is asked for as 127.0.0.1.
type Guard func(ctx context.Context, host string, port uint16) ([]netip.Addr, error)

// Bundles gives the certificate authorities (PEM) of a provider, "" if the
// operator set none.
type Bundles func(connection.Provider) (string, error)

// Dialer is how the operator wants instances to be reached. Its zero value works.
type Dialer struct {
	ApplicationName  string        // default "portcullis"
	Timeout          time.Duration // of name, TCP, TLS and login together, default 10 s
	StatementTimeout time.Duration // default 1 minute
	LockTimeout      time.Duration // default 2 s
	Tokens           TokenSource   // needed by targets with AWS
	Guard            Guard         // nil: every address
	Bundles          Bundles       // nil: none
}

func or[T comparable](value, instead T) T {
	var zero T
	if value == zero {
		return instead
	}
	return value
}

// Connect opens a session of the target's account. database "" is the target's
// own. Read replicas and versions that are not supported are refused, as far
// as the server says so by itself; Probe looks closer. The caller closes it.
func (d *Dialer) Connect(ctx context.Context, t connection.Target, database string) (*pgx.Conn, error) {
	conn, err := d.open(ctx, t, database)
	if err != nil {
		return nil, err
	}
	if err := refuseByGreeting(conn, t); err != nil {
		return nil, closeAfter(ctx, conn, err)
	}
	return conn, nil
}

// closeAfter gives up a session for a reason; how it closes no longer matters.
func closeAfter(ctx context.Context, conn *pgx.Conn, err error) error {
	_ = conn.Close(ctx)
	return err
}

func (d *Dialer) open(ctx context.Context, t connection.Target, database string) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, or(d.Timeout, 10*time.Second))
	defer cancel()
	cfg, err := d.config(ctx, t, or(database, t.Database))
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, Explain(err, t)
	}
	return conn, nil
}

// config holds nothing of the service's own environment: PGHOST, PGOPTIONS,
// .pgpass and the like would be somebody else's wishes.
func (d *Dialer) config(ctx context.Context, t connection.Target, database string) (*pgx.ConnConfig, error) {
	if err := check(t, database); err != nil {
		return nil, err
	}
	tls, err := d.tlsConfig(t)
	if err != nil {
		return nil, err
	}
	if isSocket(t.Host) {
		if _, err := d.admit(ctx, t, "127.0.0.1"); err != nil {
			return nil, err
		}
	}
	password, err := d.password(ctx, t)
	if err != nil {
		return nil, err
	}
	cfg, err := pgx.ParseConfig("host=localhost port=5432 user=- database=- password=- passfile='' sslmode=disable " +
		"sslcertmode=disable sslnegotiation=postgres target_session_attrs=any channel_binding=prefer require_auth='' " +
		"min_protocol_version=3.0 max_protocol_version=3.0 connect_timeout=0")
	if err != nil {
		return nil, fmt.Errorf("the environment's PostgreSQL settings cannot be left out: %w", err)
	}
	cfg.Host, cfg.Port, cfg.Database = t.Host, uint16(t.Port), database
	cfg.User, cfg.Password = t.Username, password
	cfg.TLSConfig, cfg.Fallbacks = tls, nil
	cfg.KerberosSpn, cfg.KerberosSrvName = "", ""
	cfg.RuntimeParams = d.session()
	cfg.AfterConnect = settle
	cfg.DialFunc, cfg.LookupFunc = dialFunc(t), d.lookup(t)
	if t.AWS != nil {
		cfg.RequireAuth = "password" // a token goes nowhere but to RDS, which asks for it plainly, over TLS
	}
	return cfg, nil
}

func check(t connection.Target, database string) error {
	invalid := func(message, hint string) error {
		return &connection.Error{Code: CodeInvalid, Message: message, Hint: hint}
	}
	switch {
	case t.Host == "":
		return invalid("the connection has no host", "Give a host name, an address, or the folder of a Unix socket.")
	case strings.ContainsAny(t.Host, ",\x00@?"):
		return invalid("the host is not one host name", "Give one host; lists and URLs are not taken.")
	case t.Port < 1 || t.Port > 65535:
		return invalid(fmt.Sprintf("port %d is none", t.Port), "PostgreSQL's usual port is 5432.")
	case t.Username == "" || database == "":
		return invalid("the connection lacks a user name or a database", "Both are needed to log in.")
	case strings.Contains(t.Username+database+t.Password, "\x00"):
		return invalid("user name, database or password hold a zero byte", "PostgreSQL has none in names.")
	}
	return nil
}

func (d *Dialer) password(ctx context.Context, t connection.Target) (string, error) {
	if t.AWS == nil {
		return t.Password, nil
	}
	if d.Tokens == nil {
		return "", &connection.Error{Code: CodeAWS, Message: "the service has no AWS identity",
			Hint: "Configure AWS credentials for the service, or register the connection with a password."}
	}
	return d.Tokens.Token(ctx, *t.AWS, t.Host, t.Port, t.Username)
}

// session are settings that the startup packet carries, so that they win over
// ALTER ROLE … SET and ALTER DATABASE … SET.
func (d *Dialer) session() map[string]string {
	params := maps.Clone(fixedSettings)
	params["application_name"] = or(d.ApplicationName, "portcullis")
	params["lock_timeout"] = milliseconds(or(d.LockTimeout, 2*time.Second))
	params["statement_timeout"] = milliseconds(or(d.StatementTimeout, time.Minute))
	return params
}

var fixedSettings = map[string]string{
	"role":                                "none",
	"local_preload_libraries":             "",
	"search_path":                         "pg_catalog, pg_temp", // pg_temp last, or it comes first
	"client_encoding":                     "UTF8",
	"standard_conforming_strings":         "on",
	"default_transaction_read_only":       "off",
	"default_transaction_isolation":       "read committed",
	"idle_in_transaction_session_timeout": "60000",
	"tcp_keepalives_idle":                 "60", // a service that died holds no lock for two hours
	"tcp_keepalives_interval":             "10",
	"tcp_keepalives_count":                "3",
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
