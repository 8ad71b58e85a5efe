package grants_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"portcullis.dev/portcullis/connection"
)

// circles: a role of ours that others made a member of who is to be its member.
// What we can revoke goes first; else it is told what a DBA runs.
func circles(t *testing.T, a *adverse) {
	a.sql(a.db, "DROP SCHEMA IF EXISTS next CASCADE; CREATE SCHEMA next; CREATE TABLE next.t (a int)")
	a.manage(a.db, "next")
	next := a.ref(a.db, "next", "t")
	want := a.want()
	want.Managed = append(want.Managed, next)
	want.Sets[1].Tables = []connection.ObjectRef{next}
	a.settled(want)
	one, two, way := a.roleFor("one"), a.roleFor("two"), a.roleFor(a.db+".next")

	// A membership in a role of others is never ours to revoke.
	a.sql("postgres", "GRANT %s TO %s", a.p, way)
	want.Sets[1].Members = append(want.Sets[1].Members, a.p)
	r := a.round(want)
	statement := "REVOKE " + ident(a.p) + " FROM " + ident(way)
	if a.major >= 16 {
		statement += ` GRANTED BY "postgres"`
	}
	a.circular(r, "GRANT "+ident(two)+" TO "+ident(a.p), "It is one through "+ident(way)+".", statement)
	a.must(a.q, a.db, true, "SELECT * FROM app.t")
	a.runs(r)
	a.settled(want)
	a.must(a.p, a.db, true, "SELECT * FROM next.t")
	a.must(a.q, a.db, false, "SELECT * FROM app.t")

	// One in ours is revoked before, up to PostgreSQL 15 whoever granted it.
	a.sql("postgres", "GRANT %s TO %s WITH ADMIN OPTION", one, way)
	a.must(a.q, a.db, true, "SELECT * FROM app.t")
	want.Sets[0].Tables = append(want.Sets[0].Tables, next)
	r = a.round(want)
	if a.major < 16 {
		if len(r.Pending) > 0 {
			t.Errorf("%+v", r.Pending)
		}
	} else {
		a.circular(r, "GRANT "+ident(way)+" TO "+ident(one), "", "REVOKE "+ident(one)+" FROM "+ident(way)+` GRANTED BY "postgres"`)
		since := r.Pending[0].Since
		if r = a.round(want); len(r.Pending) != 1 || !r.Pending[0].Since.Equal(since) || r.Exceeds != 2 { // q reads one table and writes both
			t.Errorf("pending since %v, then %+v", since, r)
		}
		a.runs(r)
	}
	if r = a.settled(want); r.Exceeds+r.Lacks != 0 {
		t.Errorf("%+v", r)
	}
	a.must(a.p, a.db, true, "INSERT INTO next.t VALUES (1)")
	a.must(a.q, a.db, false, "SELECT * FROM app.t")
	a.sql(a.db, "DROP SCHEMA next CASCADE")
}

// circular wants one statement to be pending, and to say that a DBA runs another
// one, which is a finding, too.
func (a *adverse) circular(r connection.Report, pending, detail, statement string) {
	a.t.Helper()
	if len(r.Pending) != 1 || !strings.HasPrefix(r.Pending[0].Statement, pending) {
		a.t.Fatalf("pending: %+v", r.Pending)
	}
	e := r.Pending[0].Error
	if e.Code != "circular_membership" || e.Detail != detail || !strings.HasSuffix(e.Hint, ": "+statement) {
		a.t.Errorf("%+v", e)
	}
	if !slices.ContainsFunc(r.Excess, func(x connection.Excess) bool { return x.Statement == statement }) {
		a.t.Errorf("%s is no finding: %+v", statement, r.Excess)
	}
}

// roleFor is the role of a set, or of a way.
func (a *adverse) roleFor(what string) string {
	a.t.Helper()
	made, _ := a.ledger.Roles(context.Background())
	for _, m := range made {
		if m.For == what {
			return m.Name
		}
	}
	a.t.Fatalf("no role for %s in %+v", what, made)
	return ""
}
