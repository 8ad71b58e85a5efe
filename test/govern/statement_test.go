package govern

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/test/world"
)

// testStatements: a record holds the statement as it was typed, with the
// comments in front of it (many clients say there who asks), and nothing of
// the statements beside it, on every version of PostgreSQL.
func testStatements(t *testing.T, n *node) {
	const read = "SELECT count(id) FROM immuta.staff_pg"
	n.exec(t, "CREATE SCHEMA ruled; CREATE TABLE ruled.asked (n bigint); CREATE TABLE ruled.counted (n bigint)")
	n.exec(t, "CREATE RULE also AS ON INSERT TO ruled.asked DO ALSO INSERT INTO ruled.counted "+read)
	n.exec(t, "CREATE FUNCTION ruled.atomic() RETURNS bigint LANGUAGE sql SECURITY DEFINER BEGIN ATOMIC "+read+"; END; ALTER FUNCTION ruled.atomic() OWNER TO "+world.Exempt)
	n.exec(t, "CREATE FUNCTION ruled.atomic_eve() RETURNS bigint LANGUAGE sql SECURITY DEFINER BEGIN ATOMIC "+read+"; END; ALTER FUNCTION ruled.atomic_eve() OWNER TO "+world.Eve)
	n.exec(t, "GRANT USAGE ON SCHEMA ruled TO PUBLIC")
	defer n.exec(t, "DROP SCHEMA ruled CASCADE")
	for _, test := range []struct {
		name, role, sql string
		extended, fails bool
		parsedOff       bool // prepared while standard_conforming_strings was off
		want            []string
	}{
		{name: "alone", sql: read, want: []string{read}},
		{name: "comments before and behind", sql: "/* report 7; */ -- by the hour; daily\n" + read + " /* end */ -- ;", want: []string{"/* report 7; */ -- by the hour; daily\n" + read + " /* end */ -- ;"}},
		{name: "extended protocol", extended: true, sql: "/* report 7 */ " + read, want: []string{"/* report 7 */ " + read}},
		{name: "among others", sql: "SELECT 'other'; -- a; b /*\n/* c /* d; */ */ " + read + " /* e */; SELECT 'other'; /* f */ " + read + ";; -- other",
			want: []string{" -- a; b /*\n/* c /* d; */ */ " + read + " /* e */", " /* f */ " + read}},
		{name: "behind nothing", sql: "/* other */;; /* a */ " + read, want: []string{" /* a */ " + read}},
		{name: "behind odd quoting", sql: `SELECT 'other; /* '' ', $a$; ' $ $a$, E'\';'' ', 1 AS "other;"" -- "; /* a */ ` + read, want: []string{" /* a */ " + read}},
		{name: "behind a function's body", role: world.Exempt,
			sql:  "CREATE FUNCTION pg_temp.other() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; /* a */ " + read,
			want: []string{" /* a */ " + read}},
		{name: "cursor", sql: "BEGIN; /* a */ DECLARE c CURSOR FOR " + read + "; FETCH c; SELECT 'other'; COMMIT", want: []string{" /* a */ DECLARE c CURSOR FOR " + read}},
		{name: "prepared", sql: "SELECT 'other'; /* a */ PREPARE p AS " + read + "; /* b */ EXECUTE p; DEALLOCATE p", want: []string{" /* a */ PREPARE p AS " + read}},
		{name: "copied", sql: "SELECT 'other'; /* a */ COPY (" + read + ") TO STDOUT; SELECT 'other'", want: []string{" /* a */ COPY (" + read + ") TO STDOUT"}},
		{name: "explained", role: world.Exempt, sql: "SELECT 'other'; /* a */ EXPLAIN ANALYZE " + read + "; SELECT 'other'", want: []string{" /* a */ EXPLAIN ANALYZE " + read}},
		{name: "kept in a table", role: world.Exempt, sql: "/* a */ CREATE TEMPORARY TABLE kept AS " + read + "; SELECT 'other'", want: []string{"/* a */ CREATE TEMPORARY TABLE kept AS " + read}},
		{name: "in a block", sql: "DO $$ BEGIN EXECUTE 'SELECT ''other''; /* a */ " + read + "; SELECT ''other'''; END $$", want: []string{" /* a */ " + read}},
		{name: "explained in a block", role: world.Exempt,
			sql:  "DO $$ BEGIN EXECUTE 'SELECT ''other''; /* a */ EXPLAIN ANALYZE " + read + "; SELECT ''other'''; END $$",
			want: []string{" /* a */ EXPLAIN ANALYZE " + read}},
		{name: "by a rule", role: n.User, sql: "SELECT 'other'; /* a */ INSERT INTO ruled.asked VALUES (1); SELECT 'other'", want: []string{" /* a */ INSERT INTO ruled.asked VALUES (1)"}},
		{name: "by a rule in a block", role: n.User, sql: "DO $$ BEGIN EXECUTE 'SELECT ''other''; INSERT INTO ruled.asked VALUES (1)'; END $$", want: []string{""}},
		{name: "by a body without a text", sql: "SELECT 'other'; /* a */ SELECT ruled.atomic()", want: []string{" /* a */ SELECT ruled.atomic()"}},
		{name: "by a body without a text in a block", sql: "DO $$ BEGIN PERFORM ruled.atomic(); END $$", want: []string{"DO $$ BEGIN PERFORM ruled.atomic(); END $$"}},
		{name: "by a body without a text, with a secret", role: n.User, sql: "SELECT immutasys.seal('tell-nobody'), ruled.atomic()",
			want: []string{"SELECT immutasys.seal ( '********' ) , ruled . atomic ( )"}},
		{name: "by a governed body without a text, with a secret", role: n.User, fails: true, sql: "SELECT immutasys.seal('tell-nobody'), ruled.atomic_eve()",
			want: []string{"SELECT immutasys.seal ( '********' ) , ruled . atomic_eve ( )"}},
		{name: "denied", role: world.Dan, fails: true, sql: "SELECT 'other'; /* a */ " + read + "; SELECT 'other'", want: []string{" /* a */ " + read}},
		{name: "quoted otherwise than now", sql: `SET standard_conforming_strings = off; SELECT 'other\'; /* a */ ` + read, want: []string{" /* a */ " + read}},
		{name: "prepared when quoted otherwise", parsedOff: true, sql: read + ` WHERE name <> '\';'`, want: []string{read + ` WHERE name <> '\';'`}},
		{name: "with a secret", role: n.User,
			sql:  "SELECT 'other'; /* a */ SELECT count(id) > 3, immutasys.seal('tell-nobody') /* nor this */ FROM immuta.staff_pg WHERE id > 7.5 AND name <> $a$b$a$ OR \"id\" = 1",
			want: []string{" /* a */ SELECT count(id) > '********', immutasys.seal ( '********' ) FROM immuta . staff_pg WHERE id > '********' AND name <> '********' OR \"id\" = '********'"}},
		{name: "with a secret in a block", role: n.User, sql: "DO $$ BEGIN PERFORM immutasys.seal('tell-nobody'), count(*) FROM immuta.staff_pg; END $$",
			want: []string{"SELECT immutasys.seal ( '********' ) , count ( * ) FROM immuta . staff_pg"}},
		{name: "with a secret in a cursor", role: n.User, sql: "BEGIN; DECLARE c CURSOR FOR SELECT immutasys.seal('tell-nobody'), id FROM immuta.staff_pg; FETCH c; COMMIT",
			want: []string{" DECLARE c CURSOR FOR SELECT immutasys.seal " + strings.Repeat("*", len("('tell-nobody'), id FROM immuta.staff_pg"))}},
		{name: "with a secret that may end elsewhere", role: n.User, sql: `SELECT immutasys.seal('tell-nobody\'), count(id) FROM immuta.staff_pg`,
			want: []string{"SELECT immutasys.seal('********')"}},
		{name: "with a secret before the name", role: n.User, sql: "/* a */ WITH s AS (SELECT 'tell-nobody' AS x) SELECT immutasys.seal(x), count(id) FROM s, immuta.staff_pg GROUP BY x",
			want: []string{"/* a */ WITH s AS (SELECT '********' AS x) SELECT immutasys.seal ( x ) , count ( id ) FROM s , immuta . staff_pg GROUP BY x"}},
		{name: "with a secret before the name that may end elsewhere", role: n.User,
			sql:  `WITH s AS (SELECT 'tell-nobody\' AS x) SELECT immutasys.seal(x), count(id) FROM s, immuta.staff_pg WHERE name <> '' GROUP BY x`,
			want: []string{"WITH s AS (SELECT '********')"}},
		{name: "with a comment in the name", role: n.User, sql: "SELECT immutasys/**/.seal('tell-nobody'), count(id) FROM immuta.staff_pg",
			want: []string{"SELECT immutasys . seal ( '********' ) , count ( id ) FROM immuta . staff_pg"}},
		{name: "with an escaped name", role: n.User, sql: `SELECT immutasys.U&"\0073\+000065al"('tell-nobody'), count(id) FROM immuta.staff_pg`,
			want: []string{`SELECT immutasys.U&"\0073\+000065al" ( '********' ) , count ( id ) FROM immuta . staff_pg`}},
		{name: "with a name that has its own escape", role: n.User, sql: `SELECT U&"!0069mmutasys" UESCAPE '!' . seal('tell-nobody'), count(id) FROM immuta.staff_pg`,
			want: []string{`SELECT U&"!0069mmutasys" UESCAPE '********' . seal ( '********' ) , count ( id ) FROM immuta . staff_pg`}},
		{name: "with a name in a constant", role: n.User, sql: "SELECT 'immutasys.seal(' AS x, count(id) FROM immuta.staff_pg",
			want: []string{"SELECT '********' AS x , count ( id ) FROM immuta . staff_pg"}},
		{name: "with a name in a comment", role: n.User, sql: "SELECT /* immutasys.seal( */ count(id) FROM immuta.staff_pg",
			want: []string{"SELECT count ( id ) FROM immuta . staff_pg"}},
		{name: "with a name only, exempt", role: world.Exempt, sql: `SELECT 'immutasys.seal\' AS x, count(id) FROM immuta.staff_pg WHERE name <> 'x'`,
			want: []string{`SELECT 'immutasys.seal\' AS x, count(id) FROM immuta.staff_pg WHERE name <> 'x'`}},
		{name: "with a name only, copied", sql: "COPY (SELECT /* immutasys.seal */ count(id) FROM immuta.staff_pg WHERE name <> 'x') TO STDOUT",
			want: []string{"COPY (SELECT /* immutasys.seal */ count(id) FROM immuta.staff_pg WHERE name <> 'x') TO STDOUT"}},
		{name: "with a name only, in a cursor", role: world.Exempt, sql: "BEGIN; DECLARE c CURSOR FOR SELECT /* immutasys.seal */ id FROM immuta.staff_pg; FETCH c; COMMIT",
			want: []string{" DECLARE c CURSOR FOR SELECT /* immutasys.seal */ id FROM immuta.staff_pg"}},
		{name: "with a name only", sql: "/* immutasys.seal( */ SELECT count(id) FROM immuta.staff_pg WHERE name <> 'x'",
			want: []string{"/* immutasys.seal( */ SELECT count(id) FROM immuta.staff_pg WHERE name <> 'x'"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			role := test.role
			if role == "" {
				role = world.Eve
			}
			conn := n.Login(t, role)
			var err error
			if test.parsedOff {
				mustExec(t, conn, "SET standard_conforming_strings = off")
				if _, err := conn.Prepare(t.Context(), "p", test.sql); err != nil {
					t.Fatal(err)
				}
				mustExec(t, conn, "SET standard_conforming_strings = on")
				_, err = conn.Exec(t.Context(), "p")
			} else if test.extended {
				_, err = conn.Exec(t.Context(), test.sql, pgx.QueryExecModeDescribeExec)
			} else {
				_, err = conn.PgConn().Exec(t.Context(), test.sql).ReadAll()
			}
			if test.fails {
				wantError(t, err, "42501", "")
			} else if err != nil {
				t.Fatal(err)
			}
			var got []string
			n.shipped(t, conn, "role="+role, func(records []record) bool {
				got = nil
				for _, r := range slices.Backward(records) {
					if r.Kind == "intent" || r.Kind == "denied" {
						got = append(got, r.Statement)
					}
				}
				return len(got) >= len(test.want)
			})
			if !slices.Equal(got, test.want) {
				t.Errorf("got  %s\nwant %s", quoted(got), quoted(test.want))
			}
		})
	}
}

func quoted(texts []string) string { return strings.Trim(fmt.Sprintf("%q", texts), "[]") }
