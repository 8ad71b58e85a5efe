package service

import (
	"fmt"
	"testing"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/mapping"
	"portcullis.dev/portcullis/policy"
)

func TestEverybodyIsReadAsOneByOne(t *testing.T) {
	f := storeOnly(t)
	people := []Person{
		{UserID: "ana", Email: "ana@example.com", Groups: []string{"b", "a"}, Attributes: map[string][]string{"x": {"2", "1"}, "y": {"z"}}},
		{UserID: "ben", IAMID: "okta", Status: policy.StatusDisabled},
	}
	if _, err := f.store.Apply(t.Context(), "test", State{Groups: &[]Group{{Name: "a"}, {Name: "b"}}, People: &people}, false); err != nil {
		t.Fatal(err)
	}
	all, emails, err := everybody(t.Context(), f.store.pool)
	if err != nil {
		t.Fatal(err)
	}
	one, err := listPeople(t.Context(), f.store.pool, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range one {
		if got, want := fmt.Sprintf("%+v", all[i]), fmt.Sprintf("%+v", *one[i].subject()); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	mapped := withEmails(all, emails)
	if fmt.Sprint(mapped[0].Attributes["email"]) != "[ana@example.com]" || all[0].Attributes["email"] != nil || mapped[1].Attributes != nil {
		t.Errorf("e-mail: %+v, %+v", mapped, all)
	}
}

func TestAnAccountGoesToNobodyWhereNamesAreOneText(t *testing.T) {
	person := func(iamid, userid string) policy.Person {
		return policy.Person{PersonID: policy.PersonID{IAMID: iamid, UserID: userid}, Status: policy.StatusActive}
	}
	people := []policy.Person{person("a", "b/c"), person("a/b", "c"), person("local", "ana")}
	var a ConnectionAccounts
	a.resolve(Connection{}, people, []mapping.Entry{{Person: people[0].PersonID, State: mapping.Manual, Account: "one"}, {Person: people[1].PersonID, State: mapping.Manual, Account: "two"},
		{Person: people[2].PersonID, State: mapping.Manual, Account: "ana"}}, mapping.Instance{Roles: []mapping.Role{{Name: "one", Login: true}, {Name: "two", Login: true}, {Name: "ana", Login: true}}})
	if len(a.Accounts) != 3 {
		t.Fatalf("accounts %v, unmapped %v", a.Accounts, a.Unmapped)
	}
	var w wanting
	w.mapPeople(people, []connection.Account(a.Accounts))
	if fmt.Sprint(w.roles) != "map[{local ana}:ana]" {
		t.Errorf("roles %v", w.roles)
	}
}

// TestWhoJoinsUnderTheNameOfAnAccountHoldsUpNoState: both get nothing by it until an
// administrator decides, but what else a state says is done.
func TestWhoJoinsUnderTheNameOfAnAccountHoldsUpNoState(t *testing.T) {
	f := storeOnly(t)
	see(t, f, "shop", database(1, "app", schema(10, "public", table(100, "orders", "id"))))
	apply := func(s State) error { _, err := f.store.Apply(t.Context(), "test", s, false); return err }
	accounts := &[]MappedAccount{{Connection: "shop", UserID: "ana", Account: "ana_dba"}}
	for _, s := range []State{
		{People: &[]Person{{UserID: "ana"}, {UserID: "ben"}}},
		{ConnectionAccounts: accounts},
		{People: &[]Person{{UserID: "ana"}, {UserID: "ben"}, {UserID: "ana_dba"}}},
		{ConnectionAccounts: accounts, Policies: &[]Policy{}},
	} {
		if err := apply(s); err != nil {
			t.Error(err)
		}
	}
	if err := apply(State{ConnectionAccounts: &[]MappedAccount{{Connection: "shop", UserID: "ben", Account: "ana_dba"}}}); err == nil {
		t.Error("an account was given to one more person")
	}
}
