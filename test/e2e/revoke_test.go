package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/policy"
	"portcullis.dev/portcullis/service"
	"portcullis.dev/portcullis/test/world"
)

// promised is how soon a revoke holds in every session of a connected node.
const promised = time.Second

// untilRefused repeats something until it is refused with 42501 and fails the
// test where that takes longer than promised.
func untilRefused(t *testing.T, since time.Time, try func() error) {
	t.Helper()
	err := world.Until(t.Context(), 10*time.Second, func() (bool, error) {
		err := try()
		if err != nil && code(err) != "42501" {
			t.Fatalf("refused with another error: %v", err)
		}
		return err != nil, fmt.Errorf("it is still allowed")
	})
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(since); took > promised {
		t.Errorf("refused after %v", took)
	}
}

func TestRevoke(t *testing.T) {
	w := world.Start(t, world.Options{})
	fill(t, w)
	max := person(t, w, world.Max)
	revoked := max
	revoked.Groups = nil // subscribed no more
	for _, s := range w.Sources {
		count := "SELECT count(*) FROM " + s.Local()
		for _, c := range []struct {
			name  string
			setup []string
			again string
		}{
			{"new statement", nil, count},
			{"prepared statement", []string{"PREPARE p(int) AS " + count + " WHERE id > $1", "EXECUTE p(0)"}, "EXECUTE p(0)"},
			{"generic plan", []string{"SET plan_cache_mode = force_generic_plan", "PREPARE p(int) AS " + count + " WHERE id > $1", "EXECUTE p(0)"}, "EXECUTE p(0)"},
			{"function", []string{"CREATE FUNCTION pg_temp.f() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (" + count + "); END $$", "SELECT pg_temp.f()"}, "SELECT pg_temp.f()"},
			{"temporary view", []string{"CREATE TEMP VIEW v AS " + count}, "SELECT * FROM v"},
		} {
			t.Run(c.name+" "+s.Kind, func(t *testing.T) {
				conn := w.Login(t, world.Max)
				for _, sql := range append(c.setup, c.again) {
					if _, err := texts(t.Context(), conn, sql); err != nil {
						t.Fatal(err)
					}
				}
				since := put(t, w, revoked)
				defer put(t, w, max)
				untilRefused(t, since, func() error { _, err := texts(t.Context(), conn, c.again); return err })
			})
		}
		t.Run("protocol-level prepared statement "+s.Kind, func(t *testing.T) {
			conn := w.Login(t, world.Max)
			ask := func() (n int, err error) {
				return n, conn.QueryRow(t.Context(), count+" WHERE id > $1", 0).Scan(&n)
			}
			if n, err := ask(); err != nil || n != 2 {
				t.Fatal(n, err)
			}
			since := put(t, w, revoked)
			defer put(t, w, max)
			untilRefused(t, since, func() error { _, err := ask(); return err })
		})
		t.Run("inside an open transaction "+s.Kind, func(t *testing.T) { inTransaction(t, w, count, revoked, max) })
		t.Run("in a PL/pgSQL loop "+s.Kind, func(t *testing.T) { inLoop(t, w, count, revoked, max) })
		t.Run("in a running fetch "+s.Kind, func(t *testing.T) { inFetch(t, w, s) })
		t.Run("in an open cursor "+s.Kind, func(t *testing.T) { inCursor(t, w, s) })
	}
	t.Run("changed filter", func(t *testing.T) { changedFilter(t, w) })
	t.Run("changed mask", func(t *testing.T) { changedMask(t, w) })
	t.Run("impersonation", func(t *testing.T) { impersonation(t, w) })
}

// inTransaction: no invalidation message is seen inside, the locks are held.
func inTransaction(t *testing.T, w *world.World, count string, revoked, max service.Person) {
	conn := w.Login(t, world.Max)
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{"PREPARE p AS " + count, "EXECUTE p", "SAVEPOINT s"} {
		if _, err := tx.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
	}
	since := put(t, w, revoked)
	defer put(t, w, max)
	untilRefused(t, since, func() error {
		_, err := tx.Exec(t.Context(), "EXECUTE p", pgx.QueryExecModeSimpleProtocol)
		return err
	})
	if _, err := tx.Exec(t.Context(), "ROLLBACK TO SAVEPOINT s", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Error(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Error(err)
	}
}

func inLoop(t *testing.T, w *world.World, count string, revoked, max service.Person) {
	conn := w.Login(t, world.Max)
	if _, err := texts(t.Context(), conn, count); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := texts(ctx, conn, "SET application_name = 'loop-"+t.Name()+"'"); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := texts(ctx, conn, "DO $$ BEGIN FOR i IN 1..2000 LOOP PERFORM ("+count+"); PERFORM pg_sleep(0.005); END LOOP; END $$")
		ended <- err
	}()
	defer put(t, w, max)
	since := put(t, w, revoked)
	err := <-ended
	if code(err) != "42501" {
		t.Fatalf("the loop ended with %v", err)
	}
	if took := time.Since(since); took > promised {
		t.Errorf("refused after %v", took)
	}
}

const manyRows = 120000

// grow gives Hera's view of a source many wide rows, so that no buffer between
// here and there holds them all.
func grow(t *testing.T, w *world.World, s *world.Source) {
	t.Helper()
	series := map[string]string{
		"pg":   fmt.Sprintf("SELECT i, 'big' FROM generate_series(10, %d) i", manyRows),
		"my":   fmt.Sprintf("SELECT seq, 'big' FROM seq_10_to_%d", manyRows),
		"lite": fmt.Sprintf("WITH RECURSIVE s(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM s WHERE i < %d) SELECT i, 'big' FROM s", manyRows),
	}[s.Kind]
	wide := "'" + strings.Repeat("x", 180) + "'"
	err := s.Exec(t.Context(), fmt.Sprintf("INSERT INTO %s (id, dept) %s; UPDATE %[1]s SET note = %[3]s, ssn = %[3]s, phone = %[3]s WHERE id >= 10", s.Table, series, wide))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Exec(context.Background(), "DELETE FROM "+s.Table+" WHERE id >= 10"); err != nil {
			t.Error(err)
		}
	})
}

func inFetch(t *testing.T, w *world.World, s *world.Source) {
	grow(t, w, s)
	hera := person(t, w, world.Hera)
	conn := w.Login(t, world.Hera)
	rows, err := conn.Query(t.Context(), "SELECT * FROM "+s.Local())
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for range 10 {
		if !rows.Next() {
			t.Fatal(rows.Err())
		}
	}
	revoked := hera
	revoked.Groups = nil
	since := put(t, w, revoked)
	defer put(t, w, hera)
	// The statement stands still until we read on: give the node its second.
	untilRefused(t, since, func() error {
		_, err := texts(t.Context(), w.Login(t, world.Hera), "SELECT 1 FROM "+s.Local()+" LIMIT 1")
		return err
	})
	n := 10
	for rows.Next() {
		n++
	}
	if code(rows.Err()) != "42501" {
		t.Errorf("%d rows, then %v", n, rows.Err())
	}
	if n > manyRows*9/10 {
		t.Errorf("%d rows came after the revoke", n)
	}
}

func inCursor(t *testing.T, w *world.World, s *world.Source) {
	grow(t, w, s)
	hera := person(t, w, world.Hera)
	tx, err := w.Login(t, world.Hera).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "DECLARE c CURSOR FOR SELECT * FROM "+s.Local()); err != nil {
		t.Fatal(err)
	}
	fetch := func() error { _, err := tx.Exec(t.Context(), "FETCH 10 FROM c"); return err }
	if err := fetch(); err != nil {
		t.Fatal(err)
	}
	revoked := hera
	revoked.Groups = nil
	since := put(t, w, revoked)
	defer put(t, w, hera)
	untilRefused(t, since, fetch)
}

func changedFilter(t *testing.T, w *world.World) {
	conn := w.Login(t, world.Eve)
	eve := person(t, w, world.Eve)
	if _, err := texts(t.Context(), conn, "PREPARE p AS SELECT string_agg(id::text, ',' ORDER BY id) FROM staff_my"); err != nil {
		t.Fatal(err)
	}
	if got, err := texts(t.Context(), conn, "EXECUTE p"); err != nil || got != "1,2,3" {
		t.Fatal(got, err)
	}
	moved := eve
	moved.Attributes = map[string][]string{"dept": {"hr"}}
	since := put(t, w, moved)
	defer put(t, w, eve)
	waitFor(t, since, "4", func() (string, error) { return texts(t.Context(), conn, "EXECUTE p") })
}

// waitFor repeats a query until its answer is what is wanted, in the time promised.
func waitFor(t *testing.T, since time.Time, want string, ask func() (string, error)) {
	t.Helper()
	err := world.Until(t.Context(), 10*time.Second, func() (bool, error) {
		got, err := ask()
		return err == nil && got == want, fmt.Errorf("the answer is %q, %v", got, err)
	})
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(since); took > promised {
		t.Errorf("in force after %v", took)
	}
}

func changedMask(t *testing.T, w *world.World) {
	conn := w.Login(t, world.Max)
	if got, err := texts(t.Context(), conn, "SELECT max(salary) FROM staff_lite"); err != nil || got != "9900" {
		t.Fatal(got, err)
	}
	var p service.Policy
	if err := w.Call(t.Context(), http.MethodGet, "/v1/policies/salary%20is%20masked", nil, &p); err != nil {
		t.Fatal(err)
	}
	put := func(p service.Policy) {
		if err := w.Call(t.Context(), http.MethodPut, "/v1/policies/salary%20is%20masked", p, nil); err != nil {
			t.Fatal(err)
		}
	}
	stricter := p
	stricter.Except = &policy.Who{Group: "everything"}
	put(stricter)
	defer put(p)
	waitFor(t, time.Now(), "100", func() (string, error) { return texts(t.Context(), conn, "SELECT max(salary) FROM staff_lite") })
}

func impersonation(t *testing.T, w *world.World) {
	hera := person(t, w, world.Hera)
	may := hera
	may.Permissions = []policy.Permission{policy.PermissionImpersonate}
	granted := put(t, w, may)
	defer put(t, w, hera)
	conn := w.Login(t, world.Hera)
	as := func(user string) error {
		_, err := texts(t.Context(), conn, "BEGIN; SET immuta.impersonation_iamid = 'local'; SET immuta.impersonation_userid = '"+user+"'; COMMIT")
		return err
	}
	count := func() (string, error) { return texts(t.Context(), conn, "SELECT count(*), max(salary) FROM staff_pg") }
	if err := as(world.Eve); err != nil {
		t.Fatal(err)
	}
	waitFor(t, granted, "3|100", count)
	if err := as(world.Max); err != nil {
		t.Fatal(err)
	}
	if got, err := count(); err != nil || got != "2|9900" {
		t.Errorf("as max: %q %v", got, err)
	}
	if _, err := texts(t.Context(), conn, "PREPARE p AS SELECT count(*) FROM staff_pg"); err != nil {
		t.Fatal(err)
	}
	if _, err := texts(t.Context(), conn, "EXECUTE p"); err != nil {
		t.Fatal(err)
	}
	since := put(t, w, hera) // the permission is taken
	untilRefused(t, since, func() error { _, err := count(); return err })
	untilRefused(t, since, func() error { _, err := texts(t.Context(), conn, "EXECUTE p"); return err })
}
