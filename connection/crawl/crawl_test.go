package crawl_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/crawl"
	"portcullis.dev/portcullis/internal/testenv"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("portcullis.dev/portcullis/internal/testenv.init.func1.1")) // starts servers, for good
}

// host is a server and an account on it that has nothing but a login.
type host struct {
	t          *testing.T
	pg         *testenv.Postgres
	target     connection.Target
	statements atomic.Int64 // that crawls sent
	meanwhile  func()       // runs once, between the digests and the objects
}

func startHost(t *testing.T, major int) *host {
	t.Helper()
	h := &host{t: t, pg: testenv.StartServer(t, testenv.ServerOptions{Major: major}), target: connection.Target{
		Username: "sys", Password: "pw", Database: "postgres", Mode: connection.ModeGrantor, Prefix: "portcullis_"}}
	h.sql("postgres", "CREATE ROLE sys LOGIN PASSWORD 'pw'")
	return h
}

func everyMajor(t *testing.T, f func(t *testing.T, h *host)) {
	for _, major := range testenv.Majors() {
		t.Run(fmt.Sprint(major), func(t *testing.T) { f(t, startHost(t, major)) })
	}
}

func (h *host) sql(database string, statements ...string) {
	h.t.Helper()
	conn, err := h.pg.Connect(h.t.Context(), database)
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close(h.t.Context())
	for _, sql := range statements {
		if _, err := conn.PgConn().Exec(h.t.Context(), sql).ReadAll(); err != nil {
			h.t.Fatalf("%s: %v", sql, err)
		}
	}
}

func (h *host) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	h.statements.Add(1)
	if f := h.meanwhile; f != nil && strings.HasPrefix(q.SQL, "DECLARE") {
		h.meanwhile = nil
		f()
	}
	return ctx
}

func (h *host) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (h *host) open(ctx context.Context, database string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(h.pg.DSNAs(h.target.Username, h.target.Password, "postgres"))
	if err != nil {
		return nil, err
	}
	cfg.Database, cfg.Tracer = database, h
	return pgx.ConnectConfig(ctx, cfg)
}

func (h *host) crawl(since crawl.Digests) []connection.Database {
	h.t.Helper()
	dbs, err := crawl.Crawl(h.t.Context(), crawl.Options{Open: h.open, Target: h.target, Since: since})
	if err != nil {
		h.t.Fatal(err)
	}
	return dbs
}

// find returns what is called database, database.schema or database.schema.table.
func find(t *testing.T, dbs []connection.Database, name ...string) (db connection.Database, s connection.Schema, o connection.Object) {
	t.Helper()
	i := slices.IndexFunc(dbs, func(d connection.Database) bool { return d.Name == name[0] })
	if i < 0 {
		t.Fatalf("no database %s in %+v", name[0], dbs)
	}
	db = dbs[i]
	if len(name) > 1 {
		i := slices.IndexFunc(db.Schemas, func(s connection.Schema) bool { return s.Name == name[1] })
		if i < 0 {
			t.Fatalf("no schema %q in %+v", name[1], db)
		}
		s = db.Schemas[i]
	}
	if len(name) > 2 {
		i := slices.IndexFunc(s.Objects, func(o connection.Object) bool { return o.Name == name[2] })
		if i < 0 {
			t.Fatalf("no table %q in %+v", name[2], s)
		}
		o = s.Objects[i]
	}
	return db, s, o
}

func TestEverythingThatCanBeReadIsListed(t *testing.T) {
	long := strings.Repeat("ü", 31) + "z" // 63 bytes
	everyMajor(t, func(t *testing.T, h *host) {
		h.sql("postgres", `CREATE ROLE "own""er"`, `CREATE SCHEMA "sch'e""ma" AUTHORIZATION "own""er"`,
			fmt.Sprintf(`CREATE TABLE "sch'e""ma".%q ("ключ" int PRIMARY KEY, gone int, "n,{}""\\ul" numeric(10,2)[], at timestamptz(3))`, long),
			fmt.Sprintf(`ALTER TABLE "sch'e""ma".%q DROP gone`, long),
			fmt.Sprintf(`ALTER TABLE "sch'e""ma".%q OWNER TO "own""er"`, long),
			fmt.Sprintf(`COMMENT ON TABLE "sch'e""ma".%q IS 'all "of" it'`, long),
			fmt.Sprintf(`COMMENT ON COLUMN "sch'e""ma".%q.at IS 'when'`, long),
			`CREATE TABLE parts (d date, r int) PARTITION BY RANGE (d)`, `CREATE TABLE parts_sub PARTITION OF parts DEFAULT PARTITION BY RANGE (r)`,
			`CREATE TABLE parts_leaf PARTITION OF parts_sub DEFAULT`, `CREATE TABLE child () INHERITS ("sch'e""ma"."`+long+`")`,
			`CREATE VIEW v AS SELECT 1 AS one`, `CREATE MATERIALIZED VIEW m AS SELECT 2 AS two`, `CREATE UNLOGGED TABLE nothing ()`,
			`CREATE EXTENSION postgres_fdw; CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw; CREATE FOREIGN TABLE f (a text) SERVER s`,
			// What is none of it: indexes, sequences, types, and what the broker keeps.
			`CREATE SEQUENCE seq`, `CREATE TYPE pair AS (a int, b int)`, `CREATE SCHEMA portcullis_broker; CREATE TABLE portcullis_broker.listed (a int)`,
			`CREATE SCHEMA empty`)
		temp, err := h.pg.Connect(t.Context(), "postgres")
		if err != nil {
			t.Fatal(err)
		}
		defer temp.Close(t.Context())
		if _, err := temp.Exec(t.Context(), "CREATE TEMP TABLE passing (a text)"); err != nil {
			t.Fatal(err)
		}

		dbs := h.crawl(nil)
		db, s, o := find(t, dbs, "postgres", `sch'e"ma`, long)
		if db.Owner != "postgres" || s.Owner != `own"er` || s.OID == 0 || len(s.Objects) != 1 || len(db.Schemas) != 3 || len(dbs) != 1 {
			t.Errorf("%+v", dbs)
		}
		var databases []uint32
		if _, err := crawl.Crawl(t.Context(), crawl.Options{Open: h.open, Target: h.target, LeftOut: func(oids []uint32) { databases = oids }}); err != nil || len(databases) != 2 || len(db.LeftOut.Tables) != 1 || len(db.LeftOut.Schemas) < 4 {
			t.Errorf("left out: %+v, databases %v, %v", db.LeftOut, databases, err)
		}
		want := []connection.Column{{Number: 1, Name: "ключ", Type: "integer"}, {Number: 3, Name: `n,{}"\\ul`, Type: "numeric(10,2)[]"},
			{Number: 4, Name: "at", Type: "timestamp(3) with time zone", Comment: "when"}}
		if !slices.EqualFunc(o.Columns, want, func(a, b connection.Column) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
			t.Errorf("columns %+v", o.Columns)
		}
		if o.Owner != `own"er` || o.Comment != `all "of" it` || o.Kind != connection.KindTable {
			t.Errorf("%+v", o)
		}
		_, public, _ := find(t, dbs, "postgres", "public")
		kinds := map[string]connection.ObjectKind{"parts": connection.KindPartitioned, "parts_sub": connection.KindPartitioned, "parts_leaf": connection.KindTable,
			"child": connection.KindTable, "v": connection.KindView, "m": connection.KindMaterialised, "f": connection.KindForeign, "nothing": connection.KindTable}
		parents := map[string]string{"parts_sub": "parts", "parts_leaf": "parts_sub"}
		for name, kind := range kinds {
			_, _, o := find(t, dbs, "postgres", "public", name)
			var parent uint32
			if parents[name] != "" {
				_, _, p := find(t, dbs, "postgres", "public", parents[name])
				parent = p.OID
			}
			if o.Kind != kind || o.PartitionOf != parent || parent != 0 && !slices.Equal(o.Parents, []uint32{parent}) || name == "child" && len(o.Parents) != 1 {
				t.Errorf("%s: %+v", name, o)
			}
		}
		if len(public.Objects) != len(kinds) {
			t.Errorf("%d objects, not %d: %+v", len(public.Objects), len(kinds), public.Objects)
		}
		if _, empty, _ := find(t, dbs, "postgres", "empty"); empty.Objects == nil || len(empty.Objects) > 0 {
			t.Errorf("%+v", empty)
		}
	})
}

func TestUnchangedSchemasAreNotReadAndCostFewStatements(t *testing.T) {
	everyMajor(t, func(t *testing.T, h *host) {
		h.sql("postgres", `DO $$ BEGIN FOR i IN 1..30 LOOP EXECUTE format('CREATE SCHEMA s%s', i);
			FOR j IN 1..20 LOOP EXECUTE format('CREATE TABLE s%s.t%s (a int, b text)', i, j); END LOOP; END LOOP; END $$`)
		first := h.crawl(nil)
		h.sql("postgres", "ANALYZE", "VACUUM", "INSERT INTO s1.t1 VALUES (1, 'x')", "GRANT SELECT ON s1.t1 TO PUBLIC", "CREATE INDEX ON s1.t1 (a)",
			"VACUUM FULL s1.t1", "CREATE ROLE somebody")
		h.statements.Store(0)
		again := h.crawl(crawl.DigestsOf(first, nil))
		if n := h.statements.Load(); n > 8 {
			t.Errorf("%d statements", n)
		}
		for _, s := range again[0].Schemas {
			if s.Objects != nil {
				t.Errorf("%s was read", s.Name)
			}
		}
		if changes := crawl.Diff(first, again); len(changes) > 0 {
			t.Errorf("%+v", changes)
		}
		// One of them changes: that one is read.
		h.sql("postgres", "ALTER TABLE s7.t3 ADD c date")
		h.statements.Store(0)
		third := h.crawl(crawl.DigestsOf(again, nil))
		for _, s := range third[0].Schemas {
			if read := s.Objects != nil; read != (s.Name == "s7") {
				t.Errorf("%s read: %v", s.Name, read)
			}
		}
		if n := h.statements.Load(); n > 12 {
			t.Errorf("%d statements", n)
		}
	})
}

func TestOneDatabaseIsReadFromOneSnapshot(t *testing.T) {
	h := startHost(t, 16)
	h.sql("postgres", `CREATE SCHEMA a; CREATE SCHEMA b; CREATE TABLE b.before (x int);
		DO $$ BEGIN FOR i IN 1..2500 LOOP EXECUTE format('CREATE TABLE a.t%s ()', i); END LOOP; END $$`)
	h.meanwhile = func() { h.sql("postgres", "CREATE TABLE b.late (); ALTER TABLE b.before ADD z int") }
	var seen []string
	visited, err := crawl.Crawl(t.Context(), crawl.Options{Open: h.open, Target: h.target,
		Visit: func(_ context.Context, db connection.Database, s connection.Schema) error {
			if s.Name == "a" {
				h.sql("postgres", "ALTER TABLE b.before RENAME TO after; CREATE TABLE b.more (); ALTER TABLE b.after RENAME x TO y")
			}
			for _, o := range s.Objects {
				seen = append(seen, s.Name+"."+o.Name+fmt.Sprint(len(o.Columns)))
			}
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) != 2501 || seen[2500] != "b.before1" {
		t.Errorf("%d, last %v", len(seen), seen[len(seen)-1:])
	}
	if _, s, _ := find(t, visited, "postgres", "a"); s.Objects != nil {
		t.Error("what was visited is kept")
	}
	// The next crawl sees what happened meanwhile.
	_, b, _ := find(t, h.crawl(crawl.DigestsOf(visited, nil)), "postgres", "b")
	if len(b.Objects) != 3 {
		t.Errorf("%+v", b)
	}
}

func TestVisitorsErrorEndsTheCrawl(t *testing.T) {
	h := startHost(t, 18)
	h.sql("postgres", "CREATE TABLE a ()")
	full := errors.New("disk full")
	_, err := crawl.Crawl(t.Context(), crawl.Options{Open: h.open, Target: h.target,
		Visit: func(context.Context, connection.Database, connection.Schema) error { return full }})
	if !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = crawl.Crawl(ctx, crawl.Options{Open: h.open, Target: h.target,
		Visit: func(ctx context.Context, _ connection.Database, _ connection.Schema) error { cancel(); return nil }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestProgressEndsAtAll(t *testing.T) {
	h := startHost(t, 17)
	h.sql("postgres", "CREATE TABLE a (); CREATE TABLE b ()", "CREATE DATABASE more")
	h.sql("more", "CREATE TABLE c ()")
	var last crawl.Progress
	calls := 0
	if _, err := crawl.Crawl(t.Context(), crawl.Options{Open: h.open, Target: h.target, Progress: func(p crawl.Progress) {
		if p.DatabasesDone < last.DatabasesDone || p.ObjectsDone < last.ObjectsDone || p.ObjectsDone > p.Objects {
			t.Errorf("%+v after %+v", p, last)
		}
		last = p
		calls++
	}}); err != nil {
		t.Fatal(err)
	}
	if last.Databases != 2 || last.DatabasesDone != 2 || last.Objects != 3 || last.ObjectsDone != 3 || calls < 4 {
		t.Errorf("%+v after %d", last, calls)
	}
}

func TestUnreachableHostIsTheCrawlsError(t *testing.T) {
	_, err := crawl.Crawl(t.Context(), crawl.Options{Target: connection.Target{Database: "d", Mode: connection.ModeBroker},
		Open: func(ctx context.Context, _ string) (*pgx.Conn, error) {
			return nil, &connection.Error{Code: "unreachable", Message: "nobody there"}
		}})
	var told *connection.Error
	if !errors.As(err, &told) || told.Code != "unreachable" {
		t.Errorf("got %v", err)
	}
}

func TestStatementTimeoutIsOfItsDatabase(t *testing.T) {
	h := startHost(t, 15)
	h.sql("postgres", "CREATE DATABASE stuck", "CREATE TABLE here ()")
	lock, err := h.pg.Connect(t.Context(), "stuck")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close(t.Context())
	if _, err := lock.Exec(t.Context(), "BEGIN; LOCK TABLE pg_seclabel"); err != nil {
		t.Fatal(err)
	}
	dbs, err := crawl.Crawl(t.Context(), crawl.Options{Open: h.open, Target: h.target, Timeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if db, _, _ := find(t, dbs, "stuck"); db.Err == nil || db.Err.Code != "timeout" || db.Err.SQLState != "57014" || db.Schemas != nil {
		t.Errorf("%+v", db)
	}
	find(t, dbs, "postgres", "public", "here")
}
