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
		{AuditFilter{Person: "ana"}, "e1 n1"}, {AuditFilter{Person: "local/ana"}, "e1 n1"}, {AuditFilter{Person: "na"}, ""}, {AuditFilter{Person: "other/ana"}, ""},
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
