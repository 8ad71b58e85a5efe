package queryaudit

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// entry is one of csvlog, as PostgreSQL writes it.
func entry(n int, role, statement string) string {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	f := make([]string, csvFields)
	f[0], f[1], f[2], f[3], f[5], f[6], f[7], f[11], f[12] = "2026-03-29 10:00:00.123 UTC", role, "db", "42", "abc.2a", fmt.Sprint(n), "SELECT", "LOG", "00000"
	f[13], f[23] = "statement: "+statement, "client backend"
	_ = w.Write(f)
	w.Flush()
	return b.String()
}

type folder struct {
	t    testing.TB
	path string
}

func newFolder(t testing.TB) folder { return folder{t: t, path: t.TempDir()} }

func (f folder) write(name, content string, modified int) {
	file := filepath.Join(f.path, name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		f.t.Fatal(err)
	}
	at := time.Unix(1_800_000_000+int64(modified), 0)
	if err := os.Chtimes(file, at, at); err != nil {
		f.t.Fatal(err)
	}
}

func (f folder) reader() *Reader {
	return &Reader{Log: Folder{Path: f.path}, Instance: "1", Everybody: true}
}

// drain reads on until there is no more, as "statement statement …".
func drain(t testing.TB, r *Reader, from Position) (text string, b Batch) {
	t.Helper()
	var statements []string
	damaged, lost := 0, ""
	for range 1000 {
		var err error
		if b, err = r.Read(t.Context(), from); err != nil {
			t.Fatal(err)
		}
		for _, record := range b.Records {
			statements = append(statements, record.Statement)
		}
		damaged += b.Damaged
		lost += b.Lost
		from = b.Next
		if !b.More {
			b.Damaged, b.Lost = damaged, lost
			return strings.Join(statements, " "), b
		}
	}
	t.Fatal("reading never ends")
	return "", b
}

func TestFilesInOrder(t *testing.T) {
	f := newFolder(t)
	f.write("z.csv", entry(1, "ann", "a")+entry(2, "ann", "b"), 1)
	f.write("a.csv", entry(3, "ann", "c"), 2)
	f.write("notes.log", "x", 3)
	text, b := drain(t, f.reader(), Position{})
	if text != "a b c" || b.Next.File != "a.csv" || b.Damaged != 0 {
		t.Errorf("got %q, %+v", text, b)
	}
	half := entry(4, "ann", "d\ne")
	f.write("a.csv", entry(3, "ann", "c")+half[:len(half)-20], 3)
	if text, b := drain(t, f.reader(), b.Next); text != "" || b.Damaged != 0 {
		t.Errorf("of half an entry: %q, %+v", text, b)
	}
	f.write("a.csv", entry(3, "ann", "c")+half, 4)
	if text, b = drain(t, f.reader(), b.Next); text != "d\ne" {
		t.Errorf("of the completed entry: %q", text)
	}
	end, err := f.reader().End(t.Context())
	if err != nil || end != b.Next {
		t.Errorf("the end is %+v (%v), want %+v", end, err, b.Next)
	}
	// A name that is used again, and a file that is gone.
	f.write("a.csv", entry(9, "ann", "of another day")+entry(10, "ann", strings.Repeat("x", 1000)), 5)
	if text, again := drain(t, f.reader(), b.Next); !strings.HasPrefix(text, "of another day") || !strings.Contains(again.Lost, "was begun anew") {
		t.Errorf("got %.40q, %q", text, again.Lost)
	}
	if text, b := drain(t, f.reader(), Position{File: "gone.csv", Offset: 7}); !strings.HasPrefix(text, "a b of") || !strings.Contains(b.Lost, "gone.csv is gone") {
		t.Errorf("got %.40q, %q", text, b.Lost)
	}
}

func TestDamagedEntries(t *testing.T) {
	f := newFolder(t)
	broken := entry(2, "ann", `cut "here`)
	f.write("a.csv", entry(1, "ann", "a")+broken[:len(broken)-25]+"\n"+entry(3, "ann", "b")+entry(4, "ann", "c"), 1)
	f.write("b.csv", entry(5, "ann", "d"), 2)
	if text, b := drain(t, f.reader(), Position{}); text != "a b c d" || b.Damaged == 0 {
		t.Errorf("got %q, %d damaged", text, b.Damaged)
	}
	f = newFolder(t)
	f.write("a.json", `{"timestamp":"2026-03-29 10:00:00.123 UTC","user":"ann","sess`+"\n"+
		`{"timestamp":"2026-03-29 10:00:00.123 UTC","user":"ann","session_id":"1.1","line_num":1,"error_severity":"LOG","message":"statement: a","backend_type":"client backend"}`+"\n", 1)
	if text, b := drain(t, f.reader(), Position{}); text != "a" || b.Damaged != 1 {
		t.Errorf("got %q, %d damaged", text, b.Damaged)
	}
}

func TestLongEntries(t *testing.T) {
	f := newFolder(t)
	long := func(n int) string { return strings.Repeat("long \"\n,", n/8) }
	f.write("a.csv", entry(1, "ann", long(3*chunk))+entry(2, "ann", "b")+entry(3, "ann", long(maxEntry+chunk))+entry(4, "ann", "c"), 1)
	from, got := Position{}, []Record{}
	for {
		b, err := f.reader().Read(t.Context(), from)
		if err != nil || b.Damaged > 0 {
			t.Fatal(b.Damaged, err)
		}
		got, from = append(got, b.Records...), b.Next
		if !b.More {
			break
		}
	}
	if len(got) != 4 || got[1].Statement != "b" || got[3].Statement != "c" {
		t.Fatalf("%d records", len(got))
	}
	for _, i := range []int{0, 2} {
		if !got[i].Cut || len(got[i].Statement) != MaxStatement || !strings.HasPrefix(got[i].Statement, "long \"\n,") || got[i].Line != int64(i+1) {
			t.Errorf("record %d: cut %v, %d bytes", i, got[i].Cut, len(got[i].Statement))
		}
	}
}

func TestStatementOf(t *testing.T) {
	for message, want := range map[string]string{
		"statement: SELECT 1": "SELECT 1", "duration: 0.1 ms  statement: SELECT 1": "SELECT 1", "execute <unnamed>: SELECT $1": "SELECT $1",
		"execute fetch from s/c: SELECT 1": "SELECT 1", "duration: 5 ms  execute q: X": "X", "duration: 5 ms": "-", "parse <unnamed>: SELECT 1": "-",
		"duration: 5 ms  bind q: X": "-", "connection authorized: user=x": "-",
	} {
		got, ok := statementOf(message)
		if !ok {
			got = "-"
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", message, got, want)
		}
	}
}

func TestRedact(t *testing.T) {
	for statement, want := range map[string]string{
		"ALTER ROLE x WITH\n PASSWORD 'a'":                            "ALTER ROLE x WITH\n PASSWORD <REDACTED>",
		"select 1; create user \"password\" encrypted password $$a$$": "select 1; create user \"password <REDACTED>",
		"CREATE SUBSCRIPTION s CONNECTION 'password=a' PUBLICATION p": "CREATE SUBSCRIPTION s CONNECTION <REDACTED>",
		"CREATE USER MAPPING FOR x SERVER s OPTIONS (password 'a')":   "CREATE USER MAPPING FOR x SERVER s OPTIONS <REDACTED>",
		"SELECT password FROM users":                                  "SELECT password FROM users",
	} {
		if got := redact(statement); got != want {
			t.Errorf("%q: got %q, want %q", statement, got, want)
		}
	}
}

// However the file grows between two calls, every entry is read once.
func TestEveryEntryOnce(t *testing.T) {
	f := newFolder(t)
	rapid.Check(t, func(r *rapid.T) {
		statements := rapid.SliceOfN(rapid.StringMatching(`[a"\n,é]{1,12}`), 1, 6).Draw(r, "statements")
		var content string
		for i, s := range statements {
			content += entry(i, "ann", s)
		}
		cuts := rapid.SliceOfN(rapid.IntRange(0, len(content)), 0, 4).Draw(r, "cuts")
		var got []string
		from := Position{}
		for i, cut := range append(cuts, len(content)) {
			for _, before := range cuts[:min(i, len(cuts))] {
				cut = max(cut, before)
			}
			f.write("a.csv", content[:cut], i)
			b, err := f.reader().Read(t.Context(), from)
			if err != nil || b.Damaged > 0 || b.Lost != "" {
				r.Fatal(b.Damaged, b.Lost, err)
			}
			for _, record := range b.Records {
				got = append(got, record.Statement)
			}
			from = b.Next
		}
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", statements) {
			r.Fatalf("got %q, want %q", got, statements)
		}
	})
}
