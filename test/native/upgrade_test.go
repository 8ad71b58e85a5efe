package native

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"portcullis.dev/portcullis/internal/testenv"
)

// A dump of another version: its superuser is there already, and who granted a
// role is not restored where CREATEROLE meant more.
var (
	superuserOfDump = regexp.MustCompile(`(?m)^(CREATE|ALTER) ROLE postgres\b.*$`)
	grantorOfDump   = regexp.MustCompile(`(?m)^(GRANT .*) GRANTED BY .*;$`)
)

// isUpgraded puts an instance of a newer major version in the place of the first,
// from its dump: every OID is another one. Nothing is done there before somebody
// says that it is the same, and then people reach what they did before.
func (w *world) isUpgraded(major int, accept []string) {
	w.apply("subscriptions: [{data_source: " + w.name + ".shop.sales.orders, userid: ben}]\n")
	w.soonCan("ben", readOrders, true)
	w.cli("connection", "sync", w.name)
	reach := w.reach()
	given := w.restoreInto(major)
	if lost := diff(given, slices.Collect(maps.Keys(w.givenByAnybody()))); len(lost) > 0 {
		w.t.Fatalf("the dump holds nothing of %q", lost)
	}
	restored := w.given()

	w.fails("connection", "sync", w.name)
	st := w.status()
	if st.Error == nil || st.Error.Code != "another_instance" {
		w.t.Fatalf("%+v", st)
	}
	_, id, _ := strings.Cut(st.Error.Hint, "--system-id ")
	id, _, _ = strings.Cut(id, ".")
	if id == "" || !strings.Contains(st.Error.Hint, "portcullis connection replaced "+w.name) {
		w.t.Fatalf("the hint does not say what to do: %q", st.Error.Hint)
	}
	if now := w.given(); !slices.Equal(now, restored) {
		w.t.Errorf("something was changed at an instance that nobody registered:\n%q\n%q", diff(restored, now), diff(now, restored))
	}
	if refused := w.fails("connection", "replaced", w.name, "--system-id", "1"); !strings.Contains(refused, id) {
		w.t.Errorf("another identifier than the one that answers: %s", refused)
	}
	w.psql(w.cli(append([]string{"connection", "print-script", w.name, "--databases", "postgres"}, accept...)...))
	w.cli("connection", "replaced", w.name, "--system-id", id)
	for line := range strings.Lines(w.cli("connection", "findings", w.name)) { // what the dump's superuser granted
		if sql, is := strings.CutPrefix(strings.TrimSpace(line), "a DBA runs: "); is && strings.Contains(line, "GRANTED BY") {
			w.run(sql)
		}
	}
	w.cli("connection", "sync", w.name)
	w.inStep()
	w.cli("connection", "check", w.name)
	if now := w.reach(); !maps.Equal(now, reach) {
		w.t.Errorf("people reach %v, before %v", now, reach)
	}
	w.apply("subscriptions: []\n" + crewReads)
	w.soonCan("ana", readOrders, true)
	w.soonCan("ben", readOrders, false)
}

// reach is what people can do.
func (w *world) reach() map[string]bool {
	w.t.Helper()
	out := map[string]bool{}
	for _, person := range w.roles() {
		if person == made || slices.Contains([]string{"ana", "ben"}, person) {
			for _, sql := range []string{readOrders, "DELETE FROM sales.orders WHERE false"} {
				out[person+": "+sql] = w.can(person, sql)
			}
		}
	}
	return out
}

// givenByAnybody is what is given, whoever gave it, but for the database
// postgres, of which a dump holds nothing.
func (w *world) givenByAnybody() map[string]bool {
	w.t.Helper()
	out := map[string]bool{}
	for _, g := range w.given() {
		if g, _, _ = strings.Cut(g, " by "); !strings.HasPrefix(g, "postgres ") {
			out[g] = true
		}
	}
	return out
}

// restoreInto moves the instance into another version, at the same port; it
// returns what was given.
func (w *world) restoreInto(major int) []string {
	w.t.Helper()
	given := slices.Collect(maps.Keys(w.givenByAnybody()))
	old := w.remote
	cmd := w.store.Command(w.t.Context(), "postgres", "pg_dumpall") // 14 comes without
	cmd.Env = old.Command(w.t.Context(), "postgres", "pg_dumpall").Env
	var told strings.Builder
	cmd.Stderr = &told
	dump, err := cmd.Output()
	if err != nil {
		w.t.Fatalf("pg_dumpall: %v: %s", err, told.String())
	}
	if err := old.Stop(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.remote = testenv.StartServer(w.t, testenv.ServerOptions{Major: major, Port: old.Port, Name: fmt.Sprintf("upgraded-%d", major)})
	w.runIn("postgres", "CREATE ROLE others; DROP ROLE others; CREATE TABLE others (id int); DROP TABLE others")
	w.psqlIn("postgres", grantorOfDump.ReplaceAllString(superuserOfDump.ReplaceAllString(string(dump), ""), "$1;"))
	if err := os.WriteFile(w.dba, []byte(w.remote.Password+"\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return given
}
