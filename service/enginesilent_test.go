package service

import (
	"net"
	"testing"
	"time"
)

// A source that takes connections and never answers delays neither accounts nor other sources.
func TestASilentSourceDelaysNoOther(t *testing.T) {
	f := startEngine(t)
	peer, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	asked := make(chan net.Conn, 100)
	go func() {
		for {
			conn, err := peer.Accept()
			if err != nil {
				close(asked)
				return
			}
			asked <- conn
		}
	}()
	silent := f.source()
	silent.Name, silent.Host, silent.Port = "a_silent", "127.0.0.1", peer.Addr().(*net.TCPAddr).Port
	silent.Options = map[string]string{"connect_timeout": "60"}
	f.must("POST", "/v1/sources", silent, nil)
	f.must("POST", "/v1/sources", f.source(), nil)
	for _, name := range []string{"a1", "a2"} {
		f.must("POST", "/v1/data_sources", DataSource{Name: name, Source: silent.Name, RemoteSchema: "shop", RemoteTable: name, LocalName: name}, nil)
	}

	// A round waits for the silent source.
	waits := <-asked
	f.must("POST", "/v1/people", Person{UserID: "ana"}, nil)
	password := "p"
	began := time.Now()
	f.must("POST", "/v1/people/ana/sql-account", accountRequest{Role: "ana", Password: &password}, nil)
	if f.text(f.conn, "SELECT rolname FROM pg_roles WHERE rolname = 'ana'") == "" || time.Since(began) > 5*time.Second {
		t.Errorf("the account is not there after %v", time.Since(began))
	}
	f.must("POST", "/v1/data_sources", DataSource{Name: "orders", Source: "shop", RemoteSchema: "shop", RemoteTable: "orders", LocalName: "orders"}, nil)

	// Its refusal fails both of its data sources at once; the next round begins with what has not failed.
	waits.Close()
	waits = <-asked
	defer waits.Close()
	if f.text(f.conn, "SELECT to_regclass('immuta.orders')::text") == "" {
		t.Error("the silent source was asked again before the other one")
	}
	for _, name := range []string{"a1", "a2"} {
		var d DataSource
		f.must("GET", "/v1/data_sources/"+name, nil, &d)
		if d.SyncError == "" {
			t.Errorf("%s has not failed", name)
		}
	}
}
