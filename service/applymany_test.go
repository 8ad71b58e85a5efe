package service

import (
	"fmt"
	"testing"
)

// TestApplyOfManyEntries states more than is written to the change log at once.
func TestApplyOfManyEntries(t *testing.T) {
	f := start(t)
	const n = logAtOnce + readAll
	people := make([]Person, n)
	for i := range people {
		people[i] = Person{UserID: fmt.Sprintf("p%04d", i), Groups: []string{"all"}}
	}
	groups := []Group{{Name: "all"}}
	var reply ApplyReply
	f.must("POST", "/v1/state", State{People: &people, Groups: &groups}, &reply)
	if len(reply.Differences) != n+1 {
		t.Errorf("%d differences of %d people and a group", len(reply.Differences), n)
	}
	reply = ApplyReply{}
	f.must("POST", "/v1/state", State{People: &people, Groups: &groups}, &reply)
	if len(reply.Differences) != 0 {
		t.Errorf("the same again is %d differences: %+v", len(reply.Differences), reply.Differences[0])
	}
	people[7].Attributes = map[string][]string{"site": {"a"}}
	people = people[:n-readAll]
	f.must("POST", "/v1/state", State{People: &people}, &reply)
	if len(reply.Differences) != 1+readAll || reply.Differences[0].Action != "update" || reply.Differences[1].Action != "delete" {
		t.Errorf("one changed and ten gone: %+v", reply.Differences)
	}

	// The log has each of them, in order, with what it was and is.
	var log []string
	rows, err := f.store.pool.Query(t.Context(), "SELECT action, key, before IS NULL, after IS NULL FROM portcullis.change_log WHERE object = 'people' ORDER BY seq")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var action, key string
		var new, gone bool
		if err := rows.Scan(&action, &key, &new, &gone); err != nil {
			t.Fatal(err)
		}
		if new != (action == "create") || gone != (action == "delete") {
			t.Errorf("%s of %s has nothing before: %t, nothing after: %t", action, key, new, gone)
		}
		log = append(log, action+" "+key)
	}
	if len(log) != n+1+readAll || log[0] != "create p0000/local" || log[n-1] != fmt.Sprintf("create p%04d/local", n-1) || log[n] != "update p0007/local" {
		t.Errorf("%d lines, %v …", len(log), log[:min(len(log), 3)])
	}
}
