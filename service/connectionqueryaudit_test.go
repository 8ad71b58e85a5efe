package service

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection/queryaudit"
)

// What a mapped person does with their own connection string is in the audit,
// under their name, once, whatever is read again.
func TestQueryAudit(t *testing.T) {
	w := register(t, "ann", "carl")
	for setting, value := range map[string]string{"logging_collector": "on", "log_destination": "csvlog", "log_statement": "all", "log_filename": "at-%H%M%S.log"} {
		if err := w.pg.AppendConfig(map[string]string{setting: value}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.pg.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	audit := func() (a ConnectionQueryAudit) {
		w.must("GET", "/v1/connection_query_audits/shop", nil, &a)
		return a
	}
	again := func(position string) { // is due now
		if _, err := w.store.pool.Exec(t.Context(), "UPDATE portcullis.connection_query_audits SET due = clock_timestamp(), position = coalesce(nullif($1, '')::jsonb, position)", position); err != nil {
			t.Fatal(err)
		}
	}
	w.must("PUT", "/v1/connection_query_audits/shop", ConnectionQueryAudit{Connection: "shop"}, nil)
	w.soon("an error as long as the script was not run", func() bool {
		a := audit()
		return a.Error != nil && a.Error.Code == queryaudit.CodeUnavailable && a.Error.Hint != ""
	})
	runAt(t, w.pg, queryaudit.Script("gatekeeper"))
	again("")
	w.soon("reading has begun", func() bool { return audit().LastRead != nil })

	if w.can("ann", "SELECT 'of ann', 1 FROM sales.notes") {
		t.Error("ann reads what no policy gives")
	}
	w.can("carl", "SELECT 'of carl'")
	runAt(t, w.pg, "SELECT 'of a superuser'")
	statements := func() (all []queryaudit.Record) {
		rows, err := w.store.pool.Query(t.Context(), "SELECT body::text FROM portcullis.audit_records WHERE kind = $1 AND node = 'connection/shop' ORDER BY id", queryaudit.Kind)
		if err != nil {
			t.Fatal(err)
		}
		bodies, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		for _, body := range bodies {
			var r queryaudit.Record
			if err := json.Unmarshal([]byte(body), &r); err != nil {
				t.Fatal(err)
			}
			all = append(all, r)
		}
		return all
	}
	has := func(text, person string) func() bool {
		return func() bool {
			again("")
			for _, r := range statements() {
				if strings.Contains(r.Statement, text) && strings.HasSuffix(r.Person, person) && r.Person != "" {
					return true
				}
			}
			return false
		}
	}
	w.soon("ann's statement is in the audit", has("of ann", "/ann"))
	w.soon("carl's statement is in the audit", has("of carl", "/carl"))
	before := statements()
	for _, r := range before {
		if strings.Contains(r.Statement, "of a superuser") || r.Role == "gatekeeper" {
			t.Errorf("%+v is nobody's", r)
		}
	}
	read := audit().LastRead
	again(`{}`) // as after a crash that lost the position: everything comes again
	w.soon("everything was read again", func() bool { return audit().LastRead.After(*read) })
	w.soon("up to the end", func() bool { again(""); a := audit(); return a.Error == nil && a.Damaged == 0 })
	after := statements()
	if len(after) < len(before) {
		t.Errorf("%d records, then %d", len(before), len(after))
	}
	ids := map[string]bool{}
	for _, r := range after {
		if ids[r.ID] {
			t.Errorf("%s twice", r.ID)
		}
		ids[r.ID] = true
	}
	var findings int
	if err := w.store.pool.QueryRow(t.Context(), "SELECT count(*) FROM portcullis.audit_findings WHERE node = 'connection/shop'").Scan(&findings); err != nil || findings > 0 {
		t.Errorf("%d findings, %v", findings, err)
	}
	w.must("DELETE", "/v1/connection_query_audits/shop", nil, nil)
}
