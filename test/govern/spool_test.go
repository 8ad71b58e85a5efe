package govern

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/test/world"
)

// writer runs statements whose records can be told from others. Its session
// is not governed: it writes records while the service is away.
type writer struct {
	n    *node
	conn *pgx.Conn
	mark string
	done int // statements that gave their rows
}

func (n *node) writer(t *testing.T, role string) *writer {
	t.Helper()
	return &writer{n: n, conn: n.Login(t, role), mark: uuid.NewString()}
}

// one runs a statement whose text has about so many bytes.
func (w *writer) one(ctx context.Context, bytes int) error {
	sql := fmt.Sprintf("/* %s %d %s */ SELECT count(*) FROM immuta.staff_lite", w.mark, w.done, strings.Repeat("x", bytes))
	_, err := w.conn.PgConn().Exec(ctx, sql).ReadAll()
	if err == nil {
		w.done++
	}
	return err
}

// until runs statements until one is refused, at most so many.
func (w *writer) until(t *testing.T, most, bytes int) error {
	t.Helper()
	for range most {
		if err := w.one(t.Context(), bytes); err != nil {
			return err
		}
	}
	t.Fatalf("none of %d statements of %d bytes was refused", most, bytes)
	return nil
}

// again waits until statements run, in the session that was refused.
func (w *writer) again(t *testing.T) {
	t.Helper()
	if err := world.Until(t.Context(), 15*time.Second, func() (bool, error) {
		err := w.one(t.Context(), 10)
		return err == nil, err
	}); err != nil {
		t.Error(err)
	}
}

// wantOnce waits until all that was synced is shipped, and checks that the
// record of each statement that gave rows is at the service once.
func (w *writer) wantOnce(t *testing.T) {
	t.Helper()
	w.n.wantShipped(t)
	store, err := w.n.Connect(t.Context(), "portcullis")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close(t.Context())
	rows, err := store.Query(t.Context(), `SELECT split_part(body ->> 'statement', ' ', 3)::int, count(*) FROM portcullis.audit_records
		WHERE kind = 'intent' AND starts_with(body ->> 'statement', '/* ' || $1) GROUP BY 1`, w.mark)
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]int{}
	var number, times int
	if _, err := pgx.ForEachRow(rows, []any{&number, &times}, func() error { found[number] = times; return nil }); err != nil {
		t.Fatal(err)
	}
	for i := range w.done {
		// A refused statement is tried again under the same number: its own record may be there too.
		if found[i] == 0 {
			t.Errorf("statement %d of %d gave rows and has no record", i, w.done)
		}
	}
	var records, places, span int64
	if err := store.QueryRow(t.Context(), `SELECT count(*), count(DISTINCT body ->> 'seq'), max((body ->> 'seq')::bigint) - min((body ->> 'seq')::bigint) + 1
		FROM portcullis.audit_records`).Scan(&records, &places, &span); err != nil || records != places || places != span {
		t.Errorf("%d records have %d places in a chain of %d, %v", records, places, span, err)
	}
}

// refusedAfter is how many records of 10 kB surely go over what a segment has
// been given on the disk ahead of its lines.
const refusedAfter = 30

func (n *node) wantShipped(t *testing.T) {
	t.Helper()
	if err := world.Until(t.Context(), 20*time.Second, func() (bool, error) {
		synced, shipped := n.status(t, "audit.synced"), n.status(t, "audit.shipped")
		return synced == shipped && n.status(t, "audit.waiting_bytes") == "0", fmt.Errorf("shipped %s of %s", shipped, synced)
	}); err != nil {
		t.Error(err)
	}
}

func (n *node) spoolFolder() string { return filepath.Join(n.DataDir, "portcullis", "spool") }

// segments are the files of the spool and their sizes.
func (n *node) segments(t *testing.T) (names []string, bytes int64) {
	t.Helper()
	entries, err := os.ReadDir(n.spoolFolder())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(e.Name(), "0") {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		names, bytes = append(names, e.Name()), bytes+info.Size()
	}
	return names, bytes
}

// set changes settings of the running instance, until the test ends.
func (n *node) set(t *testing.T, settings map[string]string) {
	t.Helper()
	for name, value := range settings {
		n.setNow(t, name, value)
	}
	t.Cleanup(func() {
		for name := range settings {
			n.setNow(t, name, "")
		}
	})
}

// setNow changes a setting, "" resets it, and waits until sessions have it.
func (n *node) setNow(t *testing.T, name, value string) {
	t.Helper()
	change := "ALTER SYSTEM RESET " + name
	if value != "" {
		change = fmt.Sprintf("ALTER SYSTEM SET %s = '%s'", name, value)
	}
	ctx := context.WithoutCancel(t.Context())
	before := ""
	if err := n.admin.QueryRow(ctx, "SELECT pg_conf_load_time()::text").Scan(&before); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{change, "SELECT pg_reload_conf()"} {
		if _, err := n.admin.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := world.Until(ctx, 5*time.Second, func() (bool, error) {
		now := ""
		err := n.admin.QueryRow(ctx, "SELECT pg_conf_load_time()::text").Scan(&now)
		return err == nil && now != before, err
	}); err != nil {
		t.Fatal(err)
	}
}

// No rows without a durable record, whatever the disk does; and nothing is
// lost or doubled when it is well again.
func testDiskFaults(t *testing.T, n *node) {
	n.set(t, map[string]string{"fsync": "on"})
	for _, test := range []struct {
		name, state, part string
		breakIt           func()
	}{
		{"disk full", "53100", "no space left for the audit spool", func() { n.faults.Full(1) }},
		{"disk full in mid-record", "53100", "no space left for the audit spool", func() { n.faults.Full(400) }}, // even when all segments have made room
		{"write fails", "58030", "could not be stored", func() { n.faults.Write(syscall.EIO) }},
		{"write is short, then fails", "58030", "could not be stored", func() { n.faults.Short(100) }},
		{"sync fails", "58030", "could not be stored", func() { n.faults.Sync(syscall.EIO) }},
		{"quota of the disk", "53100", "no space left for the audit spool", func() { n.faults.Write(syscall.EDQUOT) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			defer n.faults.Clear()
			w := n.writer(t, world.Exempt)
			eve := n.Login(t, world.Eve)
			wantCount(t, eve, countStaff, rows/2)
			for range 3 {
				if err := w.one(t.Context(), 10); err != nil {
					t.Fatal(err)
				}
			}
			test.breakIt()
			wantError(t, w.until(t, refusedAfter, 10_000), test.state, test.part)
			got, err := query(t, eve, countStaff)
			wantError(t, err, test.state, test.part)
			if got != 0 {
				t.Errorf("%d rows were counted", got)
			}
			if state := n.status(t, "audit.state"); state != "failed" {
				t.Errorf("audit.state is %q", state)
			}
			wantError(t, n.login(t.Context(), world.Eve), test.state, test.part)
			names, _ := n.segments(t)
			// Three tries of the worker.
			if err := world.Until(t.Context(), 10*time.Second, func() (bool, error) {
				text, err := n.LogText()
				return strings.Count(text, "portcullis refuses statements") > 0, err
			}); err != nil {
				t.Error("the log does not say that statements are refused")
			}
			n.faults.Clear()
			w.again(t)
			wantCount(t, eve, countStaff, rows/2)
			if now, _ := n.segments(t); len(now) > len(names)+2 {
				t.Errorf("segments %v became %v", names, now)
			}
			w.wantOnce(t)
			testChain(t, n)
		})
	}
	t.Run("worker ended in mid-sync", func(t *testing.T) { endedInMidSync(t, n, syscall.SIGTERM) })
	t.Run("worker killed in mid-sync", func(t *testing.T) { endedInMidSync(t, n, syscall.SIGKILL) })
	t.Run("no segment is left", func(t *testing.T) { noSegmentLeft(t, n) })
	t.Run("full disk is shipped away", func(t *testing.T) { shippedAway(t, n) })
}

// endedInMidSync: a statement whose record is being synced waits, and its
// record is there once when a new worker has taken over.
func endedInMidSync(t *testing.T, n *node, signal syscall.Signal) {
	defer n.faults.Clear()
	w := n.writer(t, world.Exempt)
	if err := w.one(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	worker := n.pid(t, "worker.pid")
	n.faults.Hang()
	answer := make(chan error, 1)
	go func() { answer <- w.one(t.Context(), 10) }()
	if err := world.Until(t.Context(), 5*time.Second, func() (bool, error) { return n.faults.Hanging(), errors.New("no sync was seen") }); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-answer:
		t.Fatalf("the statement ended before its record was synced: %v", err)
	default:
	}
	if err := syscall.Kill(worker, signal); err != nil {
		t.Fatal(err)
	}
	if signal != syscall.SIGKILL {
		n.faults.Clear() // the sync must end before the worker can
	} else {
		if err := <-answer; err == nil {
			t.Error("the statement gave rows, though nothing was synced")
		}
		n.faults.Clear()
		n.reconnect(t, "worker.pid", worker)
		w.conn = n.Login(t, world.Exempt)
	}
	n.waitForNew(t, "worker.pid", worker)
	if signal != syscall.SIGKILL {
		if err := <-answer; err != nil {
			t.Errorf("the statement: %v", err)
		}
	}
	w.again(t)
	w.wantOnce(t)
	testChain(t, n)
}

// noSegmentLeft: where even the last segment had to make room, a new worker
// knows where the chain goes on.
func noSegmentLeft(t *testing.T, n *node) {
	defer n.faults.Clear()
	w := n.writer(t, world.Exempt)
	if err := w.one(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	n.wantShipped(t)
	n.faults.Full(1)
	wantError(t, w.until(t, refusedAfter, 10_000), "53100", "no space left")
	if err := world.Until(t.Context(), 5*time.Second, func() (bool, error) {
		names, bytes := n.segments(t)
		return bytes == 0, fmt.Errorf("segments %v %d synced %s shipped %s %s", names, bytes, n.status(t, "audit.synced"), n.status(t, "audit.shipped"), n.status(t, "audit.last_error"))
	}); err != nil {
		t.Error(err)
	}
	worker := n.pid(t, "worker.pid")
	if err := syscall.Kill(worker, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// Only then is there space: the old one must not write what still waits.
	if err := world.Until(t.Context(), 10*time.Second, func() (bool, error) {
		pid := n.status(t, "worker.pid")
		return pid != "" && pid != strconv.Itoa(worker), nil
	}); err != nil {
		t.Fatal(err)
	}
	n.faults.Clear()
	w.again(t)
	w.wantOnce(t)
}

// shippedAway: a disk that is full of records takes new ones as soon as the
// service has the old ones, without more space and without a restart.
func shippedAway(t *testing.T, n *node) {
	defer n.faults.Clear()
	w := n.writer(t, world.Exempt)
	if err := w.one(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	n.wantShipped(t)
	if err := n.Service.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, bytes := n.segments(t)
	n.faults.Full(bytes + 300_000)
	wantError(t, w.until(t, 50, 20_000), "53100", "no space left for the audit spool")
	full, _ := n.segments(t)
	if err := n.Service.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.again(t)
	// Much more than the space that was left.
	for range 30 {
		if err := w.one(t.Context(), 20_000); err != nil && world.Code(err) != "53100" {
			t.Fatal(err)
		} else if err != nil {
			w.again(t)
		}
	}
	if now, _ := n.segments(t); len(now) > len(full)+2 {
		t.Errorf("segments %v became %v", full, now)
	}
	w.wantOnce(t)
	testChain(t, n)
}

// testSpoolLimits: what waits for the service has a bound, for a person and
// for all; whole segments go when they are shipped.
func testSpoolLimits(t *testing.T, n *node) {
	t.Run("quota of a person", func(t *testing.T) {
		n.set(t, map[string]string{"portcullis.audit_quota": "1MB"})
		w, other := n.writer(t, world.Exempt), n.writer(t, n.User)
		n.wantShipped(t)
		if err := n.Service.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantError(t, w.until(t, 40, 60_000), "53400", "More than 1 MB of them wait")
		if w.done < 10 || w.done > 20 {
			t.Errorf("%d records of 60 kB are 1 MB", w.done)
		}
		if err := other.one(t.Context(), 60_000); err != nil {
			t.Errorf("another person: %v", err)
		}
		again := n.writer(t, world.Exempt)
		wantError(t, again.one(t.Context(), 60_000), "53400", "")
		if err := n.Service.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.again(t)
		w.wantOnce(t)
		other.wantOnce(t)
	})
	t.Run("logins", func(t *testing.T) { loginStorm(t, n) })
	t.Run("the whole spool", func(t *testing.T) {
		n.set(t, map[string]string{"portcullis.audit_spool_limit": "20MB", "portcullis.audit_quota": "0"})
		w := n.writer(t, world.Exempt)
		n.wantShipped(t)
		if err := n.Service.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		before, _ := n.segments(t)
		wantError(t, w.until(t, 500, 65_000), "53100", "not taken yet")
		if w.done < 200 {
			t.Errorf("%d records of 65 kB are 20 MB", w.done)
		}
		full, bytes := n.segments(t)
		if len(full) < len(before)+1 || bytes < 20<<20 {
			t.Errorf("segments %v became %v, %d bytes", before, full, bytes)
		}
		for _, name := range full {
			if info, err := os.Stat(filepath.Join(n.spoolFolder(), name)); err != nil || info.Size() > 18<<20 {
				t.Errorf("%s has %d bytes, %v", name, info.Size(), err)
			}
		}
		testChain(t, n)
		if err := n.Service.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.again(t)
		w.wantOnce(t)
		if left, bytes := n.segments(t); bytes > 8<<20 {
			t.Errorf("shipped segments are still there: %v, %d bytes", left, bytes)
		}
		testChain(t, n)
	})
	// A limit of one segment: that one must go too once it is shipped.
	t.Run("a limit as small as a segment", func(t *testing.T) {
		n.set(t, map[string]string{"portcullis.audit_spool_limit": "16MB", "portcullis.audit_quota": "0"})
		w := n.writer(t, world.Exempt)
		n.wantShipped(t)
		if err := n.Service.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantError(t, w.until(t, 500, 65_000), "53100", "not taken yet")
		if err := n.Service.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.again(t)
		w.wantOnce(t)
		testChain(t, n)
	})
}
