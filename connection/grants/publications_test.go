package grants_test

import (
	"strings"
	"testing"
)

// published: what a publication hands on is told, while somebody could receive it.
func published(t *testing.T, a *adverse) {
	want := a.want()
	findings := func() (list []string) {
		t.Helper()
		for _, x := range a.round(want).Excess {
			if x.Privilege == "REPLICATION" && x.Person == "" {
				if !strings.Contains(x.Role, "walker"+a.p) || x.Grantor == "" || x.Object.Database != a.db {
					t.Errorf("%+v", x)
				}
				list = append(list, x.Statement)
			}
		}
		return list
	}
	a.sql(a.db, `CREATE SCHEMA other; CREATE TABLE other.t (a int); CREATE PUBLICATION one FOR TABLE app.t, other.t`)
	if got := findings(); len(got) > 0 {
		t.Errorf("nobody has REPLICATION: %v", got)
	}
	a.sql(a.db, "CREATE ROLE walker%[1]s LOGIN REPLICATION; CREATE ROLE silent%[1]s REPLICATION; CREATE PUBLICATION everything FOR ALL TABLES", a.p)
	expect := []string{`DROP PUBLICATION "everything"`, `ALTER PUBLICATION "one" DROP TABLE "app"."t"`}
	if a.value(a.db, "SELECT (current_setting('server_version_num')::int >= 150000)::text") == "true" {
		a.sql(a.db, "CREATE PUBLICATION schemas FOR TABLES IN SCHEMA app, other")
		expect = append(expect, `ALTER PUBLICATION "schemas" DROP TABLES IN SCHEMA "app"`)
	}
	if got := findings(); strings.Join(got, "\n") != strings.Join(expect, "\n") {
		t.Errorf("findings: %q, want %q", got, expect)
	}
	for _, sql := range expect {
		a.sql(a.db, "%s", sql)
	}
	if got := findings(); len(got) > 0 {
		t.Errorf("after what a DBA must run: %v", got)
	}
	a.sql(a.db, "DROP PUBLICATION one; DROP PUBLICATION IF EXISTS schemas; DROP SCHEMA other CASCADE; DROP ROLE walker%[1]s, silent%[1]s", a.p)
}
