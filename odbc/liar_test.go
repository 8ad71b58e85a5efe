package odbc_test

import (
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"portcullis.dev/portcullis/odbc"
)

// liars are registered beside the drivers of this machine: an unknown driver,
// and one by the name of a driver that aborts the process in SQLCancel.
var liars = map[string]string{"Liar": "liar.so", "Aborts": "virtodbc_liar.so"}

// registerLiars builds testdata/liar.c and has the driver manager find it; it
// must come before anything is asked of the driver manager.
func registerLiars(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	system := os.Getenv("ODBCSYSINI")
	if system == "" {
		system = "/etc"
	}
	registered, err := os.ReadFile(filepath.Join(system, "odbcinst.ini"))
	if err != nil {
		return fmt.Errorf("%w: run make deps", err)
	}
	for name, file := range liars {
		library := filepath.Join(dir, file)
		out, err := osexec.Command("cc", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", library, filepath.Join("testdata", "liar.c")).CombinedOutput()
		if err != nil {
			return fmt.Errorf("building %s: %w: %s", file, err, out)
		}
		registered = fmt.Appendf(registered, "\n[%s]\nDriver=%s\n", name, library)
	}
	if err := os.WriteFile(filepath.Join(dir, "odbcinst.ini"), registered, 0o644); err != nil {
		return err
	}
	return os.Setenv("ODBCSYSINI", dir)
}

// liar connects to one; extensions is its SQL_GETDATA_EXTENSIONS.
func liar(t *testing.T, name string, extensions int) *odbc.Conn {
	t.Helper()
	return source{name, odbc.ConnSpec{Driver: name, Attrs: []odbc.Attr{{Name: "Extensions", Value: fmt.Sprint(extensions)}}}}.connect(t)
}

// What drivers were met to do wrong; each is written down in driver.go or in
// the fetch loop. No value is ever wrong or cut.
func TestDriversThatLie(t *testing.T) {
	numbers := func(column int) (want []string) {
		for row := 1; row <= 5; row++ {
			want = append(want, fmt.Sprint(100*column+row))
		}
		return want
	}
	var texts []string
	for row := 1; row <= 5; row++ {
		texts = append(texts, strings.Repeat(string(rune('a'+row)), 10000))
	}
	for _, test := range []struct {
		way   string
		kinds []odbc.Column
		want  [][]string // by column
	}{
		{"counter", cols(odbc.KindInt64), [][]string{numbers(1)}},
		{"counter", cols(odbc.KindText), [][]string{numbers(1)}},
		{"untouched", cols(odbc.KindInt64), [][]string{numbers(1)}},
		{"cut", cols(odbc.KindText), [][]string{texts}},
		{"cut", []odbc.Column{{Kind: odbc.KindText, MaxLen: 255}}, [][]string{texts}},
		{"cut", []odbc.Column{{Kind: odbc.KindText, MaxLen: 1 << 30}}, [][]string{texts}},
		{"cutunknown", cols(odbc.KindText), [][]string{texts}},
		{"order", cols(odbc.KindInt64, odbc.KindText, odbc.KindInt64), [][]string{numbers(1), texts, numbers(3)}},
	} {
		for _, extensions := range []int{4, 11, 15, 0} { // FreeTDS's, SQLite's, most, nothing at all
			for _, blockRows := range []int{0, 2, 1} {
				t.Run(fmt.Sprintf("%s %d %d %d", test.way, test.kinds[0].Kind, extensions, blockRows), func(t *testing.T) {
					cur := query(t, liar(t, "Liar", extensions), test.way, nil, test.kinds, odbc.QueryOptions{BlockRows: blockRows})
					next := 0
					n, err := all(cur, func(b *odbc.Block, row int) {
						for i, kind := range test.kinds {
							got := ""
							if kind.Kind == odbc.KindInt64 {
								got = fmt.Sprint(b.Int64(i, row))
							} else {
								got = string(b.Bytes(i, row))
							}
							if want := test.want[i][next]; got != want {
								t.Errorf("row %d, column %d: %d bytes %.20q, want %.20q", next, i+1, len(got), got, want)
							}
						}
						next++
					})
					if n != 5 || err != nil {
						t.Errorf("%d rows, %v", n, err)
					}
				})
			}
		}
	}
	cur := query(t, liar(t, "Liar", 4), "short", nil, cols(odbc.KindText), odbc.QueryOptions{})
	if n, err := all(cur, nil); n > 0 || state(err) != "22001" {
		t.Errorf("short: %d rows, %v", n, err)
	}
}

// Success without a row, block by block or row by row, is an error and no loop.
func TestSuccessWithoutRowsEnds(t *testing.T) {
	for _, way := range []string{"endless", "endlessuncounted"} {
		for _, kinds := range [][]odbc.Column{cols(odbc.KindInt64), cols(odbc.KindText)} {
			for _, extensions := range []int{4, 11, 15} {
				t.Run(fmt.Sprintf("%s %d %d", way, kinds[0].Kind, extensions), func(t *testing.T) {
					cur := query(t, liar(t, "Liar", extensions), way, nil, kinds, odbc.QueryOptions{})
					block, err := cur.Next()
					if block != nil || state(err) != "HY000" && state(err) != "22001" { // the latter where values come by SQLGetData
						t.Errorf("a block: %t, %v", block != nil, err)
					}
				})
			}
		}
	}
}

// Virtuoso's driver aborts the process in SQLCancel: it is not called.
func TestADriverThatAbortsIsNotCancelled(t *testing.T) {
	c := liar(t, "Aborts", 4)
	cur := query(t, c, "slow", nil, cols(odbc.KindText), odbc.QueryOptions{})
	done := make(chan error, 1)
	go func() {
		_, err := cur.Next()
		done <- err
	}()
	cur.Cancel()
	if err := <-done; err != nil && state(err) != "57014" {
		t.Error(err)
	}
}
