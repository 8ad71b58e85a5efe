package testenv

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// SQLite is a database file in a folder that servers may read.
type SQLite struct {
	Folder string // value for portcullis.file_folder
	Path   string
}

// SQLiteFile makes a file that ends with the test and runs a script in it.
func SQLiteFile(tb testing.TB, name, script string) *SQLite {
	tb.Helper()
	s, err := ForTest(tb).SQLiteFile(tb.Context(), name, script)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// FileFolder is where SQLiteFile puts databases; it exists from the first call.
func (e *Env) FileFolder() (string, error) {
	folder := filepath.Join(e.Dir, "files")
	return folder, os.MkdirAll(folder, 0o755)
}

// SQLiteFile makes the file (name as "birds.db") in FileFolder and runs a script in it.
func (e *Env) SQLiteFile(ctx context.Context, name, script string) (*SQLite, error) {
	folder, err := e.FileFolder()
	if err != nil {
		return nil, err
	}
	s := &SQLite{Folder: folder, Path: filepath.Join(folder, name)}
	if err := os.WriteFile(s.Path, nil, 0o644); err != nil { // an empty file is an empty database
		return nil, err
	}
	return s, s.Exec(ctx, script)
}

// Exec runs statements and the shell's dot commands.
func (s *SQLite) Exec(ctx context.Context, script string) error {
	_, err := s.Query(ctx, script)
	return err
}

// Query runs a script and returns what the shell prints: rows as lines,
// columns separated by tabs.
func (s *SQLite) Query(ctx context.Context, script string) (string, error) {
	program, err := systemProgram("sqlite3")
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, program, "-batch", "-bail", "-tabs", s.Path)
	cmd.Stdin = strings.NewReader(script)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		return "", fmt.Errorf("sqlite3 %s: %v: %s", filepath.Base(s.Path), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// Lock keeps everybody else out of the file until unlock is called or the test ends.
func (s *SQLite) Lock(tb testing.TB) (unlock func()) {
	tb.Helper()
	program, err := systemProgram("sqlite3")
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.CommandContext(tb.Context(), program, "-batch", "-bail", s.Path)
	return holdLock(tb, cmd, ".timeout 10000\nBEGIN EXCLUSIVE; SELECT 'locked';\n")
}

// holdLock keeps a client waiting after a script whose last line prints "locked".
func holdLock(tb testing.TB, client *exec.Cmd, script string) (unlock func()) {
	tb.Helper()
	in, err := client.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := client.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := client.Start(); err != nil {
		tb.Fatal(err)
	}
	unlock = sync.OnceFunc(func() { _, _ = in.Close(), client.Wait() })
	tb.Cleanup(unlock)
	_, err = io.WriteString(in, script)
	if line, failed := bufio.NewReader(out).ReadString('\n'); err != nil || failed != nil || line != "locked\n" {
		tb.Fatalf("%s did not lock: %v, %v, %q", filepath.Base(client.Path), err, failed, line)
	}
	return unlock
}
