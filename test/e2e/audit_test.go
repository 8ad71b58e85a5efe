package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/service"
	"portcullis.dev/portcullis/test/world"
)

const ask = "SELECT count(*) FROM staff_pg"

// audited is a record as the service keeps it.
type audited struct {
	ID, Kind, Node, Role, Statement, Outcome, SQLState, Message, Session string
	Governed                                                             bool
	Application                                                          string
	Client                                                               string `json:"client_address"`
	QueryID                                                              string `json:"query_id"`
	Rows, Bytes, Seq                                                     int64
	Chain                                                                string
	Person                                                               struct{ IAMID, UserID, Impersonator string }
	Tables                                                               []struct {
		DataSource   string `json:"data_source"`
		Allowed      *bool
		Reason       string
		Filtered     bool
		Masks        map[string]string
		Policies     []struct{ ID string }
		RemoteSHA256 string `json:"remote_sql_sha256"`
	}
}

// records waits until the service has a number of records whose statement
// holds the mark, with the completions of these, and returns them.
func records(t *testing.T, w *world.World, mark string, intents, completions int) []audited {
	t.Helper()
	var found []audited
	err := world.Until(t.Context(), 15*time.Second, func() (bool, error) {
		entries, err := w.Audit(t.Context(), "")
		if err != nil {
			return false, err
		}
		found, err = pick(entries, mark)
		n, m := count(found, "intent"), count(found, "completion")
		return err == nil && n >= intents && m >= completions, fmt.Errorf("%d intents, %d completions of %q: %w", n, m, mark, err)
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func pick(entries []service.AuditEntry, mark string) (found []audited, err error) {
	ids := map[string]bool{}
	for _, e := range entries {
		if strings.Contains(string(e.Record), mark) {
			ids[e.ID] = true
		}
	}
	for _, e := range entries {
		if ids[e.ID] {
			var a audited
			if err := json.Unmarshal(e.Record, &a); err != nil {
				return nil, err
			}
			found = append(found, a)
		}
	}
	return found, nil
}

func count(all []audited, kind string) (n int) {
	for _, a := range all {
		if a.Kind == kind {
			n++
		}
	}
	return n
}

func first(all []audited, kind string) audited {
	for _, a := range all {
		if a.Kind == kind {
			return a
		}
	}
	return audited{}
}

func marked(mark, sql string) string { return "/* " + mark + " */ " + sql }

func TestAudit(t *testing.T) {
	w := world.Start(t, world.Options{})
	fill(t, w)
	t.Run("intent and completion", func(t *testing.T) { intentAndCompletion(t, w) })
	t.Run("denied", func(t *testing.T) { deniedRecord(t, w) })
	t.Run("failed statement", func(t *testing.T) { failedStatement(t, w) })
	t.Run("exempt session", func(t *testing.T) { exemptRecord(t, w) })
	t.Run("intent is durable before the first row", func(t *testing.T) { durableBeforeRows(t, w) })
	t.Run("killed backend", func(t *testing.T) { killedBackend(t, w) })
	t.Run("shipped once though the daemon is killed", func(t *testing.T) { shippedOnce(t, w) })
	t.Run("service away", func(t *testing.T) { serviceAway(t, w) })
	t.Run("crash", func(t *testing.T) { crash(t, w) })
	t.Run("spool cannot be written", func(t *testing.T) { spoolBroken(t, w) })
}

func intentAndCompletion(t *testing.T, w *world.World) {
	for _, s := range w.Sources {
		mark := uuid.NewString()
		conn := w.Login(t, world.Eve)
		if _, err := texts(t.Context(), conn, marked(mark, "SELECT note FROM "+s.Local()+" WHERE id > 1")); err != nil {
			t.Fatal(err)
		}
		all := records(t, w, mark, 1, 1)
		if len(all) != 2 {
			t.Errorf("%d records: %+v", len(all), all)
		}
		in, out := first(all, "intent"), first(all, "completion")
		if in.ID != out.ID || in.Role != world.Eve || in.Person.UserID != world.Eve || !in.Governed || in.Node != "engine" ||
			!strings.Contains(in.Statement, mark) || in.Client != "127.0.0.1" || in.QueryID == "" || in.Seq == 0 || len(in.Chain) != 64 {
			t.Errorf("%s: intent %+v", s.Kind, in)
		}
		if len(in.Tables) != 1 || in.Tables[0].DataSource != s.ID || in.Tables[0].Allowed == nil || !*in.Tables[0].Allowed ||
			!in.Tables[0].Filtered || len(in.Tables[0].Masks) != 5 || len(in.Tables[0].Policies) == 0 || len(in.Tables[0].RemoteSHA256) != 64 {
			t.Errorf("%s: tables %+v", s.Kind, in.Tables)
		}
		if out.Outcome != "success" || out.Rows != 2 || out.Bytes == 0 {
			t.Errorf("%s: completion %+v", s.Kind, out)
		}
	}
}

func deniedRecord(t *testing.T, w *world.World) {
	mark := uuid.NewString()
	if _, err := texts(t.Context(), w.Login(t, world.Dan), marked(mark, "SELECT * FROM staff_my")); world.Code(err) != "42501" {
		t.Fatal(err)
	}
	all := records(t, w, mark, 0, 0)
	err := world.Until(t.Context(), 5*time.Second, func() (bool, error) {
		all = records(t, w, mark, 0, 0)
		return count(all, "denied") == 1, fmt.Errorf("%+v", all)
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := first(all, "denied"); d.Role != world.Dan || d.Outcome != "denied" || d.SQLState != "42501" || len(d.Tables) != 1 || len(all) != 1 {
		t.Errorf("%+v", all)
	}
}

func failedStatement(t *testing.T, w *world.World) {
	mark := uuid.NewString()
	if _, err := texts(t.Context(), w.Login(t, world.Eve), marked(mark, "SELECT 1 / (id - 2) FROM staff_lite ORDER BY id")); world.Code(err) != "22012" {
		t.Fatal(err)
	}
	all := records(t, w, mark, 1, 1)
	if out := first(all, "completion"); out.Outcome != "error" || out.SQLState != "22012" {
		t.Errorf("%+v", out)
	}
}

func exemptRecord(t *testing.T, w *world.World) {
	mark := uuid.NewString()
	if _, err := texts(t.Context(), w.Login(t, world.Exempt), marked(mark, "SELECT count(*) FROM immuta.staff_pg")); err != nil {
		t.Fatal(err)
	}
	if in := first(records(t, w, mark, 1, 1), "intent"); in.Governed || in.Role != world.Exempt {
		t.Errorf("%+v", in)
	}
}

// durableBeforeRows: when the first row is here, the record is in the file.
func durableBeforeRows(t *testing.T, w *world.World) {
	conn := w.Login(t, world.Eve)
	for range 20 {
		mark := uuid.NewString()
		rows, err := conn.Query(t.Context(), marked(mark, "SELECT id FROM staff_pg"), pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			t.Fatal(err)
		}
		if !rows.Next() {
			t.Fatal(rows.Err())
		}
		if !strings.Contains(spooled(t, w), mark) {
			t.Error("a row came before its record was written")
		}
		rows.Close()
	}
}

func killedBackend(t *testing.T, w *world.World) {
	s := w.Sources[0]
	grow(t, w, s)
	mark := uuid.NewString()
	conn := w.Login(t, world.Hera)
	rows, err := conn.Query(t.Context(), marked(mark, "SELECT * FROM staff_pg"), pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	if !rows.Next() {
		t.Fatal(rows.Err())
	}
	admin(t, w, fmt.Sprintf("SELECT pg_terminate_backend(%d)", conn.PgConn().PID()))
	for rows.Next() {
	}
	all := records(t, w, mark, 1, 1)
	if out := first(all, "completion"); out.Outcome != "error" || len(all) != 2 {
		t.Errorf("%+v", all)
	}
}

func shippedOnce(t *testing.T, w *world.World) {
	mark := uuid.NewString()
	conn := w.Login(t, world.Eve)
	const n = 60
	for i := range n {
		if _, err := texts(t.Context(), conn, marked(fmt.Sprintf("%s %d", mark, i), ask)); err != nil {
			t.Fatal(err)
		}
		if i == 20 || i == 40 {
			if pid := pidOf(t, w, theDaemon); pid != 0 {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may be restarting
			}
		}
	}
	all := records(t, w, mark, n, n)
	if len(all) != 2*n {
		t.Errorf("%d records of %d", len(all), 2*n)
	}
	seen := map[int64]bool{}
	for _, a := range all {
		if seen[a.Seq] {
			t.Errorf("sequence number %d twice", a.Seq)
		}
		seen[a.Seq] = true
	}
}

// serviceAway: what is done meanwhile waits in the spool and comes once.
func serviceAway(t *testing.T, w *world.World) {
	conn := w.Login(t, world.Exempt)
	if err := w.Service.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	mark := uuid.NewString()
	for i := range 5 {
		if _, err := texts(t.Context(), conn, marked(fmt.Sprintf("%s %d", mark, i), "SELECT count(*) FROM immuta.staff_lite")); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(spooled(t, w), mark); n != 5 {
		t.Errorf("the spool holds %d of 5", n)
	}
	if err := w.Service.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all := records(t, w, mark, 5, 5); len(all) != 10 {
		t.Errorf("%d records of 10", len(all))
	}
	recovers(t, w, 20*time.Second)
}

// crash: what was synced before a crash arrives after it, once.
func crash(t *testing.T, w *world.World) {
	mark := uuid.NewString()
	conn := w.Login(t, world.Eve)
	for i := range 5 {
		if _, err := texts(t.Context(), conn, marked(fmt.Sprintf("%s %d", mark, i), ask)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Crash(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := world.Until(t.Context(), 30*time.Second, func() (bool, error) {
		entries, err := w.Audit(t.Context(), "kind=intent")
		if err != nil {
			return false, err
		}
		found, err := pick(entries, mark)
		return len(found) == 5, fmt.Errorf("%d of 5: %w", len(found), err)
	})
	if err != nil {
		t.Fatal(err)
	}
	recovers(t, w, 30*time.Second)
}

// spoolBroken: no rows without a durable record.
func spoolBroken(t *testing.T, w *world.World) {
	conn := w.Login(t, world.Eve)
	if _, err := texts(t.Context(), conn, ask); err != nil {
		t.Fatal(err)
	}
	// A new worker begins a new segment, which it cannot make where the folder is gone.
	dir, away := spoolOf(w), filepath.Join(filepath.Dir(spoolOf(w)), "away")
	if err := os.Rename(dir, away); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := pidOf(t, w, theWorker)
	if err := syscall.Kill(before, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err := world.Until(t.Context(), 15*time.Second, func() (bool, error) {
		_, err := texts(t.Context(), conn, ask)
		return err != nil, fmt.Errorf("statements run without a spool")
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := texts(t.Context(), conn, ask); !strings.Contains(detail(err), "audit") && !strings.Contains(detail(err), "service") {
		t.Errorf("the refusal: %v", err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(away, dir); err != nil {
		t.Fatal(err)
	}
	recovers(t, w, 30*time.Second)
}
