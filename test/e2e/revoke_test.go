package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/policy"
	"portcullis.dev/portcullis/service"
	"portcullis.dev/portcullis/test/world"
)

// promised is how soon a revoke holds in every session of a connected node.
const promised = time.Second

// refusedInTime repeats a step, which may take as long as a statement does,
// until it is refused with 42501: within what is promised since the answer of
// the service's API.
func refusedInTime(t *testing.T, since time.Time, step func() error) {
	t.Helper()
	var err error
	for err == nil && time.Since(since) < 10*time.Second {
		err = step()
	}
	took := time.Since(since)
	if world.Code(err) != "42501" {
		t.Fatalf("after %v: %v", took, err)
	}
	if took > promised {
		t.Errorf("refused after %v", took)
	}
}

// session is one of Hera's, whose subscription is going to be taken.
type session struct {
	*testing.T
	w     *world.World
	conn  *pgx.Conn
	admin *pgx.Conn
	table string
}

// places are where a revoke finds a session. Each goes there and returns the
// step to repeat, which may be one statement that goes on.
var places = []struct {
	name string
	open func(s *session) func() error
}{
	{"new statement", func(s *session) func() error { return s.again("SELECT count(*) FROM " + s.table) }},
	{"prepared statement", func(s *session) func() error {
		s.must("PREPARE p(int) AS SELECT count(*) FROM " + s.table + " WHERE id > $1")
		return s.again("EXECUTE p(0)")
	}},
	{"generic plan", func(s *session) func() error {
		s.must("SET plan_cache_mode = force_generic_plan; PREPARE p(int) AS SELECT count(*) FROM " + s.table + " WHERE id > $1")
		return s.again("EXECUTE p(0)")
	}},
	{"protocol-level prepared statement", func(s *session) func() error {
		ask := func() (n int, err error) {
			return n, s.conn.QueryRow(s.Context(), "SELECT count(*) FROM "+s.table+" WHERE id > $1", 0).Scan(&n)
		}
		if n, err := ask(); err != nil || n < manyRows {
			s.Fatal(n, err)
		}
		return func() error { _, err := ask(); return err }
	}},
	{"function", func(s *session) func() error {
		s.must("CREATE FUNCTION pg_temp.f() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) FROM " + s.table + "); END $$")
		return s.again("SELECT pg_temp.f()")
	}},
	{"temporary view", func(s *session) func() error {
		s.must("CREATE TEMP VIEW v AS SELECT count(*) FROM " + s.table)
		return s.again("SELECT * FROM v")
	}},
	// No message of an invalidation is seen inside, the locks are held.
	{"open transaction", func(s *session) func() error {
		s.must("BEGIN; PREPARE p AS SELECT count(*) FROM " + s.table + "; EXECUTE p; SAVEPOINT a")
		return s.again("EXECUTE p")
	}},
	{"repeatable read transaction", func(s *session) func() error {
		s.must("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
		return s.again("SELECT count(*) FROM " + s.table)
	}},
	{"cursor", func(s *session) func() error {
		s.must("BEGIN; DECLARE c CURSOR FOR SELECT * FROM " + s.table)
		return s.again("FETCH 10 FROM c")
	}},
	{"cursor WITH HOLD in its transaction", func(s *session) func() error {
		s.must("BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT * FROM " + s.table)
		return s.again("FETCH 10 FROM c")
	}},
	{"cursor of a function", func(s *session) func() error {
		s.must(`BEGIN; CREATE FUNCTION pg_temp.open() RETURNS refcursor LANGUAGE plpgsql AS $$ DECLARE c refcursor := 'rc'; BEGIN OPEN c FOR SELECT * FROM ` + s.table + `; RETURN c; END $$; SELECT pg_temp.open()`)
		return s.again("FETCH 10 FROM rc")
	}},
	{"PL/pgSQL loop", func(s *session) func() error {
		return s.running("DO $$ BEGIN LOOP PERFORM count(*) FROM "+s.table+" WHERE id < 5; PERFORM pg_sleep(0.001); END LOOP; END $$", "PgSleep")
	}},
	{"PL/pgSQL loop over rows", func(s *session) func() error {
		return s.running("DO $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM "+s.table+" LOOP PERFORM pg_sleep(0.001); END LOOP; END $$", "PgSleep")
	}},
	// At a row for each millisecond no block ends within the promise.
	{"running statement", func(s *session) func() error {
		return s.running("SELECT count(*) FROM "+s.table+" WHERE length(note) > 0 AND pg_sleep(0.001) IS NOT NULL", "PgSleep")
	}},
}

func (s *session) must(sql string) {
	s.Helper()
	if _, err := texts(s.Context(), s.conn, sql); err != nil {
		s.Fatalf("%s: %v", sql, err)
	}
}

// again is a statement that works now, to be repeated.
func (s *session) again(sql string) func() error {
	s.Helper()
	s.must(sql)
	return func() error { _, err := texts(s.Context(), s.conn, sql); return err }
}

// running starts a statement that does not end by itself and returns when it
// waits where it is meant to.
func (s *session) running(sql, event string) func() error {
	s.Helper()
	ended := make(chan error, 1)
	go func() { _, err := texts(s.Context(), s.conn, sql); ended <- err }()
	s.waits(event)
	return func() error { return <-ended }
}

// waits returns when the session is seen waiting for an event inside a statement.
func (s *session) waits(event string) {
	s.Helper()
	pid := int32(s.conn.PgConn().PID())
	err := world.Until(s.Context(), 10*time.Second, func() (bool, error) {
		var state, waits string
		err := s.admin.QueryRow(s.Context(), "SELECT state, coalesce(wait_event, '') FROM pg_stat_activity WHERE pid = $1", pid).Scan(&state, &waits)
		return state == "active" && waits == event, fmt.Errorf("it is %s and waits for %q, %w", state, waits, err)
	})
	if err != nil {
		s.Fatal(err)
	}
}

func TestRevoke(t *testing.T) {
	w := world.Start(t, world.Options{})
	fill(t, w)
	admin := w.Login(t, w.User)
	if _, err := admin.Exec(t.Context(), "CREATE SEQUENCE public.sent; GRANT USAGE ON SEQUENCE public.sent TO PUBLIC"); err != nil {
		t.Fatal(err)
	}
	hera := person(t, w, world.Hera)
	revoked := hera
	revoked.Groups = nil // subscribed no more
	for _, source := range w.Sources {
		grow(t, w, source)
		at := func(name string, reach func(s *session)) {
			t.Run(name+" "+source.Kind, func(t *testing.T) {
				defer put(t, w, hera)
				s := &session{T: t, w: w, conn: w.Login(t, world.Hera), admin: admin, table: source.Local()}
				allowed(t, s.conn, "SELECT count(*) FROM "+s.table)
				reach(s)
			})
		}
		for _, p := range places {
			at(p.name, func(s *session) {
				step := p.open(s)
				refusedInTime(s.T, put(s.T, w, revoked), step)
			})
		}
		at("client that does not read on", func(s *session) { standsStill(s, revoked) })
		t.Run("changed filter "+source.Kind, func(t *testing.T) { changedFilter(t, w, source) })
		t.Run("changed mask "+source.Kind, func(t *testing.T) { changedMask(t, w, source) })
		t.Run("impersonation "+source.Kind, func(t *testing.T) { impersonation(t, w, source) })
	}
}

// allowed waits until what was revoked before is given again.
func allowed(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if err := world.Until(t.Context(), 5*time.Second, func() (bool, error) { _, err := texts(t.Context(), conn, sql); return err == nil, err }); err != nil {
		t.Fatal(err)
	}
}

// manyRows of grow are more than all blocks of a scan hold.
const manyRows = 20000

// grow gives Hera's view of a source many wide rows.
func grow(t *testing.T, w *world.World, s *world.Source) {
	t.Helper()
	series := map[string]string{
		"pg":   fmt.Sprintf("SELECT i, 'big' FROM generate_series(10, %d) i", manyRows+10),
		"my":   fmt.Sprintf("SELECT seq, 'big' FROM seq_10_to_%d", manyRows+10),
		"lite": fmt.Sprintf("WITH RECURSIVE s(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM s WHERE i < %d) SELECT i, 'big' FROM s", manyRows+10),
	}[s.Kind]
	wide := "'" + strings.Repeat("x", 180) + "'"
	err := s.Exec(t.Context(), fmt.Sprintf("INSERT INTO %s (id, dept) %s; UPDATE %[1]s SET note = %[3]s, ssn = %[3]s, phone = %[3]s WHERE id >= 10", s.Table, series, wide))
	if err != nil {
		t.Fatal(err)
	}
}

// standsStill: a statement that waits for its client when the revoke comes
// ends before its next row, whenever the client reads on.
func standsStill(s *session, revoked service.Person) {
	if _, err := s.admin.Exec(s.Context(), "ALTER SEQUENCE public.sent RESTART"); err != nil {
		s.Fatal(err)
	}
	rows, err := s.conn.Query(s.Context(), "SELECT nextval('public.sent'), repeat(note, 10) FROM "+s.table)
	if err != nil {
		s.Fatal(err)
	}
	defer rows.Close()
	got := 0
	for ; got < 10; got++ {
		if !rows.Next() {
			s.Fatal(rows.Err())
		}
	}
	s.waits("ClientWrite")
	var sent int
	if err := s.admin.QueryRow(s.Context(), "SELECT last_value FROM public.sent").Scan(&sent); err != nil {
		s.Fatal(err)
	}
	other := s.w.Login(s.T, world.Hera)
	since := put(s.T, s.w, revoked)
	refusedInTime(s.T, since, func() error { _, err := texts(s.Context(), other, "SELECT 1 FROM "+s.table+" LIMIT 1"); return err })
	for rows.Next() {
		got++
	}
	if world.Code(rows.Err()) != "42501" || got > sent || sent >= manyRows {
		s.Errorf("%d rows, of which %d were sent before the revoke, then %v", got, sent, rows.Err())
	}
}

// waitFor repeats a query until its answer is what is wanted, in the time promised.
func waitFor(t *testing.T, since time.Time, want string, ask func() (string, error)) {
	t.Helper()
	err := world.Until(t.Context(), 10*time.Second, func() (bool, error) {
		got, err := ask()
		return err == nil && got == want, fmt.Errorf("the answer is %q, %v", got, err)
	})
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(since); took > promised {
		t.Errorf("in force after %v", took)
	}
}

func changedFilter(t *testing.T, w *world.World, s *world.Source) {
	conn := w.Login(t, world.Eve)
	eve := person(t, w, world.Eve)
	if _, err := texts(t.Context(), conn, "PREPARE p AS SELECT string_agg(id::text, ',' ORDER BY id) FROM "+s.Local()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, time.Now(), "1,2,3", func() (string, error) { return texts(t.Context(), conn, "EXECUTE p") })
	moved := eve
	moved.Attributes = map[string][]string{"dept": {"hr"}}
	since := put(t, w, moved)
	defer put(t, w, eve)
	waitFor(t, since, "4", func() (string, error) { return texts(t.Context(), conn, "EXECUTE p") })
}

func changedMask(t *testing.T, w *world.World, s *world.Source) {
	masked := "SELECT max(salary) FROM " + s.Local()
	conn := w.Login(t, world.Max)
	waitFor(t, time.Now(), "9900", func() (string, error) { return texts(t.Context(), conn, masked) })
	var p service.Policy
	if err := w.Call(t.Context(), http.MethodGet, "/v1/policies/salary%20is%20masked", nil, &p); err != nil {
		t.Fatal(err)
	}
	put := func(p service.Policy) {
		if err := w.Call(t.Context(), http.MethodPut, "/v1/policies/salary%20is%20masked", p, nil); err != nil {
			t.Fatal(err)
		}
	}
	stricter := p
	stricter.Except = &policy.Who{Group: "everything"}
	put(stricter)
	defer put(p)
	waitFor(t, time.Now(), "100", func() (string, error) { return texts(t.Context(), conn, masked) })
}

// impersonation: what a session may as another ends with the permission, and
// with what the other may.
func impersonation(t *testing.T, w *world.World, s *world.Source) {
	hera, eve := person(t, w, world.Hera), person(t, w, world.Eve)
	may := hera
	may.Permissions = []policy.Permission{policy.PermissionImpersonate}
	granted := put(t, w, may)
	defer put(t, w, hera)
	defer put(t, w, eve)
	conn, second := w.Login(t, world.Hera), w.Login(t, world.Hera)
	as := func(conn *pgx.Conn, user string) {
		t.Helper()
		if _, err := texts(t.Context(), conn, "BEGIN; SET immuta.impersonation_iamid = 'local'; SET immuta.impersonation_userid = '"+user+"'; COMMIT"); err != nil {
			t.Fatal(err)
		}
	}
	count := func(conn *pgx.Conn) func() (string, error) {
		return func() (string, error) {
			return texts(t.Context(), conn, "SELECT count(*), max(salary) FROM "+s.Local())
		}
	}
	as(conn, world.Eve)
	waitFor(t, granted, "3|100", count(conn))
	as(conn, world.Max)
	waitFor(t, time.Now(), "2|9900", count(conn))
	if _, err := texts(t.Context(), conn, "PREPARE p AS SELECT count(*) FROM "+s.Local()+"; EXECUTE p"); err != nil {
		t.Fatal(err)
	}
	// The other one's subscription is taken.
	as(second, world.Eve)
	waitFor(t, time.Now(), "3|100", count(second))
	revoked := eve
	revoked.Groups = nil
	refusedInTime(t, put(t, w, revoked), func() error { _, err := count(second)(); return err })
	// The permission is taken.
	running := make(chan error, 1)
	as(second, world.Max)
	waitFor(t, time.Now(), "2|9900", count(second))
	at := &session{T: t, w: w, conn: second, admin: w.Login(t, w.User), table: s.Local()}
	step := at.running("DO $$ BEGIN LOOP PERFORM count(*) FROM "+s.Local()+"; PERFORM pg_sleep(0.001); END LOOP; END $$", "PgSleep")
	since := put(t, w, hera)
	go func() { running <- step() }()
	refusedInTime(t, since, func() error { _, err := count(conn)(); return err })
	refusedInTime(t, since, func() error { _, err := texts(t.Context(), conn, "EXECUTE p"); return err })
	refusedInTime(t, since, func() error { return <-running })
}
