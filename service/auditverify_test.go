package service

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// chainWriter writes records as a node with a key file does.
type chainWriter struct {
	key   []byte
	chain []byte
	seq   int
}

func newChainWriter(t *testing.T) (*chainWriter, string) {
	t.Helper()
	_, path := newKey(t)
	key, err := ChainKey(path)
	if err != nil {
		t.Fatal(err)
	}
	return &chainWriter{key: key, chain: make([]byte, sha256.Size)}, path
}

// next is the next record, as the daemon sends it.
func (w *chainWriter) next() string {
	w.seq++
	record := fmt.Sprintf(`{"id":"r%d","kind":"intent","statement":"select  1e0 -- \u0000 é"}`, w.seq)
	mac := hmac.New(sha256.New, w.key)
	mac.Write(w.chain)
	mac.Write(fmt.Appendf(nil, "%d %s", w.seq, record))
	w.chain = mac.Sum(nil)
	return fmt.Sprintf(`{"seq":%d,"chain":"%s",%s`, w.seq, hex.EncodeToString(w.chain), record[1:])
}

func (w *chainWriter) some(n int) string {
	var b strings.Builder
	for range n {
		b.WriteString(w.next() + "\n")
	}
	return b.String()
}

// audited is a service with records of a node and checkpoints on the way.
type audited struct {
	*fixture
	writer *chainWriter
	file   string // of checkpoints
}

func startAudited(t *testing.T) *audited {
	t.Helper()
	a := &audited{fixture: start(t), file: filepath.Join(t.TempDir(), "checkpoints")}
	a.writer, _ = newChainWriter(t)
	for range 3 {
		a.send(a.writer.some(1200))
		a.checkpoint()
	}
	return a
}

func (a *audited) send(lines string) {
	a.t.Helper()
	if _, err := a.store.StoreAudit(a.t.Context(), "engine", strings.NewReader(lines)); err != nil {
		a.t.Fatal(err)
	}
}

func (a *audited) checkpoint() {
	a.t.Helper()
	if err := newCheckpointer(a.store, a.file, 0, startLog(a.t)).write(a.t.Context()); err != nil {
		a.t.Fatal(err)
	}
}

func (a *audited) sql(text string) {
	a.t.Helper()
	if _, err := a.store.pool.Exec(a.t.Context(), text); err != nil {
		a.t.Fatal(err)
	}
}

func (a *audited) verify(withCheckpoints, withKey bool) NodeAudit {
	a.t.Helper()
	c, err := NewClient(a.http.URL, a.admin, "")
	if err != nil {
		a.t.Fatal(err)
	}
	defer c.Close()
	var checkpoints []Checkpoint
	if withCheckpoints {
		var problems []AuditProblem
		if checkpoints, _, problems, err = ReadCheckpoints(a.file, nil); err != nil || len(problems) > 0 {
			a.t.Fatal(problems, err)
		}
	}
	var key []byte
	if withKey {
		key = a.writer.key
	}
	all, err := VerifyAudit(a.t.Context(), c, "engine", checkpoints, key)
	if err != nil || len(all) != 1 {
		a.t.Fatal(all, err)
	}
	return all[0]
}

func kinds(n NodeAudit) string {
	var all []string
	for _, p := range n.Problems {
		all = append(all, fmt.Sprintf("%s%d-%d", p.Kind, p.First, p.Last))
	}
	return strings.Join(all, " ")
}

func TestAWholeAudit(t *testing.T) {
	a := startAudited(t)
	a.send(a.writer.some(5))
	if n := a.verify(true, true); kinds(n) != "" || n.Records != 3605 || n.Seq != 3605 || n.Checkpoints != 3 {
		t.Errorf("%+v", n)
	}
	// Late records and the same once more are no harm; what is missing is told.
	one, two, three := a.writer.next(), a.writer.next(), a.writer.next()
	a.send(three + "\n" + one + "\n" + one + "\n")
	if n := a.verify(true, true); kinds(n) != "gap3607-3607" {
		t.Errorf("%+v", n)
	}
	a.send(two + "\n")
	if n := a.verify(true, true); kinds(n) != "" || n.Records != 3608 {
		t.Errorf("%+v", n)
	}
}

// Each attack on the store shows, and by what.
func TestTamperingShows(t *testing.T) {
	for name, tt := range map[string]struct {
		attack                 string
		plain, checkpoint, key string // what shows without either, with checkpoints, with the node's key
	}{
		"a changed body": {`UPDATE portcullis.audit_records SET original = NULL, body = replace(body::text, '1e0', '2e0')::json WHERE seq = 1000`, "edit1000-1000", "edit1000-1000", "edit1000-1000 edit1000-1000"},
		"a changed digest": {`UPDATE portcullis.audit_records SET original = NULL, body = replace(body::text, '1e0', '2e0')::json,
			digest = sha256(convert_to(replace(body::text, '1e0', '2e0'), 'UTF8')) WHERE seq = 1000`, "edit0-0", "edit0-1200 edit0-2400 edit0-3600 edit0-0", "edit1000-1000 edit0-0"},
		"a removed record":        {`DELETE FROM portcullis.audit_records WHERE seq = 1000`, "gap1000-1000 cut0-0", "edit0-1201 edit0-2401 gap1000-1000 cut0-0 cut0-0", "gap1000-1000 cut0-0"},
		"a cut tail":              {`DELETE FROM portcullis.audit_records WHERE seq > 3000`, "cut0-0", "cut0-0 cut0-0", "cut0-0"},
		"a cut tail and its head": {`DELETE FROM portcullis.audit_records WHERE seq > 2400; UPDATE portcullis.audit_heads SET records = 2400, seq = 2400, digest = decode('HEAD', 'hex')`, "", "cut0-0", ""},
		"nothing left":            {`DELETE FROM portcullis.audit_records; DELETE FROM portcullis.audit_heads; INSERT INTO portcullis.audit_heads (node) VALUES ('engine')`, "", "cut0-0 cut0-0 cut0-0", ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := startAudited(t)
			if strings.Contains(tt.attack, "HEAD") {
				list, _, _, err := ReadCheckpoints(a.file, nil)
				if err != nil {
					t.Fatal(err)
				}
				tt.attack = strings.Replace(tt.attack, "HEAD", hex.EncodeToString(list[1].Heads[0].Digest), 1)
			}
			a.sql(tt.attack)
			for what, want := range map[string]string{"plain": tt.plain, "checkpoints": tt.checkpoint, "key": tt.key} {
				if got := kinds(a.verify(what == "checkpoints", what == "key")); got != want {
					t.Errorf("%s: found %q, want %q", what, got, want)
				}
			}
		})
	}
}

// A forged chain is told by the node's key, a second one under the same numbers by anybody.
func TestForgedChainsShow(t *testing.T) {
	a := startAudited(t)
	forger, _ := newChainWriter(t)
	forger.seq, forger.chain = a.writer.seq, a.writer.chain
	a.send(forger.some(2))
	if n := a.verify(true, true); kinds(n) != "edit3601-3602" {
		t.Errorf("with another key: %q", kinds(n))
	}
	again := &chainWriter{key: a.writer.key, chain: make([]byte, sha256.Size)}
	a.send(strings.ReplaceAll(again.next()+"\n", `"r1"`, `"other"`))
	if n := a.verify(false, false); kinds(n) != "fork1-1" {
		t.Errorf("anew: %q", kinds(n))
	}
}

func TestCheckpointFilesMustBeWhole(t *testing.T) {
	a := startAudited(t)
	raw, err := os.ReadFile(a.file)
	if err != nil {
		t.Fatal(err)
	}
	whole := strings.SplitAfter(string(raw), "\n")[:3]
	other := startAudited(t)
	foreign, err := os.ReadFile(other.file)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		text string
		want string
	}{
		"whole":         {strings.Join(whole, ""), ""},
		"a line less":   {whole[0] + whole[2], "line 2 does not follow"},
		"the first cut": {whole[1] + whole[2], "line 1 does not follow"},
		"changed":       {whole[0] + strings.Replace(whole[1], `\"records\":2400`, `\"records\":1`, 1) + whole[2], ""},
		"another's":     {whole[0] + strings.SplitAfter(string(foreign), "\n")[1], "line 2 is signed with another key"},
		"torn":          {whole[0] + whole[1][:50] + "\n" + whole[2], "line 2 cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			if name == "changed" {
				tt.text = whole[0] + strings.Replace(whole[1], `"records":2400`, `"records":1`, 1) + whole[2]
				tt.want = "line 2 has a wrong signature"
			}
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, _, problems, err := ReadCheckpoints(path, nil)
			got := ""
			if len(problems) > 0 {
				got = problems[0].Detail
			}
			if err != nil || (tt.want == "") != (got == "") || !strings.HasPrefix(got, tt.want) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// The file goes on after a crash in mid-line, and serving writes it.
func TestCheckpointsGoOnAfterACrash(t *testing.T) {
	a := startAudited(t)
	f, err := os.OpenFile(a.file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"checkpoint":{"ma`); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	a.checkpoint()
	list, _, problems, err := ReadCheckpoints(a.file, nil)
	if err != nil || len(list) != 4 || len(problems) != 2 {
		t.Errorf("%d checkpoints, %+v, %v", len(list), problems, err)
	}
	if age := time.Since(list[3].Made); age < 0 || age > time.Minute {
		t.Errorf("made %v ago", age)
	}
}

// A writer that keeps no chain is none that broke it; one that does leaves no record out of it.
func TestWritersWithoutAChain(t *testing.T) {
	a := startAudited(t)
	c, err := NewClient(a.http.URL, a.admin, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := a.store.StoreAudit(t.Context(), "connection/shop", strings.NewReader(`{"id":"q1","kind":"query"}`)); err != nil {
		t.Fatal(err)
	}
	a.send(`{"id":"loose","kind":"intent"}`)
	all, err := VerifyAudit(t.Context(), c, "", nil, nil)
	if err != nil || len(all) != 2 || kinds(all[0]) != "" || all[0].Records != 1 || kinds(all[1]) != "gap0-0" {
		t.Errorf("%+v %v", all, err)
	}
}
