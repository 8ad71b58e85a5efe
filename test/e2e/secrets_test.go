package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"portcullis.dev/portcullis/test/world"
)

// keys and tokens of the service, sealed or not hidden, as they would look in a log.
var keyOrToken = regexp.MustCompile(`p[kt]_[A-Za-z0-9_-]{20,}`)

// TestSecretsStayOutOfLogs runs people through errors of all kinds with every
// statement logged, and then reads what was written.
func TestSecretsStayOutOfLogs(t *testing.T) {
	w := world.Start(t, world.Options{Settings: map[string]string{"log_statement": "all", "log_min_messages": "debug1", "log_min_error_statement": "debug1"}})
	fill(t, w)
	for _, role := range []string{world.Hera, world.Eve, world.Dan, world.Exempt} {
		conn := w.Login(t, role)
		for _, s := range w.Sources {
			for _, sql := range []string{"SELECT * FROM " + s.Local(), "SELECT 1/(id-id) FROM " + s.Local(), "EXPLAIN VERBOSE SELECT * FROM " + s.Local()} {
				_, _ = texts(t.Context(), conn, sql) // refusals and errors are wanted too
			}
		}
	}
	admin(t, w, "ALTER USER MAPPING FOR PUBLIC SERVER src_pg OPTIONS (SET password_sealed 'v1:broken')")
	_, _ = texts(t.Context(), w.Login(t, world.Hera), "SELECT * FROM immuta.staff_pg")
	for _, pattern := range []string{"*.log"} {
		logs, err := filepath.Glob(filepath.Join(filepath.Dir(w.DataDir), pattern))
		if err != nil || len(logs) < 3 {
			t.Fatal(logs, err)
		}
		for _, name := range logs {
			raw, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if found := keyOrToken.FindString(string(raw)); found != "" {
				t.Errorf("%s shows a key or token: %.12s…", filepath.Base(name), found)
			}
			if regexp.MustCompile(world.RemotePassword).Match(raw) && filepath.Base(name) != "remote.log" && filepath.Base(name) != "mariadb.log" {
				t.Errorf("%s shows the credential of a source", filepath.Base(name))
			}
		}
	}
}
