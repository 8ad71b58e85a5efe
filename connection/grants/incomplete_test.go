package grants_test

import (
	"slices"
	"strings"
	"testing"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/grants"
)

// limited: where there is more than a round looks at, that is said, with how much; what was
// found counts.
func limited(t *testing.T, a *adverse) {
	a.sql(a.db, `CREATE FUNCTION app.f1() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM app.t';
		CREATE FUNCTION app.f2() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM app.u'; CREATE FUNCTION app.f3() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
		CREATE FUNCTION app.act1() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN DELETE FROM app.t; RETURN NEW; END';
		CREATE FUNCTION app.act2() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; REVOKE ALL ON ALL FUNCTIONS IN SCHEMA app FROM PUBLIC; GRANT EXECUTE ON FUNCTION app.f1(), app.f2() TO %[1]s;
		CREATE TABLE app.log (a int); CREATE TRIGGER x AFTER INSERT ON app.log FOR EACH ROW EXECUTE FUNCTION app.act1(); CREATE TRIGGER y AFTER INSERT ON app.log FOR EACH ROW EXECUTE FUNCTION app.act2();
		DO $$ BEGIN EXECUTE 'CREATE VIEW app.v1 AS SELECT a FROM app.t'; FOR i IN 2..40 LOOP EXECUTE format('CREATE VIEW app.v%%s AS SELECT a FROM app.v%%s', i, i - 1); END LOOP; END $$;
		GRANT SELECT ON app.v40 TO %[1]s`, a.p)
	want := a.want()
	want.Sets = want.Sets[:0]
	look := func(l grants.Limits) (connection.Report, []string, string) {
		t.Helper()
		o := a.options()
		o.Limits = l
		e, err := grants.New(o)
		if err != nil {
			t.Fatal(err)
		}
		r, err := e.Round(t.Context(), want)
		if err != nil {
			t.Fatal(err)
		}
		var cut []string
		for _, x := range r.Excess {
			if x.Kind == connection.FindingIncomplete {
				cut = append(cut, x.Privilege)
				if x.Object.Database != a.db || x.Statement != "" {
					t.Errorf("%+v", x)
				}
			}
		}
		if r.Incomplete != len(cut) {
			t.Errorf("%d in place of %q", r.Incomplete, cut)
		}
		return r, cut, strings.Join(excessOf(r, a.p), "\n")
	}
	all, cut, told := look(grants.Limits{})
	if len(cut) > 0 || all.Exceeds != 2 || !strings.Contains(told, `"v40"`) || !strings.Contains(told, "app.f1()") || !strings.Contains(told, "app.f2()") {
		t.Errorf("without a bound: %q, %d exceed\n%s", cut, all.Exceeds, told)
	}
	_, cut, told = look(grants.Limits{Functions: 1})
	if want := []string{"1 of 2 functions of triggers were looked at", "1 of 4 SECURITY DEFINER functions were looked at"}; !slices.Equal(cut, want) {
		t.Errorf("%q in place of %q", cut, want)
	}
	if !strings.Contains(told, "app.f1()") || strings.Contains(told, "app.f2()") {
		t.Errorf("what was looked at counts, and nothing else:\n%s", told)
	}
	_, cut, told = look(grants.Limits{Steps: 41})
	if len(cut) != 1 || !strings.HasPrefix(cut[0], "from ") || !strings.HasSuffix(cut[0], " of 41 views, parents and relations with rules, triggers or keys no way was followed to its end, which would take more than 41 steps") ||
		!strings.Contains(told, "app.f1()") {
		t.Errorf("%q\n%s", cut, told)
	}
}
