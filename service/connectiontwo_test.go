package service

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// TestTwoServicesRegisterAnInstanceAtOnce: one of them has it and reaches it, the
// other is told that it has.
func TestTwoServicesRegisterAnInstanceAtOnce(t *testing.T) {
	pg := remote(t)
	one := start(t)
	services := []*world{{fixture: one, pg: pg}, {fixture: startOn(t, one.dsn, one.key, nil), pg: pg}}
	for _, names := range [][]string{{"shop", "store"}, {"shop", "shop"}} {
		var all sync.WaitGroup
		var made []string
		var mu sync.Mutex
		for i, w := range services {
			body := rawState(t, w.connection(names[i]))
			all.Go(func() {
				status, raw := w.call("POST", "/v1/connections", w.admin, body)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case status == http.StatusCreated:
					made = append(made, names[i])
				case status != http.StatusConflict || !strings.Contains(string(raw), "reaches already") && !strings.Contains(string(raw), "exists"):
					t.Errorf("%s: %d %s", names, status, raw)
				}
			})
		}
		all.Wait()
		if len(made) != 1 {
			t.Fatalf("%s: made %s", names, made)
		}
		var check ConnectionCheck
		if one.must("GET", "/v1/connections/"+made[0]+"/check", nil, &check); !check.Ready {
			t.Errorf("%s: %+v", names, check)
		}
		one.must("DELETE", "/v1/connections/"+made[0]+"?forget=true", nil, nil)
	}
	// A service on another store knows nothing of these: it takes the account, and says so.
	other := &world{fixture: start(t), pg: pg}
	var reply Registered
	other.must("POST", "/v1/connections", other.connection("shop"), &reply)
	if !strings.Contains(strings.Join(reply.Warnings, "\n"), "cannot log in any more") {
		t.Errorf("warnings %q", reply.Warnings)
	}
}

func rawState(t *testing.T, c Connection) string {
	t.Helper()
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
