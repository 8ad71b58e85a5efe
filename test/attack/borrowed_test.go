package attack

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"portcullis.dev/portcullis/test/world"
)

// copier makes a table of the role whose index expression copies the data
// source into another table of the role, whoever computes the expression.
const copier = `
	CREATE TABLE {schema}.copied (run_by text, line text);
	CREATE FUNCTION {schema}.copy() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO {schema}.copied SELECT session_user, s::text FROM immuta.staff_pg s;
	EXCEPTION WHEN OTHERS THEN
		INSERT INTO {schema}.copied VALUES (session_user, SQLERRM);
	END $$;
	CREATE FUNCTION {schema}.innocent(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM {schema}.copy(); RETURN $1; END $$;
	CREATE TABLE {schema}.bait (x int) WITH (autovacuum_analyze_threshold = 1, autovacuum_analyze_scale_factor = 0);
	CREATE INDEX ON {schema}.bait ({schema}.innocent(x));
	INSERT INTO {schema}.bait SELECT generate_series(1, 3);`

// TestBorrowedSessions lets others, autovacuum among them, run the code of a
// governed person: the session is theirs, the result that person's.
func TestBorrowedSessions(t *testing.T) {
	l := &lab{World: world.Start(t, world.Options{Settings: map[string]string{"autovacuum_naptime": "1s"}}), t: t}
	pg := l.Sources[0]
	if err := pg.Exec(t.Context(), fill(pg.Table, states[0], pg.Backslashes)); err != nil {
		t.Fatal(err)
	}
	l.typed(l.User, fmt.Sprintf(`CREATE SCHEMA of_eve AUTHORIZATION %s; CREATE SCHEMA of_exempt AUTHORIZATION %s;
		GRANT SELECT ON immuta.staff_pg TO %[2]s;
		CREATE FUNCTION immuta.definer() RETURNS SETOF immuta.staff_pg LANGUAGE sql SECURITY DEFINER AS 'SELECT * FROM immuta.staff_pg'`, world.Eve, world.Exempt))
	l.typed(world.Eve, strings.ReplaceAll(copier, "{schema}", "of_eve"))
	l.typed(world.Exempt, strings.ReplaceAll(copier, "{schema}", "of_exempt"))

	t.Run("autovacuum", func(t *testing.T) {
		err := world.Until(t.Context(), 30*time.Second, func() (bool, error) {
			return strings.Contains(l.typed(world.Eve, "SELECT * FROM of_eve.copied WHERE run_by <> session_user"), "may not read data sources"), nil
		})
		if err != nil {
			t.Errorf("autovacuum was not refused: %v", err)
		}
		l.holdsNoSecret(t, "of_eve.copied")
	})
	t.Run("ANALYZE by a superuser", func(t *testing.T) {
		l.typed(l.User, "TRUNCATE of_eve.copied, of_exempt.copied",
			"ANALYZE of_eve.bait", "ANALYZE of_exempt.bait", "REINDEX TABLE of_eve.bait", "VACUUM FULL of_eve.bait")
		l.holdsNoSecret(t, "of_eve.copied")
		if got := l.typed(world.Exempt, "SELECT line FROM of_exempt.copied"); !strings.Contains(got, "555-66-7777") {
			t.Errorf("the control, code of an exempt role, reads nothing: %s", got)
		}
	})
	for _, query := range []string{"SELECT * FROM immuta.staff_pg", "SELECT * FROM immuta.definer()"} {
		t.Run("REFRESH of "+query, func(t *testing.T) {
			l.typed(world.Eve, "CREATE MATERIALIZED VIEW of_eve.kept AS "+query+" WITH NO DATA")
			l.typed(world.Exempt, "CREATE MATERIALIZED VIEW of_exempt.kept AS SELECT * FROM immuta.staff_pg WITH NO DATA")
			l.refusedFor(t, "REFRESH MATERIALIZED VIEW of_eve.kept")
			l.typed(l.User, "REFRESH MATERIALIZED VIEW of_exempt.kept")
			if got := l.typed(l.User, "TABLE of_exempt.kept"); !strings.Contains(got, "555-66-7777") {
				t.Errorf("the control, a view of an exempt role, is empty: %s", got)
			}
			l.typed(l.User, "DROP MATERIALIZED VIEW of_eve.kept; DROP MATERIALIZED VIEW of_exempt.kept")
		})
	}
	t.Run("definer function of a governed person", func(t *testing.T) {
		l.typed(world.Eve, "CREATE FUNCTION of_eve.trap() RETURNS SETOF immuta.staff_pg LANGUAGE sql SECURITY DEFINER AS 'SELECT * FROM immuta.staff_pg'")
		l.typed(l.User, "GRANT USAGE ON SCHEMA of_eve TO "+world.Exempt)
		l.refusedFor(t, "SELECT * FROM of_eve.trap()")
	})
	t.Run("EXPLAIN in such a function", func(t *testing.T) {
		l.typed(world.Eve, `CREATE FUNCTION of_eve.plan() RETURNS SETOF text LANGUAGE plpgsql SECURITY DEFINER AS
			$$ BEGIN RETURN QUERY EXECUTE 'EXPLAIN VERBOSE SELECT * FROM immuta.staff_pg'; END $$`)
		if got := l.typed(l.User, "SELECT * FROM of_eve.plan()"); strings.Contains(got, "Remote SQL") {
			t.Errorf("the plan is shown:\n%s", got)
		}
	})
}

// typed runs statements as a role and returns what it sees.
func (l *lab) typed(role string, sql ...string) string {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 30*time.Second)
	defer cancel()
	got, err := world.Type(ctx, l.As(role), sql...)
	if err != nil {
		l.t.Fatal(err)
	}
	if got.Err != nil {
		l.t.Fatalf("%s: %s", role, got)
	}
	return output(got)
}

func (l *lab) refusedFor(t *testing.T, sql string) {
	t.Helper()
	got, err := world.Type(t.Context(), l.As(l.User), sql)
	if err != nil {
		t.Fatal(err)
	}
	if got.Err == nil || got.Err.Code != "42501" {
		t.Errorf("not refused:\n%s", got)
	}
}

func (l *lab) holdsNoSecret(t *testing.T, table string) {
	t.Helper()
	got := l.typed(l.User, "TABLE "+table)
	for _, word := range append(secrets(), "111-22-3333") {
		if strings.Contains(got, word) {
			t.Fatalf("%s holds %q:\n%s", table, word, got)
		}
	}
}
