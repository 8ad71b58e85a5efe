package grants_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/broker"
	"portcullis.dev/portcullis/connection/grants"
	"portcullis.dev/portcullis/internal/testenv"
)

// world is a cluster with a system account in one of the two modes.
type world struct {
	t      testing.TB
	pg     *testenv.Postgres
	major  int
	target connection.Target
	ledger *grants.Memory
	fence  func(context.Context) error
	dial   func(*pgx.ConnConfig)
	wait   time.Duration
	dbas   map[string]*pgx.Conn
	engine *grants.Engine
}

const account = `sys "acc'ount`

// TestGrants runs everything on each major version in both modes.
func TestGrants(t *testing.T) {
	for _, major := range testenv.Majors() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel() // each has a cluster of its own, and mostly waits
			pg := testenv.StartServer(t, testenv.ServerOptions{Major: major})
			for i, mode := range []connection.Mode{connection.ModeBroker, connection.ModeGrantor} {
				w := newWorld(t, pg, major, mode, i)
				for _, c := range []struct {
					name string
					run  func(*testing.T, *world)
				}{{"life", life}, {"narrow", narrow}, {"later", later}, {"adversity", adversity}, {"crash", crash}, {"effective", effective}} {
					t.Run(string(mode)+"/"+c.name, func(t *testing.T) { c.run(t, w.again(t)) })
				}
			}
		})
	}
}

// again is the world for another test: nothing of the one before is left.
func (w *world) again(t testing.TB) *world {
	next := *w
	next.t, next.engine, next.ledger, next.dbas = t, nil, &grants.Memory{}, map[string]*pgx.Conn{}
	t.Cleanup(next.empty)
	return &next
}

// empty takes everything back, and fails if something is left.
func (w *world) empty() {
	w.t.Helper()
	w.engine, w.dial, w.fence = nil, nil, func(context.Context) error { return nil }
	e, err := grants.New(w.options())
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := e.TakeBack(context.Background())
	if left, _ := w.ledger.Roles(context.Background()); err != nil || len(left) > 0 {
		w.t.Errorf("taking back leaves %v: %v %+v", left, err, r.Pending)
	}
}

// newWorld prepares an account of its own, with a prefix of its own: roles are
// of the whole cluster.
func newWorld(t testing.TB, pg *testenv.Postgres, major int, mode connection.Mode, n int) *world {
	w := &world{t: t, pg: pg, major: major, ledger: &grants.Memory{}, dbas: map[string]*pgx.Conn{}, target: connection.Target{
		Name: "test", Host: pg.Host, Port: pg.Port, Database: "postgres", Username: fmt.Sprintf("%s%d", account, n), Password: "pw",
		Mode: mode, Prefix: fmt.Sprintf("portcullis%d_", n), MakeRoles: true}}
	w.fence = func(context.Context) error { return nil }
	who := pgx.Identifier{w.target.Username}.Sanitize()
	w.sql("postgres", "CREATE ROLE %s LOGIN PASSWORD 'pw'", who)
	if mode == connection.ModeGrantor {
		if w.ownerRole() {
			w.sql("postgres", "CREATE ROLE %s NOLOGIN CREATEROLE; GRANT %[1]s TO %s", w.target.OwnerRole(), who)
			if major != 17 { // there the owner role makes all itself
				w.sql("postgres", "%s", broker.Makers(w.target))
			}
		} else {
			w.sql("postgres", "ALTER ROLE %s CREATEROLE", who)
		}
	} else {
		w.install("postgres")
	}
	return w
}

// ownerRole: on PostgreSQL 15 the account makes roles itself, so that this is
// tried, too.
func (w *world) ownerRole() bool { return w.major != 15 }

// install runs the broker's script in a database.
func (w *world) install(database string, schemas ...string) {
	w.t.Helper()
	script, err := broker.Script(broker.Options{Target: w.target, Roles: database == w.target.Database, Schemas: schemas})
	if err != nil {
		w.t.Fatal(err)
	}
	w.sql(database, "%s", script)
}

// manage lets the account grant on the tables of schemas.
func (w *world) manage(database string, schemas ...string) {
	w.t.Helper()
	if w.target.Mode == connection.ModeBroker {
		w.install(database, schemas...)
		w.sql(database, "GRANT CONNECT ON DATABASE %s TO %s", pgx.Identifier{database}.Sanitize(), pgx.Identifier{w.target.Username}.Sanitize())
		return
	}
	who := pgx.Identifier{w.target.Username}.Sanitize()
	if w.ownerRole() {
		who = w.target.OwnerRole()
	}
	w.sql(database, "GRANT CONNECT ON DATABASE %s TO %s WITH GRANT OPTION", pgx.Identifier{database}.Sanitize(), who)
	for _, s := range schemas {
		s = pgx.Identifier{s}.Sanitize()
		w.sql(database, `GRANT USAGE ON SCHEMA %[1]s TO %[2]s WITH GRANT OPTION;
			GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA %[1]s TO %[2]s WITH GRANT OPTION`, s, who)
	}
}

func (w *world) dba(database string) *pgx.Conn {
	w.t.Helper()
	if w.dbas[database] == nil {
		w.dbas[database] = w.login(w.pg.User, w.pg.Password, database)
	}
	return w.dbas[database]
}

func (w *world) login(user, password, database string) *pgx.Conn {
	w.t.Helper()
	conn, err := pgx.Connect(context.Background(), w.pg.DSNAs(user, password, database))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// sql runs statements as the superuser.
func (w *world) sql(database, format string, args ...any) {
	w.t.Helper()
	if err := try(w.dba(database), fmt.Sprintf(format, args...)); err != nil {
		w.t.Fatalf("%s: %v", fmt.Sprintf(format, args...), err)
	}
}

func try(conn *pgx.Conn, sql string) error {
	_, err := conn.PgConn().Exec(context.Background(), sql).ReadAll()
	return err
}

func (w *world) value(database, query string, args ...any) (out string) {
	w.t.Helper()
	if err := w.dba(database).QueryRow(context.Background(), query, args...).Scan(&out); err != nil {
		w.t.Fatalf("%s: %v", query, err)
	}
	return out
}

// ref finds a table.
func (w *world) ref(database, schema, name string) connection.ObjectRef {
	w.t.Helper()
	r := connection.ObjectRef{Database: database, Schema: schema, Name: name}
	err := w.dba(database).QueryRow(context.Background(), `SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relname = $2`, schema, name).Scan(&r.OID)
	if err != nil {
		w.t.Fatal(schema, name, err)
	}
	return r
}

func (w *world) connect(ctx context.Context, database string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(w.pg.DSNAs(w.target.Username, w.target.Password, database))
	if err != nil {
		return nil, err
	}
	if w.dial != nil {
		w.dial(config)
	}
	return pgx.ConnectConfig(ctx, config)
}

func (w *world) options() grants.Options {
	return grants.Options{Target: w.target, Connect: w.connect, Ledger: w.ledger, Fence: w.fence, LockTimeout: w.wait}
}

// round makes one, with the engine of the world.
func (w *world) round(want connection.Want) connection.Report {
	w.t.Helper()
	r, err := w.tryRound(want)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) tryRound(want connection.Want) (connection.Report, error) {
	w.t.Helper()
	if w.engine == nil {
		e, err := grants.New(w.options())
		if err != nil {
			w.t.Fatal(err)
		}
		w.engine = e
	}
	return w.engine.Round(context.Background(), want)
}

// settled makes a round after which nothing is pending, and one more that finds
// nothing to do.
func (w *world) settled(want connection.Want) connection.Report {
	w.t.Helper()
	r := w.round(want)
	for _, p := range r.Pending {
		w.t.Errorf("pending: %s: %+v", p.Statement, p.Error)
	}
	if again := w.round(want); again.Applied != 0 || again.Drift != 0 {
		w.t.Errorf("a second round applied %d statements", again.Applied)
	}
	return r
}

// can tries a statement as a person, with a password that is set for the purpose.
func (w *world) can(person, database, sql string) bool {
	w.t.Helper()
	w.sql("postgres", "ALTER ROLE %s PASSWORD 'pw'", pgx.Identifier{person}.Sanitize())
	conn, err := pgx.Connect(context.Background(), w.pg.DSNAs(person, "pw", database))
	if err != nil {
		return false
	}
	defer conn.Close(context.Background())
	return try(conn, "BEGIN; "+sql) == nil
}

func (w *world) must(person, database string, yes bool, statements ...string) {
	w.t.Helper()
	for _, s := range statements {
		if w.can(person, database, s) != yes {
			w.t.Errorf("%s: %s: wanted %v", person, s, yes)
		}
	}
}

func set(id string, access connection.Access, tables []connection.ObjectRef, members ...string) connection.AccessSet {
	return connection.AccessSet{ID: id, Access: access, Tables: tables, Members: members}
}

func people(roles ...string) (out []connection.Account) {
	for _, r := range roles {
		out = append(out, connection.Account{Person: "iam/" + r, Role: r, Make: true})
	}
	return out
}

func excessOf(r connection.Report, role string) (out []string) {
	for _, x := range r.Excess {
		if x.Role == role {
			out = append(out, fmt.Sprintf("%s %s via %s by %s: %s", x.Privilege, x.Object.Name, strings.Join(x.Via, ">"), x.Grantor, x.Statement))
		}
	}
	slices.Sort(out)
	return out
}
