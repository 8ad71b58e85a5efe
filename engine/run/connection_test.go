package run

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/policy"
)

// silentPeer accepts connections and never answers.
func silentPeer(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

func TestConnectsThatHangAreAbandonedCountedAndBounded(t *testing.T) {
	s := &Source{ServerOID: 9, ServerName: "silent", Mapping: map[string]string{"username": "u", "password": "p"},
		Server: map[string]string{"driver": "PostgreSQL Unicode", "host": "127.0.0.1", "port": strconv.Itoa(silentPeer(t)), "connect_timeout": "2"}}
	e := newTestEngine(t, func(c *Config) { c.MaxAbandoned = 2 })
	for range 2 {
		id := begin(t, e, wholeTable(s, 1))
		waitUntil(t, func() bool { return states(e)["busy"] == 1 })
		began := time.Now()
		e.ScanEnd(id)
		if took := time.Since(began); took > 50*time.Millisecond {
			t.Errorf("giving up took %v", took)
		}
		waitUntil(t, func() bool { return states(e)["busy"] == 0 })
	}
	if n := states(e)["abandoned"]; n != 2 {
		t.Fatalf("%d abandoned: %v", n, texts(e.Connections()))
	}
	id := begin(t, e, wholeTable(s, 1))
	_, _, err := next(t, e, id)
	if err == nil || AsError(err).State != stateTooMany || AsError(err).Hint == "" {
		t.Fatalf("the third: %v", err)
	}
	e.ScanEnd(id)
	waitUntil(t, func() bool { return len(e.Connections()) == 0 }) // the driver's own timeout
	e.pool.mu.Lock()
	defer e.pool.mu.Unlock()
	if e.pool.abandoned != 0 {
		t.Errorf("%d still counted", e.pool.abandoned)
	}
}

// MariaDB's driver waits for a greeting for ever; the person does not.
func TestASilentPeerIsGivenUpInTime(t *testing.T) {
	peer, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	s := &Source{ServerOID: 9, ServerName: "silent", Mapping: map[string]string{"username": "u", "password": "p"},
		Server: map[string]string{"driver": "MariaDB Unicode", "host": "127.0.0.1", "port": strconv.Itoa(peer.Addr().(*net.TCPAddr).Port), "database": "d", "connect_timeout": "1"}}
	e := newTestEngine(t, nil)
	began := time.Now()
	_, err = readAll(t, e, begin(t, e, wholeTable(s, 1)))
	if e := AsError(err); err == nil || e.State != stateConnect || !strings.Contains(e.Message, "did not answer in time") || e.Hint == "" {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	if n := states(e)["abandoned"]; n != 1 {
		t.Errorf("%d abandoned: %v", n, texts(e.Connections()))
	}
	peer.Close()
	waitUntil(t, func() bool { return len(e.Connections()) == 0 })
}

func states(e *Engine) map[string]int {
	m := map[string]int{}
	for _, r := range e.Connections() {
		m[*r[2]]++
	}
	return m
}

// waitUntil polls for what no event tells.
func waitUntil(t testing.TB, done func() bool) {
	t.Helper()
	if err := testenv.Until(t.Context(), 20*time.Second, func() (bool, error) { return done(), errors.New("it did not happen") }); err != nil {
		t.Fatal(err)
	}
}

func TestCancelWhileTheRemoteStatementRuns(t *testing.T) {
	s := postgresSource(t)
	e := engineFor(t, s, nil)
	slow := wholeTable(s, 1)
	slow.Table.RemoteName = "slow"
	admin := postgresAdmin(t, s)
	admin("CREATE VIEW slow AS SELECT id, pg_sleep(60) IS NULL AS x FROM people OFFSET 0")
	id := begin(t, e, slow)
	waitUntil(t, func() bool {
		return admin("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%slow%' AND state = 'active' AND pid <> pg_backend_pid()") != "0"
	})
	began := time.Now()
	e.ScanEnd(id)
	e.TransactionEnd(false)
	if took := time.Since(began); took > 50*time.Millisecond {
		t.Errorf("ending took %v", took)
	}
	waitUntil(t, func() bool {
		return admin("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%slow%' AND state = 'active' AND pid <> pg_backend_pid()") == "0"
	})
	rows, err := readAll(t, e, begin(t, e, wholeTable(s, 1)))
	if err != nil || len(rows) != rowsIn {
		t.Fatalf("the session does not go on: %d rows, %v", len(rows), err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

func postgresAdmin(t *testing.T, s *Source) func(sql string) string {
	t.Helper()
	conn, err := pgConnect(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return func(sql string) string {
		t.Helper()
		var out string
		rows, err := conn.Query(t.Context(), sql)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			v, _ := rows.Values()
			out = fmt.Sprint(v[0])
		}
		if rows.Err() != nil {
			t.Fatal(rows.Err())
		}
		return out
	}
}

func TestStaleConnectionsAreReplaced(t *testing.T) {
	s := postgresSource(t)
	e := engineFor(t, s, nil)
	admin := postgresAdmin(t, s)
	for round := range 3 {
		id := begin(t, e, wholeTable(s, 1))
		if rows, err := readAll(t, e, id); err != nil || len(rows) != rowsIn {
			t.Fatalf("round %d: %d rows, %v", round, len(rows), err)
		}
		e.ScanEnd(id)
		e.TransactionEnd(true)
		waitUntil(t, func() bool { return states(e)["idle"] == 1 })
		admin("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'portcullis' AND datname = current_database()")
		waitUntil(t, func() bool {
			return admin("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'portcullis' AND datname = current_database()") == "0"
		})
	}
}

// What is lost at once after it was used was not lost while it rested: the
// statement is not run again, since it may be what ended the server.
func TestALostConnectionIsReplacedOnlyIfItRested(t *testing.T) {
	for _, test := range []struct {
		name  string
		used  time.Duration // from now
		state string        // of the error, "" none
	}{
		{"rested, less than a check is made for", -trusted * 9 / 10, ""},
		{"rested, and is checked", -2 * trusted, ""},
		{"used until the statement was sent", time.Minute, stateConnectionLost},
	} {
		for _, s := range []*Source{postgresSource(t), mariadbSource(t)} {
			t.Run(test.name+", "+s.ServerName, func(t *testing.T) {
				e := engineFor(t, s, nil)
				id := begin(t, e, wholeTable(s, 1))
				if _, err := readAll(t, e, id); err != nil {
					t.Fatal(err)
				}
				e.ScanEnd(id)
				e.TransactionEnd(true)
				waitUntil(t, func() bool { return states(e)["idle"] == 1 })
				endSessions(t, s)
				e.pool.mu.Lock()
				for r := range e.pool.remotes {
					r.used = time.Now().Add(test.used)
				}
				e.pool.mu.Unlock()
				rows, err := readAll(t, e, begin(t, e, wholeTable(s, 1)))
				switch {
				case test.state == "" && (err != nil || len(rows) != rowsIn):
					t.Errorf("%d rows, %v", len(rows), err)
				case test.state != "" && (err == nil || AsError(err).State != test.state):
					t.Errorf("%d rows, %v, want %s", len(rows), err, test.state)
				}
			})
		}
	}
}

// endSessions has the source end the sessions of engines.
func endSessions(t *testing.T, s *Source) {
	t.Helper()
	if s.ServerName == "pg" {
		admin := postgresAdmin(t, s)
		const sessions = "FROM pg_stat_activity WHERE application_name = 'portcullis' AND datname = current_database()"
		admin("SELECT count(pg_terminate_backend(pid)) " + sessions)
		waitUntil(t, func() bool { return admin("SELECT count(*) "+sessions) == "0" })
		return
	}
	sessions := func() []string {
		out, err := servers.mariadb.Query(t.Context(), "", "SELECT id FROM information_schema.processlist WHERE db IS NOT NULL AND id <> CONNECTION_ID()")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(out)
	}
	for _, id := range sessions() {
		if err := servers.mariadb.Exec(t.Context(), "", "KILL "+id); err != nil {
			t.Fatal(err)
		}
	}
	waitUntil(t, func() bool { return len(sessions()) == 0 })
}

func TestAConnectionLostInMidFetchIsSaidSo(t *testing.T) {
	s := postgresSource(t)
	s.Server["fetch_size"] = "10"
	e := engineFor(t, s, func(c *Config) { c.BlockBytes = 1 })
	admin := postgresAdmin(t, s)
	id := begin(t, e, wholeTable(s, 1, 2))
	if _, state, err := next(t, e, id); err != nil || state != ScanBlock {
		t.Fatal(state, err)
	}
	admin("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'portcullis' AND datname = current_database()")
	var err error
	for err == nil {
		var state ScanState
		if _, state, err = next(t, e, id); state == ScanEnded && err == nil {
			t.Fatal("the rows ended as if all had come")
		}
	}
	if e := AsError(err); e.State != stateConnectionLost || !strings.Contains(e.Message, "was lost") {
		t.Errorf("%+v", e)
	}
	e.ScanEnd(id)
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	s := sqliteSource(t)
	e := engineFor(t, s, func(c *Config) { c.Idle = time.Microsecond })
	id := begin(t, e, wholeTable(s, 1))
	if _, err := readAll(t, e, id); err != nil {
		t.Fatal(err)
	}
	e.ScanEnd(id)
	e.pool.sweep()
	if len(e.Connections()) != 1 {
		t.Fatal("closed inside the transaction")
	}
	e.TransactionEnd(true)
	waitUntil(t, func() bool { return len(e.Connections()) == 0 })
}

func TestErrorsSayWhatToDo(t *testing.T) {
	pg, maria := postgresSource(t), mariadbSource(t)
	lite := sqliteSource(t)
	folder := lite.Mapping["folder"]
	with := func(s *Source, option, value string) *Source {
		c := *s
		c.Server, c.Mapping = map[string]string{}, map[string]string{}
		for k, v := range s.Server {
			c.Server[k] = v
		}
		for k, v := range s.Mapping {
			c.Mapping[k] = v
		}
		delete(c.Mapping, "folder")
		if option == "password" || option == "username" {
			c.Mapping[option] = value
		} else if option != "" {
			c.Server[option] = value
		}
		return &c
	}
	for _, c := range []struct {
		name    string
		source  *Source
		table   string
		column  string
		state   string
		message string
	}{
		{"pg DNS", with(pg, "host", "no-such-host.invalid"), "", "", stateConnect, "host name is not known"},
		{"pg refused", with(pg, "port", "1"), "", "", stateConnect, "nothing answers"},
		{"pg password", with(pg, "password", "wrong"), "", "", stateBadPassword, "login was refused"},
		{"pg database", with(pg, "database", "nowhere"), "", "", stateConnect, "database does not exist"},
		{"pg table", with(pg, "", ""), "nothing", "", stateNoTable, "table does not exist"},
		{"pg column", with(pg, "", ""), "", "nothing", "HV005", "column does not exist"},
		{"maria DNS", with(maria, "host", "no-such-host.invalid"), "", "", stateConnect, "host name is not known"},
		{"maria refused", with(maria, "port", "1"), "", "", stateConnect, "nothing answers"},
		{"maria password", with(maria, "password", "wrong"), "", "", stateBadPassword, "login was refused"},
		{"maria database", with(maria, "database", "nowhere"), "", "", stateConnect, "database does not exist"},
		{"maria table", with(maria, "", ""), "nothing", "", stateNoTable, "table does not exist"},
		{"maria column", with(maria, "", ""), "", "nothing", "HV005", "column does not exist"},
		{"lite file", with(lite, "database", folder+"/nothing.db"), "", "", "", ""},
		{"lite table", with(lite, "", ""), "nothing", "", stateNoTable, "table does not exist"},
		{"lite column", with(lite, "", ""), "", "nothing", "HV005", "column does not exist"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newTestEngine(t, func(cfg *Config) { cfg.FileFolder = folder })
			r := wholeTable(c.source, 1)
			if c.table != "" {
				r.Table.RemoteName = c.table
			}
			if c.column != "" {
				r.Table.Columns[0].RemoteName = c.column
			}
			id, err := e.ScanBegin(r)
			if err == nil {
				if err = e.ScanStart(id, nil); err == nil {
					_, _, err = next(t, e, id)
				}
			}
			if err == nil {
				t.Fatal("no error")
			}
			got := AsError(err)
			t.Logf("%s %s\n  %s\n  %s", got.State, got.Message, got.Detail, got.Hint)
			if c.state != "" && got.State != c.state || !strings.Contains(got.Message, c.message) || strings.Contains(got.Detail, "wrong") {
				t.Errorf("want %s %s", c.state, c.message)
			}
		})
	}
}

func TestErrorsUnderAPolicyShowNoRemoteText(t *testing.T) {
	s := postgresSource(t)
	e := engineFor(t, s, nil)
	admin := postgresAdmin(t, s)
	admin("ALTER TABLE people RENAME TO people0")
	admin("CREATE VIEW people AS SELECT id, name, pay, born FROM people0 WHERE 1 / (id - id) = 0")
	session, id := governed(t, e, s, policy.Decision{Masks: map[string]policy.Mask{"name": {Kind: policy.MaskNull}}})
	r := wholeTable(s, 1)
	_, err := readAll(t, e, begin(t, e, r))
	if err == nil || AsError(err).State != "22012" || !strings.Contains(AsError(err).Detail, "division by zero") {
		t.Fatalf("ungoverned: %v", err)
	}
	r = wholeTable(s, 1)
	r.Session, r.Decision = session, id
	_, err = readAll(t, e, begin(t, e, r))
	if err == nil || AsError(err).State != stateFDW || AsError(err).Detail != "" || strings.Contains(err.Error(), "zero") {
		t.Errorf("governed: %+v", err)
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	s := postgresSource(t)
	e := engineFor(t, s, nil)
	descriptors := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	mappings := func() int {
		text, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(text), "\n")
	}
	session, id := governed(t, e, s, policy.Decision{Masks: map[string]policy.Mask{"name": {Kind: policy.MaskHash, Key: make([]byte, 32)}}})
	cycle := func(i int) {
		r := wholeTable(s, 1, 2)
		r.Session, r.Decision = session, id
		scan := begin(t, e, r)
		if i%3 > 0 { // some are read in part, some not at all
			if _, _, err := next(t, e, scan); err != nil {
				t.Fatal(err)
			}
		}
		e.ScanEnd(scan)
		if i%5 == 0 {
			e.TransactionEnd(true)
		}
	}
	for i := range 30 {
		cycle(i)
	}
	settle := func() {
		e.TransactionEnd(true)
		waitUntil(t, func() bool { return e.running.Load() == 0 && states(e)["busy"] == 0 })
	}
	settle()
	fds, maps := descriptors(), mappings()
	for i := range 300 {
		cycle(i)
	}
	settle()
	if n := descriptors(); n > fds+2 {
		t.Errorf("%d descriptors, %d before", n, fds)
	}
	if n := mappings(); n > maps+30 {
		t.Errorf("%d mappings, %d before", n, maps)
	}
	if n := len(e.Connections()); n > 2 {
		t.Errorf("connections: %v", texts(e.Connections()))
	}
}
