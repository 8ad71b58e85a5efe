package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"portcullis.dev/portcullis/internal/testenv"
)

func TestEnvFileIsReadByShellsAndByUs(t *testing.T) {
	var v vars
	v.set("PLAIN", "x")
	v.set("HARD", `it's "$HOME" \ and 	tab`)
	file := filepath.Join(t.TempDir(), "env")
	if err := v.write(file); err != nil {
		t.Fatal(err)
	}
	got, err := readEnvFile(file)
	if err != nil || !reflect.DeepEqual(got, v) {
		t.Errorf("read %v, %v", got, err)
	}
	out, err := exec.Command("sh", "-c", `. "$0"; printf %s "$HARD"`, file).Output()
	if err != nil || string(out) != v.get("HARD") {
		t.Errorf("a shell reads %q, %v", out, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestStateFileLeavesNoPlaceholder(t *testing.T) {
	root, err := testenv.Root()
	if err != nil {
		t.Fatal(err)
	}
	l := layout{root: root, run: t.TempDir()}
	if err := os.Mkdir(l.passwords(), 0o700); err != nil {
		t.Fatal(err)
	}
	r := &remotes{postgres: &testenv.Postgres{Port: 1}, mariadb: &testenv.MariaDB{Port: 2}, sqlite: &testenv.SQLite{Path: "/x"}}
	file, err := writeState(l, r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if !strings.HasPrefix(line, "#") && strings.Contains(line, "${") {
			t.Errorf("left: %s", line)
		}
	}
}
