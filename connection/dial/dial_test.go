package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/engine/guard"
	"portcullis.dev/portcullis/internal/testenv"
)

const secret = "s3cret-of-the-account"

// instance is a server with TLS and an account of no privileges.
func instance(t *testing.T, o testenv.ServerOptions) (*testenv.Postgres, connection.Target) {
	t.Helper()
	p := testenv.StartServer(t, o)
	exec(t, p, `CREATE ROLE gate LOGIN PASSWORD '`+secret+`'`)
	target := connection.Target{Name: "c", Host: "localhost", Port: p.Port, Database: "postgres", TLS: connection.TLSVerifyFull,
		Username: "gate", Password: secret}
	if p.CA == "" {
		target.TLS = connection.TLSDisable
	} else {
		target.CA = read(t, p.CA)
	}
	return p, target
}

func exec(t *testing.T, p *testenv.Postgres, sql string) {
	t.Helper()
	if err := p.Exec(t.Context(), "postgres", sql); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// wantCode checks the kind of an error, that it can be acted on and holds no secret.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var e *connection.Error
	if !errors.As(err, &e) {
		t.Fatalf("want a connection.Error %s, got %v", code, err)
	}
	if e.Code != code || e.Message == "" || e.Hint == "" {
		t.Errorf("want code %s with message and hint, got %+v", code, *e)
	}
	if text := fmt.Sprintf("%+v %v %s", *e, e.Err, e); strings.Contains(text, secret) {
		t.Errorf("the password is in the error: %s", text)
	}
}

// dialer waits long enough for a machine under load, except where a test waits for the end.
func dialer() *Dialer { return &Dialer{Timeout: time.Minute} }

func TestEveryVersionIsProbedByAnUnprivilegedAccount(t *testing.T) {
	for _, major := range testenv.Majors() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			p, target := instance(t, testenv.ServerOptions{Major: major, TLS: true})
			s, err := dialer().Probe(t.Context(), target)
			if err != nil {
				t.Fatal(err)
			}
			if s.Version/10000 != major || len(s.SystemID) < 15 || s.Replica || s.Pooler != "" {
				t.Errorf("got %+v", s)
			}
			other := target
			other.Host = "127.0.0.1"
			again, err := dialer().Probe(t.Context(), other)
			if err != nil || again.SystemID != s.SystemID {
				t.Errorf("another spelling: %+v, %v; want the id %s", again, err, s.SystemID)
			}
			exec(t, p, "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
			for range 2 {
				facts, err := dialer().Probe(t.Context(), target)
				if err != nil || !strings.HasPrefix(facts.SystemID, "facts:") {
					t.Errorf("without pg_control_system: %+v, %v", facts, err)
				}
				if again.SystemID = facts.SystemID; again.SystemID != facts.SystemID {
					t.Errorf("the facts changed to %s", facts.SystemID)
				}
			}
		})
	}
}

// What an instance sets for a role or a database does not reach our sessions,
// nor does the environment of the service.
func TestSessionSettingsAreOurs(t *testing.T) {
	p, target := instance(t, testenv.ServerOptions{})
	exec(t, p, `ALTER ROLE gate SET search_path = evil; ALTER ROLE gate SET default_transaction_read_only = on; ALTER DATABASE postgres SET lock_timeout = 0;
		ALTER ROLE gate SET application_name = 'other'`)
	for name, value := range map[string]string{"PGOPTIONS": "-c work_mem=65kB", "PGAPPNAME": "env", "PGSERVICE": "none", "PGSERVICEFILE": "/nowhere", "PGSSLMODE": "bogus",
		"PGPASSFILE": "/nowhere", "PGHOST": "elsewhere", "PGTZ": "Mars", "PGTARGETSESSIONATTRS": "read-only"} {
		if name != "PGSERVICE" { // names an entry that must be there: nobody can leave it out
			t.Setenv(name, value)
		}
	}
	conn, err := dialer().Connect(t.Context(), target, "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for name, want := range map[string]string{"search_path": "pg_catalog, pg_temp", "default_transaction_read_only": "off", "lock_timeout": "2s",
		"statement_timeout": "1min", "application_name": "portcullis", "work_mem": "4MB", "TimeZone": "UTC"} {
		var got string
		if err := conn.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q (%v), want %q", name, got, err, want)
		}
	}
}

func TestUnixSocket(t *testing.T) {
	p, target := instance(t, testenv.ServerOptions{})
	target.Host, target.TLS = p.DataDir, connection.TLSVerifyFull
	if _, err := dialer().Probe(t.Context(), target); err != nil {
		t.Error(err)
	}
	target.Host = t.TempDir()
	_, err := dialer().Probe(t.Context(), target)
	wantCode(t, err, CodeRefused)
}

func TestWhatTheInstanceRefuses(t *testing.T) {
	hba := "local all all scram-sha-256\nhost all nobody all reject\nhost closed gate all reject\n"
	p, target := instance(t, testenv.ServerOptions{TLS: true, HBA: hba})
	exec(t, p, `CREATE ROLE nologin NOLOGIN PASSWORD '`+secret+`'; CREATE ROLE limited LOGIN CONNECTION LIMIT 0 PASSWORD '`+secret+`'`)
	exec(t, p, `CREATE DATABASE shut ALLOW_CONNECTIONS false`)
	exec(t, p, `CREATE DATABASE private`)
	exec(t, p, `REVOKE CONNECT ON DATABASE private FROM PUBLIC`)
	tests := []struct {
		name   string
		change func(*connection.Target)
		code   string
	}{
		{"wrong password", func(t *connection.Target) { t.Password = secret + "!" }, CodeCredentials},
		{"no password", func(t *connection.Target) { t.Password = "" }, CodeCredentials},
		{"unknown role", func(t *connection.Target) { t.Username = "who" }, CodeCredentials},
		{"role without LOGIN", func(t *connection.Target) { t.Username = "nologin" }, CodeNoLogin},
		{"pg_hba by role", func(t *connection.Target) { t.Username = "nobody" }, CodeHBA},
		{"pg_hba by database", func(t *connection.Target) { t.Database = "closed" }, CodeHBA},
		{"unknown database", func(t *connection.Target) { t.Database = "nowhere" }, CodeDatabase},
		{"database that takes no connections", func(t *connection.Target) { t.Database = "shut" }, CodeDatabase},
		{"no CONNECT", func(t *connection.Target) { t.Database = "private" }, CodePrivilege},
		{"connection limit", func(t *connection.Target) { t.Username = "limited" }, CodeTooMany},
		{"no host", func(t *connection.Target) { t.Host = "" }, CodeInvalid},
		{"two hosts", func(t *connection.Target) { t.Host = "localhost,localhost" }, CodeInvalid},
		{"no such port", func(t *connection.Target) { t.Port = 70000 }, CodeInvalid},
		{"no user", func(t *connection.Target) { t.Username = "" }, CodeInvalid},
		{"odd TLS mode", func(t *connection.Target) { t.TLS = "require" }, CodeInvalid},
		{"unknown host", func(t *connection.Target) { t.Host = "no-such-host.invalid" }, CodeUnknownHost},
		{"AWS without an identity", func(t *connection.Target) { t.AWS = &connection.AWSRole{} }, CodeAWS},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			target := target
			tc.change(&target)
			_, err := dialer().Probe(t.Context(), target)
			wantCode(t, err, tc.code)
		})
	}
}

func TestNoHBAEntry(t *testing.T) {
	_, target := instance(t, testenv.ServerOptions{})
	p := testenv.StartServer(t, testenv.ServerOptions{Name: "bare"})
	if err := os.WriteFile(p.DataDir+"/pg_hba.conf", []byte("host all postgres all scram-sha-256\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	target.Port = p.Port
	_, err := dialer().Probe(t.Context(), target)
	wantCode(t, err, CodeHBA)
}

func TestWhoAnswersNot(t *testing.T) {
	_, target := instance(t, testenv.ServerOptions{})
	target.TLS = connection.TLSVerifyFull
	target.Host = "127.0.0.1"
	at := func(answer func(net.Conn)) connection.Target {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				answer(c)
			}
		}()
		here := target
		here.Port = l.Addr().(*net.TCPAddr).Port
		return here
	}
	probe := func(d *Dialer, target connection.Target) error {
		_, err := d.Probe(t.Context(), target)
		return err
	}
	closed, err := testenv.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	refused := target
	refused.Port = closed
	wantCode(t, probe(dialer(), refused), CodeRefused)
	wantCode(t, probe(&Dialer{Timeout: 200 * time.Millisecond}, at(func(net.Conn) {})), CodeTimeout)
	wantCode(t, probe(dialer(), at(func(c net.Conn) { c.Close() })), CodeUnreachable)
	http := at(func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 400 Bad Request\r\n\r\n"); c.Close() })
	wantCode(t, probe(dialer(), http), CodeNoTLS)
	http.TLS = connection.TLSDisable
	wantCode(t, probe(dialer(), http), CodeNotPostgres)
	cut, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := dialer().Probe(cut, target); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled probe says %v", err)
	}
}

func TestAddressGuard(t *testing.T) {
	p, target := instance(t, testenv.ServerOptions{})
	for list, ok := range map[string]bool{"*": true, "localhost": true, "*, !127.0.0.0/8, !::1": false, "10.0.0.0/8": false, "": false,
		fmt.Sprintf("127.0.0.1:%d", p.Port): true, "127.0.0.1:1": false} {
		hosts, err := guard.Parse(list)
		if err != nil {
			t.Fatal(err)
		}
		d := dialer()
		d.Guard = func(ctx context.Context, host string, port uint16) ([]netip.Addr, error) {
			return hosts.Admit(ctx, host, port, false)
		}
		for _, host := range []string{"localhost", p.DataDir} {
			here := target
			here.Host = host
			if ok && (list != "localhost" || host == "localhost") {
				if _, err := d.Probe(t.Context(), here); err != nil {
					t.Errorf("%q: %v", list, err)
				}
				continue
			}
			_, err = d.Probe(t.Context(), here)
			wantCode(t, err, CodeAddress)
		}
		target := target
		target.Host = "no-such-host.invalid"
		if ok {
			_, err = d.Probe(t.Context(), target)
			wantCode(t, err, CodeUnknownHost)
		}
	}
	target.Host = "192.0.2.1" // of documentation: nothing is sent there
	_, err := dialer().Probe(t.Context(), target)
	wantCode(t, err, CodeTLSRequired)
}

func TestReplicaIsRefused(t *testing.T) {
	p, target := instance(t, testenv.ServerOptions{})
	r, err := p.StartReplica(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	primary, err := dialer().Probe(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	target.Port = r.Port
	s, err := dialer().Probe(t.Context(), target)
	wantCode(t, err, CodeReplica)
	if !s.Replica || s.SystemID != primary.SystemID {
		t.Errorf("got %+v, want the id %s", s, primary.SystemID)
	}
	_, err = dialer().Connect(t.Context(), target, "")
	wantCode(t, err, CodeReplica)
}

func TestPoolerIsRefused(t *testing.T) {
	p, target := instance(t, testenv.ServerOptions{})
	everything := "ignore_startup_parameters = extra_float_digits, search_path, lock_timeout, statement_timeout, default_transaction_read_only, " +
		"default_transaction_isolation, idle_in_transaction_session_timeout, tcp_keepalives_idle, tcp_keepalives_interval, tcp_keepalives_count"
	for _, lines := range [][]string{nil, {everything}} {
		for _, mode := range []string{"session", "transaction"} {
			t.Run(fmt.Sprintf("%s, %d lines", mode, len(lines)), func(t *testing.T) {
				b := testenv.StartPgbouncer(t, p, mode, lines...)
				target := target
				target.Port = b.Port
				s, err := dialer().Probe(t.Context(), target)
				wantCode(t, err, CodePooler)
				if s.Pooler != "pgbouncer" {
					t.Errorf("got %+v", s)
				}
				target.Password = "wrong"
				_, err = dialer().Probe(t.Context(), target)
				wantCode(t, err, CodePooler)
			})
		}
	}
}

func TestUnsupportedVersionsAreRefusedByName(t *testing.T) {
	for version, ok := range map[int]bool{90624: false, 130014: false, 140000: true, 180004: true, 190000: false} {
		err := Refuse(connection.Server{Version: version}, connection.Target{})
		if (err == nil) != ok {
			t.Errorf("%d: %v", version, err)
		}
		if !ok {
			wantCode(t, err, CodeVersion)
			if name := fmt.Sprintf("PostgreSQL %d ", version/10000); !strings.Contains(err.Error(), name) {
				t.Errorf("%q does not name %q", err, name)
			}
		}
	}
}
