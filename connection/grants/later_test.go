package grants_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
)

// later has a table in a schema that a DBA lets us grant on only later: meanwhile
// nothing is tried in vain, and then nobody's change is mended.
func later(t *testing.T, w *world) {
	db, ann := "later_"+string(w.target.Mode), "late"+w.target.Prefix[10:11]
	w.sql("postgres", `CREATE DATABASE %s`, db)
	w.sql("postgres", `CREATE ROLE %s LOGIN`, ann)
	w.sql(db, `CREATE SCHEMA first; CREATE TABLE first.t (a int); CREATE SCHEMA second; CREATE TABLE second.t (a int)`)
	w.manage(db, "first")
	if w.target.Mode == connection.ModeGrantor { // as the default privileges of who makes tables would have it
		w.sql(db, `GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON second.t TO %s WITH GRANT OPTION`, w.grantor())
	}
	tables := []connection.ObjectRef{w.ref(db, "first", "t"), w.ref(db, "second", "t")}
	want := connection.Want{Accounts: people(ann), Managed: tables, Sets: []connection.AccessSet{set("late:read", connection.Read, tables, ann)}}
	if r := w.settled(want); r.Drift != 0 || r.NotEnforceable != 1 || len(r.Lacking) == 0 {
		t.Errorf("before the DBA: %+v", r)
	}
	w.must(ann, db, true, "SELECT * FROM first.t")
	w.manage(db, "second")
	if r := w.settled(want); r.Drift != 0 || r.Applied == 0 || r.Lacks != 0 {
		t.Errorf("after the DBA: %+v", r)
	}
	w.must(ann, db, true, "SELECT * FROM second.t")
}

// grantor is the role whose grant options count.
func (w *world) grantor() string {
	if w.ownerRole() {
		return pgx.Identifier{w.target.OwnerRole()}.Sanitize()
	}
	return pgx.Identifier{w.target.Username}.Sanitize()
}
