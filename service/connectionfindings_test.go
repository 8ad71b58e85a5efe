package service

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/policy"
)

// registerOn is a world whose instance is of a major version, made ready by a
// DBA's SQL, with everybody subscribed to everything.
func registerOn(t *testing.T, major int, kinds []connection.ObjectKind, sql string, people ...string) *world {
	t.Helper()
	w := &world{fixture: start(t), pg: testenv.StartServer(t, testenv.ServerOptions{Major: major})}
	if err := w.pg.CreateDatabase(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	var list []Person
	for _, p := range people {
		runAt(t, w.pg, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", p, rolePassword))
		list = append(list, Person{UserID: p})
	}
	runAt(t, w.pg, "CREATE SCHEMA sales; CREATE TABLE sales.orders (id int, email text); INSERT INTO sales.orders VALUES (1, 'x'); CREATE TABLE sales.notes (id int);"+sql)
	c := w.connection("shop")
	c.Kinds = kinds
	w.must("POST", "/v1/connections", c, nil)
	w.must("POST", "/v1/state", State{People: &list}, nil)
	w.must("POST", "/v1/policies", Policy{Name: "all", Kind: policy.KindSubscription, On: policy.Target{All: true}, Who: &policy.Who{Everyone: true}}, nil)
	w.inStep()
	return w
}

func (w *world) findings() (found []connection.Excess) {
	w.t.Helper()
	w.must("GET", "/v1/connections/shop/findings", nil, &found)
	return found
}

// TestFindings tries, on the oldest and newest way of memberships, what a
// governor must see of an instance.
func TestFindings(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Run("views", func(t *testing.T) { viewsThatShowWhatIsHidden(t, major) })
			t.Run("unlimited", func(t *testing.T) { peopleWhomNoGrantLimits(t, major) })
			t.Run("left", func(t *testing.T) { rolesThatCannotBeDropped(t, major) })
		})
	}
}

func viewsThatShowWhatIsHidden(t *testing.T, major int) {
	w := registerOn(t, major, []connection.ObjectKind{connection.KindTable, connection.KindView, connection.KindMaterialised},
		"CREATE VIEW sales.v AS SELECT * FROM sales.orders; CREATE VIEW sales.vv AS SELECT email FROM sales.v; CREATE MATERIALIZED VIEW sales.mv AS SELECT * FROM sales.orders; CREATE VIEW sales.other AS SELECT * FROM sales.notes", "ana", "ben")
	w.must("POST", "/v1/policies", Policy{Name: "hide", Kind: policy.KindMask, On: policy.Target{DataSources: []string{"shop.shop.sales.orders"}}, Columns: &policy.ColumnChoice{Names: []string{"email"}},
		Mask: &policy.Mask{Kind: policy.MaskNull}, Except: &policy.Who{Person: &policy.PersonID{IAMID: DefaultIAM, UserID: "ana"}}}, nil)
	w.soonCan("ben", readOrders, false)
	st := w.inStep()
	var got []string
	for _, x := range w.findings() {
		got = append(got, fmt.Sprint(x.Kind, " ", x.Role, " ", x.Object.Name, " ", x.Via, " ", x.Privilege, x.Statement))
	}
	slices.Sort(got)
	want := `given ben orders ["sales"."mv"] SELECT of what is hidden by hide|given ben orders ["sales"."v"] SELECT of what is hidden by hide|given ben orders ["sales"."vv"] SELECT of what is hidden by hide`
	if strings.Join(got, "|") != want || st.Given != 3 || st.Exceeds != 0 {
		t.Errorf("given %d, exceeds %d, findings %s", st.Given, st.Exceeds, strings.Join(got, "\n"))
	}
	if got := w.sees("ben", "SELECT email FROM sales.vv"); got != "x" {
		t.Errorf("the view shows %q: this test is about what it shows", got)
	}
}

func peopleWhomNoGrantLimits(t *testing.T, major int) {
	w := registerOn(t, major, nil, "", "boss", "maker", "passer", "owner")
	runAt(t, w.pg, "ALTER ROLE boss SUPERUSER; ALTER ROLE maker CREATEROLE; ALTER ROLE passer BYPASSRLS; ALTER TABLE sales.notes OWNER TO owner; ALTER TABLE sales.orders ENABLE ROW LEVEL SECURITY")
	st := w.sync()
	told := strings.Join(st.Lacking, "\n")
	want := []string{"every table of the instance, for local/boss (boss): no GRANT limits SUPERUSER; a DBA runs: ALTER ROLE \"boss\" NOSUPERUSER",
		"every table of the instance, for local/passer (passer): no GRANT limits BYPASSRLS; a DBA runs: ALTER ROLE \"passer\" NOBYPASSRLS",
		"shop.sales.notes, for local/owner (owner): no GRANT limits ownership; a DBA runs: ALTER TABLE \"sales\".\"notes\" OWNER TO CURRENT_USER"}
	exceeds := 4 // two by boss, one each by passer and owner
	if major < 16 {
		want = append(want, "every table of the instance, for local/maker (maker): no GRANT limits CREATEROLE; a DBA runs: ALTER ROLE \"maker\" NOCREATEROLE")
		exceeds += 2
	}
	for _, line := range want {
		if !strings.Contains(told, line) {
			t.Errorf("nobody says %s:\n%s", line, told)
		}
	}
	if st.Exceeds != exceeds || st.People.Mapped != 3 || st.People.Unmapped != 1 {
		t.Errorf("%d exceed, %+v", st.Exceeds, st.People)
	}
	for _, x := range w.findings() {
		if x.People != 1 {
			t.Errorf("%d people for one: %+v", x.People, x)
		}
		runAt(t, w.pg, x.Statement)
	}
	if st := w.sync(); st.Exceeds != 0 || len(st.Lacking) != 0 || st.People.Mapped != 4 {
		t.Errorf("after all statements %d exceed, lacking %v, %+v", st.Exceeds, st.Lacking, st.People)
	}
}

// rolesThatCannotBeDropped: up to PostgreSQL 15 a member makes a set own what it
// likes; later a DBA may.
func rolesThatCannotBeDropped(t *testing.T, major int) {
	w := registerOn(t, major, nil, "", "ana")
	w.soonCan("ana", readOrders, true)
	conn, err := w.pg.Connect(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	set := setOf(t, conn, "ana")
	role := pgx.Identifier{set}.Sanitize()
	if major < 16 {
		person, err := pgx.Connect(t.Context(), w.pg.DSNAs("ana", rolePassword, "shop"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = person.Exec(t.Context(), "SET ROLE "+role+"; SELECT lo_create(0); ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC")
		if person.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	} else {
		runAt(t, w.pg, "SELECT lo_create(4711); ALTER LARGE OBJECT 4711 OWNER TO "+role+"; ALTER DEFAULT PRIVILEGES FOR ROLE "+role+" GRANT ALL ON TABLES TO PUBLIC")
	}
	w.server.AlertRevokes(1)
	w.must("DELETE", "/v1/policies/all", nil, nil)
	w.soonCan("ana", readOrders, false)
	st := w.inStep()
	all := w.findings()
	found := slices.DeleteFunc(slices.Clone(all), func(x connection.Excess) bool { return strings.HasPrefix(x.Statement, "ALTER DEFAULT PRIVILEGES") })
	if len(all) != 2 {
		t.Errorf("%d findings beside what the role gives of tables to come: %+v", len(all)-1, all)
	}
	if len(st.Pending) != 0 || len(st.Overdue) != 0 || len(found) != 1 || found[0].Kind != connection.FindingLeft || found[0].Role != set ||
		!strings.Contains(strings.Join(found[0].Via, ", "), "owner of large object") || !strings.Contains(found[0].Statement, "DROP ROLE "+role) {
		t.Fatalf("pending %v, overdue %v, findings %+v", st.Pending, st.Overdue, found)
	}
	w.must("DELETE", "/v1/connections/shop", nil, nil)
	var raw []byte
	w.soon("forgotten", func() bool {
		var status int
		status, raw = w.call("GET", "/v1/connections/shop/status", w.admin, "")
		return status == 404
	})
	if !contains(raw, set+" is left behind") || !contains(raw, "large object") {
		t.Errorf("what is left behind is not told: %s", raw)
	}
	for _, line := range strings.Split(found[0].Statement, "\n") {
		if !strings.HasPrefix(line, `\connect`) {
			runAt(t, w.pg, line)
		}
	}
	var left int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_roles WHERE rolname = $1", set).Scan(&left); err != nil || left != 0 {
		t.Errorf("after the DBA's statements the role is there: %v", err)
	}
}
