package setup

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"portcullis.dev/portcullis/connection"
)

func (w *world) options() ScriptOptions {
	o := ScriptOptions{Target: w.target, Databases: []string{"shop", oddDB}, AcceptCreateRoleEscalation: true, Views: true}
	o.Target.Password = "pass-of-the-account"
	o.Target.RowSecurity = w.target.Mode == connection.ModeBroker
	return o
}

func (w *world) script(write func(ScriptOptions) (string, error), o ScriptOptions) string {
	w.Helper()
	text, err := write(o)
	if err != nil {
		w.Fatal(err)
	}
	return text
}

// What a DBA pastes makes the account ready, may be pasted again, and is taken
// away without a trace by the other script.
func TestScriptByPsql(t *testing.T) {
	for _, major := range []int{14, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			instance := newWorld(t, major, connection.ModeBroker)
			for _, mode := range []connection.Mode{connection.ModeBroker, connection.ModeGrantor} { // the first leaves nothing
				t.Run(string(mode), func(t *testing.T) {
					w := instance.as(mode, "portcullis_", account)
					w.T = t
					untouched := w.state()
					o := w.options()
					script := w.script(Script, o)
					for _, secret := range []string{o.Target.Password, w.pg.Password} {
						if strings.Contains(script, secret) {
							t.Error("a password is in the script")
						}
					}
					out := w.mustPsql(w.pg.User, w.pg.Password, script)
					if mode == connection.ModeGrantor && !strings.Contains(out, `ALTER DEFAULT PRIVILEGES FOR ROLE other GRANT`) {
						t.Errorf("no lines for roles that make tables in %s", out)
					}
					r := Request{Target: o.Target}
					r.Databases = o.Databases
					if res := w.register(r); len(res.Missing) > 0 {
						t.Errorf("missing after the script: %v", res.Missing)
					}
					done := w.state()
					w.mustPsql(w.pg.User, w.pg.Password, script)
					if again := w.state(); again != done {
						t.Errorf("the second run changed something:\n%s\n%s", done, again)
					}
					if mode == connection.ModeBroker {
						w.keepsASchema(script)
					}
					w.sql("shop", printedDefaults(out)+"ALTER DEFAULT PRIVILEGES FOR ROLE other IN SCHEMA theirs GRANT SELECT ON TABLES TO PUBLIC;")
					if removed := w.remove(o); strip(removed) != strip(untouched) {
						t.Errorf("left behind:\n%s\nbefore:\n%s", removed, untouched)
					}
				})
			}
		})
	}
}

// keepsASchema: what a DBA unlisted stays so when the script runs again.
func (w *world) keepsASchema(script string) {
	w.Helper()
	w.sql("shop", "SELECT portcullis_broker.unlist_schema('private')")
	w.mustPsql(w.pg.User, w.pg.Password, script)
	listed := "SELECT count(*)::text FROM portcullis_broker.listed WHERE schema_name = 'private'"
	if w.text("shop", listed) != "0" {
		w.Error("a schema that was unlisted is listed again")
	}
	w.sql("shop", "SELECT portcullis_broker.list_schema('private')")
	w.mustPsql(w.pg.User, w.pg.Password, script)
	if w.text("shop", listed) != "1" {
		w.Error("a schema that was listed again is not")
	}
}

// printedDefaults are the lines for roles that make tables.
func printedDefaults(out string) string {
	var lines strings.Builder
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "ALTER DEFAULT PRIVILEGES") {
			lines.WriteString(line)
		}
	}
	return lines.String()
}

func (w *world) remove(o ScriptOptions) string {
	w.mustPsql(w.pg.User, w.pg.Password, w.script(RemovalScript, o))
	return w.state()
}

// strip leaves out what REVOKE leaves: an ACL that was NULL is written out.
func strip(state string) string {
	lines := strings.Split(state, "\n")
	for i, line := range lines {
		acl, _, _ := strings.Cut(line, "{")
		lines[i] = strings.TrimSpace(acl)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// A script stops at what still hangs on the roles, and leaves an account alone
// that was there before.
func TestRemovalLeavesWhatIsNotOurs(t *testing.T) {
	for _, mode := range []connection.Mode{connection.ModeBroker, connection.ModeGrantor} {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, 16, mode)
			w.sql("postgres", "CREATE ROLE existing LOGIN PASSWORD 'known'")
			r := w.request()
			r.Target.Username, r.Target.Password = "existing", "known"
			w.register(r)
			conn := w.connect("existing", "known", "postgres")
			made := `SELECT portcullis_broker.roles('[{"do": "make", "role": "portcullis_r_1", "comment": "x"}]')`
			if mode == connection.ModeGrantor {
				made = `SET ROLE portcullis_owner; CREATE ROLE portcullis_r_1; RESET ROLE; GRANT CONNECT ON DATABASE postgres TO portcullis_r_1`
			}
			if _, err := conn.Exec(t.Context(), made); err != nil {
				t.Fatal(err)
			}
			o := w.options()
			o.Target.Username = "existing"
			removal := w.script(RemovalScript, o)
			if out, err := w.psql(w.pg.User, w.pg.Password, removal); err == nil {
				t.Errorf("removed although a role is left:\n%s", out)
			}
			w.sql("postgres", "SET ROLE portcullis_owner; REVOKE CONNECT ON DATABASE postgres FROM portcullis_r_1; RESET ROLE; DROP ROLE portcullis_r_1")
			w.mustPsql(w.pg.User, w.pg.Password, removal)
			if w.text("postgres", "SELECT count(*)::text FROM pg_roles WHERE rolname = 'existing'") != "1" {
				t.Error("the account that was there before is gone")
			}
			for _, word := range []string{"CASCADE", "REASSIGN", "DROP OWNED"} {
				if strings.Contains(removal, word) {
					t.Errorf("%s in the removal script", word)
				}
			}
		})
	}
}

func TestScriptOfOneSchemaAndItsRefusals(t *testing.T) {
	w := newWorld(t, 15, connection.ModeGrantor)
	o := w.options()
	o.AcceptCreateRoleEscalation = false
	before := w.state()
	if out, err := w.psql(w.pg.User, w.pg.Password, w.script(Script, o)); err == nil || !strings.Contains(out, "--accept-createrole-escalation") || w.state() != before {
		t.Errorf("escalation was not refused: %v\n%s", err, out)
	}
	o.AcceptCreateRoleEscalation = true
	o.Schemas = map[string][]string{"shop": {`sa"les`}, "postgres": {"public"}}
	w.mustPsql(w.pg.User, w.pg.Password, w.script(Script, o))
	able := func(table string) string {
		return w.text("shop", "SELECT has_table_privilege('portcullis_owner', $1, 'TRUNCATE WITH GRANT OPTION')::text", table)
	}
	if able(`"sa""les"."or'ders"`) != "true" || able("private.t") != "false" {
		t.Error("the schemas asked for are not those that were granted")
	}
	o.Target.Password = ""
	script := w.script(Script, o)
	if !strings.HasSuffix(script, "\\password \"sys \"\"acc'ount\"\n") {
		t.Errorf("the script does not end by asking for the password: %s", script[len(script)-100:])
	}
	if line := "can itself read and write every table"; !strings.Contains(script, line) {
		t.Errorf("the script does not say %q", line)
	}
	o.Target.Host = "h\n\\! touch /tmp/x"
	if script := w.script(Script, o); strings.Contains(script, "\n\\!") {
		t.Error("a line end of the host is in the script")
	}
	o.Databases = []string{"a\nb"}
	if _, err := Script(o); code(err) != CodeDatabase {
		t.Errorf("got %v", err)
	}
}

// What others put into the path of the DBA is not run by the scripts.
func TestScriptsRunNobodysCode(t *testing.T) {
	for _, mode := range []connection.Mode{connection.ModeBroker, connection.ModeGrantor} {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, 14, mode)
			trap := func(name, arguments, returns, value string) string {
				return fmt.Sprintf(`CREATE FUNCTION public.%s(%s) RETURNS %s LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.trap VALUES (current_user); RETURN %s; END';`, name, arguments, returns, value)
			}
			w.sql("shop", `CREATE TABLE public.trap (who text); GRANT ALL ON public.trap TO PUBLIC; SET ROLE other;`+
				trap("format", "text, name", "text", "$1")+trap("format", "text, regrole, regrole", "text", "$1")+trap("starts_with", "name, text", "boolean", "true")+
				trap("equal", "oid, regnamespace", "boolean", "true")+`CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = regnamespace, FUNCTION = public.equal);`+
				trap("same", "name, text", "boolean", "true")+`CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = text, FUNCTION = public.same);`+
				trap("quote_ident", "name", "text", "$1::text"))
			o := w.options()
			w.mustPsql(w.pg.User, w.pg.Password, w.script(Script, o))
			w.mustPsql(w.pg.User, w.pg.Password, w.script(Script, o))
			w.mustPsql(w.pg.User, w.pg.Password, w.script(RemovalScript, o))
			if got := w.text("shop", "SELECT count(*)::text FROM public.trap"); got != "0" {
				t.Errorf("functions of somebody else ran %s times as the superuser", got)
			}
		})
	}
}
