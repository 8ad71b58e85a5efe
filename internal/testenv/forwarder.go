package testenv

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
)

// Forwarder is a TCP port before a server: what goes through it can be cut,
// and those who come can be left without an answer.
type Forwarder struct {
	Port int

	upstream string
	listener net.Listener
	open     sync.WaitGroup

	mu     sync.Mutex
	closed bool
	silent bool
	held   int // connections that were accepted and got no answer
	conns  map[net.Conn]struct{}
}

// StartForwarder forwards a free loopback port to upstream (host:port) until the test ends.
func StartForwarder(tb testing.TB, upstream string) *Forwarder {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", net.JoinHostPort(Loopback, "0"))
	if err != nil {
		tb.Fatal(err)
	}
	f := &Forwarder{Port: l.Addr().(*net.TCPAddr).Port, upstream: upstream, listener: l, conns: map[net.Conn]struct{}{}}
	f.open.Go(f.accept)
	tb.Cleanup(func() {
		f.mu.Lock()
		f.closed = true
		f.mu.Unlock()
		_ = l.Close()
		f.Cut()
		f.open.Wait()
	})
	return f
}

// Silence leaves everybody who comes from now on without an answer.
func (f *Forwarder) Silence() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.silent = true
}

// Held is how many came and were left without an answer.
func (f *Forwarder) Held() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.held
}

// Cut ends all connections, without a word to either side.
func (f *Forwarder) Cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset, as from a peer that died
		}
		_ = c.Close()
	}
}

func (f *Forwarder) accept() {
	for {
		c, err := f.listener.Accept()
		if err != nil {
			return
		}
		if !f.keep(c) {
			continue
		}
		f.mu.Lock()
		silent := f.silent
		if silent {
			f.held++
		}
		f.mu.Unlock()
		if silent {
			f.open.Go(func() { _, _ = io.Copy(io.Discard, c); f.drop(c) })
			continue
		}
		f.open.Go(func() { f.pass(c) })
	}
}

// keep notes a connection, so that Cut ends it; false: it came too late.
func (f *Forwarder) keep(c net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		_ = c.Close()
		return false
	}
	f.conns[c] = struct{}{}
	return true
}

func (f *Forwarder) drop(c net.Conn) {
	_ = c.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, c)
}

func (f *Forwarder) pass(client net.Conn) {
	defer f.drop(client)
	server, err := new(net.Dialer).DialContext(context.Background(), "tcp", f.upstream)
	if err != nil || !f.keep(server) {
		return
	}
	defer f.drop(server)
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(server, client); _ = server.Close() })
	both.Go(func() { _, _ = io.Copy(client, server); _ = client.Close() })
	both.Wait()
}
