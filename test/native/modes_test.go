package native

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/internal/testenv"
)

// made has no role anywhere, and a name that needs quotes.
const made = `Zoë "Z" O'Neil`

const crew = `
groups: [{name: team}]
people:
  - {userid: ana, groups: [team]}
  - {userid: 'Zoë "Z" O''Neil', groups: [team]}
  - {userid: ben}
  - {userid: idle}
`

const crewReads = `
policies:
  - {name: team reads, kind: subscription, on: {tags: [Sales]}, who: {group: team}}
`

const crewWrites = `
policies:
  - {name: team reads, kind: subscription, access: write, on: {tags: [Sales]}, who: {group: team}}
`

const writeOrders = "INSERT INTO sales.orders VALUES (1, 'x')"

// TestModesAndMajors goes through the life of a connection in both modes, with
// roles that are there and roles that are made, before and after PostgreSQL 16
// bounded CREATEROLE.
func TestModesAndMajors(t *testing.T) {
	engine := testenv.StartEngine(t, testenv.EngineOptions{})
	unbounded := slices.DeleteFunc(testenv.Majors(), func(major int) bool { return major >= 16 })
	for _, c := range []struct {
		major int
		mode  string
	}{{slices.Max(unbounded), "grantor"}, {16, "broker"}, {18, "grantor"}} {
		t.Run(fmt.Sprintf("%d %s", c.major, c.mode), func(t *testing.T) {
			remote := testenv.StartServer(t, testenv.ServerOptions{Major: c.major})
			w := newWorldOn(t, engine, remote, fmt.Sprintf("pg%d", c.major), "ana", "ben")
			w.life(c.major, c.mode)
		})
	}
}

func (w *world) life(major int, mode string) {
	w.run(`CREATE ROLE portcullis_r_handmade; GRANT SELECT ON sales.notes TO portcullis_r_handmade`)
	w.apply(crew + "policies: []\n")
	fresh, untouched := w.roles(), w.given()
	flags := []string{"--mode", mode, "--make-roles", "--user", "gate one"}
	accept := []string{}
	if mode == "grantor" && major < 16 {
		w.refusesEscalation(flags)
		accept = []string{"--accept-createrole-escalation"}
	}
	w.add(append(append(flags, "--tags", "Sales"), accept...)...)
	w.cli("connection", "check", w.name)
	roles, given := w.roles(), w.given()
	if slices.Contains(roles, made) {
		w.t.Error("a role was made before anybody needed it")
	}

	w.apply(crewReads)
	w.soonCan("ana", readOrders, true)
	w.inStep()
	w.run("ALTER ROLE " + pgx.Identifier{made}.Sanitize() + " PASSWORD '" + peoplesPassword + "'")
	if !w.can(made, readOrders) || w.can(made, writeOrders) || w.can("ben", readOrders) {
		w.t.Error("the policy gives reading to the team")
	}
	if slices.Contains(w.roles(), "idle") {
		w.t.Error("a role was made for somebody who may read nothing")
	}

	if major < 16 {
		w.lingers()
		w.isUpgraded(17, accept)
	}
	w.rotates(accept)
	w.apply(crewWrites)
	w.soonCan(made, writeOrders, true)
	w.soonCan("ana", writeOrders, true)
	w.apply(crewReads)
	w.soonCan(made, writeOrders, false)
	w.soonCan("ana", writeOrders, false)
	w.cli("connection", "sync", w.name)

	// Deleting takes back what the ledger lists, and nothing else.
	ledger := w.ledger()
	if !slices.Contains(ledger, made) || slices.Contains(ledger, "ana") || len(ledger) < 4 {
		w.t.Errorf("ledger: %q", ledger)
	}
	before := w.roles()
	w.cli("connection", "delete", w.name)
	if gone := slices.DeleteFunc(before, func(r string) bool { return slices.Contains(w.roles(), r) }); !slices.Equal(gone, ledger) {
		w.t.Errorf("dropped  %q\nthe ledger %q", gone, ledger)
	}
	for i := range given { // of the account that is there now
		given[i] = strings.ReplaceAll(given[i], `"gate one"`, `"gate two"`)
	}
	if now := w.given(); major >= 16 && !slices.Equal(now, given) { // an upgrade changes who granted what
		w.t.Errorf("what is given differs from before:\n%q\n%q", diff(given, now), diff(now, given))
	}
	if w.can("ana", readOrders) {
		w.t.Error("ana still reads")
	}
	w.psql(w.cli("connection", "print-script", w.name, "--host", w.remote.Host, "--port", fmt.Sprint(w.remote.Port), "--tls", "disable", "--database", "shop", "--databases", "postgres",
		"--mode", mode, "--user", "gate two", "--removal"))
	if now := w.given(); major >= 16 && !slices.Equal(now, untouched) || !slices.Equal(w.roles(), fresh) {
		w.t.Errorf("the removal leaves %q and took %q; roles %q", diff(now, untouched), diff(untouched, now), diff(w.roles(), fresh))
	}
}

// diff is what the second list lacks of the first.
func diff(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(x string) bool { return slices.Contains(b, x) })
}

// refusesEscalation: up to PostgreSQL 15 the risk must be taken in so many words.
func (w *world) refusesEscalation(flags []string) {
	before := w.given()
	refused := w.fails(w.registration("add", flags...)...)
	for _, want := range []string{"CREATEROLE", "reaches the operating system", "pg_execute_server_program", "--accept-createrole-escalation", "broker mode"} {
		if !strings.Contains(refused, want) {
			w.t.Errorf("the refusal does not say %q: %s", want, refused)
		}
	}
	if now := w.given(); !slices.Equal(now, before) || slices.Contains(w.roles(), "gate one") {
		w.t.Error("what was refused changed something")
	}
}

// rotates gives the connection another system account, which does what the first did.
func (w *world) rotates(accept []string) {
	passwords := list(w.t, w.remote, "shop", "SELECT rolpassword FROM pg_authid WHERE rolname = 'gate one'")
	as := []string{"connection", "rotate", w.name, "--setup-user", w.remote.User, "--setup-password-file", w.dba}
	out := w.cli(append(append(as, "--user", "gate two"), accept...)...)
	if !strings.Contains(out, "gate one has nothing left here") {
		w.t.Errorf("rotate: %s", out)
	}
	if kept := slices.DeleteFunc(w.given(), func(g string) bool { return !strings.Contains(g, "gate one") }); len(kept) > 0 {
		w.t.Errorf("the account that was replaced keeps %q", kept)
	}
	w.run(`DROP ROLE "gate one"`) // fails if something hangs on it
	w.cli(append(as, accept...)...)
	if now := list(w.t, w.remote, "shop", "SELECT rolpassword FROM pg_authid WHERE rolname = 'gate two'"); slices.Equal(now, passwords) {
		w.t.Error("the account kept its password")
	}
	w.cli("connection", "check", w.name)
}

// lingers: where people may SET ROLE to a set, a session from before a revoke is
// told as what it is, and how a DBA ends it. No lock is in the way.
func (w *world) lingers() {
	set := list(w.t, w.remote, "shop", `SELECT g.rolname FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = 'ana'::regrole`)
	conn, err := pgx.Connect(w.t.Context(), w.remote.DSNAs("ana", peoplesPassword, "shop"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close(w.t.Context())
	if _, err := conn.Exec(w.t.Context(), "SET ROLE "+pgx.Identifier(set).Sanitize()); err != nil {
		w.t.Fatal(err)
	}
	w.apply(strings.ReplaceAll(crew, "{userid: ana, groups: [team]}", "{userid: ana}"))
	w.soon("a session lingers", func() bool { return w.status().State == "lingering" })
	if _, err := conn.Exec(w.t.Context(), readOrders); err != nil || w.can("ana", readOrders) {
		w.t.Errorf("nothing lingers: %v", err)
	}
	st := w.status()
	if len(st.Pending)+len(st.Overdue) != 0 || len(st.Lingering) != 1 || st.Lingering[0].PID != int32(conn.PgConn().PID()) || st.Lingering[0].Role != "ana" || !slices.Equal(st.Lingering[0].Roles, set) {
		w.t.Fatalf("%+v", st)
	}
	if text := w.cli("connection", "status", w.name); !strings.Contains(text, "may still act as "+set[0]) || !strings.Contains(text, st.Lingering[0].Statement) {
		w.t.Errorf("status: %s", text)
	}
	w.run(st.Lingering[0].Statement)
	w.inStep()
	w.apply(crew)
	w.soonCan("ana", readOrders, true)
}
