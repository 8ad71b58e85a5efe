package fdw_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/internal/testenv"
)

// newerABI is what module and library of the newer package agree on.
const newerABI = 4711

const newerScript = `
CREATE FUNCTION immutasys.newer(n integer) RETURNS integer AS 'MODULE_PATHNAME', 'portcullis_call' LANGUAGE C STRICT;
`

// upgraded is an instance that runs today's package, with files of its own.
type upgraded struct {
	t *testing.T
	*testenv.Postgres
}

func (u *upgraded) session(database string) *pgx.Conn {
	u.t.Helper()
	conn, err := u.Connect(u.t.Context(), database)
	if err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() { _ = conn.Close(u.t.Context()) })
	return conn
}

// database makes a database with the extension and a table of the remote server.
func (u *upgraded) database(name string) {
	u.t.Helper()
	if err := u.CreateDatabase(u.t.Context(), name); err != nil {
		u.t.Fatal(err)
	}
	u.exec(name, fmt.Sprintf(localSchema, shared.remote.Host, shared.remote.Port, shared.remote.User, shared.remote.Password))
}

func (u *upgraded) exec(database, sql string) {
	u.t.Helper()
	if err := u.Exec(u.t.Context(), database, sql); err != nil {
		u.t.Fatalf("%s: %s", sql, describe(err))
	}
}

// put installs a file as packages do: the new one takes the name, the old one
// stays for who has it open.
func (u *upgraded) put(folder, name, content string) {
	u.t.Helper()
	path := filepath.Join(folder, name)
	if err := os.WriteFile(path+".new", []byte(content), 0o755); err != nil {
		u.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		u.t.Fatal(err)
	}
}

// installNewer puts version 1.1 over the running one.
func (u *upgraded) installNewer(module, library string) {
	u.t.Helper()
	extension := filepath.Join(u.Share, "extension")
	u.put(u.Lib, "portcullis.so", read(u.t, module))
	u.put(u.Lib, libraryName, read(u.t, library))
	u.put(extension, "portcullis--1.0--1.1.sql", newerScript)
	control := read(u.t, filepath.Join(extension, "portcullis.control"))
	u.put(extension, "portcullis.control", strings.Replace(control, "'1.0'", "'1.1'", 1))
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// buildNewer makes module and library of the newer version out of today's: one
// more function, and another ABI number.
func buildNewer(t *testing.T, dir string, tree testenv.Tree) (module, library string) {
	t.Helper()
	root, err := testenv.Root()
	if err != nil {
		t.Fatal(err)
	}
	source := func(folder, pattern string) {
		files, err := filepath.Glob(filepath.Join(root, folder, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s/%s: %v", folder, pattern, err)
		}
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text := regexp.MustCompile(`(?m)^#define PC_ABI .*`).ReplaceAllString(read(t, file), fmt.Sprintf("#define PC_ABI %d", newerABI))
			if err := os.WriteFile(filepath.Join(dir, folder, filepath.Base(file)), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	source("engine", "engine.h")
	source("odbc", "block.h")
	source("c/shim", "*.h")
	include, err := command(t.Context(), tree.PGConfig, "--includedir-server")
	if err != nil {
		t.Fatal(err)
	}
	compile := func(file string) (object string) {
		object = filepath.Join(dir, filepath.Base(file)+".o")
		tool(t, "cc", "-O1", "-fPIC", "-D_GNU_SOURCE", "-I"+strings.TrimSpace(string(include)), "-c", "-o", object, file)
		return object
	}
	objects, err := filepath.Glob(filepath.Join(root, "c", "shim", "*.o"))
	if err != nil || len(objects) == 0 {
		t.Fatalf("the module's objects are missing (%v): run make build", err)
	}
	link := []string{"-shared", "-Wl,-Bsymbolic", "-o", filepath.Join(dir, "portcullis.so"), compile(filepath.Join(root, "test", "fdw", "testdata", "newer.c"))}
	for _, object := range objects {
		switch name := strings.TrimSuffix(filepath.Base(object), ".o"); name {
		case "loader", "connections": // which hold the ABI number
			source("c/shim", name+".c")
			object = compile(filepath.Join(dir, "c", "shim", name+".c"))
		}
		link = append(link, object)
	}
	tool(t, "cc", link...)

	// All but the number comes from today's library, which it needs.
	number := filepath.Join(dir, "number.c")
	if err := os.WriteFile(number, fmt.Appendf(nil, "int pc_abi(void) { return %d; }\n", newerABI), 0o644); err != nil {
		t.Fatal(err)
	}
	today, library := filepath.Join(dir, "real.so"), filepath.Join(dir, libraryName)
	if err := os.WriteFile(today, []byte(read(t, filepath.Join(tree.Lib, libraryName))), 0o755); err != nil {
		t.Fatal(err)
	}
	tool(t, "cc", "-shared", "-fPIC", "-Wl,-Bsymbolic", "-o", library, number, "-Wl,--no-as-needed", today)
	return filepath.Join(dir, "portcullis.so"), library
}

func tool(t *testing.T, program string, args ...string) {
	t.Helper()
	if out, err := command(t.Context(), program, args...); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
}

func extensionVersion(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	return value[string](t, conn, "SELECT extversion FROM pg_extension WHERE extname = 'portcullis'")
}

// A package is installed while the server runs the version before. Until the
// restart everything goes on, and the extension can be updated and created; what is
// new is refused with the way out.
func TestUpgradeOfARunningServer(t *testing.T) {
	tree, err := testenv.PGTree(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	own, err := tree.Copy(filepath.Join(shared.env.Dir, "installation"))
	if err != nil {
		t.Fatal(err)
	}
	newer := filepath.Join(shared.env.Dir, "newer")
	module, library := buildNewer(t, newer, tree)
	u := &upgraded{t, testenv.StartPostgres(t, testenv.PostgresOptions{Name: "upgraded", Preload: "portcullis", Tree: &own})}
	u.database("old")
	u.exec("postgres", "CREATE DATABASE new TEMPLATE old")
	u.exec("postgres", "CREATE DATABASE later TEMPLATE old")
	reading, resting := u.session("old"), u.session("new")
	touch(t, reading)
	u.installNewer(module, library)

	// Sessions of before and after, with the library loaded before and after.
	touch(t, reading)
	touch(t, resting)
	fresh := u.session("new")
	touch(t, fresh)

	// Old sessions and new ones.
	do(t, reading, "ALTER EXTENSION portcullis UPDATE")
	do(t, fresh, "ALTER EXTENSION portcullis UPDATE")
	if err := u.CreateDatabase(t.Context(), "fresh"); err != nil {
		t.Fatal(err)
	}
	u.exec("fresh", "CREATE EXTENSION portcullis")
	const add = "SELECT sum(immutasys.newer(n)) FROM generate_series(1, 100) n"
	for _, conn := range []*pgx.Conn{reading, resting, fresh, u.session("fresh"), u.session("old")} {
		if got := extensionVersion(t, conn); got != "1.1" {
			t.Errorf("version is %s", got)
		}
		if e := refused(t, conn, add); e.Code != "55000" || !strings.Contains(e.Message, "immutasys.newer(integer)") || !strings.Contains(e.Hint, "estart") {
			t.Error(describe(e))
		}
	}
	touch(t, reading)
	touch(t, u.session("old"))

	if err := u.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	later := u.session("later") // is updated after the restart
	if got := extensionVersion(t, later); got != "1.0" {
		t.Errorf("version is %s", got)
	}
	touch(t, later)
	do(t, later, "ALTER EXTENSION portcullis UPDATE")
	for _, conn := range []*pgx.Conn{later, u.session("old"), u.session("fresh")} {
		if got := value[int64](t, conn, add); got != 5150 {
			t.Errorf("got %d", got)
		}
		if got := value[string](t, conn, "SELECT portcullis_version()"); !strings.Contains(got, fmt.Sprintf("ABI %d", newerABI)) {
			t.Errorf("%s: the newer module is not loaded", got)
		}
	}
	touch(t, u.session("old"))
}

// Functions of 1.0 have a symbol each, those of later versions are found by name:
// a server that still runs an older module has no symbol for them.
func TestFunctionsHaveASymbolThatEveryModuleHas(t *testing.T) {
	const symbols = `portcullis_check_database portcullis_config_changed portcullis_connections portcullis_count portcullis_create_key_file
		portcullis_disconnect portcullis_fault portcullis_fdw_handler portcullis_fdw_validator portcullis_flush_caches portcullis_recent_audit
		portcullis_reload_config portcullis_seal portcullis_service_call portcullis_status portcullis_version portcullis_call`
	const others = `SELECT oid::regprocedure::text FROM pg_proc
	  WHERE probin LIKE '%portcullis%' AND prosrc <> ALL (regexp_split_to_array($1, '\s+'))`
	if found := lines(t, session(t), others, symbols); len(found) > 0 {
		t.Errorf("declare AS 'MODULE_PATHNAME', 'portcullis_call': %v", found)
	}
}
