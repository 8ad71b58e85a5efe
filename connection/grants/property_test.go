package grants_test

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"
	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/grants"
	"portcullis.dev/portcullis/connection/rows"
)

// effective makes random policies, people and grants of others, kills the
// engine now and then, and compares what real sessions can do, under every role
// that they can become, with what the engine says and the policies give.
func effective(t *testing.T, w *world) {
	db := "random_" + string(w.target.Mode)
	w.sql("postgres", "CREATE DATABASE %s", db)
	n := 0
	fewer(t)
	rapid.Check(t, func(rt *rapid.T) {
		n++
		r := &random{world: w, rt: rt, db: db, n: n}
		defer r.clean()
		r.build()
		r.act()
	})
}

// fewer makes a run of all versions bearable; -rapid.checks asks for more.
func fewer(t *testing.T) {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given {
		if err := flag.Set("rapid.checks", "8"); err != nil {
			t.Fatal(err)
		}
	}
}

// random is one case.
type random struct {
	*world
	rt     *rapid.T
	db     string
	n      int
	schema string
	people []string
	groups []string
	tables []connection.ObjectRef
	beside map[uint32][]string  // what leads to a table, by its OID: views of it, a parent, and what it refers to
	does   map[string][2]string // by what a table refers to: what deleting there, and an update, does with it
	done   []string             // for the reader of a failure

	rows  []rows.Table           // of which people see some rows only
	plain []connection.AccessSet // of the last want, of whole tables
}

var someNames = []string{"a", `q"'uote`, "пример", "with space", "UPPER", "$1", strings.Repeat("x", 40)}

func (r *random) run(format string, args ...any) error {
	sql := fmt.Sprintf(format, args...)
	err := try(r.dba(r.db), sql)
	r.done = append(r.done, fmt.Sprintf("%s -- %v", sql, err))
	return err
}

func ident(s string) string { return pgx.Identifier{s}.Sanitize() }

func (r *random) build() {
	mode := r.target.Prefix[10:11]
	r.schema = fmt.Sprintf("s%d %s", r.n, rapid.SampledFrom(someNames).Draw(r.rt, "schema"))
	r.sql(r.db, "CREATE SCHEMA %s", ident(r.schema))
	for i := range rapid.IntRange(1, 4).Draw(r.rt, "tables") {
		name := fmt.Sprintf("%s%d", rapid.SampledFrom(append(someNames, strings.Repeat("й", 31))).Draw(r.rt, "table"), i) // 63 bytes
		r.sql(r.db, "CREATE TABLE %s.%s (a int, b int)", ident(r.schema), ident(name))
		r.tables = append(r.tables, r.ref(r.db, r.schema, name))
		r.sql(r.db, "INSERT INTO %s.%s VALUES (1, 1), (99, 99)", ident(r.schema), ident(name))
		r.buildBeside(i, ident(r.schema)+"."+ident(name))
	}
	r.manage(r.db, r.schema)
	if r.target.Mode == connection.ModeBroker {
		r.sql(r.db, "%s", rows.Script(r.target))
	}
	for i := range rapid.IntRange(1, 3).Draw(r.rt, "people") {
		name := fmt.Sprintf("p%d%s%d %s", r.n, mode, i, rapid.SampledFrom(someNames).Draw(r.rt, "name"))
		inherit := rapid.SampledFrom([]string{"INHERIT", "INHERIT", "NOINHERIT"}).Draw(r.rt, "inherit")
		r.sql(r.db, "CREATE ROLE %s LOGIN PASSWORD 'pw' %s", ident(name), inherit)
		r.people = append(r.people, name)
	}
	for i := range rapid.IntRange(0, 3).Draw(r.rt, "groups") {
		name := fmt.Sprintf("g%d%s%d", r.n, mode, i)
		attribute := rapid.SampledFrom([]string{"", "", "NOINHERIT", "CREATEROLE"}).Draw(r.rt, "attribute")
		r.sql(r.db, "CREATE ROLE %s %s", ident(name), attribute)
		r.groups = append(r.groups, name)
	}
}

// buildBeside makes views of a table and a parent, which policies do not know.
func (r *random) buildBeside(i int, table string) {
	if r.beside == nil {
		r.beside = map[uint32][]string{}
	}
	oid := r.tables[i].OID
	at := ident(r.schema)
	for j, create := range []string{"CREATE VIEW %[1]s.%[2]s AS SELECT a, b FROM %[3]s WHERE a IS DISTINCT FROM 7", "CREATE VIEW %[1]s.%[2]s AS SELECT a, max(b) AS b FROM %[3]s GROUP BY a",
		"CREATE TABLE %[1]s.%[2]s (a int, b int); ALTER TABLE %[3]s INHERIT %[1]s.%[2]s"} {
		if rapid.IntRange(0, 2).Draw(r.rt, "beside") == 0 {
			name := ident(fmt.Sprintf("beside %d %d", i, j))
			r.sql(r.db, create, at, name, table)
			r.beside[oid] = append(r.beside[oid], at+"."+name)
		}
	}
	r.buildKeys(i, table)
}

// buildKeys makes a table that a table refers to, and one that this refers to. The
// row that refers is there, so whoever can change what it refers to changes it.
func (r *random) buildKeys(i int, table string) {
	if rapid.IntRange(0, 2).Draw(r.rt, "key") > 0 {
		return
	}
	deleting := rapid.SampledFrom([]string{"CASCADE", "SET NULL", "NO ACTION"}).Draw(r.rt, "on delete")
	updating := rapid.SampledFrom([]string{"CASCADE", "SET NULL", "NO ACTION"}).Draw(r.rt, "on update")
	what := map[string]string{"CASCADE": "UPDATE", "SET NULL": "UPDATE", "NO ACTION": ""}
	does := [2]string{what[deleting], what[updating]}
	if deleting == "CASCADE" {
		does[0] = "DELETE"
	}
	near, far := ident(r.schema)+"."+ident(fmt.Sprintf("beside %d 3", i)), ident(r.schema)+"."+ident(fmt.Sprintf("beside %d 4", i))
	r.sql(r.db, `CREATE TABLE %[2]s (a int, b int PRIMARY KEY); CREATE TABLE %[1]s (a int, b int PRIMARY KEY REFERENCES %[2]s ON DELETE CASCADE ON UPDATE CASCADE);
		INSERT INTO %[2]s VALUES (1, 1); INSERT INTO %[1]s VALUES (1, 1); ALTER TABLE %[3]s ADD c int REFERENCES %[1]s ON DELETE %[4]s ON UPDATE %[5]s;
		INSERT INTO %[3]s (a, b, c) VALUES (1, 1, 1)`, near, far, table, deleting, updating)
	oid := r.tables[i].OID
	r.beside[oid] = append(r.beside[oid], near, far)
	if r.does == nil {
		r.does = map[string][2]string{}
	}
	r.does[near], r.does[far] = does, does
}

func (r *random) want() connection.Want {
	want := connection.Want{Managed: r.tables, Accounts: people(r.people...)}
	for i := range rapid.IntRange(0, 3).Draw(r.rt, "sets") {
		access := rapid.SampledFrom([]connection.Access{connection.Read, connection.Write}).Draw(r.rt, "access")
		tables := rapid.SliceOfDistinct(rapid.SampledFrom(r.tables), func(o connection.ObjectRef) uint32 { return o.OID }).Draw(r.rt, "of")
		members := rapid.SliceOfDistinct(rapid.SampledFrom(r.people), rapid.ID).Draw(r.rt, "members")
		want.Sets = append(want.Sets, set(fmt.Sprintf("%d/%d:%s", r.n, i, access), access, tables, members...))
	}
	r.drawRows(&want)
	return want
}

func (r *random) act() {
	var drawn, want connection.Want
	var known *grants.Known // what the last round left in force
	byHand := 0             // since then
	for range rapid.IntRange(1, 4).Draw(r.rt, "rounds") {
		before := want
		drawn = r.want()
		want = r.applyRows(drawn)
		switch rapid.IntRange(0, 5).Draw(r.rt, "kind of round") {
		case 0, 1:
			r.crashing(want, rapid.IntRange(20, 80).Draw(r.rt, "after"))
			known = nil
		case 2, 3, 4:
			if diff := known.Difference(want, grants.Know(want)); diff != nil && r.narrowed(before, want, diff, byHand == 0) {
				known = grants.Know(want)
				break
			}
			fallthrough
		default:
			report, err := r.tryRound(want)
			if err != nil {
				r.rt.Fatalf("%v\n%s", err, strings.Join(r.done, "\n"))
			}
			if known, byHand = nil, 0; len(report.Pending) == 0 {
				known = grants.Know(want)
			}
			r.clearRows(r.rows)
		}
		for range rapid.IntRange(0, 8).Draw(r.rt, "by hand") {
			r.byHand()
			byHand++
		}
	}
	r.engine = nil
	want = r.applyRows(drawn)
	report, err := r.tryRound(want)
	if err != nil {
		r.rt.Fatalf("%v", err)
	}
	r.clearRows(r.rows)
	r.mend(want, report, r.check(want, report))
}

// mend runs what the report has a DBA run: no excess is left then, nothing of
// others is in the way, and nobody lost what the policies give.
func (r *random) mend(want connection.Want, report connection.Report, before map[string]map[string]bool) {
	statements := func() (out []string) {
		for _, x := range report.Excess {
			if x.Kind == "" {
				out = append(out, x.Statement)
			}
		}
		for _, p := range report.Pending {
			if made := madeWay(p); made != "" && !slices.Contains(out, made) {
				out = append(out, made)
			}
		}
		return out
	}
	if len(report.Pending) > 0 && !slices.ContainsFunc(report.Pending, func(p connection.Pending) bool { return madeWay(p) != "" }) {
		return
	}
	for pass := 0; report.Exceeds > 0 || len(statements()) > 0; pass++ {
		if pass == 3 {
			r.rt.Fatalf("after three times all statements there is excess\n%s\nwant: %+v\nreport: %+v", strings.Join(r.done, "\n"), want, report)
		}
		for _, s := range statements() {
			if err := r.run("%s", s); err != nil && pass > 0 || s == "" {
				r.rt.Fatalf("what a DBA must run: %q: %v\n%s\nreport: %+v", s, err, strings.Join(r.done, "\n"), report)
			}
		}
		r.stillGiven(want, before)
		var err error
		if report, err = r.tryRound(want); err != nil {
			r.rt.Fatal(err)
		}
	}
	if left := r.leftovers(want, report); left != "" || r.target.Mode == connection.ModeBroker && len(report.Pending) > 0 {
		r.rt.Fatalf("nothing of others is in the way, and it is not as wanted: %s\n%s\nwant: %+v\nreport: %+v", left, strings.Join(r.done, "\n"), want, report)
	}
	r.stillGiven(want, before)
}

// madeWay is what a DBA runs so that a statement can be carried out that is
// pending because of what others granted.
func madeWay(p connection.Pending) string {
	if p.Error.Code != "circular_membership" && p.Error.Code != "passed_on" {
		return ""
	}
	_, statement, _ := strings.Cut(p.Error.Hint, ": ")
	return statement
}

func (r *random) stillGiven(want connection.Want, before map[string]map[string]bool) {
	now := map[string]map[string]bool{}
	for _, s := range want.Sets {
		for _, p := range s.Members {
			if now[p] == nil {
				now[p] = r.reality(p)
			}
			for _, t := range s.Tables {
				for _, privilege := range s.Access.Privileges() {
					if key := fmt.Sprint(t.OID, " ", privilege); before[p][key] && !now[p][key] {
						r.rt.Fatalf("%s lost %s on %s\n%s\nwant: %+v", p, privilege, t.Name, strings.Join(r.done, "\n"), want)
					}
				}
			}
		}
	}
}

// crashing runs a round whose sessions break after a number of messages.
func (r *random) crashing(want connection.Want, after int) {
	r.dial = breakAfter(after, after%2 == 0)
	r.engine = nil
	_, err := r.tryRound(want)
	r.dial, r.engine = nil, nil
	r.done = append(r.done, fmt.Sprintf("-- crash after %d messages: %v", after, err))
}

// byHand is what a DBA does beside us.
func (r *random) byHand() {
	to := slices.Concat(r.people, r.groups)
	made, _ := r.ledger.Roles(context.Background())
	var ours []string
	for _, m := range made {
		if m.Kind != grants.RoleLogin {
			ours = append(ours, m.Name)
		}
	}
	t := rapid.SampledFrom(r.tables).Draw(r.rt, "on")
	table := ident(t.Schema) + "." + ident(t.Name)
	privilege := rapid.SampledFrom([]string{"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "TRIGGER", "SELECT (b)", "ALL"}).Draw(r.rt, "privilege")
	if len(r.groups) > 0 && rapid.Bool().Draw(r.rt, "to a group") {
		to = r.groups
	}
	who := rapid.SampledFrom(to).Draw(r.rt, "who")
	grantee := who
	if len(ours) > 0 && rapid.IntRange(0, 3).Draw(r.rt, "to ours") == 0 {
		grantee = rapid.SampledFrom(ours).Draw(r.rt, "ours")
	}
	someRole := rapid.SampledFrom(slices.Concat(r.groups, ours, []string{"pg_read_all_data", "pg_write_all_data"})).Draw(r.rt, "role")
	if list := r.beside[t.OID]; len(list) > 0 && rapid.IntRange(0, 2).Draw(r.rt, "by another") == 0 {
		table = rapid.SampledFrom(list).Draw(r.rt, "beside")
	}
	switch rapid.SampledFrom([]string{"grant", "grant", "pass on", "public", "usage", "member", "member", "ours", "drop ours", "owner", "revoke", "attribute"}).Draw(r.rt, "what") {
	case "grant":
		_ = r.run("GRANT %s ON %s TO %s %s", privilege, table, ident(grantee), rapid.SampledFrom([]string{"", "WITH GRANT OPTION"}).Draw(r.rt, "option"))
	case "pass on":
		other := rapid.SampledFrom(slices.Concat(r.people, r.groups, ours)).Draw(r.rt, "to")
		if rapid.Bool().Draw(r.rt, "a role") {
			_ = r.run("SET ROLE %s; GRANT %s TO %s", ident(who), ident(someRole), ident(other))
		} else {
			_ = r.run("SET ROLE %s; GRANT %s ON %s TO %s", ident(who), privilege, table, ident(other))
		}
		_ = r.run("RESET ROLE")
	case "public":
		_ = r.run("GRANT %s ON %s TO PUBLIC", privilege, table)
	case "usage":
		_ = r.run("GRANT USAGE ON SCHEMA %s TO %s", ident(r.schema), rapid.SampledFrom([]string{"PUBLIC", ident(grantee)}).Draw(r.rt, "user"))
	case "member":
		who = rapid.SampledFrom(slices.Concat(r.people, r.people, r.groups, ours)).Draw(r.rt, "member")
		options := []string{"", "WITH ADMIN OPTION"}
		if r.major >= 16 {
			options = append(options, "WITH INHERIT FALSE", "WITH SET FALSE", "WITH INHERIT FALSE, SET FALSE, ADMIN TRUE", "WITH INHERIT FALSE, SET FALSE", "WITH SET FALSE, INHERIT TRUE, ADMIN TRUE")
		}
		_ = r.run("GRANT %s TO %s %s", ident(someRole), ident(who), rapid.SampledFrom(options).Draw(r.rt, "options"))
	case "ours":
		if len(ours) > 0 {
			_ = r.run("GRANT %s ON %s TO %s %s", privilege, table, ident(rapid.SampledFrom(ours).Draw(r.rt, "ours")), rapid.SampledFrom([]string{"", "WITH GRANT OPTION"}).Draw(r.rt, "option"))
		}
	case "drop ours":
		if len(ours) > 0 {
			role := ident(rapid.SampledFrom(ours).Draw(r.rt, "ours"))
			_ = r.run("DROP OWNED BY %s; DROP ROLE %[1]s", role)
		}
	case "owner":
		_ = r.run("ALTER TABLE %s OWNER TO %s", table, ident(who))
	case "revoke":
		if len(ours) > 0 {
			_ = r.run("REVOKE ALL ON %s FROM %s", table, ident(rapid.SampledFrom(ours).Draw(r.rt, "ours")))
		}
	case "attribute":
		_ = r.run("ALTER ROLE %s NOINHERIT", ident(who))
	}
}

var tried = []string{"SELECT", "SELECT b", "INSERT", "UPDATE", "DELETE", "TRUNCATE"}

func (r *random) check(want connection.Want, report connection.Report) map[string]map[string]bool {
	fail := func(format string, args ...any) {
		r.rt.Fatalf(format+"\n%s\nwant: %+v\nreport: %+v", append(args, strings.Join(r.done, "\n"), want, report)...)
	}
	if len(report.Lacking) > 0 && !strings.Contains(strings.Join(r.done, ""), "OWNER TO") {
		fail("lacking %v", report.Lacking)
	}
	unexpected := func(p connection.Pending) bool { return r.unexpected(p, report) }
	if left := r.leftovers(want, report); left != "" || slices.ContainsFunc(report.Pending, unexpected) {
		fail("ours are not as wanted: %s", left)
	}
	real := map[string]map[string]bool{}
	for _, p := range r.people {
		real[p] = r.reality(p)
	}
	counted := map[connection.Verdict]int{}
	err := r.engine.Inspect(context.Background(), want, "", func(p grants.Pair) {
		counted[p.Verdict]++
		if r.pastPolicies(real[p.Role], p) {
			fail("%q sees rows of %s that policies hide, and the verdict is %s (%+v)", p.Role, p.Object.Name, p.Verdict, p)
		}
		for _, what := range tried {
			privilege, _, _ := strings.Cut(what, " ")
			does := real[p.Role][fmt.Sprint(p.Object.OID, " ", what)]
			says := slices.Contains(p.Has, privilege) || what == "SELECT b" && p.Reaches("SELECT")
			if what == "INSERT" && !does && r.hasPolicies(p.Object.OID) && !r.seesSome(p.Object.OID, p.Role) {
				continue // who others made one of those who see some rows sees none, and adds none
			}
			// USAGE of one role and TRUNCATE of another do not add up, nor anything of a table
			// with policies: what is prepared is analysed anew under another role.
			if does != says && (does || what != "TRUNCATE" && !r.hasPolicies(p.Object.OID)) && !strings.Contains(p.Beyond, "CREATEROLE") {
				fail("%s on %s by %q: does %v, said %v (%+v)", what, p.Object.Name, p.Role, does, says, p)
			}
			if does && !slices.Contains(p.Should, privilege) && p.Verdict != connection.Exceeds {
				fail("%s on %s by %q: reached, not given, and the verdict is %s", what, p.Object.Name, p.Role, p.Verdict)
			}
			if !does && slices.Contains(p.Should, privilege) && len(report.Lacking) == 0 && len(report.Pending) == 0 {
				fail("%s on %s by %q: given and not reached (%+v)", what, p.Object.Name, p.Role, p)
			}
			if real[p.Role][fmt.Sprint(p.Object.OID, " ", what, " by another")] && !slices.Contains(p.Should, privilege) && p.Verdict != connection.Exceeds {
				fail("%s on %s by %q: reached by another relation, not given, and the verdict is %s", what, p.Object.Name, p.Role, p.Verdict)
			}
		}
	})
	if err != nil {
		fail("%v", err)
	}
	if counted[connection.Exceeds] != report.Exceeds || counted[connection.Lacks] != report.Lacks || counted[connection.Equal] != report.Equal {
		fail("counted %v", counted)
	}
	if (report.Exceeds > 0) != (len(report.Excess) > 0) && report.Exceeds > 0 {
		fail("%d exceed and nobody knows why", report.Exceeds)
	}
	return real
}

// unexpected: what others granted may be in the way, and says so; with it the role
// cannot be dropped, nor what a superuser granted something in grantor mode. Nothing
// else may be pending.
func (r *random) unexpected(p connection.Pending, report connection.Report) bool {
	if madeWay(p) != "" {
		return p.Error.Code == "circular_membership" && r.major < 16 // it was revoked before
	}
	role, drops := strings.CutPrefix(p.Statement, "DROP ROLE ")
	return !drops || p.Error.SQLState != "2BP01" || r.target.Mode == connection.ModeBroker && !r.held(report)[role]
}

// held are the roles, quoted, of which what they passed on keeps something from
// being revoked.
func (r *random) held(report connection.Report) map[string]bool {
	out := map[string]bool{}
	for _, p := range report.Pending {
		if p.Error.Code == "passed_on" {
			_, role, _ := strings.Cut(p.Statement, " FROM ")
			out[role] = true
		}
	}
	return out
}

// leftovers are grants to our roles, and memberships in them, that are ours to
// take back, that nobody wants, and that nothing of others keeps from being revoked.
func (r *random) leftovers(want connection.Want, report connection.Report) string {
	wanted := map[string]bool{}
	members := map[string]bool{}
	held := r.held(report)
	for _, s := range want.Sets {
		for _, t := range s.Tables {
			for _, p := range s.Access.Privileges() {
				wanted[fmt.Sprint(grants.RoleOf(r.target.Prefix, s), t.OID, p)] = true
			}
		}
		for _, m := range s.Members {
			members[grants.RoleOf(r.target.Prefix, s)+m] = true
		}
	}
	var out []string
	each := func(query string, f func(a, b, c, grantor string) bool) {
		rows, err := r.dba(r.db).Query(context.Background(), query, r.target.Prefix)
		if err != nil {
			r.rt.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var a, b, c, grantor string
			if err := rows.Scan(&a, &b, &c, &grantor); err != nil {
				r.rt.Fatal(err)
			}
			ours := grantor == r.target.Username || strings.HasPrefix(grantor, r.target.OwnerRole())
			if !f(a, b, c, grantor) && !held[ident(a)] && (ours || r.target.Mode == connection.ModeBroker) {
				out = append(out, fmt.Sprintln(a, b, c, "by", grantor))
			}
		}
	}
	each(`SELECT g.rolname::text, c.oid::text, a.privilege_type, CASE WHEN a.grantor = c.relowner THEN 'owner' ELSE a.grantor::regrole::text END FROM pg_class c, aclexplode(c.relacl) a JOIN pg_roles g ON g.oid = a.grantee
		WHERE starts_with(g.rolname, $1) AND NOT starts_with(g.rolname, $1 || 'owner')`, func(role, oid, privilege, grantor string) bool {
		return wanted[role+oid+privilege] || r.target.Mode == connection.ModeBroker && grantor != "owner"
	})
	each(`SELECT s.rolname::text, m.rolname::text, '', trim(both '"' from a.grantor::regrole::text) FROM pg_auth_members a JOIN pg_roles s ON s.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
		WHERE starts_with(s.rolname, $1 || 'r_') OR starts_with(s.rolname, $1 || 'w_')`, func(set, member, _, grantor string) bool {
		return members[set+member] || member == r.target.Username || strings.HasPrefix(member, r.target.OwnerRole()) ||
			r.major >= 16 && !strings.HasPrefix(grantor, r.target.OwnerRole())
	})
	return strings.Join(out, "")
}

// clean leaves the cluster as it was.
func (r *random) clean() {
	r.dial, r.engine = nil, nil
	if e, err := grants.New(r.options()); err == nil {
		_, _ = e.TakeBack(context.Background())
	}
	r.clearRows(nil)
	_ = r.run("DROP SCHEMA %s CASCADE", ident(r.schema))
	made, _ := r.ledger.Roles(context.Background())
	for _, m := range made {
		r.people = append(r.people, m.Name)
		_ = r.ledger.Forget(context.Background(), m.Name)
	}
	for _, p := range slices.Concat(r.people, r.groups) {
		_ = r.run("DROP OWNED BY %s; DROP ROLE %[1]s", ident(p))
	}
}
