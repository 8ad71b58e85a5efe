package service

import (
	"fmt"
	"strings"
	"testing"
)

// placed is a record as a daemon sends it; its chain is made of a letter.
func placed(seq int, chain, id string) string {
	return fmt.Sprintf(`{"seq":%d,"chain":"%s","id":"%s","kind":"intent"}`, seq, strings.Repeat(chain, 64), id)
}

func TestChainsAreWatchedAsRecordsCome(t *testing.T) {
	f := start(t)
	token := f.nodeToken("engine")
	for _, batch := range []string{
		lines(placed(1, "a", "r1"), placed(2, "b", "r2")),
		lines(placed(2, "b", "r2"), placed(3, "c", "r3")), // a repeat is harmless
		lines(placed(6, "f", "r6")),                       // 4 and 5 are missing
		lines(placed(5, "e", "r5")),                       // 5 was late
		lines(placed(2, "d", "other")),                    // another record in the place of r2
		lines(`{"seq":3,"chain":"` + strings.Repeat("c", 64) + `","id":"r3","kind":"intent","rows":1}`), // r3 changed
	} {
		if status, raw := f.call("POST", "/v1/audit/records", token, batch); status != 200 {
			t.Fatalf("%d %s", status, raw)
		}
	}
	var findings []AuditFinding
	f.must("GET", "/v1/audit/findings", nil, &findings)
	var got []string
	for _, x := range findings {
		got = append(got, fmt.Sprint(x.Kind, x.First, "-", x.Last))
	}
	if want := "edit3-3 fork2-2 late5-5 gap4-5"; strings.Join(got, " ") != want {
		t.Errorf("found %v, want %s", got, want)
	}
	var heads []AuditHead
	f.must("GET", "/v1/audit/heads", nil, &heads)
	if len(heads) != 1 || heads[0].Node != "engine" || heads[0].Seq != 6 || heads[0].Records != 6 {
		t.Errorf("heads %+v", heads)
	}
}

// A record that the store's own PostgreSQL refuses holds nothing up.
func TestARecordThatCannotBeStoredIsRefusedAlone(t *testing.T) {
	f := start(t)
	if _, err := f.store.pool.Exec(t.Context(), `ALTER TABLE portcullis.audit_records ADD CHECK (id <> 'bad')`); err != nil {
		t.Fatal(err)
	}
	reply, err := f.store.StoreAudit(t.Context(), "engine", strings.NewReader(lines(placed(1, "a", "r1"), placed(2, "b", "bad"), placed(3, "c", "r3"))))
	if err != nil || reply.Stored != 2 || len(reply.Refused) != 1 || reply.Refused[0].Line != 2 || reply.Refused[0].ID != "bad" || !strings.Contains(reply.Refused[0].Reason, "check constraint") {
		t.Errorf("%+v, %v", reply, err)
	}
	if len(reply.Findings) != 1 || reply.Findings[0].Kind != "gap" || reply.Findings[0].First != 2 {
		t.Errorf("findings %+v", reply.Findings)
	}
}

func TestPlacesInTheChain(t *testing.T) {
	for line, want := range map[string]string{
		`{"seq":7,"chain":"00ff","id":"x"}`:                   `7 00ff {"id":"x"}`,
		`{"seq":7,"chain":"00ff"}`:                            `7 00ff {}`,
		`{"id":"x","seq":7,"chain":"00ff"}`:                   `0  {"id":"x","seq":7,"chain":"00ff"}`,
		`{"seq":99999999999999999999,"chain":"00ff","id":""}`: `0  {"seq":99999999999999999999,"chain":"00ff","id":""}`,
		`{"seq":7,"chain":"0","id":"x"}`:                      `0  {"seq":7,"chain":"0","id":"x"}`,
	} {
		seq, chain, record := chainPlace([]byte(line))
		if got := fmt.Sprintf("%d %x %s", seq, chain, record); got != want {
			t.Errorf("%s: %s", line, got)
		}
	}
}
