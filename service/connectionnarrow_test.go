package service

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/grants"
)

// narrowing makes rounds of a small instance as those of a large one are.
func (w *world) narrowing(tables int) {
	w.t.Helper()
	w.server.native.narrowFrom.Store(0)
	var b strings.Builder
	for i := range tables {
		fmt.Fprintf(&b, "CREATE TABLE sales.t%d (id int);", i)
	}
	runAt(w.t, w.pg, b.String())
	w.sync()
}

func (w *world) subscribe(table, person string, yes bool) {
	w.t.Helper()
	method, name := "DELETE", "shop.shop.sales."+table
	var body any
	if yes {
		method, body = "PUT", Subscription{DataSource: name, UserID: person}
	}
	w.must(method, "/v1/subscriptions/"+name+"/"+person, body, nil)
}

// setRole is the role that holds the individual subscriptions to a table.
func (w *world) setRole(table string) (role string) {
	w.t.Helper()
	if err := w.store.pool.QueryRow(w.t.Context(), `SELECT l.name FROM portcullis.connection_ledger l JOIN portcullis.connection_objects o
		ON l.body ->> 'for' = 'table:' || o.id || ':read' WHERE o.full_name = 'shop.shop.sales.' || $1 AND o.dropped IS NULL`, table).Scan(&role); err != nil {
		w.t.Fatal(err)
	}
	return role
}

func TestNarrowedRoundsAreFollowedByCompleteOnes(t *testing.T) {
	w := register(t, "ana", "ben")
	w.narrowing(3)
	w.subscribe("t0", "ana", true)
	w.subscribe("t1", "ana", true)
	w.soonCan("ana", "SELECT * FROM sales.t1", true)
	w.sync()
	before := w.inStep()

	// By hand: to what the next round looks at, and to something else.
	runAt(t, w.pg, fmt.Sprintf("GRANT INSERT ON sales.t0 TO %[1]s; GRANT SELECT ON sales.t2 TO %[1]s; REVOKE SELECT ON sales.t1 FROM %[2]s", w.setRole("t0"), w.setRole("t1")))
	w.subscribe("t0", "ben", true)
	w.soonCan("ben", "SELECT * FROM sales.t0", true)
	now := w.inStep()
	if now.Compared == nil || !now.Compared.Equal(*before.Compared) {
		t.Errorf("the round was not narrowed: compared %v, before %v", now.Compared, before.Compared)
	}
	if w.can("ana", "INSERT INTO sales.t0 VALUES (1)") || w.can("ana", "SELECT * FROM sales.t2") {
		t.Error("what the set that was looked at held beyond is left")
	}
	// The rest is found by the complete round that follows.
	w.soonCan("ana", "SELECT * FROM sales.t1", true)
	w.soon("compared", func() bool { return w.inStep().Compared.After(*before.Compared) })

	w.subscribe("t0", "ana", false)
	w.soonCan("ana", "SELECT * FROM sales.t0", false)
	if !w.can("ben", "SELECT * FROM sales.t0") || !w.can("ana", "SELECT * FROM sales.t1") {
		t.Error("who was not meant lost something")
	}
}

// TestTwoServicesNarrow has two services work in turns while subscriptions come and go.
func TestTwoServicesNarrow(t *testing.T) {
	w := register(t, "ana", "ben")
	w.narrowing(3)
	second := &world{fixture: startOn(t, w.dsn, w.key, nil), pg: w.pg}
	second.server.native.narrowFrom.Store(0)
	services := []*world{w, second}
	is := map[string]bool{}
	for i := range 24 {
		person, table := []string{"ana", "ben"}[rand.IntN(2)], fmt.Sprintf("t%d", rand.IntN(3))
		key := person + " " + table
		services[rand.IntN(2)].subscribe(table, person, !is[key])
		is[key] = !is[key]
		if i%6 == 5 { // the other one takes over, in the middle of it
			if _, err := w.store.pool.Exec(t.Context(), "UPDATE portcullis.connection_leases SET expires = clock_timestamp()"); err != nil {
				t.Fatal(err)
			}
		}
		if i%8 == 7 {
			if role := "portcullis_%"; rand.IntN(2) == 0 {
				runAt(t, w.pg, fmt.Sprintf(`DO $$ DECLARE r name; BEGIN FOR r IN SELECT rolname FROM pg_roles WHERE rolname LIKE '%sr\_%%' LOOP EXECUTE format('GRANT INSERT ON sales.t0 TO %%I', r); END LOOP; END $$`, role))
			}
			w.agrees(is)
		}
	}
	w.sync()
	w.agrees(is)
}

// agrees waits until people can what they are subscribed to, and nothing else.
func (w *world) agrees(is map[string]bool) {
	w.t.Helper()
	w.inStep()
	for _, person := range []string{"ana", "ben"} {
		for i := range 3 {
			table := fmt.Sprintf("t%d", i)
			if w.can(person, "SELECT * FROM sales."+table) != is[person+" "+table] {
				w.t.Fatalf("%s on %s: subscribed %t", person, table, is[person+" "+table])
			}
		}
		w.soonCan(person, "INSERT INTO sales.t0 VALUES (1)", false)
	}
}

func TestWhatNarrowedRoundsNeverDo(t *testing.T) {
	l := &connectionLoop{c: &Connections{}, memory: roundMemory{tables: &nativeTables{}}}
	d := &desired{}
	if l.difference(d, d.known()) != nil {
		t.Error("nothing is known to be in force, and the round is narrowed")
	}
	l.memory.inForce, l.memory.wantViews = grants.Know(d.want), d.known().views
	if l.difference(d, d.known()) == nil {
		t.Error("nothing stands against a narrowed round")
	}
	l.c.narrowFrom.Store(1)
	if l.difference(d, d.known()) != nil {
		t.Error("an instance without tables has narrowed rounds")
	}
	l.c.narrowFrom.Store(0)
	l.memory.row.config = "elsewhere"
	if l.difference(d, d.known()) != nil {
		t.Error("an instance that is reached otherwise has narrowed rounds")
	}
}

// TestLingeringSessionsHoldUpNoNarrowedRound: up to PostgreSQL 15 a session keeps what
// it had after a revoke; meanwhile rounds stay narrowed, and it is told until it ends.
func TestLingeringSessionsHoldUpNoNarrowedRound(t *testing.T) {
	w := register(t, "ana", "ben")
	w.narrowing(3)
	w.subscribe("t0", "ana", true)
	w.subscribe("t0", "ben", true)
	w.soonCan("ana", "SELECT * FROM sales.t0", true)
	w.sync()
	conn, err := pgx.Connect(t.Context(), w.pg.DSNAs("ana", rolePassword, "shop"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), "SET ROLE "+w.setRole("t0")); err != nil {
		t.Fatal(err)
	}
	w.subscribe("t0", "ana", false)
	var st ConnectionStatus
	status := func() ConnectionStatus {
		st = ConnectionStatus{}
		w.must("GET", "/v1/connections/shop/status", nil, &st)
		return st
	}
	w.soon("a session lingers", func() bool { return status().State == standLingering })
	// The complete round that follows narrowed ones tells it, too; none comes after that.
	compared := *st.Compared
	w.soon("compared", func() bool { return status().Compared.After(compared) })
	compared = *st.Compared
	if len(st.Lingering) != 1 || st.State != standLingering {
		t.Errorf("%+v", st)
	}
	w.soon("looked at again", func() bool { return status().LastSync.After(compared.Add(time.Second)) })
	w.subscribe("t1", "ben", true)
	w.soonCan("ben", "SELECT * FROM sales.t1", true)
	if status(); !st.Compared.Equal(compared) || len(st.Lingering) != 1 || st.State != standLingering {
		t.Errorf("compared %v, at first %v: %+v", st.Compared, compared, st)
	}
	_ = conn.Close(t.Context())
	w.inStep()
}

// TestWhatGivesWayIsKept: a complete round that gives way follows later, and what
// failed in it before is told.
func TestWhatGivesWayIsKept(t *testing.T) {
	now := time.Now()
	m := &roundMemory{took: 2 * time.Second}
	before := grants.Know(connection.Want{})
	m.gaveWay(before, []connection.Pending{{Statement: "CREATE OR REPLACE VIEW …"}}, now)
	if m.lookDue(now.Add(lookShare*m.took-1)) || !m.lookDue(now.Add(lookShare*m.took)) {
		t.Errorf("the next complete round is due at %v", m.lookAgain.Sub(now))
	}
	if m.inForce != before || len(m.status.Pending) != 1 {
		t.Errorf("%+v", m.status.Pending)
	}
}

// TestPausesEndWithSubscriptions: what is left of a round holds up no end of a subscription.
func TestPausesEndWithSubscriptions(t *testing.T) {
	now := time.Now()
	l := &connectionLoop{c: &Connections{now: func() time.Time { return now }}, notUntil: now.Add(time.Minute)}
	l.memory.expires = now.Add(time.Second)
	if l.pause() != time.Second || l.news(l.memory.row) {
		t.Errorf("a pause of %v, news %t", l.pause(), l.news(l.memory.row))
	}
	now = now.Add(time.Second)
	if l.pause() != 0 || !l.news(l.memory.row) {
		t.Errorf("a pause of %v, news %t", l.pause(), l.news(l.memory.row))
	}
}

// TestLingeringSessionsAreLookedAtSoon: also where the rounds before failed, and pauses have become long.
func TestLingeringSessionsAreLookedAtSoon(t *testing.T) {
	c := newConnections(storeOnly(t).store, nil, newConnectionMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	now := time.Now()
	c.now = func() time.Time { return now }
	l := &connectionLoop{c: c, id: uuid.NewString(), retry: lastRetry}
	l.memory.status.Lingering = []connection.LingeringSession{{}}
	for range 3 {
		if err := l.finish(t.Context(), nil); err != nil || l.pause() > lastLook {
			t.Errorf("a pause of %v, %v", l.pause(), err)
		}
	}
}
