package grants_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/broker"
	"portcullis.dev/portcullis/connection/grants"
)

// adversity: others who do something at the same time, or did before.
func adversity(t *testing.T, w *world) {
	mode := w.target.Prefix[10:11]
	db := "adverse_" + string(w.target.Mode)
	w.sql("postgres", "CREATE DATABASE %s", db)
	w.sql("postgres", "CREATE ROLE p%[1]s LOGIN PASSWORD 'pw'; CREATE ROLE q%[1]s LOGIN PASSWORD 'pw'; CREATE ROLE owner%[1]s", mode)
	for _, c := range []struct {
		name string
		run  func(*testing.T, *adverse)
	}{
		{"locks of plain users", plainLocks}, {"locks of DDL", ddlLocks}, {"many held", manyHeld}, {"hurried", hurried}, {"table made again", madeAgain}, {"schema renamed", schemaRenamed},
		{"lease lost", leaseLost}, {"two at once", twoAtOnce}, {"role of others", roleOfOthers}, {"not enforceable", notEnforceable},
		{"by-paths", byPaths}, {"by-paths that write", writePaths}, {"by-paths of foreign keys", keyPaths}, {"what hangs on tables", hanging}, {"memberships of others", membershipsOfOthers}, {"circles of memberships", circles}, {"passed on", passedOn}, {"options of others", optionsOfOthers}, {"applications", applications}, {"drift", drift}, {"dry run", dryRun}, {"unreachable database", unreachable}, {"session that became a set", lingering}, {"false broker", falseBroker}, {"broker that leaves code", leavingBroker}, {"publications", published}, {"limited", limited}, {"a commit that comes late", lateCommit},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &adverse{world: *w, db: db, p: "p" + mode, q: "q" + mode}
			a.t, a.engine, a.dbas, a.wait = t, nil, map[string]*pgx.Conn{}, 200*time.Millisecond
			a.sql(db, `DROP SCHEMA IF EXISTS app CASCADE; CREATE SCHEMA app; CREATE TABLE app.t (a int); CREATE TABLE app.u (a int)`)
			a.manage(db, "app")
			a.table, a.other = a.ref(db, "app", "t"), a.ref(db, "app", "u")
			c.run(t, a)
			a.empty()
		})
	}
}

type adverse struct {
	world
	db, p, q     string
	table, other connection.ObjectRef
}

// want gives p writing of the table, and q reading of both.
func (a *adverse) want() connection.Want {
	return connection.Want{Accounts: people(a.p, a.q), Managed: []connection.ObjectRef{a.table, a.other}, Sets: []connection.AccessSet{
		set("one", connection.Write, []connection.ObjectRef{a.table}, a.p),
		set("two", connection.Read, []connection.ObjectRef{a.table, a.other}, a.q)}}
}

// plainLocks: what a person with nothing but privileges of ours can hold delays
// no membership, and no grant before PostgreSQL 18.
func plainLocks(t *testing.T, a *adverse) {
	want := a.want()
	a.settled(want)
	person := a.login(a.p, "pw", a.db)
	if err := try(person, `BEGIN; LOCK TABLE app.t IN ACCESS EXCLUSIVE MODE; SELECT * FROM app.t; SELECT pg_advisory_lock(i) FROM generate_series(1, 100) i;
		SELECT count(*) FROM pg_class, pg_auth_members; LOCK TABLE pg_auth_members IN ACCESS SHARE MODE; LOCK TABLE pg_class IN ACCESS SHARE MODE`); err != nil {
		t.Fatal(err)
	}
	// The person leaves, a table leaves one set, another set comes.
	want.Sets[0].Members = nil
	want.Sets[1].Tables = []connection.ObjectRef{a.other}
	want.Sets = append(want.Sets, set("three", connection.Read, []connection.ObjectRef{a.other}, a.p))
	start := time.Now()
	r := a.round(want)
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	for _, p := range r.Pending {
		if a.major < 18 || !strings.Contains(p.Statement, `ON TABLE "app"."t"`) || !strings.Contains(p.Blocker, fmt.Sprintf("pid %d, role %s", person.PgConn().PID(), a.p)) {
			t.Errorf("pending: %+v %+v", p, p.Error)
		}
	}
	if a.major >= 18 && len(r.Pending) != 1 {
		t.Errorf("PostgreSQL 18 locks what it grants on; pending: %+v", r.Pending)
	}
	a.sql("postgres", "SELECT pg_terminate_backend(%d, 10000)", person.PgConn().PID())
	a.must(a.p, a.db, false, "SELECT * FROM app.t")
	a.must(a.p, a.db, true, "SELECT * FROM app.u")
	a.settled(want)
	a.must(a.q, a.db, false, "SELECT * FROM app.t")
}

// ddlLocks: what others change in their own transaction delays that table alone.
func ddlLocks(t *testing.T, a *adverse) {
	holder := a.login(a.pg.User, a.pg.Password, a.db)
	if err := try(holder, "SET application_name = 'migration'; BEGIN; ALTER TABLE app.t ADD COLUMN b int"); err != nil {
		t.Fatal(err)
	}
	r := a.round(a.want())
	if len(r.Pending) != 2 {
		t.Errorf("pending: %+v", r.Pending)
	}
	for _, p := range r.Pending {
		if p.Error == nil || p.Error.Code != "locked" || !strings.Contains(p.Statement, `"app"."t"`) ||
			!strings.HasPrefix(p.Blocker, fmt.Sprintf("pid %d, role postgres, application migration", holder.PgConn().PID())) {
			t.Errorf("pending: %+v %+v", p, p.Error)
		}
	}
	a.must(a.q, a.db, true, "SELECT * FROM app.u")
	since := r.Pending[0].Since
	if again := a.round(a.want()); len(again.Pending) != 2 || !again.Pending[0].Since.Equal(since) {
		t.Errorf("pending since %v, then %+v", since, again.Pending)
	}
	if err := try(holder, "COMMIT"); err != nil {
		t.Fatal(err)
	}
	a.settled(a.want())
	a.must(a.p, a.db, true, "INSERT INTO app.t VALUES (1)")
}

// between runs once, after the instance was read and before it is changed.
type between struct {
	grants.Ledger
	once sync.Once
	do   func()
}

func (b *between) Put(ctx context.Context, roles ...grants.MadeRole) error {
	b.once.Do(b.do)
	return b.Ledger.Put(ctx, roles...)
}

// interrupted makes a round in the midst of which something happens.
func (a *adverse) interrupted(want connection.Want, do func()) connection.Report {
	a.t.Helper()
	o := a.options()
	o.Ledger = &between{Ledger: a.ledger, do: do}
	e, err := grants.New(o)
	if err != nil {
		a.t.Fatal(err)
	}
	r, err := e.Round(context.Background(), want)
	if err != nil {
		a.t.Fatal(err)
	}
	return r
}

// grantees are roles of ours on whatever has a name now.
func (a *adverse) grantees(table string) string {
	return a.value(a.db, `SELECT coalesce(string_agg(g.rolname, ' '), '') FROM pg_class c, aclexplode(c.relacl) a JOIN pg_roles g ON g.oid = a.grantee
		WHERE c.oid = $1::regclass AND starts_with(g.rolname, $2) AND g.rolname <> $2 || 'owner'`, table, a.target.Prefix)
}

// madeAgain: a table of the same name is not what was decided on.
func madeAgain(t *testing.T, a *adverse) {
	r := a.interrupted(a.want(), func() {
		a.sql(a.db, "DROP TABLE app.t; CREATE TABLE app.t (secret int)")
		a.manage(a.db, "app")
	})
	if got := a.grantees("app.t"); got != "" {
		t.Errorf("the new table was granted to %s", got)
	}
	if len(r.Lacking) != 1 || !strings.Contains(r.Lacking[0], "dropped") {
		t.Errorf("lacking: %v, pending: %+v", r.Lacking, r.Pending)
	}
	a.must(a.q, a.db, true, "SELECT * FROM app.u")
	a.must(a.q, a.db, false, "SELECT * FROM app.t")
}

// schemaRenamed: the name of the schema now leads to other tables.
func schemaRenamed(t *testing.T, a *adverse) {
	a.interrupted(a.want(), func() {
		a.sql(a.db, "ALTER SCHEMA app RENAME TO was; CREATE SCHEMA app; CREATE TABLE app.t (secret int); CREATE TABLE app.u (secret int)")
		a.manage(a.db, "app")
	})
	if got := a.grantees("app.t") + a.grantees("app.u"); got != "" {
		t.Errorf("other tables were granted to %s", got)
	}
	a.must(a.q, a.db, false, "SELECT * FROM app.t", "SELECT * FROM was.u")
	a.sql(a.db, "DROP SCHEMA was CASCADE")
}

// leaseLost: who lost the lease commits nothing any more, and does not stand in
// the way of who has it.
func leaseLost(t *testing.T, a *adverse) {
	a.settled(a.want())
	stale := a.want()
	stale.Sets[1].Members = []string{a.p, a.q}
	fresh := a.want()
	fresh.Sets[1].Members = nil
	lost := errors.New("somebody else has it")
	done := make(chan connection.Report, 1)
	a.engine = nil
	first := true
	a.fence = func(ctx context.Context) error {
		if first { // before the ledger hears of it
			first = false
			return nil
		}
		other := a.world
		other.engine, other.fence = nil, func(context.Context) error { return nil }
		go func() {
			r, err := other.tryRound(fresh)
			if err != nil {
				t.Error(err)
			}
			done <- r
		}()
		a.fence = func(context.Context) error { return lost }
		return lost
	}
	if _, err := a.tryRound(stale); !errors.Is(err, lost) {
		t.Errorf("a round without lease: %v", err)
	}
	if r := <-done; len(r.Pending) > 0 || r.Lacks+r.Exceeds > 0 {
		t.Errorf("the other: %+v", r)
	}
	a.must(a.p, a.db, false, "SELECT * FROM app.u")
	a.must(a.q, a.db, false, "SELECT * FROM app.u")
}

// twoAtOnce: even with both in good faith nothing breaks, and the next round arrives.
func twoAtOnce(t *testing.T, a *adverse) {
	var wg sync.WaitGroup
	for range 2 {
		other := a.world
		other.engine = nil
		wg.Go(func() { _, _ = other.tryRound(a.want()) })
	}
	wg.Wait()
	a.settled(a.want())
	a.must(a.p, a.db, true, "INSERT INTO app.t VALUES (1)")
}

// roleOfOthers: a role of the name that we would make is somebody else's.
func roleOfOthers(t *testing.T, a *adverse) {
	a.settled(a.want())
	made, _ := a.ledger.Roles(context.Background())
	var name string
	for _, m := range made {
		if m.For == "one" {
			name = m.Name
		}
	}
	// DROP OWNED leaves what others than the owner granted.
	a.asGrantor("REVOKE ALL ON app.t FROM " + name)
	a.sql(a.db, "DROP OWNED BY %s; DROP ROLE %[1]s; CREATE ROLE %[1]s; GRANT SELECT ON app.u TO %[1]s", name)
	r := a.round(a.want())
	if len(r.Pending) != 1 || r.Pending[0].Error.Code != "role_not_ours" || r.Lacks != 1 {
		t.Errorf("%+v", r)
	}
	a.must(a.p, a.db, false, "SELECT * FROM app.t", "SELECT * FROM app.u")
	a.sql(a.db, "DROP OWNED BY %s; DROP ROLE %[1]s", name)
	if r := a.settled(a.want()); r.Drift == 0 {
		t.Error("what was dropped by hand is no drift")
	}
	a.sql(a.db, "ALTER ROLE %s RENAME TO renamed", name)
	fewer := a.want()
	fewer.Sets[0].Members = []string{a.q}
	if r := a.round(fewer); len(r.Pending) != 1 || r.Pending[0].Error.Code != "role_renamed" || r.Exceeds != 0 {
		t.Errorf("%+v", r)
	}
	a.must(a.p, a.db, false, "SELECT * FROM app.t") // the renamed role lost its way there
	a.sql(a.db, "ALTER ROLE renamed RENAME TO %s", name)
	a.settled(fewer)
	a.must(a.p, a.db, false, "SELECT * FROM app.t")
}

// asGrantor acts as who granted, where that is not the owner.
func (a *adverse) asGrantor(sql string) {
	a.t.Helper()
	if a.target.Mode == connection.ModeBroker {
		return
	}
	conn := a.login(a.target.Username, "pw", a.db)
	if a.ownerRole() {
		sql = "SET ROLE " + a.target.OwnerRole() + "; " + sql
	}
	if err := try(conn, sql); err != nil {
		a.t.Fatal(err)
	}
}

func notEnforceable(t *testing.T, a *adverse) {
	a.sql(a.db, "CREATE SCHEMA IF NOT EXISTS closed; DROP TABLE IF EXISTS closed.t; CREATE TABLE closed.t (a int)")
	want := a.want()
	closed := a.ref(a.db, "closed", "t")
	want.Managed = append(want.Managed, closed)
	want.Sets[0].Tables = append(want.Sets[0].Tables, closed)
	r := a.round(want)
	if len(r.Pending) > 0 || r.Lacks != 1 || !strings.Contains(strings.Join(r.Lacking, "\n"), a.db+`."closed"."t": `) {
		t.Errorf("%+v", r)
	}
	a.must(a.p, a.db, true, "INSERT INTO app.t VALUES (1)")
	a.sql(a.db, "DROP SCHEMA closed CASCADE")
}

// byPaths: what reads a table without a privilege on it is told.
func byPaths(t *testing.T, a *adverse) {
	a.sql(a.db, `CREATE VIEW app.v AS SELECT * FROM app.t; GRANT SELECT ON app.v TO %[1]s;
		CREATE FUNCTION app.f() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM app.T'; REVOKE ALL ON FUNCTION app.f() FROM PUBLIC;
		GRANT EXECUTE ON FUNCTION app.f() TO %[1]s; CREATE TABLE app.parent (a int) PARTITION BY LIST (a); CREATE TABLE app.part PARTITION OF app.parent DEFAULT;
		GRANT SELECT ON app.parent TO PUBLIC`, a.q)
	want := a.want()
	want.Sets[1].Tables = []connection.ObjectRef{a.other}
	want.Managed = append(want.Managed, a.ref(a.db, "app", "part"))
	a.manage(a.db, "app")
	r := a.settled(want)
	told := strings.Join(excessOf(r, a.q), "\n") + strings.Join(excessOf(r, a.p), "\n")
	for _, s := range []string{`REVOKE SELECT ON TABLE "app"."v" FROM "` + a.q, "REVOKE EXECUTE ON FUNCTION app.f() FROM \"" + a.q, `REVOKE SELECT ON TABLE "app"."parent" FROM PUBLIC`} {
		if !strings.Contains(told, s) {
			t.Errorf("nobody says %s:\n%s", s, told)
		}
	}
	if r.Exceeds != 3 { // q by view and function, both by the parent
		t.Errorf("%d exceed:\n%s", r.Exceeds, told)
	}
	// A view that the policies give is no way around them.
	want.Managed = append(want.Managed, a.ref(a.db, "app", "v"))
	want.Sets[1].Tables = append(want.Sets[1].Tables, a.ref(a.db, "app", "v"))
	a.sql(a.db, "DROP FUNCTION app.f(); DROP TABLE app.parent")
	want.Managed = append(want.Managed[:2:2], want.Managed[3])
	if r := a.settled(want); r.Exceeds != 0 {
		t.Errorf("%+v", r)
	}
}

// drift: what was changed by hand is mended, and counted.
func drift(t *testing.T, a *adverse) {
	a.settled(a.want())
	made, _ := a.ledger.Roles(context.Background())
	for _, m := range made {
		switch m.For {
		case "one":
			a.sql(a.db, "REVOKE INSERT ON app.t FROM %s; ALTER ROLE %[1]s LOGIN", m.Name)
			a.asGrantor("REVOKE INSERT ON app.t FROM " + m.Name)
		case "two":
			a.sql(a.db, "GRANT %s TO %s; CREATE TABLE app.beside (a int, b int); GRANT SELECT (b) ON app.beside TO %[1]s", m.Name, a.p)
		}
	}
	a.must(a.p, a.db, false, "INSERT INTO app.t VALUES (1)")
	r := a.round(a.want())
	if len(r.Pending) > 0 || r.Drift < 2 {
		t.Errorf("%+v", r)
	}
	a.must(a.p, a.db, true, "INSERT INTO app.t VALUES (1)")
	a.must(a.q, a.db, a.target.Mode == connection.ModeGrantor, "SELECT b FROM app.beside") // of no policy; there not ours to revoke
	a.sql(a.db, "DROP TABLE app.beside")
	if a.major < 16 {
		a.must(a.p, a.db, false, "SELECT * FROM app.u")
	} else if told := strings.Join(excessOf(r, a.p), "\n"); !strings.Contains(told, "GRANTED BY \"postgres\"") {
		t.Errorf("nobody tells how to end the superuser's grant:\n%s", told)
	}
	for _, m := range made {
		if m.For == "two" {
			a.sql(a.db, "REVOKE %s FROM %s", m.Name, a.p)
		}
	}
}

func dryRun(t *testing.T, a *adverse) {
	e, err := grants.New(a.options())
	if err != nil {
		t.Fatal(err)
	}
	script, err := e.DryRun(context.Background(), a.want())
	if err != nil {
		t.Fatal(err)
	}
	expected := []string{"\\connect \"" + a.db + "\"", "COMMIT;", "SELECT portcullis_broker.tables("}
	if a.target.Mode == connection.ModeGrantor {
		expected[2] = `GRANT SELECT ON TABLE "app"."u" TO "` + a.target.Prefix + "r_"
	}
	for _, s := range expected {
		if !strings.Contains(script, s) {
			t.Errorf("the script lacks %s:\n%s", s, script)
		}
	}
	for _, never := range []string{"CASCADE", "REASSIGN", "DROP"} {
		if strings.Contains(script, never) {
			t.Errorf("the script holds %s", never)
		}
	}
	if n := a.value("postgres", `SELECT count(*)::text FROM pg_roles WHERE starts_with(rolname, $1) AND NOT starts_with(rolname, $1 || 'owner')`, a.target.Prefix); n != "0" {
		t.Errorf("a dry run made %s roles", n)
	}
}

// unreachable: a database that takes no connections holds up no other, and loses
// nobody what they have there.
func unreachable(t *testing.T, a *adverse) {
	a.settled(a.want())
	away := a.db + "_away"
	a.sql("postgres", "CREATE DATABASE %s", away)
	a.sql(away, "CREATE TABLE far (a int)")
	a.manage(away, "public")
	want := a.want()
	far := a.ref(away, "public", "far")
	want.Managed = append(want.Managed, far)
	want.Sets = append(want.Sets, set("far", connection.Read, []connection.ObjectRef{far}, a.p))
	a.settled(want)
	a.sql("postgres", "ALTER DATABASE %s ALLOW_CONNECTIONS false", away)
	want.Sets[0].Members = []string{a.q}
	if a.major < 16 { // else it is not ours to revoke
		a.sql("postgres", "GRANT %s TO %s", a.roleFor("two"), a.roleFor("far"))
		a.must(a.p, a.db, true, "SELECT * FROM app.u")
	}
	r := a.round(want)
	a.must(a.p, a.db, false, "SELECT * FROM app.u")
	if len(r.Pending) != 1 || r.Pending[0].Error.Code != "unknown_database" {
		t.Errorf("%+v", r)
	}
	a.must(a.q, a.db, true, "INSERT INTO app.t VALUES (1)")
	a.sql("postgres", "ALTER DATABASE %s ALLOW_CONNECTIONS true", away)
	a.must(a.p, away, true, "SELECT * FROM far")
	a.settled(want)
}

// lingering: a session that did SET ROLE keeps what it had, where that cannot be
// forbidden; then the report says which.
func lingering(t *testing.T, a *adverse) {
	want := a.want()
	a.settled(want)
	made, _ := a.ledger.Roles(context.Background())
	var name string
	for _, m := range made {
		if m.For == "two" {
			name = m.Name
		}
	}
	person := a.login(a.q, "pw", a.db)
	became := try(person, "SET ROLE "+name) == nil
	if became != (a.major < 16) {
		t.Fatalf("SET ROLE: %v", became)
	}
	want.Sets[1].Members = nil
	r := a.round(want)
	if !became {
		if len(r.Pending)+len(r.Lingering) != 0 {
			t.Errorf("%+v", r)
		}
		return
	}
	if err := try(person, "SELECT * FROM app.u"); err != nil {
		t.Errorf("the session lost what this is about: %v", err)
	}
	for range 2 {
		if len(r.Pending) != 0 || len(r.Lingering) != 1 {
			t.Fatalf("%+v", r)
		}
		l := r.Lingering[0]
		if l.PID != int32(person.PgConn().PID()) || l.Role != a.q || !slices.Equal(l.Roles, []string{name}) || l.Since.IsZero() {
			t.Errorf("%+v", l)
		}
		r = a.round(want)
	}
	a.sql("postgres", "%s", r.Lingering[0].Statement)
	a.sql("postgres", "SELECT pg_terminate_backend(%d, 10000)", person.PgConn().PID()) // waits until it has ended
	if r := a.round(want); len(r.Lingering) != 0 {
		t.Errorf("%+v", r.Lingering)
	}
	// A member again has what the session has; what a dropped role held is gone.
	want.Sets[1].Members = []string{a.q}
	a.settled(want)
	person = a.login(a.q, "pw", a.db)
	if err := try(person, "SET ROLE "+name); err != nil {
		t.Fatal(err)
	}
	want.Sets[1].Members = nil
	if r := a.round(want); len(r.Lingering) != 1 {
		t.Errorf("%+v", r)
	}
	want.Sets[1].Members = []string{a.q}
	a.settled(want)
	want.Sets = want.Sets[:1]
	if r := a.round(want); len(r.Pending)+len(r.Lingering) != 0 {
		t.Errorf("%+v", r)
	}
	if err := try(person, "SELECT * FROM app.u"); err == nil {
		t.Error("a session kept what a dropped role held")
	}
}

// falseBroker: functions in the broker's place would run as the account.
func falseBroker(t *testing.T, a *adverse) {
	if a.target.Mode != connection.ModeBroker {
		return
	}
	away := a.db + "_false"
	a.sql("postgres", "CREATE DATABASE %s", away)
	a.sql("postgres", "GRANT CONNECT ON DATABASE %s TO %s", away, ident(a.target.Username))
	a.sql(away, `CREATE TABLE far (a int); CREATE TABLE trap (who name); GRANT INSERT ON trap TO PUBLIC; CREATE SCHEMA portcullis_broker; GRANT USAGE ON SCHEMA portcullis_broker TO PUBLIC;
		CREATE FUNCTION portcullis_broker.about() RETURNS jsonb LANGUAGE sql AS $$ INSERT INTO trap VALUES (current_user); SELECT '{"version": %d, "prefix": "%s"}'::jsonb $$;
		CREATE FUNCTION portcullis_broker.tables(changes jsonb) RETURNS int LANGUAGE sql AS $$ INSERT INTO trap VALUES (current_user); SELECT 1 $$;
		CREATE TABLE portcullis_broker.listed (schema_oid oid, schema_name text, relation_oid oid, relation_name text); GRANT SELECT ON portcullis_broker.listed TO PUBLIC;
		INSERT INTO portcullis_broker.listed SELECT oid, 'public', 0, '' FROM pg_namespace WHERE nspname = 'public'`, broker.Version, a.target.Prefix)
	want := a.want()
	far := a.ref(away, "public", "far")
	want.Managed = append(want.Managed, far)
	want.Sets = append(want.Sets, set("far", connection.Read, []connection.ObjectRef{far}, a.p))
	r := a.round(want)
	if len(r.Pending) != 0 || !strings.Contains(strings.Join(r.Lacking, " "), "the broker is not installed in "+away) {
		t.Errorf("%+v", r)
	}
	if n := a.value(away, "SELECT count(*)::text FROM trap"); n != "0" {
		t.Errorf("the account ran what others wrote, %s times", n)
	}
}
