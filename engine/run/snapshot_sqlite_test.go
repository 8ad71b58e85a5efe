package run

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"portcullis.dev/portcullis/internal/testenv"
)

// Scans of one file that run at once need a connection each; all of them see
// what the first one does, until the local transaction ends.
func TestSQLiteScansSeeOneState(t *testing.T) {
	s, file := liteSource(t, "WAL")
	e := engineFor(t, s, smallBlocks)
	for held := int64(rowsIn); held < rowsIn+20; held++ {
		first := started(t, e, s)
		addRow(t, file, held)
		second := started(t, e, s)
		if n := states(e)["busy"]; n != 2 {
			t.Fatalf("%d connections are busy: %v", n, texts(e.Connections()))
		}
		if a, b, c := count(t, e, first), count(t, e, second), count(t, e, started(t, e, s)); a != held || b != held || c != held {
			t.Fatalf("scans of one transaction see %d, %d and %d rows of %d", a, b, c, held)
		}
		e.TransactionEnd(true)
	}
}

// With a rollback journal the first scan keeps a writer from its commit, and
// the writer that waits keeps new readers out.
func TestSQLiteScansPassAWaitingWriter(t *testing.T) {
	s, file := liteSource(t, "DELETE")
	e := engineFor(t, s, smallBlocks)
	first := started(t, e, s)
	var writer sync.WaitGroup
	defer writer.Wait()
	defer e.Stop()
	writer.Go(func() {
		if err := file.Exec(context.WithoutCancel(t.Context()), ".timeout 60000\n"+insertRow(rowsIn)); err != nil {
			t.Error(err)
		}
	})
	waitUntil(t, func() bool { return writerWaits(t, file) })
	if a, b := count(t, e, started(t, e, s)), count(t, e, first); a != rowsIn || b != rowsIn {
		t.Errorf("two scans of one statement see %d and %d rows", b, a)
	}
	e.TransactionEnd(true)
	writer.Wait()
	if n := count(t, e, started(t, e, s)); n != rowsIn+1 {
		t.Errorf("%d rows in the next transaction", n)
	}
}

// A scan that was given up and still runs keeps its old state from the next transaction.
func TestSQLiteScanGivenUpHoldsNobodyBack(t *testing.T) {
	s, file := liteSource(t, "WAL")
	endless := endlessTable(t, s, file)
	e := engineFor(t, s, smallBlocks)
	for held := int64(rowsIn); held < rowsIn+5; held++ {
		first := started(t, e, s)
		second := begin(t, e, endless)
		waitUntil(t, func() bool { return states(e)["busy"] == 2 })
		addRow(t, file, held)
		e.ScanEnd(first)
		e.ScanEnd(second)
		e.TransactionEnd(true)
		if n := count(t, e, started(t, e, s)); n != held+1 {
			t.Fatalf("%d rows of %d in the next transaction", n, held+1)
		}
		e.TransactionEnd(true)
	}
}

// A scan that is cancelled, as at a rescan, does not end the transaction that it read in.
func TestSQLiteCancelledScanKeepsTheState(t *testing.T) {
	s, file := liteSource(t, "WAL")
	endless := endlessTable(t, s, file)
	e := engineFor(t, s, smallBlocks)
	count(t, e, started(t, e, s))
	id := begin(t, e, endless)
	waitUntil(t, func() bool { return states(e)["busy"] == 1 })
	addRow(t, file, rowsIn)
	e.ScanEnd(id)
	if n := count(t, e, started(t, e, s)); n != rowsIn || len(e.Connections()) != 1 {
		t.Errorf("%d rows of %d, %v", n, rowsIn, texts(e.Connections()))
	}
}

// The file is locked against commits of others for as long as the transaction
// that the statement failed in, and no longer.
func TestSQLiteCancelledScanLetsWritersIn(t *testing.T) {
	s, file := liteSource(t, "DELETE")
	endless := endlessTable(t, s, file)
	e := engineFor(t, s, smallBlocks)
	id := begin(t, e, endless)
	waitUntil(t, func() bool { return states(e)["busy"] == 1 })
	e.ScanEnd(id)
	if err := file.Exec(t.Context(), insertRow(rowsIn)); err == nil || !strings.Contains(err.Error(), "locked") {
		t.Errorf("a commit in the middle of the transaction: %v", err)
	}
	e.TransactionEnd(false)
	if err := file.Exec(t.Context(), ".timeout 5000\n"+insertRow(rowsIn)); err != nil {
		t.Error(err)
	}
}

// endlessTable is a view that brings no row and does not end.
func endlessTable(t *testing.T, s *Source, file *testenv.SQLite) *ScanRequest {
	t.Helper()
	if err := file.Exec(t.Context(), `CREATE VIEW endless AS WITH RECURSIVE s(i) AS (SELECT count(*) FROM people UNION ALL SELECT i + 1 FROM s)
		SELECT i AS id, '' AS name, '' AS pay, '' AS born FROM s WHERE i < 0`); err != nil {
		t.Fatal(err)
	}
	r := wholeTable(s, 1)
	r.Table.RemoteName = "endless"
	return r
}

// liteSource is the sample table in a file of its own.
func liteSource(t *testing.T, journal string) (*Source, *testenv.SQLite) {
	t.Helper()
	file := testenv.SQLiteFile(t, t.Name()+".db", "PRAGMA journal_mode = "+journal+";"+sqlitePeople)
	return &Source{ServerOID: 3, ServerName: "lite", Server: map[string]string{"driver": "SQLite3", "database": file.Path},
		Mapping: map[string]string{"folder": file.Folder}}, file
}

func insertRow(id int64) string {
	return fmt.Sprintf("INSERT INTO people VALUES (%d, 'late', '1', '2024-02-29');", id)
}

// addRow is a commit by another process.
func addRow(t *testing.T, file *testenv.SQLite, id int64) {
	t.Helper()
	if err := file.Exec(t.Context(), insertRow(id)); err != nil {
		t.Fatal(err)
	}
}

// started is a scan whose first block has come, and not its last.
func started(t *testing.T, e *Engine, s *Source) uint64 {
	t.Helper()
	id := begin(t, e, wholeTable(s, 1))
	if _, state, err := next(t, e, id); state != ScanBlock || err != nil {
		t.Fatalf("%v, %v", state, err)
	}
	return id
}

// count ends a scan at its end and tells how many rows it brought.
func count(t *testing.T, e *Engine, id uint64) int64 {
	t.Helper()
	if _, err := readAll(t, e, id); err != nil {
		t.Fatal(err)
	}
	rows, _ := e.ScanEnd(id)
	return rows
}

// writerWaits tells whether a process waits with its commit for the readers of
// the file: it has write-locked SQLite's pending byte, the one at 2^30.
func writerWaits(t *testing.T, file *testenv.SQLite) bool {
	t.Helper()
	var stat syscall.Stat_t
	if err := syscall.Stat(file.Path, &stat); err != nil {
		t.Fatal(err)
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(locks)) {
		f := strings.Fields(line) // 1: POSIX ADVISORY WRITE pid major:minor:inode first last
		if len(f) == 8 && f[3] == "WRITE" && f[6] == "1073741824" && strings.HasSuffix(f[5], fmt.Sprintf(":%d", stat.Ino)) {
			return true
		}
	}
	return false
}
