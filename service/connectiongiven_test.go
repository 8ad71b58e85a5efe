package service

import (
	"fmt"
	"strings"
	"testing"

	"portcullis.dev/portcullis/connection"
)

// TestAStateOfBeforeARenamingTakesNoSettingsOff: whatever took the old name
// meanwhile, what was renamed keeps its tags until somebody has stated them
// under the new name.
func TestAStateOfBeforeARenamingTakesNoSettingsOff(t *testing.T) {
	pii, sales := []string{"PII"}, []string{"Sales"}
	orders := ObjectSettings{Name: "shop.app.public.orders", Tags: pii}
	public := func(tables ...connection.Object) []connection.Database {
		return []connection.Database{database(1, "app", schema(10, "public", tables...))}
	}
	columns := func(name string, columns ...string) ObjectSettings {
		o := ObjectSettings{Name: "shop.app.public." + name}
		for _, c := range columns {
			o.Columns = append(o.Columns, ColumnTags{Name: c, Tags: pii})
		}
		return o
	}
	for name, c := range map[string]struct {
		before  []connection.Database
		stated  []ObjectSettings
		after   []connection.Database
		refused string           // what is said of the same state
		anew    []ObjectSettings // taken
		last    []ObjectSettings // taken, once that was stated
	}{
		"another table took the name": {public(table(100, "orders", "id")), []ObjectSettings{orders},
			public(table(100, "archive", "id"), table(101, "orders", "id")), `archive would lose the tag "PII", which it got as shop.app.public.orders`,
			[]ObjectSettings{orders, {Name: "shop.app.public.archive", Tags: pii}}, []ObjectSettings{orders}},
		"the renamed one was made anew": {public(table(100, "orders", "id")), []ObjectSettings{orders},
			public(table(200, "archive", "id"), table(101, "orders", "id")), `archive would lose the tag "PII", which it got as shop.app.public.orders`,
			[]ObjectSettings{orders, {Name: "shop.app.public.archive", Tags: pii}}, []ObjectSettings{orders}},
		"two tables swapped names": {public(table(100, "orders", "id"), table(101, "notes", "id")), []ObjectSettings{orders, {Name: "shop.app.public.notes", Tags: sales}},
			public(table(100, "notes", "id"), table(101, "orders", "id")), `orders would lose the tag "Sales", which it got as shop.app.public.notes`,
			[]ObjectSettings{{Name: "shop.app.public.notes", Tags: pii}, {Name: "shop.app.public.orders", Tags: sales}}, []ObjectSettings{}},
		"a table that was disabled": {public(table(100, "orders", "id")), []ObjectSettings{{Name: "shop.app.public.orders", State: stateDisable}},
			public(table(100, "archive", "id"), table(101, "orders", "id")), "archive would no longer be disabled, which it became as shop.app.public.orders",
			[]ObjectSettings{{Name: "shop.app.public.archive", State: stateDisable}}, []ObjectSettings{}},
		"another column took the name": {public(table(100, "orders", "id", "email")), []ObjectSettings{columns("orders", "email")},
			public(connection.Object{OID: 100, Name: "orders", Kind: connection.KindTable, Columns: []connection.Column{{Number: 1, Name: "id"}, {Number: 2, Name: "mail"}, {Number: 3, Name: "email"}}}),
			`the column "mail" of shop.app.public.orders would lose the tag "PII", which it got as "email"`,
			[]ObjectSettings{columns("orders", "email", "mail")}, []ObjectSettings{columns("orders", "email")}},
		"two columns swapped names, and the table got another one": {public(table(100, "orders", "id", "email")), []ObjectSettings{columns("orders", "email")},
			public(table(100, "archive", "email", "id"), table(101, "orders", "id", "email")), `the column "email" of shop.app.public.archive would lose the tag "PII", which it got as a column of shop.app.public.orders`,
			[]ObjectSettings{columns("orders", "email"), columns("archive", "email", "id")}, []ObjectSettings{columns("archive", "id")}},
		"another schema took the name": {public(table(100, "orders", "id")), []ObjectSettings{{Name: "shop.app.public", Tags: sales}, orders},
			[]connection.Database{database(1, "app", schema(10, "old", table(100, "orders", "id")), schema(11, "public", table(101, "orders", "id")))},
			`shop.app.old would lose the tag "Sales", which it got as shop.app.public`,
			[]ObjectSettings{{Name: "shop.app.old", Tags: sales}, {Name: "shop.app.old.orders", Tags: pii}}, []ObjectSettings{orders}},
	} {
		t.Run(name, func(t *testing.T) {
			s := see(t, storeOnly(t), "shop", c.before...)
			s.settings(t, c.stated...)
			if c.after[0].Schemas[0].Objects[0].OID == 200 {
				s.crawl(t, public(table(100, "archive", "id"), table(101, "orders", "id"))...)
			}
			s.crawl(t, c.after...)
			apply := func(list []ObjectSettings) error {
				_, err := s.f.store.Apply(t.Context(), "test", State{ConnectionObjects: &list}, false)
				return err
			}
			refusal := apply(c.stated)
			e, ok := refusal.(*Error)
			if !ok || !strings.Contains(e.Message, c.refused) || !strings.Contains(e.Hint, "as they are") {
				t.Fatalf("the state of before is answered: %#v", refusal)
			}
			s.settings(t, c.anew...)
			s.settings(t, c.last...)
			if list, err := objectSettingsKind().list(t.Context(), s.f.store.pool, nil); err != nil || strings.Contains(fmt.Sprintf("%+v", list), "Was:shop") {
				t.Errorf("once stated anew: %+v, %v", list, err)
			}
		})
	}
}
