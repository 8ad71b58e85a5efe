package sample

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"portcullis.dev/portcullis/internal/testenv"
)

func dataFolder(t *testing.T) string {
	t.Helper()
	root, err := testenv.Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "build", "data")
}

func TestChangedPackageIsRefused(t *testing.T) {
	changed := CitiesJSON
	changed.Integrity = strings.Replace(changed.Integrity, "qxtM", "qxtN", 1)
	if _, err := changed.Fetch(t.Context(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "not the file that was published") {
		t.Errorf("got %v", err)
	}
}

func TestLoadPostgres(t *testing.T) {
	pg := testenv.StartPostgres(t, testenv.PostgresOptions{})
	conn, err := pg.Connect(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, c := range []struct {
		table Table
		rows  int64
	}{{Birdstrikes, 10000}, {Flights, 200000}} {
		if got, err := c.table.LoadPostgres(t.Context(), conn, "public", dataFolder(t)); err != nil || got != c.rows {
			t.Errorf("%s: %d rows, %v", c.table.Name, got, err)
		}
	}
	var nulls, cost int64
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FILTER (WHERE speed_knots IS NULL), sum(cost_total) FROM birdstrikes").Scan(&nulls, &cost); err != nil {
		t.Fatal(err)
	}
	if nulls != 2836 || cost == 0 {
		t.Errorf("%d NULL speeds, cost %d", nulls, cost)
	}
}

func TestLoadMariaDB(t *testing.T) {
	m := testenv.StartMariaDB(t, testenv.MariaDBOptions{})
	if err := m.Exec(t.Context(), "", "CREATE DATABASE geo"); err != nil {
		t.Fatal(err)
	}
	client := func(args ...string) (*exec.Cmd, error) { return m.Command(t.Context(), "geo", args...) }
	if err := Cities.LoadMariaDB(t.Context(), client, dataFolder(t)); err != nil {
		t.Fatal(err)
	}
	got, err := m.Query(t.Context(), "geo", "SELECT COUNT(*), SUM(district IS NULL) > 0, SUM(name = 'Sant Julià de Lòria') FROM cities")
	if err != nil || got != "171075\t1\t1\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestLoadSQLite(t *testing.T) {
	s := testenv.SQLiteFile(t, "postal.db", "")
	for _, table := range []Table{Airports, ZIPCodes} {
		if err := table.LoadSQLite(t.Context(), s.Path, dataFolder(t)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Query(t.Context(), "SELECT COUNT(*), SUM(city IS NULL) FROM airports; SELECT COUNT(*), MIN(zip_code) FROM zipcodes")
	if err != nil || got != "3376\t12\n42049\t00501\n" {
		t.Errorf("got %q, %v", got, err)
	}
}
