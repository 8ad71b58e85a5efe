package rows

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/policy"
)

// TestPeopleSeeTheirRows follows two people with one form, one with another and
// an application through changes of values, of forms and of who is wanted.
func TestPeopleSeeTheirRows(t *testing.T) {
	for _, major := range testenv.Majors() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel() // each has a cluster of its own
			ana, ben, chloe := "ana", `Ben "x" O'Neil`, "čeněk"
			b := newBench(t, major, ana, ben, chloe)
			few := Person{Role: chloe, Filter: &policy.Predicate{Op: policy.OpAnd, Args: []*policy.Predicate{
				{Op: policy.OpIn, Column: "kind", Values: []policy.Value{{Type: "text", Text: "k1"}, {Type: "text", Text: "k2"}, {Type: "text", Null: true}}},
				{Op: policy.OpLt, Column: "amount", Values: []policy.Value{{Type: "numeric", Text: "101"}}},
				{Op: policy.OpNotNull, Column: "region"}, {Op: policy.OpNe, Column: "id", Values: []policy.Value{{Type: "bigint", Text: "2"}}}}}}
			check := func(about string, want map[string]int) {
				t.Helper()
				for who, n := range want {
					if got := b.count(t, who); got != n {
						t.Errorf("%s: %s sees %d rows, want %d", about, who, got, n)
					}
				}
			}
			out := b.apply(t, region(ana, "east"), region(ben, "west"), few)
			if len(out.Made) != 1 || len(out.Refused)+len(out.Waiting) > 0 {
				t.Fatalf("%+v", out)
			}
			check("at first", map[string]int{ana: 1000, ben: 1000, chloe: 27, "etl": 3000, "keeper": 3000, b.pg.User: 3000})
			if again := b.apply(t, region(ana, "east"), region(ben, "west"), few); again.Mended != 0 || len(again.Made) != 1 {
				t.Errorf("again: %+v", again)
			}
			b.apply(t, region(ana, "nowhere"), region(ben, "east"), few)
			check("other values", map[string]int{ana: 0, ben: 1000, "etl": 3000})
			few.Filter = &policy.Predicate{Op: policy.OpFalse}
			b.apply(t, region(ana, "east"), few)
			check("another form, one less", map[string]int{ana: 1000, ben: -1, chloe: 0, "etl": 3000})
			if _, err := Apply(t.Context(), b.options(), "postgres", nil); err != nil {
				t.Fatal(err)
			}
			check("nobody wanted, before the revoke", map[string]int{ana: 0, chloe: 0, "etl": 3000})
			out = b.apply(t)
			if !out.Surplus || len(out.Made) != 0 {
				t.Errorf("nothing wanted: %+v", out)
			}
			if out := b.clear(t); len(out.Waiting) > 0 {
				t.Errorf("clearing: %+v", out.Waiting)
			}
			if enabled, policies := b.secured(t); enabled || policies > 0 {
				t.Errorf("row-level security is still %t, with %d policies", enabled, policies)
			}
			check("in the end", map[string]int{ana: -1, ben: -1, "etl": 3000})
		})
	}
}

// TestNothingShowsMore tries the ways by which who reads by a grant of ours could look
// like somebody else.
func TestNothingShowsMore(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, major, "ana", "ben", "app")
			b.exec(t, "CREATE ROLE reports NOLOGIN; GRANT reports TO ana; GRANT USAGE ON SCHEMA \"Sales \"\"x\"\"\" TO reports; GRANT SELECT ON "+ordersName+" TO reports",
				"CREATE VIEW public.all_orders AS SELECT * FROM "+ordersName+"; ALTER VIEW public.all_orders OWNER TO reports; GRANT SELECT ON public.all_orders TO PUBLIC",
				"CREATE VIEW public.kept_orders AS SELECT * FROM "+ordersName+"; ALTER VIEW public.kept_orders OWNER TO keeper; GRANT SELECT ON public.kept_orders TO PUBLIC")

			// Who has a snapshot of before sees nothing by a grant of after.
			early := b.connect(t, "ben")
			if _, err := early.Exec(t.Context(), "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1"); err != nil {
				t.Fatal(err)
			}
			b.apply(t, region("ana", "east"), region("ben", "west"))
			if n := countIn(t, early, ordersName); n != 0 {
				t.Errorf("a snapshot of before the grant shows %d rows", n)
			}
			if n := countIn(t, early, "public.all_orders"); n != 0 {
				t.Errorf("and a view %d", n)
			}
			if _, err := early.Exec(t.Context(), "COMMIT"); err != nil {
				t.Fatal(err)
			}
			if n := countIn(t, early, ordersName); n != 1000 {
				t.Errorf("ben sees %d rows", n)
			}

			ana := b.connect(t, "ana")
			plansStayGood(t, b, ana)
			for _, c := range []struct {
				sql, from string
				rows      int
			}{{"SET ROLE reports", ordersName, 1000}, {"RESET ROLE", "public.all_orders", 1000}, {"RESET ROLE", "ONLY " + ordersName, 1000},
				{"SET row_security = on", "public.kept_orders", 3000}} { // the owner's view is a finding of the grants engine
				if _, err := ana.Exec(t.Context(), c.sql); err != nil {
					t.Fatal(err)
				}
				if n := countIn(t, ana, c.from); n != c.rows {
					t.Errorf("%s: %s shows %d rows, want %d", c.sql, c.from, n, c.rows)
				}
			}
			// Functions of hers run on her rows only, and so do parallel workers.
			if _, err := ana.PgConn().Exec(t.Context(), `CREATE FUNCTION pg_temp.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
				$$ BEGIN IF $1 IS DISTINCT FROM 'east' THEN RAISE EXCEPTION 'leaked %', $1; END IF; RETURN true; END $$;
				SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0`).ReadAll(); err != nil {
				t.Fatal(err)
			}
			for _, where := range []string{" WHERE pg_temp.leak(region)", " WHERE region IS NOT NULL"} {
				if n := countIn(t, ana, ordersName+where); n != 1000 {
					t.Errorf("%s: %d rows", where, n)
				}
			}
			for sql, want := range map[string]string{
				"SET row_security = off; TABLE " + ordersName: "42501", "TRUNCATE " + ordersName: "42501", "SET SESSION AUTHORIZATION keeper": "42501",
				"SELECT portcullis_broker.row_values(1, 1)": "42501", "TABLE portcullis_broker.row_slot": "42501", "TABLE portcullis_broker.row_person": "42501",
				"DROP POLICY portcullis_rows ON " + ordersName: "42501", "ALTER TABLE " + ordersName + " DISABLE ROW LEVEL SECURITY": "42501",
				"CREATE TRIGGER x BEFORE INSERT ON " + ordersName + " EXECUTE FUNCTION suppress_redundant_updates_trigger()": "42501",
			} {
				if _, err := ana.PgConn().Exec(t.Context(), sql).ReadAll(); code(err) != want {
					t.Errorf("%s: %v, want %s", sql, err, want)
				}
			}
			// Who can become ana is not let see more by it, and others are left alone.
			b.exec(t, "GRANT ana TO app; GRANT USAGE ON SCHEMA \"Sales \"\"x\"\"\" TO app")
			app := b.connect(t, "app")
			if n := countIn(t, app, ordersName); n != 0 {
				t.Errorf("a member of ana sees %d rows", n)
			}
			if _, err := app.Exec(t.Context(), "SET ROLE ana"); err != nil {
				t.Fatal(err)
			}
			if n := countIn(t, app, ordersName); n != 0 {
				t.Errorf("after SET ROLE a member of ana sees %d rows", n)
			}
			root := b.connect(t, b.pg.User)
			if n := countIn(t, root, "public.all_orders"); n != 3000 {
				t.Errorf("a superuser sees %d rows of a view", n)
			}
			b.exec(t, "CREATE ROLE boss SUPERUSER NOLOGIN; GRANT boss TO etl")
			etl := b.connect(t, "etl")
			if n := countIn(t, etl, "public.all_orders"); n != 3000 {
				t.Errorf("an application sees %d rows of a view", n)
			}
			if _, err := etl.Exec(t.Context(), "SET ROLE boss"); err != nil {
				t.Fatal(err)
			}
			if n := countIn(t, etl, "public.all_orders"); n != 3000 {
				t.Errorf("as a superuser it sees %d", n)
			}
		})
	}
}

// TestWritesStayWithinTheRows lets people write the rows that they see.
func TestWritesStayWithinTheRows(t *testing.T) {
	b := newBench(t, 17, "ana", "ben")
	p := region("ana", "east")
	p.Write = true
	b.apply(t, p, region("ben", "west"))
	ana := b.connect(t, "ana")
	for _, c := range []struct {
		sql, code string
		rows      int64
	}{
		{"UPDATE " + ordersName + " SET amount = 1", "", 1000},
		{"UPDATE " + ordersName + " SET region = 'west' WHERE id = 3", "42501", 0},
		{"UPDATE " + ordersName + " SET region = NULL WHERE id = 3", "42501", 0},
		{"INSERT INTO " + ordersName + " VALUES (9001, 'east')", "", 1},
		{"INSERT INTO " + ordersName + " VALUES (9002, 'west')", "42501", 0},
		{"INSERT INTO " + ordersName + " VALUES (1, 'east') ON CONFLICT (id) DO UPDATE SET region = 'east'", "42501", 0},
		{"DELETE FROM " + ordersName + " WHERE region = 'west'", "", 0},
		{"DELETE FROM " + ordersName + " WHERE id = 9001", "", 1},
		{"COPY " + ordersName + " TO STDOUT", "", 1000},
		{"COPY " + ordersName + " FROM STDIN", "0A000", 0},
		{"TRUNCATE " + ordersName, "42501", 0},
	} {
		results, err := ana.PgConn().Exec(t.Context(), c.sql).ReadAll()
		if code(err) != c.code || err == nil && results[0].CommandTag.RowsAffected() != c.rows {
			t.Errorf("%s: %v, %+v; want %q and %d rows", c.sql, err, results, c.code, c.rows)
		}
	}
	if _, err := b.connect(t, "ben").Exec(t.Context(), "UPDATE "+ordersName+" SET amount = 1"); code(err) != "42501" {
		t.Errorf("a reader may write: %v", err)
	}
	etl := b.connect(t, "etl")
	if tag, err := etl.Exec(t.Context(), "UPDATE "+ordersName+" SET amount = 2 WHERE id <= 30"); err != nil || tag.RowsAffected() != 30 {
		t.Errorf("an application: %v, %v", tag, err)
	}
}

// TestHandMadeChangesShowNobodyMore changes policies by hand, and looks again.
func TestHandMadeChangesShowNobodyMore(t *testing.T) {
	b := newBench(t, 0, "ana")
	east := region("ana", "east")
	for _, sql := range []string{
		"ALTER TABLE " + ordersName + " DISABLE ROW LEVEL SECURITY",
		"DROP POLICY portcullis_rows ON " + ordersName,
		"ALTER POLICY portcullis_rows ON " + ordersName + " USING (true)",
		"ALTER POLICY portcullis_rows ON " + ordersName + " TO etl",
		"DROP POLICY portcullis_rows ON " + ordersName + "; CREATE POLICY portcullis_rows ON " + ordersName + " AS RESTRICTIVE FOR UPDATE USING (true)",
	} {
		b.apply(t, east)
		b.exec(t, sql)
		out := b.apply(t, east)
		if out.Mended != 1 || len(out.Made) != 1 || b.count(t, "ana") != 1000 {
			t.Errorf("after %s: %+v, ana sees %d", sql, out, b.count(t, "ana"))
		}
	}
	// What takes the filter's column away takes both policies: nobody but the owner sees a row.
	b.exec(t, "ALTER TABLE "+ordersName+" DROP COLUMN region CASCADE")
	if enabled, policies := b.secured(t); !enabled || policies != 0 {
		t.Errorf("row-level security is %t, with %d policies", enabled, policies)
	}
	if n, e := b.count(t, "ana"), b.count(t, "etl"); n != 0 || e != 0 {
		t.Errorf("without the column ana sees %d rows, an application %d", n, e)
	}
	b.table.Columns = slices.DeleteFunc(b.table.Columns, func(c policy.Column) bool { return c.Name == "region" })
	few := Person{Role: "ana", Filter: &policy.Predicate{Op: policy.OpLe, Column: "id", Values: []policy.Value{{Type: "bigint", Text: "7"}}}}
	if out := b.apply(t, few); out.Mended != 1 || b.count(t, "ana") != 7 || b.count(t, "etl") != 3000 {
		t.Errorf("mended: %+v", out)
	}
	// A policy of somebody else ends ours, and stays.
	b.exec(t, "CREATE POLICY theirs ON "+ordersName+" USING (true)")
	out := b.apply(t, few)
	if len(out.Made) != 0 || len(out.Refused) != 1 || !strings.Contains(out.Refused[0].Reason, "of its own") || !out.Surplus || b.count(t, "ana") != -1 {
		t.Errorf("beside a policy of others: %+v", out)
	}
	b.clear(t)
	if enabled, policies := b.secured(t); !enabled || policies != 1 {
		t.Errorf("row-level security is %t, with %d policies", enabled, policies)
	}
	// Policies that nobody knows any more, as after a restore, are told with what ends them.
	b.exec(t, "DROP POLICY theirs ON "+ordersName+"; ALTER TABLE "+ordersName+" DISABLE ROW LEVEL SECURITY")
	b.apply(t, few)
	b.exec(t, "DELETE FROM portcullis_broker.row_table; DELETE FROM portcullis_broker.row_person")
	if n := b.count(t, "ana"); n != 0 {
		t.Errorf("after a restore ana sees %d rows", n)
	}
	if out = b.apply(t, few); len(out.Refused) != 1 || !strings.Contains(out.Refused[0].Reason, "restored from a dump") {
		t.Fatalf("after a restore: %+v", out)
	}
	b.exec(t, out.Refused[0].Fix)
	if out = b.apply(t, few); len(out.Made) != 1 || b.count(t, "ana") != 7 {
		t.Errorf("once that ran: %+v", out)
	}
}

// TestOtherTablesAreRefused tries tables that PostgreSQL's policies do not fit.
func TestOtherTablesAreRefused(t *testing.T) {
	b := newBench(t, 0, "ana")
	b.exec(t, "CREATE TABLE public.mine (LIKE "+ordersName+"); GRANT ALL ON SCHEMA public TO keeper")
	if _, err := b.owner.PgConn().Exec(t.Context(), `CREATE TABLE public.parted (id integer, region text) PARTITION BY LIST (id); CREATE TABLE public.part PARTITION OF public.parted DEFAULT;
		CREATE TABLE public.secured (id integer, region text); ALTER TABLE public.secured ENABLE ROW LEVEL SECURITY; CREATE TABLE public.unlisted (id integer, region text);
		CREATE TABLE public.viewed (id integer, region text); SELECT portcullis_broker.list_table(c) FROM unnest(ARRAY['parted', 'part', 'secured', 'mine', 'viewed']::regclass[]) c;
		SELECT portcullis_broker.list_schema('public'); SELECT portcullis_broker.unlist_schema('public'); SELECT portcullis_broker.list_table(c) FROM unnest(ARRAY['parted', 'part', 'secured', 'mine', 'viewed']::regclass[]) c`).ReadAll(); err != nil {
		t.Fatal(err)
	}
	b.exec(t, "CREATE VIEW public.of_viewed AS SELECT * FROM public.viewed; ALTER VIEW public.of_viewed OWNER TO portcullis_views")
	for name, why := range map[string]string{"parted": "plain tables", "part": "partition", "secured": "of its own", "mine": "belongs to", "unlisted": "not listed", "viewed": "a view of it stands"} {
		of := Table{Ref: connection.ObjectRef{Database: "postgres", Schema: "public", Name: name}, Columns: []policy.Column{{Name: "region", Type: "text"}}, People: []Person{region("ana", "east")}}
		if err := b.root.QueryRow(t.Context(), "SELECT $1::text::regclass::oid", "public."+name).Scan(&of.Ref.OID); err != nil {
			t.Fatal(err)
		}
		out, err := Apply(t.Context(), b.options(), "postgres", []Table{of})
		if err != nil || len(out.Made) != 0 || len(out.Refused) != 1 || !strings.Contains(out.Refused[0].Reason, why) {
			t.Errorf("%s: %+v, %v", name, out, err)
		}
	}
}

// plansStayGood shows that form and values are read once a statement, and that indexes are used.
func plansStayGood(t *testing.T, b *bench, ana *pgx.Conn) {
	t.Helper()
	b.exec(t, "ANALYZE "+ordersName)
	for _, where := range []string{"id = 7", `"sold at" < '2024-01-01 05:00+00'`} {
		rows, err := ana.Query(t.Context(), "EXPLAIN (COSTS OFF) SELECT * FROM "+ordersName+" WHERE "+where)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(lines, "\n")
		if !strings.Contains(got, "Index Scan using") || len(initPlan.FindAllString(got, -1)) != 2 || strings.Contains(got, "SubPlan") {
			t.Errorf("%s:\n%s", where, got)
		}
	}
}

var initPlan = regexp.MustCompile(`(?m)^ *InitPlan`)
