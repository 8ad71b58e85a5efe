package setup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/dial"
	"portcullis.dev/portcullis/internal/sqltext"
)

func (w *world) register(r Request) Result {
	w.Helper()
	res, err := Register(w.Context(), w.dialer, r)
	if err != nil {
		w.Fatalf("%v", err)
	}
	return res
}

// Both modes, beside each other as connections of their own.
func TestModesOnEveryVersion(t *testing.T) {
	everyMajor(t, func(w *world) {
		w.brokerMode()
		w.as(connection.ModeGrantor, "gate_", "grantor's account").grantorMode()
	})
}

func (w *world) brokerMode() {
	before := w.state()
	r := w.request()
	r.DryRun = true
	dry := w.register(r)
	if w.state() != before {
		w.Fatal("a dry run changed the instance")
	}
	r.DryRun = false
	res := w.register(r)
	if slices.Sort(res.Databases); !slices.Equal(res.Databases, []string{oddDB, "postgres", "shop"}) {
		w.Errorf("databases %q", res.Databases)
	}
	if len(dry.Statements) != 4 || len(res.Statements) != 4 {
		w.Errorf("%d and %d statements", len(dry.Statements), len(res.Statements))
	}
	if len(res.Target.Password) < 20 || len(res.Missing) > 0 || len(res.Warnings) > 0 || len(res.DefaultPrivileges) > 0 {
		w.Errorf("a superuser's broker lacks something: %+v", res)
	}
	// The account may call the broker and read nothing.
	conn := w.connect(account, res.Target.Password, "shop")
	if _, err := conn.Exec(w.Context(), `SELECT * FROM private.t`); err == nil {
		w.Error("the system account reads data")
	}
	if got := w.text("postgres", "SELECT concat(rolcreaterole, rolsuper, rolbypassrls) FROM pg_roles WHERE rolname = $1", account); got != "fff" {
		w.Errorf("createrole, superuser, bypassrls: %s", got)
	}
	if got := w.text("shop", "SELECT string_agg(schema_name, ',' ORDER BY schema_name) FROM portcullis_broker.listed"); got != `private,public,sa"les,theirs` {
		w.Errorf("listed %s", got)
	}
	if !strings.HasPrefix(w.text("postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = $1", account), "SCRAM-SHA-256$4096:") {
		w.Error("no SCRAM verifier")
	}
	w.noSecrets(res)
	// Again: nothing but what was asked changes.
	again := r
	again.Target.Password = res.Target.Password
	state := w.state()
	if res := w.register(again); res.Target.Password != again.Target.Password {
		w.Error("the password that was given is not the one of the result")
	}
	if w.state() != state {
		w.Error("registering again changed the instance")
	}
}

// noSecrets looks for passwords in what is returned, and for verifiers in the server's log.
func (w *world) noSecrets(res Result) {
	w.Helper()
	log, err := w.pg.LogText()
	if err != nil {
		w.Fatal(err)
	}
	if strings.Contains(log, "SCRAM-SHA-256$") || !strings.Contains(log, "CREATE SCHEMA") {
		w.Error("the verifier is in the server's log, or the log holds no statements")
	}
	for name, text := range map[string]string{"log": log, "statements": strings.Join(res.Statements, "")} {
		if strings.Contains(text, res.Target.Password) || name == "statements" && strings.Contains(text, "SCRAM-SHA-256$") || strings.Contains(text, w.pg.Password) {
			w.Errorf("a secret is in the %s", name)
		}
	}
}

func (w *world) grantorMode() {
	before := w.state()
	r := w.request()
	if _, err := Register(w.Context(), w.dialer, r); strings.HasSuffix(w.Name(), "14") || strings.HasSuffix(w.Name(), "15") {
		w.wantCode(err, CodeEscalation)
		if w.state() != before {
			w.Fatal("something was changed before it was refused")
		}
		r.AcceptCreateRoleEscalation = true
		_, err = Register(w.Context(), w.dialer, r)
		if err != nil {
			w.Fatal(err)
		}
	} else if err != nil {
		w.Fatal(err)
	}
	res := w.register(r)
	if len(res.Missing) > 0 {
		w.Errorf("missing: %v", res.Missing)
	}
	if !slices.ContainsFunc(res.Warnings, func(s string) bool { return strings.Contains(s, "can itself read and write every table") }) {
		w.Errorf("warnings: %q", res.Warnings)
	}
	if got := joined(res.DefaultPrivileges); !strings.Contains(got, `shop ALTER DEFAULT PRIVILEGES FOR ROLE keeper GRANT`) || !strings.Contains(got, "FOR ROLE other") {
		w.Errorf("default privileges: %s", got)
	}
	// The account makes roles under the owner and passes privileges on.
	conn := w.connect(w.target.Username, res.Target.Password, "shop")
	if _, err := conn.Exec(w.Context(), `SET ROLE gate_owner; CREATE ROLE gate_r_1; GRANT SELECT ON "sa""les"."or'ders", theirs.t TO gate_r_1;
		GRANT USAGE ON SCHEMA "sa""les" TO gate_r_1; GRANT gate_r_1 TO other`); err != nil {
		w.Error(err)
	}
	if got := w.text("shop", `SELECT has_table_privilege('gate_r_1', 'theirs.t', 'SELECT')::text`); got != "true" {
		w.Error("the grant did not arrive")
	}
	w.noSecrets(res)
	for _, d := range res.DefaultPrivileges {
		w.sql(d.Database, d.Statement)
	}
	w.sql("shop", `SET ROLE other; CREATE TABLE theirs.newer (a int); SET ROLE keeper; CREATE SCHEMA later; CREATE TABLE later.t (a int)`)
	report, err := Check(w.Context(), w.dialer, res.Target, nil)
	if err != nil || len(report.DefaultPrivileges) > 0 || len(report.Missing) > 0 {
		w.Errorf("after the default privileges were set: %+v, %v", report, err)
	}
}

func joined(defaults []Default) string {
	var b strings.Builder
	for _, d := range defaults {
		b.WriteString(d.Database + " " + d.Statement + "\n")
	}
	return b.String()
}

// An owner who is no superuser, as on managed instances, makes ready what is
// theirs; what is not is listed with the statement for its owner.
func TestOwnerWithoutSuperuser(t *testing.T) {
	for _, major := range []int{14, 16} { // before and after CREATEROLE was bounded
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			instance := newWorld(t, major, connection.ModeBroker)
			for _, w := range []*world{instance.as(connection.ModeGrantor, "gate_", "grantor"), instance} {
				w.target.Database = "shop"
				r := w.request()
				r.Credentials = Credentials{Username: "keeper", Password: "keeper-password"}
				r.Databases, r.AcceptCreateRoleEscalation = []string{"shop"}, true
				res := w.register(r)
				var statements []string
				for _, m := range res.Missing {
					if !m.Optional {
						w.Errorf("%v is not optional", m)
					}
					statements = append(statements, m.Statement)
				}
				if len(statements) != 3 || !slices.ContainsFunc(statements, func(s string) bool { return strings.Contains(s, `ON TABLE "sa""les".foreign_one TO`) }) {
					w.Fatalf("missing %q", statements)
				}
				for _, s := range statements {
					w.sql("shop", s)
				}
				report, err := Check(w.Context(), w.dialer, res.Target, []string{"shop"})
				if err != nil || len(report.Missing) > 0 {
					w.Errorf("after the statements were run: %+v, %v", report, err)
				}
			}
		})
	}
}

func TestAccountRotation(t *testing.T) {
	for _, mode := range []connection.Mode{connection.ModeBroker, connection.ModeGrantor} {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, 16, mode)
			first := w.register(w.request())
			if mode == connection.ModeGrantor {
				conn := w.connect(account, first.Target.Password, "shop")
				if _, err := conn.Exec(t.Context(), `SET ROLE portcullis_owner; CREATE ROLE portcullis_r_1; GRANT SELECT ON private.t TO portcullis_r_1`); err != nil {
					t.Fatal(err)
				}
			}
			next := w.request()
			next.Target.Username = "sys2"
			second := w.register(next)
			if len(second.Missing) > 0 {
				t.Errorf("the new account lacks %v", second.Missing)
			}
			report, err := Check(t.Context(), w.dialer, first.Target, nil)
			if err != nil || report.Ready() {
				t.Errorf("the old account still has all it needs: %+v, %v", report, err)
			}
			if mode == connection.ModeGrantor {
				conn := w.connect("sys2", second.Target.Password, "shop")
				if _, err := conn.Exec(t.Context(), `SET ROLE portcullis_owner; REVOKE SELECT ON private.t FROM portcullis_r_1; DROP ROLE portcullis_r_1`); err != nil {
					t.Error(err)
				}
			}
			w.sql("postgres", "DROP ROLE "+sqltext.Identifier(account))
		})
	}
}

func TestNothingIsChangedWhenRefused(t *testing.T) {
	w := newWorld(t, 16, connection.ModeBroker)
	w.sql("postgres", `CREATE ROLE plain LOGIN PASSWORD 'plain'; CREATE ROLE root2 LOGIN SUPERUSER; CREATE ROLE existing LOGIN PASSWORD 'known';
		CREATE ROLE maker LOGIN CREATEROLE PASSWORD 'maker'; CREATE ROLE taken_owner LOGIN`)
	w.sql(oddDB, "CREATE SCHEMA portcullis_broker AUTHORIZATION other")
	w.sql("postgres", "CREATE DATABASE extra")
	dbs := []string{"shop"}
	tests := map[string]struct {
		change func(*Request)
		code   string
		detail string
	}{
		"wrong setup password":       {func(r *Request) { r.Credentials.Password = "wrong" }, dial.CodeCredentials, ""},
		"no CREATEROLE":              {func(r *Request) { r.Credentials = Credentials{Username: "plain", Password: "plain"} }, CodePrivilege, `ALTER ROLE "plain" CREATEROLE;`},
		"no CREATE in the databases": {func(r *Request) { r.Credentials = Credentials{Username: "maker", Password: "maker"} }, CodePrivilege, `GRANT CREATE ON DATABASE "shop" TO "maker";`},
		"somebody else's schema":     {func(r *Request) { r.Databases = []string{oddDB} }, CodePrivilege, "is other's: register as that role"},
		"an account's own":           {func(r *Request) { r.Credentials.Username = account }, CodeSame, ""},
		"account is a superuser":     {func(r *Request) { r.Target.Username = "root2"; r.TakeAccount = true }, CodePrivilege, "root2 is a superuser"},
		"account exists":             {func(r *Request) { r.Target.Username = "existing" }, CodeAccountIs, ""},
		"account, other password":    {func(r *Request) { r.Target.Username, r.Target.Password = "existing", "guessed" }, CodeAccountIs, ""},
		"unknown database":           {func(r *Request) { r.Databases = []string{"nowhere"} }, CodeDatabase, ""},
		"unknown schema":             {func(r *Request) { r.Schemas = map[string][]string{"shop": {"nope"}} }, CodePrivilege, "database shop has no schema nope"},
		"refused by the service":     {func(r *Request) { r.Admit = refuseTwice }, "registered", ""},
		"odd prefix":                 {func(r *Request) { r.Target.Prefix = "X-" }, "invalid_prefix", ""},
		"odd mode":                   {func(r *Request) { r.Target.Mode = "root" }, CodeMode, ""},
		"reserved name":              {func(r *Request) { r.Target.Username = "pg_x" }, CodeAccount, ""},
		"name of a role of ours":     {func(r *Request) { r.Target.Username = "portcullis_owner" }, CodeAccount, ""},
		"name that ends a quote":     {func(r *Request) { r.Target.Username = "x$do$; DROP" }, CodeAccount, ""},
		"password not to be had":     {func(r *Request) { r.Target.Password = "a\x01b" }, CodePassword, ""},
		"no IAM there":               {func(r *Request) { r.Target.AWS = &connection.AWSRole{} }, CodePrivilege, "no role rds_iam"},
	}
	before := w.state()
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := w.request()
			r.Databases = dbs
			tc.change(&r)
			_, err := Register(t.Context(), w.dialer, r)
			if code(err) != tc.code {
				t.Fatalf("want code %s, got %v", tc.code, err)
			}
			if !strings.Contains(err.Error(), tc.detail) {
				t.Errorf("want %q in %q", tc.detail, err)
			}
			if w.state() != before {
				t.Error("the instance was changed")
			}
		})
	}
	t.Run("owner is somebody else's", func(t *testing.T) {
		w.sql("postgres", "CREATE ROLE portcullis_owner LOGIN")
		before := w.state()
		_, err := Register(t.Context(), w.dialer, w.request())
		if code(err) != CodePrivilege || w.state() != before {
			t.Errorf("got %v", err)
		}
	})
}

func refuseTwice(_ context.Context, s connection.Server) error {
	if s.SystemID == "" {
		return errors.New("no system id")
	}
	return &connection.Error{Code: "registered", Message: "registered already"}
}

func TestTakenAccount(t *testing.T) {
	w := newWorld(t, 15, connection.ModeBroker)
	w.sql("postgres", `CREATE ROLE existing LOGIN PASSWORD 'known' BYPASSRLS CREATEROLE; GRANT pg_read_all_data TO existing; CREATE ROLE portcullis_views BYPASSRLS; GRANT portcullis_views TO existing; ALTER TABLE IF EXISTS x OWNER TO existing`)
	w.sql("shop", "CREATE TABLE private.own (a int); ALTER TABLE private.own OWNER TO existing")
	r := w.request()
	r.Target.Username, r.Target.Password = "existing", "known"
	verifier := "SELECT rolpassword FROM pg_authid WHERE rolname = 'existing'"
	before := w.text("postgres", verifier)
	res := w.register(r)
	if w.text("postgres", verifier) != before {
		t.Error("the password was set anew though the given one was right")
	}
	warnings := strings.Join(res.Warnings, "\n")
	for _, want := range []string{"BYPASSRLS", "NOCREATEROLE", `REVOKE "pg_read_all_data" FROM "existing"`, "owns 1 tables in database shop"} {
		if !strings.Contains(warnings, want) {
			t.Errorf("no warning of %s in %s", want, warnings)
		}
	}
	if strings.Contains(warnings, "portcullis_views") {
		t.Errorf("warned of what the account needs: %s", warnings)
	}
	r.Target.Password, r.TakeAccount = "", true
	res = w.register(r)
	if w.text("postgres", verifier) == before {
		t.Error("the account that was taken kept its password")
	}
	w.connect("existing", res.Target.Password, "shop")
}

// What fails between databases is told, and done by registering again.
func TestHalfDone(t *testing.T) {
	w := newWorld(t, 16, connection.ModeBroker)
	w.sql("shop", `CREATE SCHEMA portcullis_broker; CREATE TABLE portcullis_broker.listed (x int); ALTER TABLE portcullis_broker.listed OWNER TO other`)
	res, err := Register(t.Context(), w.dialer, w.request())
	w.wantCode(err, CodeHalf)
	if !strings.Contains(err.Error(), "database shop") {
		t.Errorf("%v does not name the database", err)
	}
	w.sql("shop", `DROP TABLE portcullis_broker.listed`)
	r := w.request()
	r.Target.Password = res.Target.Password
	if again := w.register(r); again.Target.Password != res.Target.Password || len(again.Missing) > 0 {
		t.Errorf("got %+v", again)
	}
}
