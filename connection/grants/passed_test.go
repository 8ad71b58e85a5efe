package grants_test

import (
	"strings"
	"testing"

	"portcullis.dev/portcullis/connection"
)

// passedOn: what somebody granted by an option of one of our roles, which others
// gave to it, keeps ours from being revoked. It is told what a DBA runs.
func passedOn(t *testing.T, a *adverse) {
	want := a.want()
	a.settled(want)
	two, way, group := a.roleFor("two"), a.roleFor(a.db+".app"), "owner"+a.p[1:]
	person := a.login(a.q, "pw", a.db)
	pass := func(sql string) {
		t.Helper()
		if err := try(person, sql); err != nil {
			t.Fatal(sql, err)
		}
	}

	a.sql(a.db, "GRANT SELECT, INSERT ON app.u TO %s WITH GRANT OPTION", two)
	pass("GRANT SELECT ON app.u TO " + a.p)
	pass("GRANT INSERT ON app.u TO " + group)
	want.Sets[1].Tables = want.Sets[1].Tables[:1]
	r := a.round(want)
	a.must(a.p, a.db, true, "SELECT * FROM app.u")
	if a.target.Mode == connection.ModeBroker {
		pending := a.passed(r, "REVOKE SELECT, INSERT ON TABLE", "role "+ident(two)+" ", "SET ROLE "+ident(two)+`; REVOKE SELECT ON TABLE "app"."u" FROM `+ident(a.p)+"; RESET ROLE",
			"SET ROLE "+ident(two)+`; REVOKE INSERT ON TABLE "app"."u" FROM `+ident(group)+"; RESET ROLE")
		a.sql(a.db, "%s", pending)
	} else if len(r.Pending) > 0 { // there a superuser's grant is not merged with ours
		t.Errorf("%+v", r.Pending)
	}
	a.runs(r)
	a.settled(want)
	a.must(a.p, a.db, false, "SELECT * FROM app.u")
	a.must(a.q, a.db, false, "SELECT * FROM app.u")

	if a.target.Mode == connection.ModeBroker {
		a.sql(a.db, "GRANT USAGE ON SCHEMA app TO %s WITH GRANT OPTION", way)
		pass("GRANT USAGE ON SCHEMA app TO " + group)
		statement := "SET ROLE " + ident(way) + `; REVOKE USAGE ON SCHEMA "app" FROM ` + ident(group) + "; RESET ROLE"
		a.sql(a.db, "%s", a.passed(a.round(want), `REVOKE USAGE ON SCHEMA "app"`, "role "+ident(way)+" ", statement))
		a.settled(want)
	}
	if a.major >= 16 {
		maker := a.value("postgres", `SELECT m.grantor::regrole::text FROM pg_auth_members m WHERE m.roleid = $1::regrole AND m.member = $2::regrole`, two, a.q)
		a.sql(a.db, "GRANT %s TO %s WITH ADMIN OPTION GRANTED BY %s", two, a.q, maker)
		pass("GRANT " + two + " TO " + group)
		statement := "REVOKE " + ident(two) + " FROM " + ident(group) + " GRANTED BY " + ident(a.q)
		a.sql(a.db, "%s", a.passed(a.round(want), "REVOKE ADMIN OPTION FOR "+ident(two)+" FROM "+ident(a.q), "role "+ident(a.q)+" ", statement))
	}
	if r := a.settled(want); r.Exceeds+r.Lacks+len(r.Excess) > 0 {
		t.Errorf("%+v", r)
	}

	// Who holds ADMIN of a role that is a member of the grantor cannot act as that.
	a.sql(a.db, "GRANT %[1]s TO %s; CREATE TABLE app.theirs (a int); ALTER TABLE app.theirs OWNER TO %[1]s; GRANT SELECT ON app.theirs TO %s", group, way, a.roleFor(a.db))
	if r := a.round(want); len(r.Pending) > 0 {
		t.Errorf("%+v", r.Pending)
	}
	a.sql(a.db, "DROP TABLE app.theirs; REVOKE %s FROM %s", group, way)
	a.settled(want)
}

// passed wants one statement to be pending because of these, and returns them all.
func (a *adverse) passed(r connection.Report, pending, who string, statements ...string) string {
	a.t.Helper()
	if len(r.Pending) != 1 || !strings.HasPrefix(r.Pending[0].Statement, pending) {
		a.t.Fatalf("pending: %+v", r.Pending)
	}
	e := r.Pending[0].Error
	_, run, _ := strings.Cut(e.Hint, ": ")
	left := run
	for _, s := range statements {
		left = strings.Replace(left, s, "", 1)
	}
	if e.Code != "passed_on" || !strings.HasPrefix(e.Message, who) || strings.Trim(left, "; ") != "" {
		a.t.Errorf("%+v", e)
	}
	return run
}

// optionsOfOthers: of what others gave a role of ours before the policies did, a
// DBA is told to revoke what is beyond its access, and nothing else.
func optionsOfOthers(t *testing.T, a *adverse) {
	want := a.want()
	before := a.want()
	before.Sets[1].Tables = before.Sets[1].Tables[:1]
	a.settled(before)
	two := a.roleFor("two")
	a.sql(a.db, "GRANT SELECT, TRIGGER ON app.u TO %s WITH GRANT OPTION", two)
	r := a.round(want)
	if told := len(r.Excess) > 0; told != (a.target.Mode == connection.ModeGrantor) {
		t.Errorf("%+v", r.Excess)
	}
	a.runs(r)
	a.must(a.q, a.db, true, "SELECT * FROM app.u")
	if r := a.settled(want); r.Exceeds+r.Lacks+len(r.Excess) > 0 {
		t.Errorf("%+v", r)
	}
	// On a column, to who reads the table rightly, and passes it on.
	a.sql(a.db, "GRANT SELECT (a) ON app.u TO %s WITH GRANT OPTION", a.q)
	if r = a.round(want); len(r.Excess) != 1 || r.Excess[0].Privilege != "GRANT OPTION on columns" {
		t.Errorf("%+v", r.Excess)
	}
	if err := try(a.login(a.q, "pw", a.db), "GRANT SELECT (a) ON app.u TO "+a.p); err != nil {
		t.Fatal(err)
	}
	a.must(a.p, a.db, true, "SELECT a FROM app.u")
	a.runs(a.round(want))
	a.must(a.q, a.db, true, "SELECT * FROM app.u")
	a.must(a.p, a.db, false, "SELECT a FROM app.u")
	if r := a.settled(want); r.Exceeds+r.Lacks+len(r.Excess) > 0 {
		t.Errorf("%+v", r)
	}
	a.sql(a.db, "REVOKE ALL ON app.u FROM %s, %s", a.q, two) // it would keep the role from being dropped
}

// applications: roles that nobody is mapped to keep what they have from somebody who loses it.
func applications(t *testing.T, a *adverse) {
	want := a.want()
	a.settled(want)
	etl, report := a.p+"_etl", a.p+"_report"
	a.sql(a.db, "CREATE ROLE %s LOGIN PASSWORD 'pw'; CREATE ROLE %s LOGIN PASSWORD 'pw'; GRANT USAGE ON SCHEMA app TO %[1]s, %[2]s", etl, report)
	a.sql(a.db, "GRANT SELECT, DELETE ON app.u TO %s WITH GRANT OPTION; SET ROLE %[1]s; GRANT SELECT ON app.u TO %s WITH GRANT OPTION; GRANT DELETE ON app.u TO %[2]s; RESET ROLE", a.q, etl)
	a.sql(a.db, "SET ROLE %s; GRANT SELECT ON app.u TO %s; RESET ROLE", etl, report)
	a.runs(a.round(want))
	if r := a.settled(want); r.Exceeds+r.Lacks+len(r.Excess) > 0 {
		t.Errorf("%+v", r)
	}
	a.must(a.q, a.db, true, "SELECT * FROM app.u")
	a.must(a.q, a.db, false, "DELETE FROM app.u")
	a.must(report, a.db, true, "SELECT * FROM app.u")
	if err := try(a.login(etl, "pw", a.db), "DELETE FROM app.u; GRANT SELECT ON app.u TO "+report); err != nil {
		t.Error(err)
	}
	a.sql(a.db, "DROP OWNED BY %s, %s; DROP ROLE %[1]s, %[2]s", etl, report)
}
