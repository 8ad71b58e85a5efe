package odbc_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"portcullis.dev/portcullis/odbc"
)

func TestDrivers(t *testing.T) {
	names, err := odbc.Drivers()
	if err != nil || !slices.IsSorted(names) || !slices.Contains(names, "PostgreSQL Unicode") || !slices.Contains(names, "SQLite3") {
		t.Errorf("%v, %v: run make deps", names, err)
	}
}

// unixODBC must get the handle opened here, not a second copy bound the usual way.
func TestDriverIsLoadedOnce(t *testing.T) {
	postgres().connect(t)
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, "r-xp") && strings.Contains(line, "psqlodbcw") {
			n++
		}
	}
	if n != 1 {
		t.Errorf("the driver is mapped %d times", n)
	}
}
