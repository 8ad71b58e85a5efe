package grants_test

import (
	"fmt"
	"strings"
	"testing"

	"portcullis.dev/portcullis/connection"
)

// keyPaths: who may write a table that others refer to changes these by the
// actions of their foreign keys, and sets off what hangs on them.
func keyPaths(t *testing.T, a *adverse) {
	columns := 11
	for i := range columns {
		a.sql(a.db, "CREATE TABLE app.k%[1]d (id int PRIMARY KEY, note int); INSERT INTO app.k%[1]d VALUES (1); ALTER TABLE app.t ADD c%[1]d int DEFAULT 1", i)
	}
	key := func(column int, on string) {
		a.sql(a.db, "ALTER TABLE app.t ADD FOREIGN KEY (c%[1]d) REFERENCES app.k%[1]d %s", column, on)
	}
	a.sql(a.db, "ALTER TABLE app.t ADD UNIQUE (a); INSERT INTO app.t VALUES (1)")
	key(0, "ON DELETE CASCADE")
	key(1, "ON UPDATE CASCADE")
	key(2, "ON DELETE SET NULL")
	key(3, "ON UPDATE SET DEFAULT ON DELETE CASCADE")
	key(4, "ON DELETE CASCADE")
	key(5, "ON DELETE CASCADE")
	key(6, "") // of the tables without actions
	key(7, "ON DELETE CASCADE ON UPDATE CASCADE")
	a.sql(a.db, `CREATE VIEW app.kv AS SELECT * FROM app.k3; CREATE TABLE app.far (id int PRIMARY KEY); INSERT INTO app.far VALUES (1);
		ALTER TABLE app.k4 ADD FOREIGN KEY (id) REFERENCES app.far ON DELETE CASCADE;
		CREATE TABLE app.log (a int); CREATE RULE r AS ON INSERT TO app.log DO ALSO DELETE FROM app.k5;
		CREATE FUNCTION app.g() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'DELETE FROM app.k0'; REVOKE ALL ON FUNCTION app.g() FROM PUBLIC;
		CREATE TABLE app.whole (id int PRIMARY KEY) PARTITION BY LIST (id); CREATE TABLE app.piece PARTITION OF app.whole FOR VALUES IN (1); CREATE TABLE app.rest PARTITION OF app.whole DEFAULT;
		INSERT INTO app.whole VALUES (1); ALTER TABLE app.t ADD w int DEFAULT 1 REFERENCES app.whole ON DELETE CASCADE;
		CREATE TABLE app.refers (id int PRIMARY KEY REFERENCES app.k8 ON DELETE CASCADE); INSERT INTO app.refers VALUES (1);
		CREATE FUNCTION app.act() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM app.t; RETURN OLD; END'; CREATE TRIGGER x BEFORE DELETE ON app.refers FOR EACH ROW EXECUTE FUNCTION app.act();
		CREATE TABLE app.later (id int PRIMARY KEY REFERENCES app.k9 ON DELETE CASCADE); INSERT INTO app.later VALUES (1);
		CREATE FUNCTION app.after() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM app.t; RETURN OLD; END'; CREATE TRIGGER x AFTER DELETE ON app.later FOR EACH ROW EXECUTE FUNCTION app.after();
		CREATE TABLE app.elder (a int, c10 int REFERENCES app.k10 ON DELETE CASCADE); ALTER TABLE app.t INHERIT app.elder;
		ALTER TABLE app.t ADD self int REFERENCES app.t (a) ON DELETE CASCADE; ALTER TABLE app.k7 ADD back int REFERENCES app.t (a) ON DELETE CASCADE ON UPDATE CASCADE;
		CREATE VIEW app.inner AS SELECT * FROM app.k0; CREATE VIEW app.outer AS SELECT * FROM app.inner; ALTER VIEW app.outer OWNER TO %[1]s; CREATE VIEW app.over AS SELECT * FROM app.t; ALTER VIEW app.over OWNER TO %[1]s`, "owner"+a.p[1:])
	a.manage(a.db, "app")
	want := a.want()
	if r := a.settled(want); r.Exceeds != 0 {
		t.Fatalf("before anything was given: %+v", r.Excess)
	}
	before := a.value(a.db, "SELECT t::text FROM app.t t")
	changes := func(statement string) bool {
		return a.can(a.q, a.db, fmt.Sprintf("%s; DO $$ BEGIN IF (SELECT t::text FROM app.t t) = '%s' THEN RAISE 'nothing changed'; END IF; END $$", statement, before))
	}
	type waysOf []struct {
		give, do, told string
		not            bool // nothing is reached
	}
	table := func(privileges, name string) string {
		return fmt.Sprintf(`REVOKE %s ON TABLE "app"."%s" FROM `, privileges, name)
	}
	ways := waysOf{
		{"DELETE ON app.k0", "DELETE FROM app.k0", table("DELETE", "k0"), false},
		{"UPDATE (id) ON app.k1", "UPDATE app.k1 SET id = 2", table("UPDATE", "k1"), false},
		{"DELETE ON app.k2", "DELETE FROM app.k2", table("DELETE", "k2"), false},
		{"DELETE, TRUNCATE, INSERT ON app.kv", "DELETE FROM app.kv", table("DELETE", "kv"), false},
		{"DELETE ON app.far", "DELETE FROM app.far", table("DELETE", "far"), false},
		{"INSERT ON app.log", "INSERT INTO app.log VALUES (1)", table("INSERT", "log"), false},
		{"EXECUTE ON FUNCTION app.g()", "SELECT app.g()", "REVOKE EXECUTE ON FUNCTION app.g() FROM ", false},
		{"DELETE ON app.whole", "DELETE FROM app.whole", "REVOKE " + map[bool]string{true: "UPDATE, "}[a.major < 15] + `DELETE ON TABLE "app"."whole" FROM `, false},
		{"DELETE ON app.piece", "DELETE FROM app.piece", table("DELETE", "piece"), false},
		{"DELETE ON app.k8", "DELETE FROM app.k8", table("DELETE", "k8"), false},
		{"DELETE ON app.k7", "DELETE FROM app.k7", table("DELETE", "k7"), false},
		{"UPDATE ON app.whole", "UPDATE app.whole SET id = 2", map[bool]string{true: "REVOKE UPDATE, DELETE", false: "UPDATE"}[a.major < 15] + ` ON TABLE "app"."whole"`, a.major >= 15},
		{"DELETE ON app.k9", "DELETE FROM app.k9", table("DELETE", "k9"), a.major < 18},
		{"INSERT, UPDATE, DELETE, TRUNCATE ON app.k6", "DELETE FROM app.k6", `"k6"`, true},
		{"INSERT, TRUNCATE ON app.k5", "TRUNCATE app.k5 CASCADE", `"k5"`, true},
		{"DELETE ON app.k10", "DELETE FROM app.k10", `"k10"`, true},
		{"DELETE ON app.outer", "DELETE FROM app.outer", `"outer"`, true},
	}
	for _, w := range ways {
		if changes(w.do) {
			t.Errorf("%s: before it was given", w.do)
		}
		a.sql(a.db, "GRANT %s TO %s", w.give, a.q)
		if changes(w.do) == w.not {
			t.Errorf("%s: as granted: %t", w.do, w.not)
		}
	}
	r := a.settled(want)
	told := strings.Join(excessOf(r, a.q), "\n")
	for _, w := range ways {
		if strings.Contains(told, w.told) == w.not {
			t.Errorf("%s: told %t:\n%s", w.told, w.not, told)
		}
	}
	if r.Exceeds != 1 || len(excessOf(r, a.p)) > 0 {
		t.Errorf("%d exceed:\n%s\n%s", r.Exceeds, told, excessOf(r, a.p))
	}
	a.runs(r)
	for _, w := range ways {
		if changes(w.do) {
			t.Errorf("%s: after what a DBA ran", w.do)
		}
	}
	if r := a.settled(want); r.Exceeds != 0 || len(r.Excess) > 0 {
		t.Errorf("after all statements: %+v", r.Excess)
	}
	// What the policies give is no excess; that it changes another table is told.
	a.sql(a.db, "INSERT INTO app.u VALUES (1); ALTER TABLE app.u ADD FOREIGN KEY (a) REFERENCES app.t (a) ON DELETE CASCADE")
	if r := a.settled(want); r.Exceeds != 0 || r.Given != 1 || r.Excess[0].Kind != connection.FindingGiven || r.Excess[0].Object.Name != "u" || r.Excess[0].Via[0] != `"app"."t"` {
		t.Errorf("%+v", r)
	}
}
