package rows

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/broker"
	"portcullis.dev/portcullis/connection/filter/filtertest"
	"portcullis.dev/portcullis/connection/parts"
	"portcullis.dev/portcullis/internal/sqltext"
	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/policy"
)

// bench is an instance with a table, whose owner installed the broker, some
// people, and an application that is nobody.
type bench struct {
	pg     *testenv.Postgres
	root   *pgx.Conn
	owner  *pgx.Conn
	target connection.Target
	table  Table
}

const data = `
CREATE ROLE keeper LOGIN PASSWORD 'secret';
CREATE ROLE "acc'ount" LOGIN PASSWORD 'secret';
CREATE ROLE etl LOGIN PASSWORD 'secret';
CREATE ROLE portcullis_views NOLOGIN;
GRANT CREATE ON DATABASE postgres TO keeper;
`

// orders are of keeper.
const orders = `
CREATE SCHEMA "Sales ""x""" AUTHORIZATION keeper;
SET ROLE keeper;
CREATE TABLE "Sales ""x""".orders (id integer PRIMARY KEY, region text, amount numeric(10,2), "sold at" timestamptz, kind character(6));
INSERT INTO "Sales ""x""".orders SELECT i, (ARRAY['east', 'west', NULL])[i % 3 + 1], i, '2024-01-01 00:00+00'::timestamptz + i * interval '1 hour', 'k' || i % 5 FROM generate_series(1, 3000) i;
CREATE INDEX ON "Sales ""x""".orders ("sold at");
GRANT USAGE ON SCHEMA "Sales ""x""" TO etl;
GRANT SELECT, INSERT, UPDATE, DELETE ON "Sales ""x""".orders TO etl;
RESET ROLE;
`

const ordersName = filtertest.Name

func newBench(tb testing.TB, major int, people ...string) *bench {
	tb.Helper()
	return newBenchOf(tb, major, orders, people...)
}

func newBenchOf(tb testing.TB, major int, tables string, people ...string) *bench {
	tb.Helper()
	b := &bench{pg: testenv.StartServer(tb, testenv.ServerOptions{Major: major})}
	b.target = connection.Target{Username: "acc'ount", Prefix: "portcullis_", Database: "postgres", Mode: connection.ModeBroker}
	b.root = b.connect(tb, b.pg.User)
	b.exec(tb, data, tables)
	for _, p := range people {
		b.exec(tb, "CREATE ROLE "+sqltext.Identifier(p)+" LOGIN PASSWORD 'secret'")
	}
	b.owner = b.connect(tb, "keeper")
	b.install(tb)
	b.table.Ref, b.table.Columns = filtertest.Table(tb, b.root)
	return b
}

// install runs the scripts of the broker and of row-level security as the owner of the tables.
func (b *bench) install(tb testing.TB) {
	tb.Helper()
	script, err := broker.Script(broker.Options{Target: b.target, Schemas: []string{`Sales "x"`}})
	if err != nil {
		tb.Fatal(err)
	}
	for _, sql := range []string{script, Script(b.target)} {
		if _, err := b.owner.PgConn().Exec(tb.Context(), sql).ReadAll(); err != nil {
			tb.Fatalf("%s: %v", firstLine(sql), err)
		}
	}
}

func firstLine(s string) string { line, _, _ := strings.Cut(s, "\n"); return line }

func (b *bench) open(ctx context.Context, user string) (*pgx.Conn, error) {
	password := "secret"
	if user == b.pg.User {
		password = b.pg.Password
	}
	return pgx.Connect(ctx, b.pg.DSNAs(user, password, "postgres"))
}

func (b *bench) connect(tb testing.TB, user string) *pgx.Conn {
	tb.Helper()
	conn, err := b.open(tb.Context(), user)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (b *bench) exec(tb testing.TB, statements ...string) {
	tb.Helper()
	for _, sql := range statements {
		if _, err := b.root.Exec(tb.Context(), sql); err != nil {
			tb.Fatalf("%s: %v", sql, err)
		}
	}
}

func (b *bench) options() Options {
	return Options{Options: parts.Options{Target: b.target, Fence: func(context.Context) error { return nil }, Limit: time.Minute},
		Open: func(ctx context.Context) (*pgx.Conn, error) { return b.open(ctx, b.target.Username) }}
}

// apply makes the policies and then the grants, as the grants engine does.
func (b *bench) apply(tb testing.TB, people ...Person) Outcome {
	tb.Helper()
	t := b.table
	t.People = people
	var tables []Table
	if len(people) > 0 {
		tables = []Table{t}
	}
	out, err := Apply(tb.Context(), b.options(), "postgres", tables)
	if err != nil {
		tb.Fatal(err)
	}
	b.grant(tb, out)
	return out
}

func (b *bench) grant(tb testing.TB, out Outcome) {
	tb.Helper()
	for _, a := range []connection.Access{connection.Read, connection.WriteRows} {
		role := roleOf(b.target.Prefix, b.table.Ref, a)
		b.exec(tb, fmt.Sprintf(`DO $$ BEGIN IF to_regrole('%[1]s') IS NULL THEN CREATE ROLE %[1]s NOLOGIN; END IF; EXECUTE coalesce((SELECT string_agg(format('REVOKE %%I FROM %%I', '%[1]s', pg_get_userbyid(m.member)), '; ')
			FROM pg_auth_members m WHERE m.roleid = '%[1]s'::regrole), 'SELECT 1'); END $$; REVOKE ALL ON %[2]s FROM %[1]s; REVOKE ALL ON SCHEMA "Sales ""x""" FROM %[1]s`, role, ordersName))
	}
	for _, m := range out.Made {
		for _, s := range m.Sets() {
			role := sqltext.Identifier(roleOf(b.target.Prefix, b.table.Ref, s.Access))
			b.exec(tb, `SET ROLE keeper; GRANT USAGE ON SCHEMA "Sales ""x""" TO `+role, "GRANT "+strings.Join(s.Access.Privileges(), ", ")+" ON "+ordersName+" TO "+role+"; RESET ROLE")
			for _, p := range s.Members {
				b.exec(tb, fmt.Sprintf("GRANT %s TO %s", role, sqltext.Identifier(p)))
			}
		}
	}
}

func (b *bench) clear(tb testing.TB, wanted ...Table) Outcome {
	tb.Helper()
	out, err := Clear(tb.Context(), b.options(), "postgres", wanted)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// count is how many rows somebody sees in a new session, -1 where that is refused.
func (b *bench) count(tb testing.TB, who string) int {
	tb.Helper()
	conn := b.connect(tb, who)
	defer func() { _ = conn.Close(context.Background()) }()
	return countIn(tb, conn, ordersName)
}

func countIn(tb testing.TB, conn *pgx.Conn, from string) (n int) {
	tb.Helper()
	err := conn.QueryRow(tb.Context(), "SELECT count(*) FROM "+from).Scan(&n)
	if code(err) == "42501" {
		return -1
	}
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

func code(err error) string {
	var remote *pgconn.PgError
	if errors.As(err, &remote) {
		return remote.Code
	}
	return ""
}

func region(role, name string) Person {
	return Person{Role: role, Filter: &policy.Predicate{Op: policy.OpEq, Column: "region", Values: []policy.Value{{Type: "text", Text: name}}}}
}

func (b *bench) secured(tb testing.TB) (enabled bool, policies int) {
	tb.Helper()
	if err := b.root.QueryRow(tb.Context(), "SELECT relrowsecurity, (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid) FROM pg_class c WHERE oid = $1", b.table.Ref.OID).Scan(&enabled, &policies); err != nil {
		tb.Fatal(err)
	}
	return enabled, policies
}
