package fdw_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/internal/testenv"
)

const libraryName = "portcullis_engine.so"

// mapped says whether a process has the Go library loaded.
func mapped(t *testing.T, pid int) bool {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(maps), libraryName)
}

func loaded(t *testing.T) (*pgx.Conn, int) {
	t.Helper()
	conn := session(t)
	touch(t, conn)
	return conn, int(conn.PgConn().PID())
}

// touch makes a session load the library and read something.
func touch(t testing.TB, conn *pgx.Conn) {
	t.Helper()
	if got := value[string](t, conn, "SELECT word FROM numbers WHERE n = 1"); got != "word 1" {
		t.Fatalf("got %q", got)
	}
}

func TestTheLibraryIsLoadedAtFirstNeedAndNeverByThePostmaster(t *testing.T) {
	conn := session(t)
	pid := int(conn.PgConn().PID())
	do(t, conn, "SELECT count(*) FROM pg_class")
	if mapped(t, pid) {
		t.Error("loaded by a session that reads nothing remote")
	}
	touch(t, conn)
	if !mapped(t, pid) {
		t.Error("not loaded: this test looks for the wrong name")
	}
	if mapped(t, shared.local.PID()) {
		t.Error("loaded by the postmaster")
	}
}

// Signals that a thread must take itself.
var synchronous = []syscall.Signal{syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL, syscall.SIGKILL, syscall.SIGSTOP}

func TestThreadsOfTheLibraryTakeNoSignalOfPostgreSQL(t *testing.T) {
	conn, pid := loaded(t)
	do(t, conn, "SELECT count(*) FROM numbers a JOIN numbers b USING (n)")
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	if len(tasks) < 3 {
		t.Fatalf("only %d threads: the library is not running", len(tasks))
	}
	for _, status := range tasks {
		tid := filepath.Base(filepath.Dir(status))
		if tid == strconv.Itoa(pid) {
			continue
		}
		blocked := signalMask(t, status, "SigBlk")
		for _, s := range []syscall.Signal{syscall.SIGURG, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGINT, syscall.SIGTERM,
			syscall.SIGALRM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE} { // Go unblocks SIGCHLD, which backends ignore
			if blocked&(1<<(uint(s)-1)) == 0 {
				t.Errorf("thread %s takes %v", tid, s)
			}
		}
		for _, s := range synchronous {
			if blocked&(1<<(uint(s)-1)) != 0 {
				t.Errorf("thread %s blocks %v", tid, s)
			}
		}
	}
}

func signalMask(t *testing.T, status, field string) uint64 {
	t.Helper()
	text, err := os.ReadFile(status)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if hex, ok := strings.CutPrefix(line, field+":"); ok {
			mask, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			return mask
		}
	}
	t.Fatalf("no %s in %s", field, status)
	return 0
}

// late is far above a wake-up and far below what a lost one takes (deadlock_timeout, or for ever).
const late = 500 * time.Millisecond

func TestLockWaitsAreNotLate(t *testing.T) {
	holder, _ := loaded(t)
	waiter, pid := loaded(t)
	watcher := session(t)
	do(t, waiter, "SET deadlock_timeout = '1h'")
	for i := range 100 {
		do(t, holder, "SELECT pg_advisory_lock(1)")
		ended := run(waiter, "SELECT pg_advisory_lock(1)")
		waitFor(t, "the lock wait", func(ctx context.Context) (bool, error) {
			var waits bool
			err := watcher.QueryRow(ctx, "SELECT coalesce(wait_event_type = 'Lock', false) FROM pg_stat_activity WHERE pid = $1", pid).Scan(&waits)
			return waits, err
		})
		began := time.Now()
		do(t, holder, "SELECT pg_advisory_unlock(1)")
		if err := <-ended; err != nil {
			t.Fatal(describe(err))
		}
		if took := time.Since(began); took > late {
			t.Fatalf("lock wait %d ended after %v", i, took)
		}
		do(t, waiter, "SELECT pg_advisory_unlock(1)")
	}
}

func TestNotificationsAreNotLate(t *testing.T) {
	listener, _ := loaded(t)
	speaker, _ := loaded(t)
	do(t, listener, "LISTEN bell")
	for i := range 100 {
		do(t, listener, "SELECT count(*) FROM numbers WHERE n < 100")
		began := time.Now()
		do(t, speaker, "SELECT pg_notify('bell', $1)", strconv.Itoa(i))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		n, err := listener.WaitForNotification(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); n.Payload != strconv.Itoa(i) || took > late {
			t.Fatalf("notification %d (%s) came after %v", i, n.Payload, took)
		}
	}
}

func TestPanicsAreErrorsAndTheSessionLives(t *testing.T) {
	conn, pid := loaded(t)
	for _, kind := range []string{"call", "goroutine"} {
		for range 3 {
			if e := refused(t, conn, "SELECT immutasys.fault($1)", kind); e.Code != "XX000" {
				t.Errorf("%s: %s", kind, describe(e))
			}
		}
		touch(t, conn)
	}
	if got := int(value[int32](t, conn, "SELECT pg_backend_pid()")); got != pid {
		t.Errorf("another backend answers: %d, was %d", got, pid)
	}
}

func TestNotPreloaded(t *testing.T) {
	plain := testenv.StartPostgres(t, testenv.PostgresOptions{Name: "plain"})
	conn, err := plain.Connect(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	do(t, conn, "CREATE EXTENSION portcullis")
	if got := value[string](t, conn, "SELECT portcullis_version()"); !strings.HasSuffix(got, "not preloaded") {
		t.Error(got)
	}
	e := refused(t, conn, "CREATE SERVER x FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'SQLite3')")
	if e.Code != "55000" || !strings.Contains(e.Hint, "shared_preload_libraries") {
		t.Error(describe(e))
	}
}

func TestUpgrade(t *testing.T) {
	conn := session(t)
	do(t, conn, "CREATE DATABASE older")
	older, err := shared.local.Connect(t.Context(), "older")
	if err != nil {
		t.Fatal(err)
	}
	defer older.Close(t.Context())
	do(t, older, "CREATE EXTENSION portcullis VERSION '0.9'")
	do(t, older, "CREATE SERVER s FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'SQLite3', database '/nowhere')")
	do(t, older, "ALTER EXTENSION portcullis UPDATE")
	if got := value[string](t, older, "SELECT extversion FROM pg_extension WHERE extname = 'portcullis'"); got != "1.0" {
		t.Errorf("version is %s", got)
	}
	const members = `SELECT pg_describe_object(classid, objid, 0) FROM pg_depend
	  WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'portcullis') ORDER BY 1`
	if fresh, updated := lines(t, conn, members), lines(t, older, members); strings.Join(fresh, "\n") != strings.Join(updated, "\n") {
		t.Errorf("installed:\n%s\nupdated:\n%s", strings.Join(fresh, "\n"), strings.Join(updated, "\n"))
	}
}

// otherBuild is a library with every function that the module looks for, and another ABI number.
func otherBuild(t *testing.T) string {
	t.Helper()
	root, err := testenv.Root()
	if err != nil {
		t.Fatal(err)
	}
	header, err := os.ReadFile(filepath.Join(root, "c", "shim", "loader.h"))
	if err != nil {
		t.Fatal(err)
	}
	source := "int pc_abi(void) { return 4711; }\n"
	for _, found := range regexp.MustCompile(`(?m)^\tX\((\w+)\)`).FindAllStringSubmatch(string(header), -1) {
		if found[1] != "abi" {
			source += "void pc_" + found[1] + "(void) {}\n"
		}
	}
	return source
}

func TestModuleAndLibraryOfDifferentBuilds(t *testing.T) {
	dir := filepath.Join(shared.env.Dir, "other")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	source, library := filepath.Join(dir, "other.c"), filepath.Join(dir, libraryName)
	if err := os.WriteFile(source, []byte(otherBuild(t)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := command(t.Context(), "cc", "-shared", "-fPIC", "-o", library, source); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, tt := range []struct{ path, code, want string }{
		{library, "XX000", "ABI 4711"},
		{filepath.Join(dir, "missing.so"), "58P01", "missing.so"},
	} {
		pg := testenv.StartPostgres(t, testenv.PostgresOptions{Name: filepath.Base(tt.path), Preload: "portcullis",
			Settings: map[string]string{"portcullis.library_path": tt.path}})
		conn, err := pg.Connect(t.Context(), "postgres")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		do(t, conn, "CREATE EXTENSION portcullis")
		e := refused(t, conn, "CREATE SERVER x FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'SQLite3')")
		if e.Code != tt.code || !strings.Contains(e.Message+e.Detail, tt.want) || e.Hint == "" {
			t.Error(describe(e))
		}
		do(t, conn, "SELECT 1")
	}
}

func command(ctx context.Context, name string, args ...string) ([]byte, error) {
	return exec.CommandContext(ctx, name, args...).CombinedOutput()
}
