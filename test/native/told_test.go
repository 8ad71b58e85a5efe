package native

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/service"
)

// TestWhatAnAdministratorIsTold goes through one connection: misspelled names,
// owners, what is not in force, databases that come, edits, and its end.
func TestWhatAnAdministratorIsTold(t *testing.T) {
	w := newWorld(t, "ana", "ben")
	w.database("stock")
	w.apply(people)
	w.add("--user", "gate")
	w.apply("policies:\n  - {name: all, kind: subscription, on: {all: true}, who: {group: team}}\n")
	w.soonCan("ana", readOrders, true)
	w.misspells()
	w.owners()
	w.isDisabled()
	w.notEnforceable()
	w.databasesCome()
	w.isEdited()
	w.rotatesItsAccount()
	w.leavesNothing()
}

func (w *world) says(out string, want ...string) {
	w.t.Helper()
	for _, text := range want {
		if !strings.Contains(out, text) {
			w.t.Errorf("%q is not said:\n%s", text, out)
		}
	}
}

// exits compares how status --check ends.
func (w *world) exits(want int) {
	w.t.Helper()
	_, err := w.service.CLI(w.t.Context(), "connection", "status", "shop", "--check")
	if err == nil && want != 0 || err != nil && exitCode(err) != want {
		w.t.Errorf("status --check: %v instead of exit code %d", err, want)
	}
}

func (w *world) database(name string) {
	w.t.Helper()
	if err := w.remote.CreateDatabase(w.t.Context(), name); err != nil {
		w.t.Fatal(err)
	}
	if err := w.remote.Exec(w.t.Context(), name, "CREATE TABLE public.goods (id int)"); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) reads(database, person string) bool {
	w.t.Helper()
	conn, err := pgx.Connect(w.t.Context(), w.remote.DSNAs(person, peoplesPassword, database))
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close(w.t.Context())
	_, err = conn.Exec(w.t.Context(), "SELECT * FROM public.goods")
	return err == nil
}

func (w *world) misspells() {
	w.says(w.fails("connection", "disable", "shop.nosuch.sales"), "nothing named shop.nosuch.sales was seen", "--ahead")
	w.says(w.fails("connection", "tag", "shop.shop.sales.orders", "--column", "emial", "PII.Email"), "has no column emial", "--ahead")
	if st := w.status(); len(st.Waiting) != 0 {
		w.t.Errorf("what was refused waits: %+v", st.Waiting)
	}
	w.cli("connection", "disable", "shop.nosuch.sales", "--ahead")
	w.cli("connection", "tag", "shop.shop.sales.orders", "--column", "emial", "--ahead", "PII.Email")
	for _, out := range []string{w.cli("connection", "status", "shop"), w.cli("connection", "show", "shop")} {
		w.says(out, "shop.nosuch.sales: settings wait for it to be seen", "shop.shop.sales.orders: tags wait for column emial")
	}
	w.cli("connection", "inherit", "shop.nosuch.sales")
	w.cli("connection", "tag", "shop.shop.sales.orders", "--column", "emial", "--remove", "PII.Email")
	if st := w.status(); len(st.Waiting) != 0 {
		w.t.Errorf("what was taken away waits: %+v", st.Waiting)
	}
}

func (w *world) owners() {
	w.cli("connection", "tag", "shop", "All")
	w.cli("connection", "owner", "shop", "--group", "team")
	w.cli("connection", "owner", "shop.shop.sales", "--user", "ana")
	w.cli("connection", "owner", "shop.shop.sales.orders", "--user", "ben")
	w.says(w.cli("connection", "show", "shop", "shop.shop.sales.orders"), "inherits tags All", "owners local/ben", "owners of levels above: local/ana, group team")
	w.says(w.cli("connection", "owner", "shop"), "group team\n")
	w.cli("connection", "owner", "shop.shop.sales", "--user", "ana", "--remove")
	if out := w.cli("connection", "owner", "shop.shop.sales.orders"); out != "local/ben\ngroup team\tof a level above\n" {
		w.t.Errorf("owners: %s", out)
	}
}

func (w *world) isDisabled() {
	w.inStep()
	w.exits(0)
	w.cli("connection", "disable", "shop")
	w.soonCan("ana", readOrders, false)
	w.says(w.cli("connection", "status", "shop"), "disabled: nothing is enforced")
	w.exits(3)
	w.cli("connection", "enable", "shop")
	w.soonCan("ana", readOrders, true)
	w.inStep()
	w.exits(0)
}

func (w *world) notEnforceable() {
	w.run("CREATE SCHEMA hr; CREATE TABLE hr.staff (id int)")
	w.cli("connection", "sync", "shop")
	w.says(w.cli("connection", "status", "shop"), "1 lack, 1 of them not enforceable", "shop.hr.staff: the broker lists neither it nor its schema")
	w.exits(3)
	w.run("SELECT portcullis_broker.list_schema('hr')")
	w.cli("connection", "sync", "shop")
	w.exits(0)
}

// databasesCome makes a new database ready by the script that is told, and
// another one by setup credentials. The account keeps its password.
func (w *world) databasesCome() {
	w.database("new 1")
	w.cli("connection", "sync", "shop")
	command := "portcullis connection print-script shop --databases 'new 1'"
	w.says(w.cli("connection", "show", "shop", "shop.new 1.public.goods"), command)
	before := w.password("gate")
	script := w.cli("connection", "print-script", "shop", "--databases", "new 1")
	if strings.Contains(script, `\password`) {
		w.t.Error("the script asks for a password that the service knows")
	}
	w.psql(script)
	w.cli("connection", "sync", "shop")
	if !w.reads("new 1", "ana") {
		w.t.Error("the script made nothing ready")
	}
	all := w.cli("connection", "print-script", "shop")
	w.says(all, `dbname='new 1'`, `dbname='stock'`, `dbname='postgres'`)
	w.psql(all)
	w.database("new2")
	w.says(w.cli("connection", "set", "shop", "--setup-user", w.remote.User, "--setup-password-file", w.dba), "made shop ready again")
	if !w.reads("new2", "ana") || w.reads("new2", "ben") {
		w.t.Error("setup credentials made nothing ready, or too much")
	}
	if w.password("gate") != before {
		w.t.Error("the account has another password")
	}
	w.exits(0)
}

// password is the verifier of an account.
func (w *world) password(role string) (verifier string) {
	w.t.Helper()
	conn := w.connect()
	if err := conn.QueryRow(w.t.Context(), "SELECT rolpassword FROM pg_authid WHERE rolname = $1", role).Scan(&verifier); err != nil {
		w.t.Fatal(err)
	}
	return verifier
}

func (w *world) registered() (v service.Connection) {
	w.t.Helper()
	var list []service.Connection
	if err := json.Unmarshal([]byte(w.cli("connection", "list", "-o", "json")), &list); err != nil || len(list) != 1 {
		w.t.Fatalf("%d connections, %v", len(list), err)
	}
	return list[0]
}

func (w *world) isEdited() {
	before := w.registered()
	w.says(w.cli("connection", "set", "shop", "--kinds", "table,view", "--sync-every", "10m", "--map-strip-suffix", "@example.com"), "changed shop")
	v := w.registered()
	if fmt.Sprint(v.Kinds) != "[table view]" || v.SyncEvery != "10m0s" || v.Mapping.StripSuffix != "@example.com" || v.Mapping.Attribute != "userid" {
		w.t.Errorf("set: %+v %+v", v, v.Mapping)
	}
	if v.Host != before.Host || v.Port != before.Port || v.Username != before.Username || fmt.Sprint(v.Tags) != "[All]" || len(v.Owners) != 1 {
		w.t.Errorf("set changed what was not named: %+v", v)
	}
	w.says(w.cli("connection", "set", "shop", "--sync-every", "10m"), "as it was")
	w.says(w.fails(append([]string{"connection", "add", "shop", "--host", w.remote.Host}, "--setup-user", "x", "--setup-password-file", w.dba)...), "portcullis connection set shop")
}

func (w *world) rotatesItsAccount() {
	w.cli("connection", "set", "shop", "--user", "gate2", "--setup-user", w.remote.User, "--setup-password-file", w.dba)
	w.run("DROP ROLE gate") // nothing hangs on it
	// A password that a DBA set is told to the service.
	w.run("ALTER ROLE gate2 PASSWORD 'another-one'")
	file := filepath.Join(w.t.TempDir(), "password")
	for password, ok := range map[string]bool{"wrong": false, "another-one": true} {
		if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
			w.t.Fatal(err)
		}
		if ok {
			w.cli("connection", "set", "shop", "--password-file", file)
		} else {
			w.says(w.fails("connection", "set", "shop", "--password-file", file), "password")
		}
	}
	w.cli("connection", "sync", "shop")
	w.exits(0)
}

// leavesNothing deletes the connection and runs the script that removes the account.
func (w *world) leavesNothing() {
	removal := w.cli("connection", "print-script", "shop", "--removal")
	w.cli("connection", "delete", "shop")
	part := w.cli("connection", "print-script", "shop", "--removal", "--host", w.remote.Host, "--port", fmt.Sprint(w.remote.Port), "--tls", "disable", "--database", "shop", "--user", "gate2")
	cmd := w.remote.Command(w.t.Context(), "shop", "psql", "--no-psqlrc", "-q")
	cmd.Stdin = strings.NewReader(part)
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "other databases hold what is to be taken away: new 1, new2, postgres, stock") {
		w.t.Errorf("a part was removed: %v %s", err, out)
	}
	w.psql(removal)
	for _, name := range []string{"shop", "postgres", "stock", "new 1", "new2"} {
		conn, err := w.remote.Connect(w.t.Context(), name)
		if err != nil {
			w.t.Fatal(err)
		}
		var left string
		if err := conn.QueryRow(w.t.Context(), `SELECT concat((SELECT string_agg(nspname, ',') FROM pg_namespace WHERE nspname LIKE 'portcullis%'),
			(SELECT string_agg(rolname, ',') FROM pg_roles WHERE rolname LIKE 'portcullis%' OR rolname LIKE 'gate%'))`).Scan(&left); err != nil || left != "" {
			w.t.Errorf("database %s: %q is left, %v", name, left, err)
		}
		if err := conn.Close(w.t.Context()); err != nil {
			w.t.Error(err)
		}
	}
}
