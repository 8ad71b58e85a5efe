package attack

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/test/world"
)

// TestAllowedHosts: a source may be where the node's list of hosts says, whatever its definition says.
func TestAllowedHosts(t *testing.T) {
	env := testenv.ForTest(t)
	pg, err := env.StartPostgres(t.Context(), testenv.PostgresOptions{Preload: "portcullis"})
	if err != nil {
		t.Fatal(err)
	}
	remote, err := env.StartPostgres(t.Context(), testenv.PostgresOptions{Name: "remote"})
	if err != nil {
		t.Fatal(err)
	}
	if err := pg.Exec(t.Context(), "postgres", "CREATE EXTENSION portcullis"); err != nil {
		t.Fatal(err)
	}
	const postgres, mariadb = "PostgreSQL Unicode", "MariaDB Unicode"
	for _, c := range []struct{ list, driver, host, state, part string }{
		{"*", postgres, "127.0.0.1", "", ""},
		{"*", postgres, "localhost", "", ""},
		{"*", postgres, "169.254.169.254", "42501", "not allowed"},
		{"*", mariadb, "169.254.169.254", "42501", "not allowed"},
		{"*", postgres, "::ffff:169.254.169.254", "42501", "not allowed"},
		{"*", postgres, "0.0.0.0", "42501", "not allowed"},
		{"*", postgres, "nowhere.invalid", "08001", "host name is not known"},
		{"10.0.0.0/8, db.example.com", postgres, "127.0.0.1", "42501", "portcullis.allowed_hosts"},
		{"10.0.0.0/8, db.example.com", postgres, "localhost", "42501", "which host \"localhost\" stands for"},
		{"10.0.0.0/8, db.example.com", mariadb, "localhost", "42501", "not allowed"},
		{"localhost", postgres, "localhost", "", ""},
		{"localhost", postgres, "127.0.0.1", "42501", "not allowed"},
		{"127.0.0.0/8:{port}", postgres, "127.0.0.1", "", ""},
		{"127.0.0.0/8:1", postgres, "127.0.0.1", "42501", "not allowed"},
		{"", postgres, "127.0.0.1", "42501", "not allowed"},
		{"10.0.0", postgres, "127.0.0.1", "F0000", "entry \"10.0.0\""},
	} {
		t.Run(c.list+" "+c.driver+" "+c.host, func(t *testing.T) {
			list := strings.ReplaceAll(c.list, "{port}", portOf(remote))
			if err := setting(t, pg, "portcullis.allowed_hosts", list); err != nil {
				t.Fatal(err)
			}
			got, err := world.Type(t.Context(), pg.DSN("postgres"), "BEGIN",
				fmt.Sprintf("CREATE SERVER s FOREIGN DATA WRAPPER portcullis OPTIONS (driver '%s', host '%s', port '%s', database 'postgres')", c.driver, c.host, portOf(remote)),
				fmt.Sprintf("CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (username '%s', password '%s')", remote.User, remote.Password),
				"CREATE FOREIGN TABLE f (amname name) SERVER s OPTIONS (schema_name 'pg_catalog', table_name 'pg_am')", "SELECT count(*) > 0 FROM f")
			switch {
			case err != nil:
				t.Fatal(err)
			case c.state == "" && got.Err != nil:
				t.Errorf("not reached:\n%s", got)
			case c.state != "" && (got.Err == nil || got.Err.Code != c.state || !strings.Contains(got.String(), c.part)):
				t.Errorf("want %s with %q:\n%s", c.state, c.part, got)
			}
		})
	}
}

// setting sets a parameter of the instance and waits until new sessions have it.
func setting(t *testing.T, pg *testenv.Postgres, name, value string) error {
	if err := pg.Exec(t.Context(), "postgres", fmt.Sprintf("ALTER SYSTEM SET %s = '%s'", name, value)); err != nil {
		return err
	}
	if err := pg.Reload(); err != nil {
		return err
	}
	return world.Until(t.Context(), 10*time.Second, func() (bool, error) {
		conn, err := pg.Connect(t.Context(), "postgres")
		if err != nil {
			return false, err
		}
		defer conn.Close(t.Context())
		var now string
		err = conn.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&now)
		return now == value, err
	})
}
