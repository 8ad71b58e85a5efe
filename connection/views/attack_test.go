package views

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/internal/sqltext"
	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/policy"
)

// secret is a note that nobody in these tests may see.
const secret = "A"

// hiddenRow is told of a row with that note: hidden from ana, shown to chloe.
const hiddenRow = "heard row 3"

// guarded makes the view for ana (notes that are "a") and chloe (every row but no raw note).
func guarded(tb testing.TB, major int) *bench {
	tb.Helper()
	b := newBench(tb, major)
	b.table.People = []Person{
		// A list, so that the filter is dearer than a function that claims to cost nothing.
		{Role: "ana", Filter: &policy.Predicate{Op: policy.OpIn, Column: "note", Values: []policy.Value{{Type: "text", Text: "a"}, {Type: "text", Text: "aa"}}}},
		{Role: "chloe", Masks: map[string]policy.Mask{"note": {Kind: policy.MaskHash, Key: b.table.HashKey}}},
	}
	if made, refused := b.apply(tb, b.table); len(made) != 1 || len(refused) > 0 {
		tb.Fatalf("made %v, refused %v", made, refused)
	}
	return b
}

// TestHiddenRowsReachNoFunction hands a function of the person's own to the
// planner and the executor, as an operand, as an operator with an estimator that
// looks at statistics, and in an index-like order. The positive control is the
// table's owner, for whom the function sees the row.
func TestHiddenRowsReachNoFunction(t *testing.T) {
	for _, major := range testenv.Majors() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			b := guarded(t, major)
			b.exec(t, `ANALYZE "Sales ""x""".orders`, "GRANT CREATE ON SCHEMA public TO PUBLIC")
			for _, who := range []string{"ana", "chloe", b.pg.User} {
				var heard []string
				cfg, err := pgx.ParseConfig(b.pg.DSNAs(who, map[bool]string{true: b.pg.Password, false: "secret"}[who == b.pg.User], "postgres"))
				if err != nil {
					t.Fatal(err)
				}
				cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { heard = append(heard, n.Message) }
				conn, err := pgx.ConnectConfig(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = conn.Close(context.Background()) }()
				from := viewName
				if who == b.pg.User {
					from = `"Sales ""x""".orders`
				}
				schema := sqltext.Identifier("of " + who)
				b.exec(t, "CREATE SCHEMA "+schema+" AUTHORIZATION "+sqltext.Identifier(who))
				for _, sql := range []string{
					"SET search_path = " + schema + ", public",
					`CREATE FUNCTION leak(a text, b text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'heard %', a; RETURN true; END $$`,
					`CREATE FUNCTION leak(a integer) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'heard row %', a; RETURN true; END $$`,
					`CREATE OPERATOR <<< (FUNCTION = leak, LEFTARG = text, RIGHTARG = text, RESTRICT = scalarltsel, JOIN = scalarltjoinsel)`,
					`CREATE OPERATOR === (FUNCTION = leak, LEFTARG = text, RIGHTARG = text, RESTRICT = eqsel, JOIN = eqjoinsel)`,
					"EXPLAIN SELECT * FROM " + from + " WHERE note <<< 'q'",
					"EXPLAIN SELECT * FROM " + from + " WHERE note === 'q' AND name === 'q'",
					"SELECT count(*) FROM " + from + " WHERE leak(id)", // unmasked, so that only the barrier is in between
					"SELECT count(*) FROM " + from + " WHERE leak(note, 'q')",
					"SELECT count(*) FROM " + from + " v JOIN (VALUES ('a'), ('b')) x(y) ON v.note <<< x.y",
					"SELECT 1 FROM " + from + " WHERE 1 / (CASE WHEN leak(note, '') THEN 1 ELSE 0 END) = 1",
				} {
					if _, err := conn.Exec(t.Context(), sql); err != nil {
						t.Fatalf("%s: %s: %v", who, sql, err)
					}
				}
				if told := slices.Contains(heard, "heard "+secret); told != (who == b.pg.User) {
					t.Errorf("%s hears of the hidden note: %v", who, told)
				}
				if told := slices.Contains(heard, hiddenRow); told != (who != "ana") {
					t.Errorf("%s hears of the hidden row: %v", who, told)
				}
				if who == "ana" && !slices.Contains(heard, "heard a") {
					t.Error("ana does not hear of her own rows")
				}
			}
		})
	}
}

// TestValuesAndKeysStayWithTheOwner tries every way to what the view reads.
func TestValuesAndKeysStayWithTheOwner(t *testing.T) {
	b := guarded(t, 0)
	ana := b.connect(t, "ana", "secret")
	for _, sql := range []string{
		"SELECT * FROM portcullis_views.slot", "SELECT * FROM portcullis_views.person", "SELECT * FROM portcullis_views.key", "TABLE portcullis_views.made",
		`SELECT * FROM "Sales ""x""".orders`, "SET ROLE portcullis_views", "INSERT INTO " + viewName + " (id) VALUES (1)", "DELETE FROM " + viewName, "TRUNCATE " + viewName,
		"CREATE OR REPLACE VIEW " + viewName + " AS SELECT 1", "ALTER VIEW " + viewName + " RESET (security_barrier)", "SET SESSION AUTHORIZATION chloe",
		`CREATE TRIGGER t INSTEAD OF INSERT ON ` + viewName + ` EXECUTE FUNCTION suppress_redundant_updates_trigger()`,
	} {
		if _, err := ana.Exec(t.Context(), sql); err == nil {
			t.Errorf("%s: succeeds", sql)
		}
	}
	var plan strings.Builder
	for _, sql := range []string{"EXPLAIN (VERBOSE) SELECT * FROM " + viewName, "SELECT pg_get_viewdef('" + strings.ReplaceAll(viewName, "'", "''") + "'::regclass)"} {
		rows, err := ana.Query(t.Context(), sql)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		plan.WriteString(strings.Join(lines, "\n"))
	}
	if !strings.Contains(plan.String(), "portcullis_views") {
		t.Fatalf("the plan is not that of the view: %s", plan.String())
	}
	for _, text := range []string{"'a'", "chloe", "ana", string(b.table.HashKey), fmt.Sprintf("%x", b.table.HashKey)} {
		if strings.Contains(plan.String(), text) {
			t.Errorf("the plan tells %q", text)
		}
	}
}

func (b *bench) seen(t *testing.T, role string) int {
	t.Helper()
	return len(b.read(t, b.connect(t, role, "secret"), viewName))
}

// TestAnotherRoleOfTheNameSeesNothing renames a person's role and makes another in its place.
func TestAnotherRoleOfTheNameSeesNothing(t *testing.T) {
	b := guarded(t, 0)
	before := b.seen(t, "ana")
	if before == 0 {
		t.Fatal("ana sees nothing to begin with")
	}
	b.exec(t, "ALTER ROLE ana RENAME TO anabel", "ALTER ROLE anabel PASSWORD 'secret'", "CREATE ROLE ana LOGIN PASSWORD 'secret' IN ROLE anabel")
	if n := b.seen(t, "ana"); n != 0 {
		t.Errorf("another ana sees %d rows", n)
	}
	if n := b.seen(t, "anabel"); n != before {
		t.Errorf("the renamed role sees %d rows, had %d", n, before)
	}
	b.apply(t, b.table)
	if n := b.seen(t, "anabel"); n != 0 {
		t.Errorf("after a round the name counts: anabel sees %d rows", n)
	}
	ana := b.connect(t, "ana", "secret")
	if _, err := ana.Exec(t.Context(), "SET ROLE anabel"); err != nil {
		t.Fatal(err)
	}
	if n := len(b.read(t, ana, viewName)); n != before {
		t.Errorf("ana sees %d rows after SET ROLE, %d before", n, before)
	}
}

// TestWhatIsNotWantedShowsNothing drops views, also those that others built on.
func TestWhatIsNotWantedShowsNothing(t *testing.T) {
	b := guarded(t, 0)
	b.exec(t, "CREATE VIEW public.built AS SELECT * FROM "+viewName, "GRANT SELECT ON public.built TO ana")
	b.apply(t)
	if n := b.seen(t, "ana"); n != 0 {
		t.Errorf("ana sees %d rows of a view that stays for the sake of another", n)
	}
	b.exec(t, "DROP VIEW public.built")
	b.apply(t)
	_, err := b.connect(t, "ana", "secret").Exec(t.Context(), "SELECT FROM "+viewName)
	var remote *pgconn.PgError
	if !errors.As(err, &remote) || remote.Code != "42P01" {
		t.Errorf("the view is still there: %v", err)
	}
	b.apply(t, b.table)
	if n := b.seen(t, "ana"); n == 0 {
		t.Error("ana sees nothing once it is wanted again")
	}
}

// TestATableMadeAnewIsAnother drops the table under the view and makes one of its name.
func TestATableMadeAnewIsAnother(t *testing.T) {
	b := guarded(t, 0)
	b.exec(t, "DROP VIEW "+viewName, `ALTER TABLE "Sales ""x""".orders RENAME TO old`, `CREATE TABLE "Sales ""x""".orders (LIKE "Sales ""x""".old)`,
		`GRANT SELECT ON "Sales ""x""".orders TO portcullis_views`)
	made, refused := b.apply(t, b.table)
	if len(made) != 0 || len(refused) != 1 || !strings.Contains(refused[0].Reason, "gone or has another name") {
		t.Errorf("made %v, refused %v", made, refused)
	}
}

// TestHandMadeChangesAreMended takes the barrier off, replaces the view and empties what it reads.
func TestHandMadeChangesAreMended(t *testing.T) {
	b := guarded(t, 0)
	want := b.seen(t, "ana")
	for _, sql := range []string{"ALTER VIEW " + viewName + " RESET (security_barrier)", "DELETE FROM portcullis_views.person", "DROP VIEW " + viewName,
		"ALTER VIEW " + viewName + " OWNER TO ana; GRANT USAGE, CREATE ON SCHEMA " + strings.TrimSuffix(viewName, ".orders") + " TO ana"} {
		b.exec(t, sql)
		made, refused := b.apply(t, b.table)
		if len(made) != 1 {
			if !strings.Contains(sql, "OWNER TO ana") || len(refused) != 1 {
				t.Errorf("after %s: made %v, refused %v", sql, made, refused)
			}
			continue
		}
		if n := b.seen(t, "ana"); n != want {
			t.Errorf("after %s: ana sees %d rows, want %d", sql, n, want)
		}
		var barrier bool
		if err := b.root.QueryRow(t.Context(), "SELECT coalesce(reloptions @> ARRAY['security_barrier=true'], false) FROM pg_class WHERE oid = $1::text::regclass", viewName).Scan(&barrier); err != nil || !barrier {
			t.Errorf("after %s: no barrier, %v", sql, err)
		}
	}
}

// TestSettingsOfTheSessionChangeNoRow tries settings on which text forms depend.
func TestSettingsOfTheSessionChangeNoRow(t *testing.T) {
	b := newBench(t, 0)
	at := "2024-03-31 01:30:00+00"
	b.table.People = []Person{{Role: "ana", Masks: map[string]policy.Mask{"n": {Kind: policy.MaskRound, Base: "7"}, "at z": {Kind: policy.MaskTruncate, Unit: "day"}},
		Filter: &policy.Predicate{Op: policy.OpOr, Args: []*policy.Predicate{
			{Op: policy.OpEq, Column: "at z", Values: []policy.Value{{Type: "timestamptz", Text: at}}},
			{Op: policy.OpEq, Column: "born", Values: []policy.Value{{Type: "date", Text: "2024-02-29"}}},
			{Op: policy.OpIn, Column: "raw", Values: []policy.Value{{Type: "bytea", Text: `\x00ff`}}},
		}}}}
	b.apply(t, b.table)
	read := func(settings ...string) string {
		conn := b.connect(t, "ana", "secret")
		for _, s := range settings {
			if _, err := conn.Exec(t.Context(), "SET "+s); err != nil {
				t.Fatal(err)
			}
		}
		var ids string
		if err := conn.QueryRow(t.Context(), `SELECT string_agg(concat_ws(' ', id, n::numeric(40,3), extract(epoch FROM "at z")), ', ' ORDER BY id) FROM `+viewName).Scan(&ids); err != nil {
			t.Fatal(err)
		}
		return ids
	}
	plain := read()
	if plain == "" {
		t.Fatal("ana sees nothing")
	}
	for _, s := range []string{"timezone = 'Asia/Kolkata'", "datestyle = 'SQL, DMY'", "datestyle = 'German'", "extra_float_digits = -15", "bytea_output = 'escape'",
		"standard_conforming_strings = off", "search_path = pg_temp", "transform_null_equals = on", "enable_seqscan = off", "intervalstyle = 'iso_8601'"} {
		if got := read(s); got != plain {
			t.Errorf("SET %s: %s, otherwise %s", s, got, plain)
		}
	}
}

// TestNothingOfOursIsLeft drops what was made once nothing is wanted.
func TestNothingOfOursIsLeft(t *testing.T) {
	b := guarded(t, 0)
	b.apply(t)
	var left []string
	if err := b.root.QueryRow(t.Context(), "SELECT coalesce(array_agg(nspname::text), '{}') FROM pg_namespace WHERE nspowner = 'portcullis_views'::regrole").Scan(&left); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	b.apply(t, b.table)
	if b.seen(t, "ana") == 0 {
		t.Error("ana sees nothing once it is wanted again")
	}
}
