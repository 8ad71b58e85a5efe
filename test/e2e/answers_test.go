package e2e

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/test/world"
)

func TestPeople(t *testing.T) {
	w := world.Start(t, world.Options{})
	fill(t, w)
	t.Run("the same query by three people gives three answers", func(t *testing.T) { threeAnswers(t, w) })
	t.Run("a fourth is refused with the reason", func(t *testing.T) { refusal(t, w) })
	t.Run("a login without a person is refused", func(t *testing.T) { unmappedLogin(t, w) })
	t.Run("a disabled person is refused", func(t *testing.T) { disabledPerson(t, w) })
	t.Run("psql", func(t *testing.T) { psql(t, w) })
	t.Run("joins across sources", func(t *testing.T) { acrossSources(t, w) })
}

func threeAnswers(t *testing.T, w *world.World) {
	const query = "SELECT id, dept, salary, ssn, phone, born::date, note FROM "
	want := map[string]string{
		world.Hera: `1|sales|1200|111-22-3333|+49 30 5551234|1980-05-06|north
2|sales|2300|222-33-4444|+49 30 5559934|1991-11-30|south
3|sales|3100|333-44-5555|+49 30 5550056|1975-02-03|east
4|hr|4100|444-55-6666|+49 30 5557890|1988-08-08|west
5|board|9900|555-66-7777|+49 30 5553456|1960-01-31|up`,
		world.Eve: `1|sales|100|NULL|***34|1980-01-01|north
2|sales|100|NULL|***34|1991-01-01|south
3|sales|100|NULL|***56|1975-01-01|east`,
		world.Max: `4|hr|4100|444-55-6666|+49 30 5557890|1988-08-08|west
5|board|9900|555-66-7777|+49 30 5553456|1960-01-31|up`,
	}
	for _, s := range w.Sources {
		for person, answer := range want {
			got, err := texts(t.Context(), w.Login(t, person), query+s.Local()+" ORDER BY id")
			if err != nil || got != answer {
				t.Errorf("%s on %s: %v\n%s\nwant\n%s", person, s.Kind, err, got, answer)
			}
		}
	}
}

func refusal(t *testing.T, w *world.World) {
	dan := w.Login(t, world.Dan)
	for _, s := range w.Sources {
		_, err := texts(t.Context(), dan, "SELECT * FROM "+s.Local())
		if world.Code(err) != "42501" || !strings.Contains(err.Error(), "permission denied for table "+s.Data+" ") ||
			!strings.Contains(detail(err), "steward@example.com") {
			t.Errorf("%s: %v %s", s.Kind, err, detail(err))
		}
	}
	if got, err := texts(t.Context(), dan, "SELECT 1"); err != nil || got != "1" {
		t.Errorf("the session is of no more use: %q %v", got, err)
	}
}

func unmappedLogin(t *testing.T, w *world.World) {
	for range 2 {
		conn, err := pgx.Connect(t.Context(), w.As(world.Nobody))
		if err == nil {
			_ = conn.Close(t.Context())
			t.Fatal("a role of no person logged in")
		}
		if !strings.Contains(err.Error(), "no person") {
			t.Errorf("the refusal does not say why: %v", err)
		}
	}
	if conn := w.Login(t, world.Exempt); conn.Ping(t.Context()) != nil {
		t.Error("an exempt role needs no person")
	}
}

func disabledPerson(t *testing.T, w *world.World) {
	open := w.Login(t, world.Max)
	max := person(t, w, world.Max)
	gone := max
	gone.Status = "disabled"
	since := put(t, w, gone)
	t.Cleanup(func() { put(t, w, max) })
	refusedInTime(t, since, func() error { _, err := texts(t.Context(), open, "SELECT count(*) FROM immuta.staff_pg"); return err })
	waitFor(t, since, "max is not active", func() (string, error) {
		conn, err := pgx.Connect(t.Context(), w.As(world.Max))
		if err == nil {
			return "he logged in", conn.Close(t.Context())
		}
		_, reason, _ := strings.Cut(err.Error(), "refused: ")
		return strings.TrimSuffix(reason, " (SQLSTATE 28000)"), nil
	})
	waitFor(t, put(t, w, max), "2", func() (string, error) {
		conn, err := pgx.Connect(t.Context(), w.As(world.Max))
		if err != nil {
			return "", err
		}
		defer conn.Close(t.Context())
		return texts(t.Context(), conn, "SELECT count(*) FROM immuta.staff_pg")
	})
}

func psql(t *testing.T, w *world.World) {
	cmd := w.Command(t.Context(), "immuta", "psql", "-X", "-At", "-c", "SELECT count(*), max(salary) FROM staff_pg")
	cmd.Env = append(cmd.Env, "PGUSER="+world.Eve, "PGPASSWORD="+w.PasswordOf(world.Eve))
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "3|100\n" {
		t.Errorf("%v: %s", err, out)
	}
}

func acrossSources(t *testing.T, w *world.World) {
	got, err := texts(t.Context(), w.Login(t, world.Eve), `SELECT p.id, p.salary + m.salary + l.salary, l.note
		FROM staff_pg p JOIN staff_my m USING (id) JOIN staff_lite l ON l.id = m.id AND l.note = p.note ORDER BY 1`)
	if err != nil || got != "1|300|north\n2|300|south\n3|300|east" {
		t.Errorf("%q %v", got, err)
	}
	// A hash is made with the key of its table: two tables cannot be joined on it.
	got, err = texts(t.Context(), w.Login(t, world.Eve), `SELECT count(*) FROM staff_pg p JOIN staff_my m ON p.name = m.name`)
	if err != nil || got != "0" {
		t.Errorf("hashes of two tables meet: %q %v", got, err)
	}
}
