package govern

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/test/world"
)

// testDump: a dump holds what was defined and no secret that could be used
// elsewhere; what is restored from it is governed.
func testDump(t *testing.T, n *node) {
	out, err := n.Command(t.Context(), "immuta", "pg_dump").Output()
	if err != nil {
		t.Fatal(err)
	}
	dump := string(out)
	for _, secret := range []string{world.RemotePassword, n.apiKey(t), n.text(t, "SELECT api_key_sealed FROM immutasys.dbtoken")} {
		if strings.Contains(dump, secret) {
			t.Errorf("the dump holds a secret: %.6s…", secret)
		}
	}
	if found := regexp.MustCompile(`password '[^']*'|p[kt]_[A-Za-z0-9_-]{20,}`).FindString(dump); found != "" {
		t.Errorf("the dump holds %s", found)
	}
	// Of use with this node's key file only.
	if !strings.Contains(dump, "password_sealed 'v1") {
		t.Error("the dump holds no sealed password")
	}
	if !strings.Contains(dump, "CREATE EXTENSION IF NOT EXISTS portcullis") || !strings.Contains(dump, n.Service.URL) || strings.Contains(dump, "CREATE FUNCTION immutasys") {
		t.Error("the dump lacks the extension or its configuration, or holds the extension's own functions")
	}
	if err := n.CreateDatabase(t.Context(), "clone"); err != nil {
		t.Fatal(err)
	}
	restore := n.Command(t.Context(), "clone", "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1")
	restore.Stdin = bytes.NewReader(out)
	if text, err := restore.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	clone, err := n.Connect(t.Context(), "clone")
	if err != nil {
		t.Fatal(err)
	}
	defer clone.Close(t.Context())
	wantCount(t, clone, "SELECT count(*) FROM immutasys.service_config", 1)
	wantCount(t, clone, "SELECT count(*) FROM immutasys.dbtoken", 0)
	wantCount(t, clone, "SELECT count(*) FROM pg_foreign_table WHERE ftrelid = 'immuta.staff_pg'::regclass AND ftoptions::text LIKE '%data_source=%'", 1)
	wantCount(t, clone, countStaff, rows)
	eve, err := pgx.Connect(t.Context(), n.DSNAs(world.Eve, n.PasswordOf(world.Eve), "clone"))
	if err != nil {
		t.Fatal(err)
	}
	defer eve.Close(t.Context())
	wantCount(t, eve, countStaff, rows/2)
	again, err := n.Command(t.Context(), "clone", "pg_dump").Output()
	if err != nil {
		t.Fatal(err)
	}
	if a, b := definitions(dump), definitions(string(again)); a != b {
		t.Errorf("a dump of what was restored differs: %d and %d bytes", len(a), len(b))
	}
}

// definitions are the lines of a dump that do not name the moment or a random mark of it.
func definitions(dump string) string {
	var kept []string
	for line := range strings.Lines(dump) {
		if !strings.HasPrefix(line, `\restrict`) && !strings.HasPrefix(line, `\unrestrict`) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}
