package service

import (
	"strings"
	"testing"
)

// Who asks for a person, or for a table, finds what was done through the engine
// and what was done natively.
func TestAuditFindsBothWays(t *testing.T) {
	t.Parallel()
	f := storeOnly(t)
	for node, line := range map[string]string{
		"engine":          `{"id":"e1","kind":"statement","person":{"userid":"ana","iamid":"local"},"data_sources":["orders"]}`,
		"second":          `{"id":"e2","kind":"statement","person":{"userid":"x/ana","iamid":"local"}}`,
		"third":           `{"id":"e3","kind":"statement","person":{"userid":"ana","iamid":"okta"}}`,
		"connection/crm":  `{"id":"n2","kind":"native_statement","person":"local/x/ana","role":"x"}`,
		"connection/hr":   `{"id":"n3","kind":"native_statement","person":"okta/ana","role":"x"}`,
		"connection/shop": `{"id":"n1","kind":"native_statement","person":"local/ana","role":"a","database":"db","object":"sales.\"Or.ders\"","statement":"x"}`,
	} {
		if reply, err := f.store.StoreAudit(t.Context(), node, strings.NewReader(line)); err != nil || reply.Stored != 1 {
			t.Fatalf("%+v, %v", reply, err)
		}
	}
	for _, try := range []struct {
		filter AuditFilter
		want   string
	}{
		{AuditFilter{Person: "ana"}, "e1 e3 n1 n3"}, {AuditFilter{Person: "local/ana"}, "e1 n1"}, {AuditFilter{Person: "na"}, ""}, {AuditFilter{Person: "other/ana"}, ""},
		{AuditFilter{Person: "x/ana"}, "e2 n2"}, {AuditFilter{Person: "ana", IAMID: "okta"}, "e3 n3"}, {AuditFilter{Person: "ana", IAMID: "local"}, "e1 n1"},
		{AuditFilter{Person: "x/ana", IAMID: "local"}, "e2 n2"}, {AuditFilter{Person: "local/ana", IAMID: "local"}, ""}, {AuditFilter{Person: "ana", IAMID: "loc"}, ""},
		{AuditFilter{DataSource: "orders"}, "e1"}, {AuditFilter{DataSource: `shop.db.sales."Or.ders"`}, "n1"}, {AuditFilter{DataSource: "shop.db.sales"}, ""},
	} {
		list, err := f.store.Audit(t.Context(), try.filter)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, e := range list {
			ids = append(ids, e.ID)
		}
		if got := strings.Join(sortedSet(ids), " "); got != try.want {
			t.Errorf("%+v: found %q, want %q", try.filter, got, try.want)
		}
	}
}
