package fdw

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOptions(t *testing.T) {
	pg := func(more ...string) map[string]string {
		return pairs(append([]string{"driver", "PostgreSQL Unicode"}, more...)...)
	}
	for _, c := range []struct {
		name   string
		object byte
		o      map[string]string
		state  string // "" = accepted
		hint   string
	}{
		{"server", 's', pg("host", "db.example.org", "port", "5432", "database", "x y"), "", ""},
		{"address", 's', pg("host", "2001:db8::1"), "", ""},
		{"typing error", 's', pg("hots", "x"), "HV00D", `Perhaps you meant "host". Valid options: application_name,`},
		{"driver path", 's', pairs("driver", "/tmp/evil.so"), "HV024", "Supported drivers: "},
		{"no driver", 's', pairs("host", "x"), "HV00J", "Supported drivers: "},
		{"SQLite 2", 's', pairs("driver", "SQLite"), "HV024", "SQLite3"},
		{"statement at start", 's', pg("ConnSettings", "SET x=1"), "HV00D", ""},
		{"socket folder", 's', pg("host", "/var/run/postgresql"), "HV024", ""},
		{"list of hosts", 's', pg("host", "a,b"), "HV024", ""},
		{"line end", 's', pg("host", "a\nb"), "HV024", ""},
		{"port 0", 's', pg("port", "0"), "HV024", "1 to 65535"},
		{"port with sign", 's', pg("port", "+80"), "HV024", ""},
		{"connection string as name", 's', pg("database", "postgresql://evil/x"), "HV024", ""},
		{"assignments as name", 's', pg("database", "x host=evil"), "HV024", ""},
		{"second attribute", 's', pg("database", "x;LoadExt=y"), "HV024", ""},
		{"quote in setting", 's', pg("application_name", "a'; DROP"), "HV024", ""},
		{"MariaDB's start", 's', pairs("driver", "MariaDB Unicode", "INITSTMT", "x"), "HV00D", ""},
		{"MariaDB's plugins", 's', pairs("driver", "MariaDB Unicode", "PLUGIN_DIR", "x"), "HV00D", ""},
		{"SQLite's library", 's', pairs("driver", "SQLite3", "LoadExt", "x"), "HV00D", ""},
		{"file", 's', pairs("driver", "SQLite3", "database", "/srv/a..b/x.db"), "", ""},
		{"file above the folder", 's', pairs("driver", "SQLite3", "database", "../x.db"), "HV024", ""},
		{"file that climbs out", 's', pairs("driver", "SQLite3", "database", "/srv/../etc/passwd"), "HV024", ""},
		{"folder for a file", 's', pairs("driver", "SQLite3", "database", "/srv/"), "HV024", ""},
		{"mapping", 'm', pairs("username", "u", "password", "};x={"), "", ""},
		{"both passwords", 'm', pairs("password", "a", "password_sealed", "b"), "HV00D", ""},
		{"secret on a server", 's', pg("password", "x"), "HV00D", ""},
		{"table", 't', pairs("table_name", `a"b`, "schema_name", "s", "use_remote_estimate", "true"), "", ""},
		{"not a uuid", 't', pairs("data_source", "1"), "HV024", ""},
		{"column", 'c', pairs("column_name", "x"), "", ""},
		{"column without name", 'c', pairs("column_name", ""), "HV024", ""},
		{"of the wrapper", 'w', pairs("x", "y"), "HV00D", "no valid options"},
	} {
		err := ValidateOptions(c.object, c.o)
		var e *Error
		switch {
		case c.state == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.state != "" && (!errors.As(err, &e) || e.State != c.state || !strings.Contains(e.Hint, c.hint)):
			t.Errorf("%s: %v", c.name, err)
		case e != nil && strings.ContainsAny(e.Message, "\n\r"):
			t.Errorf("%s: control characters in %q", c.name, e.Message)
		}
	}
}

func pairs(s ...string) map[string]string {
	out := map[string]string{}
	for i := 0; i < len(s); i += 2 {
		out[s[i]] = s[i+1]
	}
	return out
}

func TestSecretsStayOutOfErrors(t *testing.T) {
	err := ValidateOptions('m', pairs("password", "hunter2\x00"))
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error is %v", err)
	}
	_, err = password(pairs("password_sealed", "hunter2"), Env{Unseal: func(string) (string, error) { return "", errors.New("hunter2") }})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error is %v", err)
	}
}

func TestFileDatabasesStayInTheirFolder(t *testing.T) {
	folder, outside := t.TempDir(), t.TempDir()
	write := func(path string) {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(folder, "in.db"))
	write(filepath.Join(outside, "out.db"))
	if err := os.Symlink(filepath.Join(outside, "out.db"), filepath.Join(folder, "link.db")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(folder, "dir")); err != nil {
		t.Fatal(err)
	}
	for file, ok := range map[string]bool{
		"in.db": true, filepath.Join(folder, "in.db"): true, "link.db": false, "dir/out.db": false, "../x": false,
		filepath.Join(outside, "out.db"): false, "missing.db": false, ".": false, "": false, ":memory:": false, "in.db;LoadExt=x": false,
	} {
		c, err := sqlite{}.Connection(pairs("driver", "SQLite3", "database", file), nil, Env{FileFolder: folder})
		if (err == nil) != ok {
			t.Errorf("%q: %v", file, err)
		}
		if ok && c.Attrs[0].Value != filepath.Join(folder, "in.db") {
			t.Errorf("%q opens %q", file, c.Attrs[0].Value)
		}
	}
	if _, err := (sqlite{}).Connection(pairs("driver", "SQLite3", "database", "in.db"), nil, Env{}); err == nil {
		t.Error("opened without a folder")
	}
}

// Without them libpq takes those of the operating system's user.
func TestPostgresNeedsCredentials(t *testing.T) {
	server := pairs("driver", "PostgreSQL Unicode", "host", "db.example.com")
	for _, mapping := range []map[string]string{nil, pairs("username", "u"), pairs("password", "p"), pairs("username", "u", "password", "")} {
		if c, err := (postgres{}).Connection(server, mapping, Env{}); err == nil {
			t.Errorf("%v: %+v", mapping, c)
		}
	}
	if _, err := (postgres{}).Connection(server, pairs("username", "u", "password", "p"), Env{}); err != nil {
		t.Error(err)
	}
}
