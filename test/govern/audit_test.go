package govern

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/test/world"
)

type record struct {
	ID, Kind, Role, Outcome, SQLState, Statement, Message, Session string
	Rows                                                           *int64
	Governed                                                       bool
}

// shipped waits for records of a session at the service.
func (n *node) shipped(t *testing.T, conn *pgx.Conn, query string, enough func([]record) bool) []record {
	t.Helper()
	var found []record
	prefix := strconv.Itoa(int(conn.PgConn().PID())) + "."
	err := world.Until(t.Context(), 10*time.Second, func() (bool, error) {
		entries, err := n.Audit(t.Context(), query)
		if err != nil {
			return false, err
		}
		found = nil
		for _, e := range entries {
			var r record
			if err := json.Unmarshal(e.Record, &r); err != nil {
				return false, err
			}
			if strings.HasPrefix(r.Session, prefix) {
				found = append(found, r)
			}
		}
		return enough(found), fmt.Errorf("records %+v", found)
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Each statement leaves its records, however it ends.
func testAudit(t *testing.T, n *node) {
	for _, test := range []struct {
		name, role, sql string
		want            []string // kind outcome sqlstate
	}{
		{"read", world.Eve, "SELECT count(id) FROM immuta.staff_pg", []string{"intent", "completion success"}},
		{"no rows", world.Eve, "SELECT id FROM immuta.staff_pg WHERE id = -1", []string{"intent", "completion success"}},
		{"failed here", world.Eve, "SELECT 1 / (id - id) FROM immuta.staff_pg", []string{"intent", "completion error 22012"}},
		{"failed in a block that goes on", world.Eve, "DO $$ BEGIN PERFORM 1 / (id - id) FROM immuta.staff_pg; EXCEPTION WHEN division_by_zero THEN NULL; END $$", []string{"intent", "completion error 22012"}},
		{"cancelled", world.Eve, "SET statement_timeout = 300; SELECT count(*) FROM immuta.staff_pg WHERE pg_sleep(0.01) IS NOT NULL", []string{"intent", "completion error 57014"}},
		{"cursor left open", world.Eve, "BEGIN; DECLARE c CURSOR FOR SELECT id FROM immuta.staff_pg; FETCH 1 FROM c; ROLLBACK", []string{"intent", "completion error 40000"}},
		{"cursor closed", world.Eve, "BEGIN; DECLARE c CURSOR FOR SELECT id FROM immuta.staff_pg; FETCH 1 FROM c; CLOSE c; COMMIT", []string{"intent", "completion success"}},
		{"denied", world.Dan, "SELECT id FROM immuta.staff_pg", []string{"denied denied 42501"}},
		{"refused form", world.Eve, "SELECT id INTO eves.t FROM immuta.staff_pg", []string{"denied denied 42501"}},
		{"exempt", world.Exempt, "SELECT id FROM immuta.staff_pg LIMIT 1", []string{"intent", "completion success"}},
		{"local only", world.Eve, "SELECT 1", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn := n.Login(t, test.role)
			_, err := conn.Exec(t.Context(), test.sql)
			if wantsError := strings.Contains(strings.Join(test.want, " "), "error 22012") && !strings.HasPrefix(test.sql, "DO"); wantsError && err == nil {
				t.Error("no error")
			}
			governed := test.role != world.Exempt
			want := test.want
			if governed {
				want = append([]string{"login success"}, test.want...)
			}
			records := n.shipped(t, conn, "role="+test.role, func(r []record) bool { return len(r) >= len(want) })
			var got []string
			for i := len(records) - 1; i >= 0; i-- {
				got = append(got, strings.TrimSpace(strings.Join(strings.Fields(records[i].Kind+" "+records[i].Outcome+" "+records[i].SQLState), " ")))
			}
			if strings.Join(got, ", ") != strings.Join(want, ", ") {
				t.Errorf("got  %s\nwant %s", strings.Join(got, ", "), strings.Join(want, ", "))
			}
		})
	}
	t.Run("a killed backend leaves its intent", func(t *testing.T) {
		conn := n.Login(t, world.Eve)
		mustExec(t, conn, "BEGIN; DECLARE c CURSOR FOR SELECT id FROM immuta.staff_pg; FETCH 1 FROM c")
		n.exec(t, "SELECT pg_terminate_backend($1)", int32(conn.PgConn().PID()))
		n.shipped(t, conn, "role=eve", func(r []record) bool {
			return len(r) == 3 && r[0].Kind == "completion" && r[0].SQLState == "57P01"
		})
	})
	t.Run("administrators see it here", func(t *testing.T) {
		wantCount(t, n.admin, "SELECT count(*) FROM immutasys.recent_audit(5) WHERE record ->> 'kind' IS NOT NULL", 5)
	})
}

// testChain: every line follows from the one before, over all segments.
func testChain(t *testing.T, n *node) {
	key, err := os.ReadFile(n.setting(t, "portcullis.key_file"))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("portcullis audit chain"))
	chainKey := mac.Sum(nil)
	files, err := filepath.Glob(filepath.Join(n.DataDir, "portcullis", "spool", "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	// Of segments that were shipped and removed, the first line left is the witness.
	chain, sequence, lines := make([]byte, sha256.Size), int64(0), 0
	known := len(files) > 0 && filepath.Base(files[0]) == "00000001.log"
	for _, file := range files {
		if filepath.Base(file) == "refused.log" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(bytes.TrimRight(text, "\x00")) { // what is written ahead of the lines
			part := bytes.SplitN(bytes.TrimSuffix(line, []byte("\n")), []byte(" "), 3)
			lines++
			if !known {
				known = true
				if sequence, err = strconv.ParseInt(string(part[0]), 10, 64); err != nil {
					t.Fatal(err)
				}
				if chain, err = hex.DecodeString(string(part[1])); err != nil {
					t.Fatal(err)
				}
				continue
			}
			sequence++
			mac := hmac.New(sha256.New, chainKey)
			mac.Write(chain)
			fmt.Fprintf(mac, "%d %s", sequence, part[2])
			chain = mac.Sum(nil)
			if string(part[0]) != strconv.FormatInt(sequence, 10) || string(part[1]) != hex.EncodeToString(chain) {
				t.Fatalf("line %d of %s breaks the chain", sequence, file)
			}
			if !json.Valid(part[2]) {
				t.Errorf("line %d is no JSON", sequence)
			}
		}
	}
	if lines == 0 {
		t.Error("the spool holds no line")
	}
}

// testVerified: what arrived at the service is what the node wrote.
func testVerified(t *testing.T, n *node) {
	out, err := n.Service.CLI(t.Context(), "audit", "verify", "--node", "engine", "--node-key-file", n.setting(t, "portcullis.key_file"), "--checkpoints", n.Service.Checkpoints, "-o", "json")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var report struct {
		Checkpoints int
		Nodes       []struct{ Records int }
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || len(report.Nodes) != 1 || report.Nodes[0].Records == 0 || report.Checkpoints == 0 {
		t.Errorf("%s %v", out, err)
	}
	wrong := filepath.Join(t.TempDir(), "wrong.key")
	if err := os.WriteFile(wrong, make([]byte, 32), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := n.Service.CLI(t.Context(), "audit", "verify", "--node", "engine", "--node-key-file", wrong); err == nil {
		t.Errorf("with another key: %s", out)
	}
}

func (n *node) setting(t *testing.T, name string) (value string) {
	t.Helper()
	if err := n.admin.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

// testSpoolFailure: no rows without a durable record; a new segment cures it.
func testSpoolFailure(t *testing.T, n *node) {
	conn := n.Login(t, world.Eve)
	wantCount(t, conn, countStaff, rows/2)
	// A worker that starts anew cannot make its first segment.
	spool := filepath.Join(n.DataDir, "portcullis", "spool")
	if err := os.Chmod(spool, 0o500); err != nil {
		t.Fatal(err)
	}
	worker := n.pid(t, "worker.pid")
	if err := syscall.Kill(worker, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := world.Until(t.Context(), 10*time.Second, func() (bool, error) {
		pid := n.status(t, "worker.pid")
		return pid != "" && pid != strconv.Itoa(worker), nil
	}); err != nil {
		t.Fatal(err)
	}
	got, err := query(t, conn, countStaff)
	wantError(t, err, "58030", "could not be stored")
	if got != 0 {
		t.Errorf("%d rows were counted", got)
	}
	if state := n.status(t, "audit.state"); state != "failed" {
		t.Errorf("audit.state is %q", state)
	}
	if err := os.Chmod(spool, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := world.Until(t.Context(), 10*time.Second, func() (bool, error) {
		_, err := query(t, conn, countStaff)
		return err == nil, err
	}); err != nil {
		t.Fatal(err)
	}
	testChain(t, n)
	n.wantShipped(t)
}
