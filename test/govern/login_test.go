package govern

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/service"
	"portcullis.dev/portcullis/test/world"
)

// freeze stops a process until the test ends.
func freeze(t *testing.T, pid int) (thaw func()) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	thaw = func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
	t.Cleanup(thaw)
	return thaw
}

// login tries to log in and ends the session at once.
func (n *node) login(ctx context.Context, role string) error {
	conn, err := pgx.Connect(ctx, n.As(role))
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

func (n *node) wantLogin(t *testing.T, role string) {
	t.Helper()
	if err := world.Until(t.Context(), 15*time.Second, func() (bool, error) {
		err := n.login(t.Context(), role)
		return err == nil, err
	}); err != nil {
		t.Errorf("%s: %v", role, err)
	}
}

// testLoginChecks: a check that gets no answer refuses, in time; who is gone
// is not waited for.
func testLoginChecks(t *testing.T, n *node) {
	for _, silent := range []struct {
		name string
		pid  func() int
	}{
		{"the service is silent", n.Service.PID},
		{"the daemon is silent", func() int { return n.pid(t, "daemon.pid") }},
	} {
		t.Run(silent.name, func(t *testing.T) {
			n.set(t, map[string]string{"portcullis.login_check_timeout": "400ms"})
			thaw := freeze(t, silent.pid())
			n.exec(t, "SELECT immutasys.flush_caches()")
			before := n.status(t, "count.logins_refused")
			var all errgroup.Group
			for range 10 {
				all.Go(func() error {
					began := time.Now()
					err := n.login(t.Context(), world.Eve)
					wantError(t, err, "28000", "could not be checked in time")
					if took := time.Since(began); took < 350*time.Millisecond || took > 2500*time.Millisecond {
						t.Errorf("refused after %v", took)
					}
					return nil
				})
			}
			if err := all.Wait(); err != nil {
				t.Error(err)
			}
			if err := n.login(t.Context(), world.Exempt); err != nil {
				t.Errorf("an exempt role: %v", err)
			}
			if was, is := count(t, before), count(t, n.status(t, "count.logins_refused")); is != was+10 {
				t.Errorf("%d logins were refused, then %d", was, is)
			}
			thaw()
			n.wantLogin(t, world.Eve)
		})
	}
	t.Run("the client is gone", func(t *testing.T) { clientGone(t, n) })
	t.Run("without the service", func(t *testing.T) { loginWithoutService(t, n) })
	t.Run("odd names", func(t *testing.T) { oddNames(t, n) })
}

func count(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func clientGone(t *testing.T, n *node) {
	freeze(t, n.pid(t, "daemon.pid"))
	n.set(t, map[string]string{"portcullis.login_check_timeout": "20s"})
	n.exec(t, "SELECT immutasys.flush_caches()")
	cfg, err := pgx.ParseConfig(n.As(world.Eve))
	if err != nil {
		t.Fatal(err)
	}
	sockets := make(chan net.Conn, 1)
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil {
			sockets <- c
		}
		return c, err
	}
	checks := n.status(t, "count.login_checks")
	ended := make(chan error, 1)
	go func() {
		_, err := pgx.ConnectConfig(t.Context(), cfg)
		ended <- err
	}()
	if err := world.Until(t.Context(), waitLimit, func() (bool, error) {
		return n.status(t, "count.login_checks") != checks, errors.New("no login check began")
	}); err != nil {
		t.Fatal(err)
	}
	if len(n.authenticating(t)) != 1 {
		t.Errorf("these authenticate: %v", n.authenticating(t))
	}
	if err := (<-sockets).Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("logged in by a closed socket")
	}
	if err := world.Until(t.Context(), time.Second, func() (bool, error) {
		left := n.authenticating(t)
		return len(left) == 0, fmt.Errorf("still there: %v", left)
	}); err != nil {
		t.Error(err)
	}
}

// authenticating are the backends whose login is not through.
func (n *node) authenticating(t *testing.T) (titles []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue // it ended
		}
		fields := strings.Fields(string(stat[strings.LastIndex(string(stat), ")")+1:])) // state, parent
		if fields[1] != strconv.Itoa(n.PID()) {
			continue
		}
		title, err := os.ReadFile(filepath.Join(filepath.Dir(name), "cmdline"))
		if err == nil && strings.Contains(string(title), "authentication") {
			titles = append(titles, strings.Trim(string(title), "\x00"))
		}
	}
	return titles
}

// loginWithoutService: an account that was found in order counts only while
// somebody could tell that it no longer is.
func loginWithoutService(t *testing.T, n *node) {
	n.set(t, map[string]string{"portcullis.lease": "1s"})
	conn := n.Login(t, world.Eve)
	wantCount(t, conn, countStaff, rows/2) // the decision is cached from now on
	if err := n.Service.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var err error
	if e := world.Until(t.Context(), waitLimit, func() (bool, error) {
		_, err = query(t, conn, countStaff)
		return err != nil, errors.New("statements still start")
	}); e != nil {
		t.Fatal(e)
	}
	if took := time.Since(began); took > 2500*time.Millisecond {
		t.Errorf("statements started for %v with a lease of a second", took)
	}
	if state := world.Code(err); state == "42501" || state == "" {
		t.Errorf("the refusal: %v", err)
	}
	if e := world.Until(t.Context(), waitLimit, func() (bool, error) {
		return n.status(t, "policy.lease_ms") == "0", errors.New("the lease goes on")
	}); e != nil {
		t.Error(e)
	}
	wantError(t, n.login(t.Context(), world.Eve), "28000", "")
	if err := n.login(t.Context(), world.Exempt); err != nil {
		t.Errorf("an exempt role: %v", err)
	}
	if err := n.Service.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.wantLogin(t, world.Eve)
	// Longer than a second's lease: the service is heard often enough for it.
	for until := time.Now().Add(1500 * time.Millisecond); time.Now().Before(until); {
		if _, err := query(t, conn, countStaff); err != nil {
			t.Fatal(err)
		}
	}
}

// oddNames: roles whose names would end a line, a literal or a field.
func oddNames(t *testing.T, n *node) {
	for _, role := range []string{`o'dd "quoted" \back`, "tab\tand\nline", "наталья", strings.Repeat("é", 31), "; DROP ROLE eve --", "a/../b?c#d%41&x=y"} {
		password := testenv.Password()
		err := n.Call(t.Context(), http.MethodPut, "/v1/sql_accounts/"+url.PathEscape(role), service.Account{Role: role, UserID: world.Max, Password: &password}, nil)
		if err != nil {
			t.Errorf("%q: %v", role, err)
			continue
		}
		if err := n.WaitSynced(t.Context()); err != nil {
			t.Fatal(err)
		}
		conn, err := pgx.Connect(t.Context(), n.DSNAs(role, password, testenv.EngineDatabase))
		if err != nil {
			t.Errorf("%q: %v", role, err)
			continue
		}
		wantCount(t, conn, countStaff, rows/2)
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// loginStorm: logins count for the quota of their role. Who used it up is not
// let in, as there would be no record of it; who is refused anyway leaves no
// more records.
func loginStorm(t *testing.T, n *node) {
	n.set(t, map[string]string{"portcullis.audit_quota": "1MB", "portcullis.lease": "1min"})
	n.subscribe(t, true)
	n.wantLogin(t, world.Eve)
	wantError(t, n.login(t.Context(), world.Nobody), "28000", "")
	n.wantShipped(t)
	if err := n.Service.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	storm := func(role string) (err error) {
		cfg, err := pgx.ParseConfig(n.As(role))
		if err != nil {
			t.Fatal(err)
		}
		cfg.RuntimeParams["application_name"] = strings.Repeat("x", 9000)
		conn, err := pgx.ConnectConfig(t.Context(), cfg)
		if err == nil {
			err = conn.Close(t.Context())
		}
		return err
	}
	var err error
	let := 0
	for ; err == nil && let < 200; let++ {
		err = storm(world.Eve)
	}
	wantError(t, err, "53400", "More than 1 MB of them wait")
	if let < 80 {
		t.Errorf("%d logins are 1 MB", let)
	}
	lost := n.status(t, "audit.refused_logins_lost")
	_, before := n.segments(t)
	for range 200 {
		wantError(t, storm(world.Nobody), "28000", "")
	}
	const ahead = 1 << 18 // what a segment is written ahead of its lines
	if _, after := n.segments(t); after-before > 1<<20+1<<16+ahead {
		t.Errorf("refused logins wrote %d bytes", after-before)
	}
	if was, is := count(t, lost), count(t, n.status(t, "audit.refused_logins_lost")); is-was < 50 || is-was > 150 {
		t.Errorf("%d refused logins left no record, then %d", was, is)
	}
	if err := n.login(t.Context(), world.Exempt); err != nil {
		t.Errorf("another person: %v", err)
	}
	if err := n.Service.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.wantLogin(t, world.Eve)
}
