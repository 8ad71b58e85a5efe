package govern

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/test/world"
)

// A table that changes at its source is refused at the very next statement,
// and read again by the service without anybody's doing.
func TestSourcesChange(t *testing.T) {
	w := world.Start(t, world.Options{})
	rebuild := func(columns string) string {
		return "ALTER TABLE staff RENAME TO old_staff; CREATE TABLE staff (" + columns + "); INSERT INTO staff SELECT * FROM old_staff; DROP TABLE old_staff"
	}
	for _, s := range w.Sources {
		t.Run(s.Kind, func(t *testing.T) {
			t.Parallel()
			if err := s.Exec(t.Context(), "INSERT INTO "+s.Table+" VALUES (1, 'n', 'sales', 100, '111', '555-01', '2000-01-02', 'x')"); err != nil {
				t.Fatal(err)
			}
			types, filter, rename, back := map[string]string{
				"pg":   "ALTER TABLE hr.staff ALTER born TYPE timestamp, ALTER id TYPE bigint",
				"my":   "ALTER TABLE hr.staff MODIFY born datetime, MODIFY id bigint",
				"lite": rebuild("id text, name varchar(200), dept varchar(200), salary integer, ssn varchar(200), phone varchar(200), born datetime, note varchar(200)"),
			}[s.Kind], map[string]string{
				"pg":   "ALTER TABLE hr.staff ALTER dept TYPE int USING length(dept)",
				"my":   "ALTER TABLE hr.staff MODIFY dept varbinary(200)",
				"lite": rebuild("id text, name varchar(200), dept blob, salary integer, ssn varchar(200), phone varchar(200), born datetime, note varchar(200)"),
			}[s.Kind], "ALTER TABLE "+s.Table+" RENAME COLUMN ssn TO social", map[string]string{
				"pg":   "ALTER TABLE hr.staff ALTER dept TYPE text USING CASE dept WHEN 2 THEN 'hr' ELSE 'sales' END",
				"my":   "ALTER TABLE hr.staff MODIFY dept varchar(200)",
				"lite": rebuild("id text, name varchar(200), dept varchar(200), salary integer, social varchar(200), phone varchar(200), born datetime, note varchar(200)"),
			}[s.Kind]
			person := w.Login(t, world.Max) // whose group reads values as they are, behind a row filter
			hera := w.Login(t, world.Hera)
			if err := s.Exec(t.Context(), "INSERT INTO "+s.Table+" VALUES (2, 'm', 'hr', 200, '222', '555-02', '2000-01-02', 'y')"); err != nil {
				t.Fatal(err)
			}
			for _, step := range []struct{ name, change, query, want string }{
				{"nothing", "", "SELECT id || ' ' || ssn FROM " + s.Local(), "2 222"},
				{"types", types, "SELECT id::text || ' ' || born::date FROM " + s.Local(), "2 2000-01-02"},
				{"a column of the row filter", filter, "SELECT count(*)::text FROM " + s.Local(), "0"},
				{"a name", rename, "SELECT coalesce(ssn, 'gone') FROM " + s.Local(), ""},
				{"back", back, "SELECT id || ' ' || dept FROM " + s.Local(), "2 hr"},
			} {
				if step.change != "" {
					// SQLite lets nobody in while a transaction that has read ends.
					if err := world.Until(t.Context(), 5*time.Second, func() (bool, error) {
						err := s.Exec(t.Context(), step.change)
						return err == nil, err
					}); err != nil {
						t.Fatal(step.name, err)
					}
					_, err := texts(t, person, step.query)
					wantError(t, err, "HV021", "has changed at its source")
				}
				err := world.Until(t.Context(), 15*time.Second, func() (bool, error) {
					got, err := texts(t, person, step.query)
					var refused *pgconn.PgError
					if step.want == "" && errors.As(err, &refused) {
						// What the policies were written for is no longer there.
						if refused.Code == "HV021" {
							return false, err
						}
						return true, nil
					}
					if err != nil || len(got) != 1 || got[0] != step.want {
						return false, fmt.Errorf("%q, %w", got, err)
					}
					return true, nil
				})
				if err != nil {
					t.Errorf("%s: %v", step.name, err)
				}
			}
			// New names are masked until somebody confirms them.
			got, err := texts(t, hera, "SELECT coalesce(social, 'masked') FROM "+s.Local()+" WHERE id::int = 2")
			if err != nil || len(got) != 1 || got[0] != "masked" {
				t.Errorf("a column of a new name: %q, %v", got, err)
			}
		})
	}
}
