package run

import (
	"os"
	"path/filepath"
	"testing"

	"portcullis.dev/portcullis/internal/testenv"
)

// TestALinkThatLeadsElsewhereIsFollowed: files are exchanged by switching a link,
// too; what it led to before keeps its name.
func TestALinkThatLeadsElsewhereIsFollowed(t *testing.T) {
	old, fresh := testenv.SQLiteFile(t, "old.db", sqlitePeople), testenv.SQLiteFile(t, "fresh.db", sqlitePeople+"DELETE FROM people WHERE id > 10;")
	folder := filepath.Dir(old.Path)
	if err := os.Rename(fresh.Path, filepath.Join(folder, "fresh.db")); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(folder, "link.db")
	lead := func(to string) {
		t.Helper()
		if err := os.Symlink(to, link+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(link+".new", link); err != nil {
			t.Fatal(err)
		}
	}
	lead("old.db")
	s := &Source{ServerOID: 3, ServerName: "lite", Server: map[string]string{"driver": "SQLite3", "database": link}, Mapping: map[string]string{"folder": old.Folder}}
	e := engineFor(t, s, nil)
	read := func() (int, error) {
		id := begin(t, e, wholeTable(s, 1))
		defer e.pool.transactionEnd()
		defer e.ScanEnd(id)
		rows, err := readAll(t, e, id)
		return len(rows), err
	}
	before, err := read()
	if err != nil || before <= 11 {
		t.Fatalf("%d rows, %v", before, err)
	}
	lead("fresh.db")
	if after, err := read(); err != nil || after != 11 {
		t.Errorf("%d rows, %v", after, err)
	}
	outside := filepath.Join(t.TempDir(), "outside.db")
	if err := os.WriteFile(outside, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	lead(outside)
	if rows, err := read(); err == nil {
		t.Errorf("%d rows from outside the folder", rows)
	}
}
