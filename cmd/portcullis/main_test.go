package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/seal"
	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/service"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("portcullis.dev/portcullis/internal/testenv.init.func1.1"))
}

// portcullis runs a command line in this process.
func portcullis(ctx context.Context, args ...string) (code int, out, errOut string) {
	var o, e bytes.Buffer
	code = dispatch(ctx, args, streams{out: &o, err: &e})
	return code, o.String(), e.String()
}

func TestUsage(t *testing.T) {
	cases := []struct {
		args []string
		code int
		says string
	}{
		{nil, exitUsage, "usage:"},
		{[]string{"--help"}, exitOK, "serve"},
		{[]string{"help"}, exitOK, "serve"},
		{[]string{"version"}, exitOK, "portcullis "},
		{[]string{"--version"}, exitOK, "portcullis "},
		{[]string{"nix"}, exitUsage, `unknown command "nix"`},
		{[]string{"serve", "--help"}, exitOK, "-listen"},
		{[]string{"serve", "--nix"}, exitUsage, "nix"},
		{[]string{"serve", "extra"}, exitUsage, "extra"},
		{[]string{"serve"}, exitUsage, "--database-url is needed"},
		{[]string{"apply"}, exitUsage, "-f is needed"},
		{[]string{"apply", "-f", "/nix"}, exitFailed, "no such file"},
		{[]string{"status"}, exitFailed, "API key is needed"},
		{[]string{"status", "-o", "xml"}, exitUsage, "must be text or json"},
		{[]string{"help", "audit"}, exitOK, "2030-01-31T12:00:00Z"},
		{[]string{"explain"}, exitUsage, "--user and --data-source"},
		{[]string{"help", "nix"}, exitUsage, `unknown command "nix"`},
		{[]string{"help", "help"}, exitOK, "serve"},
		{[]string{"help", "--help"}, exitOK, "serve"},
		{[]string{"--help", "serve"}, exitOK, "COMMAND"},
		{[]string{"help", "audit", "verify"}, exitOK, "-checkpoints"},
		{[]string{"audit", "verify", "extra"}, exitUsage, "extra"},
		{[]string{"apikey"}, exitUsage, "create, list or revoke"},
		{[]string{"apikey", "nix"}, exitUsage, `unknown action "nix"`},
		{[]string{"apikey", "help"}, exitOK, "-permissions"},
		{[]string{"help", "apikey", "create"}, exitOK, "-permissions"},
		{[]string{"apikey", "list", "extra"}, exitUsage, "extra"},
		{[]string{"connection"}, exitUsage, "ACTION"},
		{[]string{"connection", "nix"}, exitUsage, `unknown action "nix"`},
		{[]string{"connection", "--nix"}, exitUsage, `unknown action "--nix"`},
		{[]string{"connection", "help"}, exitOK, "print-script"},
		{[]string{"connection", "help", "nix"}, exitUsage, `unknown action "nix"`},
		{[]string{"connection", "help", "help"}, exitOK, "print-script"},
		{[]string{"connection", "show"}, exitUsage, "an argument is missing"},
		{[]string{"node"}, exitUsage, "--spool is needed"},
		{[]string{"apikey", "create"}, exitUsage, "--name"},
		{[]string{"seal"}, exitUsage, "--key-file"},
	}
	for _, name := range []string{"PORTCULLIS_STORE", "PORTCULLIS_KEY_FILE", "PORTCULLIS_API_KEY", "PORTCULLIS_API_KEY_FILE", "PORTCULLIS_NODE_KEY_FILE"} {
		t.Setenv(name, "")
	}
	for _, c := range cases {
		code, out, errOut := portcullis(t.Context(), c.args...)
		if code != c.code || !strings.Contains(out+errOut, c.says) {
			t.Errorf("%v: %d %s%s; want %d %q", c.args, code, out, errOut, c.code, c.says)
		}
	}
}

// What is wrong is said in a line, and where the flags are listed.
func TestWrongUsageIsShort(t *testing.T) {
	for _, args := range [][]string{{"connection", "show"}, {"connection", "add", "x", "--nix"}, {"connection", "tag", "x"}, {"apply"}, {"apikey"}} {
		command := strings.Join(args[:min(len(args), 2)], " ")
		_, out, errOut := portcullis(t.Context(), args...)
		if lines := strings.Count(errOut, "\n"); out != "" || lines != 2 || !strings.Contains(errOut, "portcullis help "+command+"\n") {
			t.Errorf("%v: %s%s", args, out, errOut)
		}
	}
}

// A name of somebody's table must not move the cursor of who looks at it.
func TestNamesCommandNoTerminal(t *testing.T) {
	var out, status strings.Builder
	io := streams{out: plainWriter{&out}}
	printObject(io, service.Object{Name: "c.d.s.\x1b[2Ja\r\nb", Level: "table"})
	printFinding(io, connection.Excess{Role: "r\u202e", Object: connection.ObjectRef{Database: "d", Schema: "s", Name: "a.b"}})
	if got := out.String(); strings.ContainsAny(got, "\x1b\r\u202e") || strings.Count(got, "\n") != 3 || !strings.Contains(got, `c.d.s.\u001b[2Ja\u000d\u000ab`) || !strings.Contains(got, `d.s."a.b"`) {
		t.Errorf("%q", got)
	}
	printConnectionStatus(streams{out: plainWriter{&status}}, service.ConnectionStatus{Pending: []connection.Pending{{Statement: "x", Error: &connection.Error{Message: "m\x1b", Hint: "what helps"}}}})
	if got := status.String(); strings.Contains(got, "\x1b") || !strings.Contains(got, "what helps") {
		t.Errorf("%q", got)
	}
}

// Help that was asked for is written to standard output and no failure, for
// every command in every way to ask; a flag that is none is one, whatever the command.
func TestHelpOfEveryCommand(t *testing.T) {
	names := [][]string{{"audit", "verify"}, {"apikey", "create"}, {"apikey", "list"}, {"apikey", "revoke"}}
	for _, c := range commands() {
		names = append(names, []string{c.name})
	}
	for _, a := range connectionActions() {
		names = append(names, []string{"connection", a.name})
	}
	with := func(name []string, more ...string) []string { return append(slices.Clone(name), more...) }
	for _, name := range names {
		ways := [][]string{with(name, "--help"), with(name, "-h"), with([]string{"help"}, name...)}
		if name[0] == "connection" {
			ways = append(ways, with([]string{"connection", "help"}, name[1:]...))
		}
		_, first, _ := portcullis(t.Context(), ways[0]...)
		for _, way := range ways {
			code, out, errOut := portcullis(t.Context(), way...)
			if code != exitOK || errOut != "" || out != first || !strings.Contains(strings.ToLower(out), "usage") {
				t.Errorf("%q: %d, out %q, err %q; want what %q says", way, code, out, errOut, ways[0])
			}
		}
		if code, out, errOut := portcullis(t.Context(), with(name, "--nix")...); code != exitUsage || out != "" || !strings.Contains(errOut, "nix") {
			t.Errorf("%q with an unknown flag: %d, out %q, err %q", name, code, out, errOut)
		}
	}
}

const state = `
groups: [{name: team}]
people: [{userid: ana, groups: [team]}, {userid: dan}]
sources: [{name: s, driver: SQLite3, database: /x.db}]
data_sources: [{name: t, source: s, remote_table: t, discoverable: true, contact: office}]
policies:
  - {name: team reads, kind: subscription, on: {all: true}, who: {group: team}}
`

// TestServeAndItsClients runs the service and every command that talks to it.
func TestServeAndItsClients(t *testing.T) {
	pg := testenv.StartPostgres(t, testenv.PostgresOptions{})
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	ctx, cancel := context.WithCancel(t.Context())
	if code, _, errOut := portcullis(ctx, "seal", "--create-key", file("key")); code != exitOK {
		t.Fatal(errOut)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		code, _, errOut := portcullis(ctx, "serve", "--listen", "unix://"+file("sock"), "--database-url", pg.DSN("postgres"), "--key-file", file("key"), "--admin-key-file", file("admin"))
		if code != exitOK {
			t.Errorf("serve: %d %s", code, errOut)
		}
	})
	defer wg.Wait()
	defer cancel()
	t.Setenv("PORTCULLIS_URL", "unix://"+file("sock"))
	t.Setenv("PORTCULLIS_API_KEY_FILE", file("admin"))
	waitFor(ctx, t)
	if err := os.WriteFile(file("state.yaml"), []byte(state), 0o600); err != nil {
		t.Fatal(err)
	}
	expect := func(says string, args ...string) string {
		t.Helper()
		code, out, errOut := portcullis(t.Context(), args...)
		if code != exitOK || !strings.Contains(out, says) {
			t.Errorf("%v: %d %s%s; want %q", args, code, out, errOut, says)
		}
		return out
	}
	unquoted := state + "  - {name: hidden, kind: mask, on: {all: true}, columns: {tags: [PII]}, mask: {kind: null}}\n"
	if err := os.WriteFile(file("unquoted.yaml"), []byte(unquoted), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := portcullis(t.Context(), "apply", "-f", file("unquoted.yaml"), "--dry-run"); code != exitFailed || !strings.Contains(errOut, "missing or null") || !strings.Contains(errOut, `{kind: "null"}`) {
		t.Errorf("%d %s", code, errOut)
	}
	expect("+ people dan/local", "apply", "-f", file("state.yaml"), "--dry-run")
	expect("6 changed", "apply", "-f", file("state.yaml"))
	expect("0 changed", "apply", "-f", file("state.yaml"))
	expect(`"differences": []`, "apply", "-f", file("state.yaml"), "-o", "json")
	expect("people          2", "status")
	var st service.Status
	if err := json.Unmarshal([]byte(expect("", "status", "-o", "json")), &st); err != nil || st.People != 2 {
		t.Errorf("%+v %v", st, err)
	}
	expect("ana may read t (policy team reads)", "explain", "--user", "ana", "--data-source", "t")
	expect("ask office", "explain", "--user", "dan", "--data-source", "t")
	expect("", "audit")
	key := strings.TrimSpace(expect("pk_", "apikey", "create", "--name", "n", "--node", "n1"))
	expect("n\tnode n1", "apikey", "list")
	expect("", "apikey", "revoke", "--name", "n")
	if code, _, errOut := portcullis(t.Context(), "apikey", "revoke", "--name", "n"); code != exitFailed || !strings.Contains(errOut, `there is no API key "n"`) {
		t.Errorf("%d %s", code, errOut)
	}
	expect("pk_", "apikey", "create", "--name", "direct", "--permissions", "AUDIT", "--database-url", pg.DSN("postgres"), "--key-file", file("key"))
	t.Setenv("PORTCULLIS_API_KEY_FILE", "")
	t.Setenv("PORTCULLIS_API_KEY", key)
	code, _, errOut := portcullis(t.Context(), "status")
	if code != exitFailed || !strings.Contains(errOut, "revoked") || !strings.Contains(errOut, "hint:") || strings.Contains(errOut, key) {
		t.Errorf("%d %s", code, errOut)
	}
}

// waitFor waits until the service answers.
func waitFor(ctx context.Context, t *testing.T) {
	t.Helper()
	if err := testenv.Until(ctx, 30*time.Second, func() (bool, error) {
		code, _, errOut := portcullis(ctx, "status")
		return code == exitOK, errors.New(errOut)
	}); err != nil {
		t.Fatal("the service does not answer: ", err)
	}
}

func TestSealedTextOpens(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if code, _, errOut := portcullis(t.Context(), "seal", "--create-key", key); code != exitOK {
		t.Fatal(errOut)
	}
	if code, _, errOut := portcullis(t.Context(), "seal", "--create-key", key); code != exitFailed || !strings.Contains(errOut, "exists") {
		t.Errorf("an existing key is replaced: %d %s", code, errOut)
	}
	in, err := os.CreateTemp(t.TempDir(), "in")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if _, err := in.WriteString("geheim\nnot this\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	stdin := os.Stdin
	os.Stdin = in
	defer func() { os.Stdin = stdin }()
	_, out, errOut := portcullis(t.Context(), "seal", "--key-file", key)
	if text, err := seal.Unseal(key, strings.TrimSpace(out)); err != nil || text != "geheim" {
		t.Errorf("%q %v %s", text, err, errOut)
	}
}
