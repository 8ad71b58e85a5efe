package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/service"
	"portcullis.dev/portcullis/test/world"
)

// lease is how long a node that is cut off may go on; margin is what the
// silence of the stream, a beat of it and this test's own pace may add.
const (
	lease  = 5 * time.Second
	margin = 2 * time.Second
)

// asks what a person sees of a source: eve 3 rows of 5.
func asks(s *world.Source) string { return "SELECT count(*) FROM " + s.Local() }

// sessions are open ones of eve, one for each source, that have had an answer.
type sessions map[*world.Source]*pgx.Conn

func openSessions(t *testing.T, w *world.World) sessions {
	t.Helper()
	open := sessions{}
	for _, s := range w.Sources {
		open[s] = w.Login(t, world.Eve)
	}
	open.answer(t)
	return open
}

func (open sessions) answer(t *testing.T) {
	t.Helper()
	for s, conn := range open {
		if got, err := texts(t.Context(), conn, asks(s)); err != nil || got != "3" {
			t.Fatalf("an open session at %s: %q %v", s.Kind, got, err)
		}
	}
}

// admin runs a statement as superuser and returns its one value.
func admin(t *testing.T, w *world.World, sql string) string {
	t.Helper()
	conn, err := w.Connect(t.Context(), "immuta")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	got, err := texts(t.Context(), conn, sql)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// recovers waits until a person gets answers again, in new sessions too.
func recovers(t *testing.T, w *world.World, limit time.Duration) {
	t.Helper()
	err := world.Until(t.Context(), limit, func() (bool, error) {
		conn, err := pgx.Connect(t.Context(), w.As(world.Eve))
		if err != nil {
			return false, err
		}
		defer conn.Close(t.Context())
		for _, s := range w.Sources {
			if got, err := texts(t.Context(), conn, asks(s)); err != nil || got != "3" {
				return false, err
			}
		}
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFailClosed(t *testing.T) {
	w := world.Start(t, world.Options{})
	fill(t, w)
	t.Run("service stopped", func(t *testing.T) { serviceStopped(t, w) })
	t.Run("service hangs", func(t *testing.T) { serviceHangs(t, w) })
	t.Run("tolerance ends", func(t *testing.T) { toleranceEnds(t, w) })
	t.Run("API key revoked", func(t *testing.T) { keyRevoked(t, w) })
	t.Run("daemon killed", func(t *testing.T) { daemonKilled(t, w) })
	t.Run("daemon stopped", func(t *testing.T) { daemonFrozen(t, w) })
	t.Run("worker killed", func(t *testing.T) { workerTerminated(t, w) })
	t.Run("instance crashes", func(t *testing.T) { instanceCrashes(t, w) })
}

// stopWithin checks that open sessions are refused at every source when the
// lease has run out, and that the refusal is the service's absence.
func (open sessions) stopWithin(t *testing.T, since time.Time, limit time.Duration) {
	t.Helper()
	for s, conn := range open {
		var last error
		if err := world.Until(t.Context(), limit+5*time.Second, func() (bool, error) {
			_, last = texts(t.Context(), conn, asks(s))
			return last != nil, fmt.Errorf("statements still start")
		}); err != nil {
			t.Fatalf("%s: %v", s.Kind, err)
		}
		if took := time.Since(since); took > limit {
			t.Errorf("%s: statements started for %v", s.Kind, took)
		}
		if c := world.Code(last); c == "" || c == "42501" || !strings.Contains(detail(last), "service") {
			t.Errorf("%s: the refusal: %s %s", s.Kind, c, detail(last))
		}
	}
}

func serviceStopped(t *testing.T, w *world.World) {
	open := openSessions(t, w)
	if err := w.Service.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	open.stopWithin(t, time.Now(), lease+margin)
	// Who is not governed does not depend on the service.
	if got, err := texts(t.Context(), w.Login(t, world.Exempt), "SELECT count(*) FROM immuta.staff_my"); err != nil || got != "5" {
		t.Errorf("exempt: %q %v", got, err)
	}
	if err := w.Service.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	recovers(t, w, 20*time.Second)
	open.answer(t)
}

// serviceHangs: the connection is open, nothing comes.
func serviceHangs(t *testing.T, w *world.World) {
	open := openSessions(t, w)
	if err := syscall.Kill(w.Service.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	since := time.Now()
	resume := func() { _ = syscall.Kill(w.Service.PID(), syscall.SIGCONT) }
	defer resume()
	open.stopWithin(t, since, lease+margin)
	resume()
	recovers(t, w, 20*time.Second)
}

// toleranceEnds: a decision is kept no longer than its data source allows,
// though the node's lease would last.
func toleranceEnds(t *testing.T, w *world.World) {
	was := map[string]string{}
	set := func(tolerance func(name string) string) {
		for _, s := range w.Sources {
			var d service.DataSource
			if err := w.Call(t.Context(), http.MethodGet, "/v1/data_sources/"+s.Data, nil, &d); err != nil {
				t.Fatal(err)
			}
			if _, known := was[s.Data]; !known {
				was[s.Data] = d.LatencyTolerance
			}
			d.LatencyTolerance = tolerance(s.Data)
			if err := w.Call(t.Context(), http.MethodPut, "/v1/data_sources/"+s.Data, d, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.WaitSynced(t.Context()); err != nil {
			t.Fatal(err)
		}
		decided(t, w)
	}
	set(func(string) string { return "1s" })
	recovers(t, w, 5*time.Second)
	open := openSessions(t, w)
	if err := w.Service.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	open.stopWithin(t, time.Now(), time.Second+margin)
	if err := w.Service.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	set(func(name string) string { return was[name] })
	recovers(t, w, 20*time.Second)
}

// decided waits until the node decides by what the service has now.
func decided(t *testing.T, w *world.World) {
	t.Helper()
	var st service.Status
	if err := w.Call(t.Context(), http.MethodGet, "/v1/status", nil, &st); err != nil {
		t.Fatal(err)
	}
	if err := world.Until(t.Context(), 20*time.Second, func() (bool, error) {
		version, err := strconv.ParseInt(admin(t, w, "SELECT coalesce((SELECT value FROM immutasys.status() WHERE name = 'policy.version'), '0')"), 10, 64)
		return version >= st.Version, err
	}); err != nil {
		t.Fatal(err)
	}
}

func keyRevoked(t *testing.T, w *world.World) {
	open := openSessions(t, w)
	var keys []service.APIKey
	if err := w.Call(t.Context(), http.MethodGet, "/v1/api_keys", nil, &keys); err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if k.Node != "" {
			if err := w.Call(t.Context(), http.MethodDelete, "/v1/api_keys/"+k.Name, nil, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	open.stopWithin(t, time.Now(), lease+margin)
	// An operator gives the node a new key from SQL.
	var fresh service.APIKey
	if err := w.Call(t.Context(), http.MethodPost, "/v1/api_keys", map[string]string{"name": "again", "node": "engine"}, &fresh); err != nil {
		t.Fatal(err)
	}
	admin(t, w, "SELECT immutasys.set_api_key('"+fresh.Key+"')")
	recovers(t, w, 30*time.Second)
}

// pidOf is a process that the node's status names; 0: it does not run now.
func pidOf(t *testing.T, w *world.World, what string) int {
	t.Helper()
	text := admin(t, w, "SELECT coalesce((SELECT value FROM immutasys.status() WHERE name = '"+what+"'), '0')")
	pid, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

const (
	theDaemon = "daemon.pid"
	theWorker = "worker.pid"
)

// replaced waits until a process that was ended has a successor.
func replaced(t *testing.T, w *world.World, what string, before int) {
	t.Helper()
	err := world.Until(t.Context(), 15*time.Second, func() (bool, error) {
		after := pidOf(t, w, what)
		return after != 0 && after != before, fmt.Errorf("%s is %d", what, after)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func daemonKilled(t *testing.T, w *world.World) {
	open := openSessions(t, w)
	before := pidOf(t, w, theDaemon)
	if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	replaced(t, w, theDaemon, before)
	recovers(t, w, 10*time.Second)
	open.answer(t)
}

// daemonFrozen: a daemon that hangs renews no lease.
func daemonFrozen(t *testing.T, w *world.World) {
	open := openSessions(t, w)
	pid := pidOf(t, w, theDaemon)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	since := time.Now()
	resume := func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
	defer resume()
	open.stopWithin(t, since, lease+margin)
	resume()
	recovers(t, w, 10*time.Second)
}

func workerTerminated(t *testing.T, w *world.World) {
	open := openSessions(t, w)
	before := pidOf(t, w, theWorker)
	if err := syscall.Kill(before, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	replaced(t, w, theWorker, before)
	recovers(t, w, 20*time.Second)
	open.answer(t)
}

func instanceCrashes(t *testing.T, w *world.World) {
	if err := w.Crash(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	recovers(t, w, 30*time.Second)
}

func spoolOf(w *world.World) string { return filepath.Join(w.DataDir, "portcullis", "spool") }

// spooled is all that the spool holds at the moment.
func spooled(t *testing.T, w *world.World) string {
	t.Helper()
	var text strings.Builder
	files, err := filepath.Glob(filepath.Join(spoolOf(w), "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		text.Write(raw)
	}
	return text.String()
}
