package setup

import (
	"fmt"
	"strings"
	"testing"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/views"
	"portcullis.dev/portcullis/internal/sqltext"
)

// TestViewsByADBAWhoIsNoSuperuser runs the script as the owner of the database,
// lets the account make a schema, and takes all of it away again.
func TestViewsByADBAWhoIsNoSuperuser(t *testing.T) {
	for _, major := range []int{14, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			w := newWorld(t, major, connection.ModeBroker)
			w.target.Password = "account-password"
			w.sql("postgres", "CREATE ROLE "+sqltext.Identifier(account)+" LOGIN PASSWORD 'account-password'; CREATE ROLE former LOGIN")
			before := w.state()
			keeper := func(script string) string {
				return w.mustPsql("keeper", "keeper-password", connectLine("shop")+script)
			}
			keeper(views.Script(w.target))
			keeper(views.Script(w.target) + `GRANT USAGE ON SCHEMA "sa""les" TO portcullis_views; GRANT SELECT ON "sa""les".lines TO portcullis_views;`)
			conn := w.connect(account, "account-password", "shop")
			var made string
			if err := conn.QueryRow(t.Context(), `SELECT portcullis_views.make_schema('"sa""les"'::regnamespace)`).Scan(&made); err != nil || made != `policy_sa"les` {
				t.Fatalf("made %q, %v", made, err)
			}
			report, err := Check(t.Context(), w.dialer, w.target, []string{"shop"})
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range report.Missing {
				if lacks := strings.Contains(m.What, "views of parts of tables"); lacks && m.Database == "shop" {
					t.Errorf("lacks %s", m)
				}
			}
			if text := fmt.Sprint(report.Warnings); strings.Contains(text, "may make schemas") || strings.Contains(text, "search path of role") || !strings.Contains(text, `ALTER ROLE "portcullis_views" BYPASSRLS;`) {
				t.Errorf("warned: %s", text)
			}
			w.sql("shop", `CREATE ROLE "policy_sa""les"`) // after the schema: make_schema refuses the name of a role
			w.sql("shop", "GRANT CREATE ON DATABASE shop TO portcullis_views; DROP FUNCTION portcullis_views.make_schema(oid)")
			if report, err = Check(t.Context(), w.dialer, w.target, []string{"shop"}); err != nil {
				t.Fatal(err)
			}
			if text := fmt.Sprint(report.Warnings); !strings.Contains(text, `REVOKE CREATE ON DATABASE "shop" FROM "portcullis_views";`) || !strings.Contains(text, `ALTER ROLE "policy_sa""les" RENAME`) {
				t.Errorf("warned: %s", text)
			}
			if text := fmt.Sprint(report.Missing); !strings.Contains(text, "database shop: views of parts of tables are not set up") {
				t.Errorf("missing: %s", text)
			}
			w.sql("shop", `REVOKE CREATE ON DATABASE shop FROM portcullis_views; DROP ROLE "policy_sa""les"`)

			keeper(views.Script(w.target))
			if _, err := conn.Exec(t.Context(), `SET ROLE portcullis_views; CREATE VIEW "policy_sa""les".v AS SELECT 1; RESET ROLE`); err != nil {
				t.Fatal(err)
			}
			remove := connectLine("shop") + "\\set ON_ERROR_STOP on\n" + begin + views.RemovalScript(w.target) + views.RoleRemovalScript(w.target) + "COMMIT;\n"
			if out, err := w.psql("keeper", "keeper-password", remove); err == nil || !strings.Contains(out, "views are still there") {
				t.Errorf("removed although a view is left: %v\n%s", err, out)
			}
			if _, err := conn.Exec(t.Context(), `SET ROLE portcullis_views; DROP VIEW "policy_sa""les".v; DROP SCHEMA "policy_sa""les"; RESET ROLE`); err != nil {
				t.Fatal(err)
			}
			w.mustPsql("keeper", "keeper-password", remove)
			if after := w.state(); strip(after) != strip(before) {
				t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
}

// TestAnAccountThatWasReplacedMakesNoViews runs the script for another account.
func TestAnAccountThatWasReplacedMakesNoViews(t *testing.T) {
	w := newWorld(t, 0, connection.ModeBroker)
	w.sql("shop", "CREATE ROLE former LOGIN; CREATE ROLE later LOGIN")
	for _, name := range []string{"former", "later"} {
		w.target.Username = name
		w.sql("shop", views.Script(w.target))
	}
	const members = "SELECT string_agg(m.member::regrole::text, ' ') FROM pg_auth_members m WHERE m.roleid = 'portcullis_views'::regrole"
	if got := w.text("shop", members); got != "later" {
		t.Errorf("who may act as the owner of views: %s", got)
	}
}
