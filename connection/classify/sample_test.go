package classify

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/testenv"
)

func table(t *testing.T, conn *pgx.Conn, schema, name string) connection.ObjectRef {
	t.Helper()
	ref := connection.ObjectRef{Database: "postgres", Schema: schema, Name: name}
	if err := conn.QueryRow(t.Context(), "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE nspname = $1 AND relname = $2",
		schema, name).Scan(&ref.OID); err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestSample(t *testing.T) {
	for _, major := range testenv.Majors() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			pg := testenv.StartServer(t, testenv.ServerOptions{Major: major})
			run := func(sql string) {
				t.Helper()
				if err := pg.Exec(t.Context(), "postgres", sql); err != nil {
					t.Fatal(err)
				}
			}
			run(`CREATE ROLE sys LOGIN PASSWORD 'pw'; CREATE SCHEMA "s""x"; GRANT USAGE ON SCHEMA "s""x" TO sys;
				CREATE TABLE "s""x"."big'" (id bigint, "wri""te" varchar(80), at timestamptz, filler text);
				-- The first rows tell nothing: it takes a sample from all over the table, and one that is nowhere too thick.
				ALTER TABLE "s""x"."big'" SET (autovacuum_enabled = off);
				INSERT INTO "s""x"."big'" SELECT i, CASE WHEN i > 3200 THEN 'person' || i || '@example.org' ELSE 'none' || i END, now(), repeat('x', 200) FROM generate_series(1, 20000) i;
				-- Most of its pages are empty.
				CREATE TABLE holey (id int, mail text, filler text) WITH (autovacuum_enabled = off);
				INSERT INTO holey SELECT i, 'p' || i || '@example.org', repeat('x', 200) FROM generate_series(1, 20000) i; DELETE FROM holey WHERE id < 19900;
				CREATE TABLE small (pan text, v text); INSERT INTO small SELECT '4111111111111111', NULL FROM generate_series(1, 5);
				CREATE TABLE empty (a text);
				CREATE TABLE p (k int, mail text) PARTITION BY RANGE (k); CREATE TABLE p1 PARTITION OF p DEFAULT;
				INSERT INTO p SELECT i, 'p' || i || '@example.org' FROM generate_series(1, 100) i;
				CREATE TABLE parts (k int, mail text) PARTITION BY LIST ((k % 2)); CREATE TABLE "none'" PARTITION OF parts FOR VALUES IN (1); CREATE TABLE most PARTITION OF parts FOR VALUES IN (0);
				INSERT INTO parts SELECT i * 2, 'p' || i || '@example.org' FROM generate_series(1, 9000) i; INSERT INTO parts SELECT i * 2 - 1, 'none' FROM generate_series(1, 600) i;
				GRANT SELECT ON ALL TABLES IN SCHEMA public, "s""x" TO sys`)
			sys, err := pgx.Connect(t.Context(), pg.DSNAs("sys", "pw", "postgres"))
			if err != nil {
				t.Fatal(err)
			}
			defer sys.Close(t.Context())
			for _, c := range []struct{ schema, name, want, first string }{
				{`s"x`, "big'", `wri"te ` + TagEmail, ""}, {`s"x`, "big'", `wri"te ` + TagEmail, "VACUUM ANALYZE"},
				{"public", "small", "", ""}, {"public", "empty", "", ""}, {"public", "holey", "mail " + TagEmail, ""},
				{"public", "p", "mail " + TagEmail, ""}, {"public", "parts", "mail " + TagEmail, ""},
				{"public", "parts", "mail " + TagEmail, `REVOKE SELECT ON most FROM sys`}, // but through the parent
			} {
				if c.first != "" {
					run(c.first)
				}
				got, err := Sample(t.Context(), sys, table(t, sys, c.schema, c.name), Bounds{})
				text := ""
				for _, p := range got {
					text += p.Column + " " + p.Tag
					if strings.Contains(p.Reason, "example.org") {
						t.Errorf("a value: %s", p.Reason)
					}
				}
				if err != nil || text != c.want {
					t.Errorf("%s: %q, %v", c.name, text, err)
				}
			}
		})
	}
}

func TestSampleRunsNobodysCode(t *testing.T) {
	pg := testenv.StartServer(t, testenv.ServerOptions{Major: 18})
	run := func(sql string) {
		t.Helper()
		if err := pg.Exec(t.Context(), "postgres", sql); err != nil {
			t.Fatal(err)
		}
	}
	run(`CREATE ROLE sys LOGIN PASSWORD 'pw'; CREATE FUNCTION trap(text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE ''trapped''; END';
		CREATE TABLE base (a text); INSERT INTO base VALUES ('x');
		CREATE VIEW v AS SELECT trap(a) AS a FROM base; CREATE MATERIALIZED VIEW m AS SELECT 1 AS one;
		CREATE TABLE rls (a text); INSERT INTO rls VALUES ('x'); ALTER TABLE rls ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON rls USING (trap(a) IS NOT NULL);
		CREATE TYPE citext AS (a text, b text); CREATE FUNCTION trap(citext) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE ''trapped''; END';
		CREATE CAST (citext AS text) WITH FUNCTION trap(citext); CREATE TABLE typed (a citext, mail text); INSERT INTO typed SELECT ROW('x', 'y')::citext, 'm' || i || '@example.org' FROM generate_series(1, 10) i;
		CREATE TABLE private (a text);
		GRANT SELECT ON v, m, rls, typed, base TO sys`)
	sys, err := pgx.Connect(t.Context(), pg.DSNAs("sys", "pw", "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer sys.Close(t.Context())
	for name, code := range map[string]string{"v": "not_sampled", "m": "not_sampled", "rls": "not_sampled", "private": "missing_privilege"} {
		_, err := Sample(t.Context(), sys, table(t, sys, "public", name), Bounds{})
		var told *connection.Error
		if !errors.As(err, &told) || told.Code != code || strings.Contains(fmt.Sprintf("%+v", *told), "trapped") {
			t.Errorf("%s: %+v", name, err)
		}
	}
	if got, err := Sample(t.Context(), sys, table(t, sys, "public", "typed"), Bounds{}); err != nil || len(got) != 1 || got[0].Column != "mail" {
		t.Errorf("%+v, %v", got, err)
	}
	// Another table under the name of the one that was meant.
	was := table(t, sys, "public", "base")
	run("DROP VIEW v; DROP TABLE base; CREATE TABLE base (a text); GRANT SELECT ON base TO sys")
	var told *connection.Error
	if _, err := Sample(t.Context(), sys, was, Bounds{}); !errors.As(err, &told) || told.Code != "table_gone" {
		t.Errorf("%v", err)
	}
	// A lock is not waited for, and the session is usable after.
	locker, err := pg.Connect(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer locker.Close(t.Context())
	if _, err := locker.Exec(t.Context(), "BEGIN; LOCK TABLE typed"); err != nil {
		t.Fatal(err)
	}
	if _, err := Sample(t.Context(), sys, table(t, sys, "public", "typed"), Bounds{Timeout: 3 * time.Second}); !errors.As(err, &told) || told.Code != "locked" {
		t.Errorf("%v", err)
	}
	if _, err := locker.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if _, err := Sample(t.Context(), sys, table(t, sys, "public", "typed"), Bounds{}); err != nil {
		t.Error(err)
	}
}
