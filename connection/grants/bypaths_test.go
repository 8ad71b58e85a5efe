package grants_test

import (
	"context"
	"strings"
	"testing"

	"portcullis.dev/portcullis/connection"
)

// runs has the DBA run what the report prints for a person, and fails if a
// statement fails.
func (a *adverse) runs(r connection.Report) {
	a.t.Helper()
	for _, x := range r.Excess {
		if x.Kind == "" {
			a.sql(a.db, "%s", x.Statement)
		}
	}
}

// writePaths: who reads a table writes it by another relation. Each way is tried
// as that person, told, and closed by what the DBA is told to run.
func writePaths(t *testing.T, a *adverse) {
	a.sql(a.db, `CREATE VIEW app.v AS SELECT * FROM app.t WHERE a IS NOT NULL; CREATE VIEW app.vv AS SELECT * FROM app.v; CREATE VIEW app.w AS SELECT a FROM app.t;
		CREATE TABLE app.elder (a int); ALTER TABLE app.t INHERIT app.elder; CREATE TABLE app.log (a int); CREATE RULE r AS ON INSERT TO app.log DO ALSO DELETE FROM app.t;
		CREATE VIEW app.ir AS SELECT 1 AS a; CREATE RULE r AS ON DELETE TO app.ir DO INSTEAD DELETE FROM app.t;
		CREATE FUNCTION app.act() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN DELETE FROM app.t; RETURN NEW; END'; REVOKE ALL ON FUNCTION app.act() FROM PUBLIC;
		CREATE TABLE app.trig (a int); CREATE TRIGGER x AFTER INSERT ON app.trig FOR EACH ROW EXECUTE FUNCTION app.act();
		CREATE VIEW app.iv AS SELECT 1 AS a; CREATE TRIGGER x INSTEAD OF INSERT ON app.iv FOR EACH ROW EXECUTE FUNCTION app.act(); CREATE VIEW app.ov AS SELECT a FROM app.iv;
		CREATE TABLE app.whole (a int) PARTITION BY LIST (a); CREATE TABLE app.piece PARTITION OF app.whole DEFAULT; CREATE TRIGGER x AFTER INSERT ON app.piece FOR EACH ROW EXECUTE FUNCTION app.act();
		CREATE TABLE app.moved (a int) PARTITION BY LIST (a); CREATE TABLE app.moved1 PARTITION OF app.moved FOR VALUES IN (1); INSERT INTO app.moved VALUES (1);
		CREATE TABLE app.moved2 PARTITION OF app.moved DEFAULT; CREATE TRIGGER x AFTER INSERT ON app.moved2 FOR EACH ROW EXECUTE FUNCTION app.act();
		CREATE TABLE app.calm (a int) PARTITION BY LIST (a); CREATE TABLE app.calm1 PARTITION OF app.calm DEFAULT; CREATE RULE r AS ON INSERT TO app.calm1 DO ALSO DELETE FROM app.t;
		CREATE FUNCTION app.g() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'DELETE FROM app.t'; CREATE FUNCTION app.h() RETURNS void LANGUAGE sql SECURITY DEFINER BEGIN ATOMIC DELETE FROM app.t; END;
		REVOKE ALL ON FUNCTION app.g(), app.h() FROM PUBLIC; CREATE VIEW app.mine AS SELECT * FROM app.u; ALTER VIEW app.mine OWNER TO %s; CREATE VIEW app.sums AS SELECT count(*) FROM app.t`, a.p)
	a.manage(a.db, "app")
	want := a.want()
	if r := a.settled(want); r.Exceeds != 0 {
		t.Fatalf("before anything was given: %+v", r.Excess)
	}
	ways := []struct{ give, do, told string }{
		{"INSERT ON app.v", "INSERT INTO app.v VALUES (1)", `REVOKE INSERT ON TABLE "app"."v" FROM `},
		{"UPDATE, DELETE ON app.vv", "DELETE FROM app.vv", `REVOKE DELETE ON TABLE "app"."vv" FROM `},
		{"UPDATE (a) ON app.w", "UPDATE app.w SET a = 1", `REVOKE UPDATE ON TABLE "app"."w" FROM `},
		{"DELETE, TRUNCATE ON app.elder", "TRUNCATE app.elder", `REVOKE TRUNCATE ON TABLE "app"."elder" FROM `},
		{"INSERT ON app.log", "INSERT INTO app.log VALUES (1)", `REVOKE INSERT ON TABLE "app"."log" FROM `},
		{"DELETE ON app.ir", "DELETE FROM app.ir", `REVOKE DELETE ON TABLE "app"."ir" FROM `},
		{"INSERT ON app.trig", "INSERT INTO app.trig VALUES (1)", `REVOKE INSERT ON TABLE "app"."trig" FROM `},
		{"INSERT ON app.iv", "INSERT INTO app.iv VALUES (1)", `REVOKE INSERT ON TABLE "app"."iv" FROM `},
		{"INSERT ON app.ov", "INSERT INTO app.ov VALUES (1)", `REVOKE INSERT ON TABLE "app"."ov" FROM `},
		{"INSERT ON app.whole", "INSERT INTO app.whole VALUES (1)", `REVOKE INSERT ON TABLE "app"."whole" FROM `},
		{"UPDATE ON app.moved", "UPDATE app.moved SET a = 2", `REVOKE UPDATE ON TABLE "app"."moved" FROM `},
		{"EXECUTE ON FUNCTION app.g()", "SELECT app.g()", "REVOKE EXECUTE ON FUNCTION app.g() FROM "},
		{"EXECUTE ON FUNCTION app.h()", "SELECT app.h()", "REVOKE EXECUTE ON FUNCTION app.h() FROM "},
	}
	for _, w := range ways {
		a.must(a.q, a.db, false, w.do)
		a.sql(a.db, "GRANT %s TO %s", w.give, a.q)
		a.must(a.q, a.db, true, w.do)
	}
	a.sql(a.db, "GRANT ALL ON app.sums, app.calm TO %s", a.q) // one cannot be written, by the other no rule of its partition acts
	r := a.settled(want)
	told := strings.Join(excessOf(r, a.q), "\n")
	for _, w := range ways {
		if !strings.Contains(told, w.told) {
			t.Errorf("nobody says %s:\n%s", w.told, told)
		}
	}
	if r.Exceeds != 1 || strings.Contains(told, "sums") || strings.Contains(told, "calm") || len(excessOf(r, a.p)) > 0 {
		t.Errorf("%d exceed:\n%s\n%s", r.Exceeds, told, excessOf(r, a.p))
	}
	a.runs(r)
	for _, w := range ways {
		a.must(a.q, a.db, false, w.do)
	}
	a.must(a.q, a.db, true, "SELECT * FROM app.t")
	a.must(a.p, a.db, true, "DELETE FROM app.t")
	if r := a.settled(want); r.Exceeds != 0 || len(r.Excess) > 0 {
		t.Errorf("after all statements: %+v", r.Excess)
	}
	// What the policies give is no excess; that a trigger of it acts elsewhere is told.
	trig := a.ref(a.db, "app", "trig")
	want.Managed = append(want.Managed, trig)
	want.Sets = append(want.Sets, set("three", connection.Write, []connection.ObjectRef{trig}, a.q))
	if r := a.settled(want); r.Exceeds != 0 || r.Given != 1 || r.Excess[0].Kind != connection.FindingGiven || r.Excess[0].Object.Name != "t" {
		t.Errorf("%+v", r)
	}
}

// membershipsOfOthers: who reaches our grants by a membership that others gave
// loses that membership, and our roles lose nothing.
func membershipsOfOthers(t *testing.T, a *adverse) {
	a.settled(a.want())
	made, _ := a.ledger.Roles(context.Background())
	for _, m := range made {
		if m.For == "one" {
			a.sql(a.db, "GRANT %s TO %s WITH ADMIN OPTION", m.Name, a.q)
			if a.major >= 16 {
				a.sql(a.db, "SET ROLE %s; GRANT %s TO %s; RESET ROLE", a.q, m.Name, a.p)
			}
		}
	}
	a.must(a.q, a.db, true, "DELETE FROM app.t")
	a.sql(a.db, "GRANT %s TO %s", a.q, a.p)
	a.must(a.p, a.db, true, "SELECT * FROM app.u")
	r := a.round(a.want())
	for _, x := range r.Excess {
		if strings.Contains(x.Statement, " ON ") || !strings.HasPrefix(x.Statement, "REVOKE ") {
			t.Errorf("a DBA shall run %s", x.Statement)
		}
	}
	a.runs(r)
	a.must(a.q, a.db, false, "DELETE FROM app.t")
	a.must(a.p, a.db, false, "SELECT * FROM app.u")
	a.must(a.p, a.db, true, "DELETE FROM app.t")
	a.must(a.q, a.db, true, "SELECT * FROM app.t", "SELECT * FROM app.u")
	if r := a.round(a.want()); r.Applied != 0 || r.Exceeds != 0 || len(r.Excess) > 0 {
		t.Errorf("after all statements: %+v", r)
	}
}
