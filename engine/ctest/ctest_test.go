// Package ctest uses the built library from C, as the shim does.
package ctest

import (
	"os/exec"
	"path/filepath"
	"testing"

	"portcullis.dev/portcullis/internal/testenv"
)

func TestTheLibraryFromC(t *testing.T) {
	folder := t.TempDir()
	library, program := filepath.Join(folder, "portcullis_engine.so"), filepath.Join(folder, "main")
	run(t, "../build.sh", library)
	run(t, "gcc", "-O1", "-g", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-o", program, "testdata/main.c", "-ldl")
	file := testenv.SQLiteFile(t, "t.db", `CREATE TABLE t (a INTEGER, b TEXT);
		WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM s WHERE i < 99999) INSERT INTO t SELECT i, 'text ' || i FROM s;`)
	t.Logf("%s", run(t, program, library, file.Folder, file.Path))
}

func run(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v (make deps installs what is missing)\n%s", name, err, out)
	}
	return out
}
