package grants_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/grants"
)

// narrowed makes a narrowed round and reports whether it left nothing to a
// complete one. Then each set that it looked at is as it should be, whatever was
// done by hand; and if nothing was, a complete round finds nothing to do.
func (r *random) narrowed(before, want connection.Want, diff *grants.Difference, untouched bool) bool {
	e, err := grants.New(r.options())
	if err != nil {
		r.rt.Fatal(err)
	}
	_, complete, err := e.Narrow(context.Background(), diff)
	r.done = append(r.done, fmt.Sprintf("-- narrowed to %d sets: %v %v", diff.Sets(), complete, err))
	if err != nil {
		r.rt.Fatalf("%v\n%s", err, strings.Join(r.done, "\n"))
	}
	if !complete {
		return false
	}
	if untouched {
		left, _ := e.DryRun(context.Background(), want)
		if report, err := r.tryRound(want); err != nil || report.Applied > 0 || len(report.Pending) > 0 {
			r.rt.Fatalf("a narrowed round left something: %v\n%s%+v\n%s\nwant: %+v", err, left, report.Pending, strings.Join(r.done, "\n"), want)
		}
	}
	for _, set := range before.Sets {
		if !slices.ContainsFunc(want.Sets, func(s connection.AccessSet) bool { return s.ID == set.ID && s.Access == set.Access }) {
			r.asWanted(connection.AccessSet{ID: set.ID, Access: set.Access})
		}
	}
	for _, set := range want.Sets {
		i := slices.IndexFunc(before.Sets, func(s connection.AccessSet) bool { return s.ID == set.ID && s.Access == set.Access })
		if i < 0 || fmt.Sprint(before.Sets[i]) != fmt.Sprint(set) {
			r.asWanted(set)
		}
	}
	return true
}

// asWanted fails if the role of a set holds something else than it should of the
// tables, or has other members, by what is ours to grant.
func (r *random) asWanted(set connection.AccessSet) {
	role := grants.RoleOf(r.target.Prefix, set)
	var should []string
	for _, t := range set.Tables {
		for _, p := range set.Access.Privileges() {
			should = append(should, t.Name+" "+p)
		}
	}
	r.compare(set.ID+": privileges", role, should, `SELECT format('%s %s', c.relname, a.privilege_type), a.grantor::regrole::text FROM pg_class c, aclexplode(c.relacl) a
		WHERE a.grantee = to_regrole(quote_ident($1))`, r.target.Mode == connection.ModeBroker)
	if len(set.Tables) > 0 { // else it is not made, or dropped
		r.compare(set.ID+": members", role, set.Members, `SELECT m.rolname::text, a.grantor::regrole::text FROM pg_auth_members a JOIN pg_roles m ON m.oid = a.member
			WHERE a.roleid = to_regrole(quote_ident($1)) AND m.rolname <> $2 AND NOT starts_with(m.rolname, $3)`, r.major < 16, r.target.Username, r.target.OwnerRole())
	}
}

// compare fails if something is missing, or there that is ours to take away:
// what we granted or, where all is, whatever others did.
func (r *random) compare(about, role string, should []string, query string, all bool, args ...any) {
	rows, err := r.dba(r.db).Query(context.Background(), query, append([]any{role}, args...)...)
	if err != nil {
		r.rt.Fatal(err)
	}
	defer rows.Close()
	is := map[string]bool{}
	for rows.Next() {
		var what, grantor string
		if err := rows.Scan(&what, &grantor); err != nil {
			r.rt.Fatal(err)
		}
		is[what] = true
		ours := all || strings.HasPrefix(grantor, r.target.OwnerRole()) || grantor == ident(r.target.Username)
		if ours && !slices.Contains(should, what) {
			r.rt.Fatalf("%s: %q by %s should not be there, but %q\n%s", about, what, grantor, should, strings.Join(r.done, "\n"))
		}
	}
	if err := rows.Err(); err != nil {
		r.rt.Fatal(err)
	}
	for _, what := range should {
		if !is[what] {
			r.rt.Fatalf("%s: %q is missing\n%s", about, what, strings.Join(r.done, "\n"))
		}
	}
}

// narrow goes through what narrowed rounds change, each beside sets that they
// do not look at, and then has a complete round find what it left.
func narrow(t *testing.T, w *world) {
	shop, other := "narrow_"+string(w.target.Mode), "narrow_too_"+string(w.target.Mode)
	w.sql("postgres", "CREATE DATABASE %s", shop)
	w.sql("postgres", "CREATE DATABASE %s", other)
	w.sql(shop, "CREATE SCHEMA a; CREATE TABLE a.one (x int); CREATE TABLE a.two (x int); CREATE TABLE a.three (x int); CREATE SCHEMA b; CREATE TABLE b.one (x int)")
	w.sql(other, "CREATE SCHEMA a; CREATE TABLE a.one (x int)")
	w.sql("postgres", "REVOKE CONNECT ON DATABASE %s, %s FROM PUBLIC", shop, other)
	w.manage(shop, "a", "b")
	w.manage(other, "a")
	ann, bob := "nan"+w.target.Prefix[10:11], "nob"+w.target.Prefix[10:11]
	one, two, three, apart, far := w.ref(shop, "a", "one"), w.ref(shop, "a", "two"), w.ref(shop, "a", "three"), w.ref(shop, "b", "one"), w.ref(other, "a", "one")
	of := func(sets ...connection.AccessSet) connection.Want {
		return connection.Want{Accounts: people(ann, bob), Managed: []connection.ObjectRef{one, two, three, apart, far}, Sets: sets}
	}
	tables := func(list ...connection.ObjectRef) []connection.ObjectRef { return list }
	steady := set("steady", connection.Read, tables(one, far), bob)
	var known *grants.Known
	now := func(want connection.Want, sets int, drift bool) {
		t.Helper()
		diff := known.Difference(want, grants.Know(want))
		if diff == nil || diff.Sets() != sets {
			t.Fatalf("a narrowed round would look at %+v", diff)
		}
		e, err := grants.New(w.options())
		if err != nil {
			t.Fatal(err)
		}
		r, complete, err := e.Narrow(t.Context(), diff)
		if err != nil || !complete || (r.Drift > 0) != drift {
			t.Fatalf("complete %v, drift %d, %v", complete, r.Drift, err)
		}
		known = grants.Know(want)
		w.must(bob, shop, true, "SELECT * FROM a.one")
		w.must(bob, other, true, "SELECT * FROM a.one")
	}
	whole := func(want connection.Want, applied bool) {
		t.Helper()
		if r := w.round(want); len(r.Pending) > 0 || (r.Applied > 0) != applied || r.Lacks+r.Exceeds > 0 {
			t.Errorf("a complete round applies %d, drift %d, pending %+v, excess %+v", r.Applied, r.Drift, r.Pending, r.Excess)
		}
		known = grants.Know(want)
	}

	first := of(steady)
	w.settled(first)
	known = grants.Know(first)
	if diff := known.Difference(connection.Want{Accounts: people(ann), Managed: first.Managed, Sets: first.Sets}, grants.Know(connection.Want{Accounts: people(ann), Managed: first.Managed, Sets: first.Sets})); diff != nil {
		t.Error("a narrowed round is made for another account")
	}
	// A set in a schema and a database where others are, and in one where none is; a person's role is made.
	given := of(steady, set("new", connection.Write, tables(one, two, apart, far), ann))
	now(given, 1, false)
	w.must(ann, shop, true, "INSERT INTO a.two VALUES (1)", "SELECT * FROM b.one")
	w.must(ann, other, true, "SELECT * FROM a.one")
	whole(given, false)

	// It leaves a schema and a database to others, and the last schema to nobody.
	less := of(steady, set("new", connection.Write, tables(two), ann, bob))
	now(less, 1, false)
	w.must(ann, shop, false, "SELECT * FROM a.one", "SELECT * FROM b.one")
	w.must(ann, other, false, "SELECT")
	w.must(bob, shop, true, "INSERT INTO a.two VALUES (1)")
	whole(less, false)

	// What was done by hand to the sets that it looks at is mended, the rest later.
	role := func(id string) string {
		made, _ := w.ledger.Roles(t.Context())
		return made[slices.IndexFunc(made, func(m grants.MadeRole) bool { return m.For == id })].Name
	}
	as := ""
	if w.target.Mode == connection.ModeGrantor {
		as = "SET ROLE " + ident(w.target.Username) + "; "
		if w.ownerRole() {
			as = "SET ROLE " + ident(w.target.OwnerRole()) + "; "
		}
	}
	// A set is a member of no way to a database: a superuser's membership is not made ours.
	w.sql(shop, "GRANT %s TO %s", role(shop), role("new"))
	beside := func() string {
		return w.value(shop, `SELECT count(*)::text FROM pg_auth_members WHERE roleid = $1::regrole AND member = $2::regrole AND (grantor <> 10 OR $3 < 16)`, role(shop), role("new"), w.major)
	}
	w.sql(shop, "%sGRANT INSERT ON a.three TO %s; REVOKE INSERT ON a.two FROM %[2]s; GRANT SELECT ON a.three TO %s; REVOKE SELECT ON a.one FROM %[3]s; RESET ROLE", as, role("new"), role("steady"))
	mended := of(steady, set("new", connection.Write, tables(two), bob))
	diff := known.Difference(mended, grants.Know(mended))
	e, err := grants.New(w.options())
	if err != nil {
		t.Fatal(err)
	}
	if _, complete, err := e.Narrow(t.Context(), diff); err != nil || !complete {
		t.Fatal(complete, err)
	}
	w.must(bob, shop, true, "INSERT INTO a.two VALUES (1)", "SELECT * FROM a.three")
	w.must(bob, shop, false, "INSERT INTO a.three VALUES (1)", "SELECT * FROM a.one")
	w.must(ann, shop, false, "SELECT * FROM a.two")
	if n := beside(); n != "0" {
		t.Errorf("%s memberships of a set in the way to a database", n)
	}
	w.sql(shop, "REVOKE %s FROM %s", role(shop), role("new"))
	whole(mended, true)
	w.must(bob, shop, true, "SELECT * FROM a.one")
	w.must(bob, shop, false, "SELECT * FROM a.three")

	// A set goes.
	gone := of(steady)
	now(gone, 1, false)
	w.must(bob, shop, false, "SELECT * FROM a.two")
	whole(gone, false)
	if n := w.value("postgres", "SELECT count(*)::text FROM pg_roles WHERE starts_with(rolname, $1) AND rolname !~ 'owner'", w.target.Prefix); n != "5" {
		t.Errorf("%s roles are left of a set in two databases", n)
	}
	// What cannot be done is left to a complete round.
	w.sql("postgres", "CREATE ROLE locked%s NOLOGIN", w.target.Prefix[10:11])
	for i, left := range []connection.Want{of(steady, set("locked", connection.Read, tables(two), "locked"+w.target.Prefix[10:11])), of(steady, set("dropped", connection.Read, tables(connection.ObjectRef{Database: shop, OID: 7, Schema: "a", Name: "gone"}, two), ann))} {
		if _, complete, err := e.Narrow(t.Context(), known.Difference(left, grants.Know(left))); err != nil || complete {
			t.Errorf("%d: complete %v, %v", i, complete, err)
		}
	}
}
