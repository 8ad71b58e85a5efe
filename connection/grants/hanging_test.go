package grants_test

import (
	"strings"
	"testing"
)

// hanging: ways that need no privilege on the table any more, each tried as the
// person, told with what ends it, and gone after that was run.
func hanging(t *testing.T, a *adverse) {
	writers, low := a.target.Prefix[:11]+"writers", a.target.Prefix[:11]+"low"
	a.sql("postgres", "CREATE ROLE %[1]s; GRANT %[1]s TO %[2]s; CREATE ROLE %[3]s", writers, a.q, low)
	a.sql(a.db, `ALTER TABLE app.t ADD CONSTRAINT one UNIQUE (a); INSERT INTO app.t VALUES (7);
		CREATE FUNCTION app.seen() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; ALTER FUNCTION app.seen() OWNER TO %[1]s;
		CREATE TRIGGER seen AFTER INSERT ON app.t FOR EACH ROW EXECUTE FUNCTION app.seen();
		CREATE FUNCTION app.look() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN SELECT max(t.a) INTO NEW.a FROM app.t; RETURN NEW; END';
		CREATE TABLE app.own (a int REFERENCES app.t (a)); ALTER TABLE app.own OWNER TO %[1]s; GRANT USAGE ON SCHEMA app TO %[1]s;
		ALTER DEFAULT PRIVILEGES FOR ROLE %[3]s IN SCHEMA app GRANT SELECT ON TABLES TO PUBLIC;
		ALTER DEFAULT PRIVILEGES FOR ROLE %[3]s GRANT TRIGGER ON TABLES TO %[2]s`, a.q, writers, low)
	ways := []string{"CREATE TEMP TABLE x (a int); CREATE TRIGGER x BEFORE INSERT ON x FOR EACH ROW EXECUTE FUNCTION app.look(); INSERT INTO x VALUES (1)",
		"CREATE OR REPLACE FUNCTION app.seen() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''%'', NEW; RETURN NULL; END'", "INSERT INTO app.own VALUES (7)"}
	want := a.want()
	want.Sets = want.Sets[:1]
	a.sql(a.db, "GRANT CREATE ON SCHEMA app TO %s", a.q) // to replace a function that is theirs
	a.must(a.q, a.db, true, ways...)
	r := a.settled(want)
	told := strings.Join(excessOf(r, a.q), "\n") + strings.Join(excessOf(r, a.p), "\n")
	statements := []string{`REVOKE EXECUTE ON FUNCTION app.look() FROM PUBLIC`,
		`ALTER FUNCTION app.seen() OWNER TO "postgres"`, `ALTER TABLE app.own DROP CONSTRAINT own_a_fkey`,
		`ALTER DEFAULT PRIVILEGES FOR ROLE "` + low + `" IN SCHEMA "app" REVOKE SELECT ON TABLES FROM PUBLIC`,
		`ALTER DEFAULT PRIVILEGES FOR ROLE "` + low + `" REVOKE TRIGGER ON TABLES FROM "` + writers + `"`}
	for _, s := range statements {
		if !strings.Contains(told, s) {
			t.Errorf("nobody says %s:\n%s", s, told)
			continue
		}
		a.sql(a.db, "%s", s)
	}
	a.must(a.q, a.db, false, ways[:2]...)
	if r := a.settled(want); r.Exceeds != 0 || len(r.Excess) != 0 {
		t.Errorf("%d exceed after all was done: %+v", r.Exceeds, r.Excess)
	}
	a.sql(a.db, "DROP SCHEMA app CASCADE; DROP OWNED BY %[1]s; DROP OWNED BY %[2]s", writers, low)
	a.sql("postgres", "DROP ROLE %s; DROP ROLE %s", writers, low)
}
