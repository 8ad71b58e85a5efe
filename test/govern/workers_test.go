package govern

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/test/world"
)

// Passwords of mappings are sealed in the catalog and are in no log.
func testMappings(t *testing.T, n *node) {
	const secret = "hunter2-'quoted"
	literal := strings.ReplaceAll(secret, "'", "''")
	n.exec(t, "CREATE ROLE mapped; CREATE ROLE mapped2")
	n.exec(t, "CREATE USER MAPPING FOR mapped SERVER src_pg OPTIONS (username 'reader', password '"+literal+"')")
	sealed := n.mapping(t, "mapped")["password_sealed"]
	if !strings.HasPrefix(sealed, "v1:") {
		t.Errorf("sealed password %q", sealed)
	}
	n.exec(t, "ALTER USER MAPPING FOR mapped SERVER src_pg OPTIONS (SET password 'hunter3-x')")
	if again := n.mapping(t, "mapped")["password_sealed"]; again == sealed || !strings.HasPrefix(again, "v1:") {
		t.Errorf("changed password %q", again)
	}
	n.exec(t, "ALTER USER MAPPING FOR mapped SERVER src_pg OPTIONS (DROP password)")
	if options := n.mapping(t, "mapped"); len(options) != 1 {
		t.Errorf("options after the drop: %v", options)
	}
	n.exec(t, "SELECT 1; CREATE USER MAPPING FOR mapped2 SERVER src_pg OPTIONS (password 'hunter4-y', username 'reader'); SELECT 2")
	if options := n.mapping(t, "mapped2"); options["username"] != "reader" || options["password_sealed"] == "" {
		t.Errorf("options in a longer message: %v", options)
	}
	_, err := n.admin.Exec(t.Context(), "CREATE USER MAPPING FOR mapped2 SERVER src_pg OPTIONS (password 'hunter5-z')")
	wantError(t, err, "42710", "")
	text, err := n.LogText()
	if err != nil {
		t.Fatal(err)
	}
	if i := strings.Index(text, "hunter"); i >= 0 {
		t.Errorf("the log holds a password: %s", text[max(0, i-200):i+20])
	}
	if !strings.Contains(text, "CREATE USER MAPPING FOR mapped SERVER src_pg OPTIONS (username 'reader', password '********')") {
		t.Error("the statement is not in the log without its password")
	}
}

func (n *node) mapping(t *testing.T, role string) map[string]string {
	t.Helper()
	rows, err := n.admin.Query(t.Context(), `SELECT option_name, option_value FROM pg_user_mappings m, pg_options_to_table(m.umoptions)
		WHERE usename = $1`, role)
	if err != nil {
		t.Fatal(err)
	}
	options := map[string]string{}
	var name, value string
	if _, err := pgx.ForEachRow(rows, []any{&name, &value}, func() error { options[name] = value; return nil }); err != nil {
		t.Fatal(err)
	}
	return options
}

// The functions of administrators.
func testAdmin(t *testing.T, n *node) {
	key, err := os.ReadFile(n.Service.APIKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	api := strings.TrimSpace(string(key))
	testRegistering(t, n)
	_, err = n.admin.Exec(t.Context(), "SELECT immutasys.service_result('GET', '/v1/sources', NULL, 'pk_wrong')")
	wantError(t, err, "42501", "refused")
	before := n.status(t, "cache.flushes")
	conn := n.Login(t, world.Eve)
	wantCount(t, conn, countStaff, rows/2)
	n.exec(t, "SELECT immutasys.flush_caches()")
	wantCount(t, conn, countStaff, rows/2)
	if n.status(t, "cache.flushes") == before {
		t.Error("no flush was counted")
	}
	var made bool
	if err := n.admin.QueryRow(t.Context(), "SELECT immutasys.create_key_file()").Scan(&made); err != nil || made {
		t.Errorf("an existing key file: %v, %v", made, err)
	}
	_, err = n.Login(t, world.Exempt).Exec(t.Context(), "SELECT immutasys.seal('x')")
	wantError(t, err, "42501", "permission denied")
	text, err := n.LogText()
	if err != nil || strings.Contains(text, api) {
		t.Errorf("the API key is in the log, or %v", err)
	}
}

func (n *node) pid(t *testing.T, name string) int {
	t.Helper()
	pid, err := strconv.Atoi(n.status(t, name))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return pid
}

// reconnect waits until the instance has ended all sessions and has a new
// process in the place of one that was killed.
func (n *node) reconnect(t *testing.T, name string, old int) {
	t.Helper()
	if err := world.Until(t.Context(), 20*time.Second, func() (bool, error) {
		// Sessions of the moment before all are ended end too.
		admin, err := pgx.Connect(t.Context(), n.As(n.User))
		if err != nil {
			return false, err
		}
		var now string
		err = admin.QueryRow(t.Context(), "SELECT coalesce(value, '') FROM immutasys.status() WHERE name = $1", name).Scan(&now)
		if err != nil || now == "" || now == strconv.Itoa(old) {
			return false, errors.Join(err, admin.Close(t.Context()))
		}
		n.admin = admin
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
}

// waitForNew waits until a process was replaced and statements run again.
func (n *node) waitForNew(t *testing.T, name string, old int) {
	t.Helper()
	if err := world.Until(t.Context(), 15*time.Second, func() (bool, error) {
		value := n.status(t, name)
		return value != "" && value != strconv.Itoa(old), fmt.Errorf("%s is %q", name, value)
	}); err != nil {
		t.Fatal(err)
	}
	conn := n.Login(t, world.Eve)
	if err := world.Until(t.Context(), 15*time.Second, func() (bool, error) {
		_, err := query(t, conn, countStaff)
		return err == nil, err
	}); err != nil {
		t.Fatal(err)
	}
}

// A daemon or worker that dies comes back, nothing is lost and no session ends.
func testWorkers(t *testing.T, n *node) {
	conn := n.Login(t, world.Eve)
	wantCount(t, conn, countStaff, rows/2)
	t.Run("daemon killed", func(t *testing.T) {
		old := n.pid(t, "daemon.pid")
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		n.waitForNew(t, "daemon.pid", old)
	})
	t.Run("worker ended", func(t *testing.T) {
		worker, daemon := n.pid(t, "worker.pid"), n.pid(t, "daemon.pid")
		if err := syscall.Kill(worker, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		n.waitForNew(t, "worker.pid", worker)
		wantGone(t, daemon)
	})
	wantCount(t, conn, countStaff, rows/2)
	testChain(t, n)
	t.Run("worker killed", func(t *testing.T) {
		worker, daemon := n.pid(t, "worker.pid"), n.pid(t, "daemon.pid")
		if err := syscall.Kill(worker, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		n.reconnect(t, "worker.pid", worker)
		n.waitForNew(t, "worker.pid", worker)
		wantGone(t, daemon)
		testChain(t, n)
	})
	for name, torn := range map[string]string{
		"nothing": "", "a torn record": "999 torn", "a record with a hole": "999 " + strings.Repeat("a", 64) + " {\x00\x00}\n",
	} {
		t.Run("restart after a crash finds "+name, func(t *testing.T) { tornSegment(t, n, torn) })
	}
}

// tornSegment: what a crash leaves behind the lines goes, and no line does.
func tornSegment(t *testing.T, n *node, torn string) {
	w := n.writer(t, world.Exempt)
	if err := w.one(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	if err := n.Crash(t.Context()); err != nil {
		t.Fatal(err)
	}
	newest := newestSegment(t, n)
	left, err := os.ReadFile(newest)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.TrimRight(left, "\x00")
	if len(lines) == len(left) || !bytes.HasSuffix(lines, []byte("\n")) {
		t.Errorf("%d bytes of lines in %d", len(lines), len(left))
	}
	f, err := os.OpenFile(newest, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(torn), int64(len(lines))); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := n.LogText()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.admin = n.Login(t, n.User)
	n.waitForNew(t, "worker.pid", 0)
	if now, err := os.ReadFile(newest); err == nil && !bytes.Equal(now, lines) {
		t.Errorf("%d bytes of lines became %d", len(lines), len(now))
	}
	text, err := n.LogText()
	if err != nil {
		t.Fatal(err)
	}
	if told := strings.Contains(text[len(before):], "cutting an unfinished record"); told != (torn != "") {
		t.Errorf("the log tells of an unfinished record: %v", told)
	}
	testChain(t, n)
	w.conn = n.Login(t, world.Exempt)
	w.again(t)
	w.wantOnce(t)
}

// wantGone waits until a process has ended; one that nobody has buried counts.
func wantGone(t *testing.T, pid int) {
	t.Helper()
	if err := world.Until(t.Context(), 5*time.Second, func() (bool, error) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(stat), ") Z "), fmt.Errorf("process %d is still there: %s", pid, stat)
	}); err != nil {
		t.Error(err)
	}
}

func newestSegment(t *testing.T, n *node) string {
	t.Helper()
	entries, err := os.ReadDir(n.DataDir + "/portcullis/spool")
	if err != nil {
		t.Fatal(err)
	}
	newest := ""
	for _, e := range entries {
		if name := e.Name(); name[0] >= '0' && name[0] <= '9' && name > newest {
			newest = name
		}
	}
	return n.DataDir + "/portcullis/spool/" + newest
}

// Without the service nothing new is read and nobody new is let in.
func testLease(t *testing.T, n *node) {
	conn := n.Login(t, world.Eve)
	wantCount(t, conn, countStaff, rows/2)
	if err := n.Service.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	var err error
	for time.Since(start) < 15*time.Second && err == nil {
		_, err = query(t, conn, countStaff)
	}
	if took := time.Since(start); err == nil || took > 7*time.Second {
		t.Errorf("after %v: %v", took, err)
	}
	if _, err := pgx.Connect(t.Context(), n.As(world.Max)); err == nil {
		t.Error("a login was let in without the service")
	} else {
		wantError(t, err, "28000", "")
	}
	wantCount(t, n.Login(t, world.Exempt), countStaff, rows)
	if err := n.Service.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := world.Until(t.Context(), 20*time.Second, func() (bool, error) {
		_, err := query(t, conn, countStaff)
		return err == nil, err
	}); err != nil {
		t.Error(err)
	}
}
