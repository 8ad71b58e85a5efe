package attack

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// A hostile source is a real server behind a proxy that changes what it says:
// drivers come as far as the phase that the attack is about.

// message is one of the server's, with its framing.
type message struct {
	n      int  // from 1, over the connection
	kind   byte // PostgreSQL: type; MariaDB: sequence number
	body   []byte
	result bool // of the query, not of what the driver asks when it connects
}

// tamper answers what is sent instead, framing included, and whether the
// connection goes on; nil, true: the message as it is.
type tamper func(m message, send func([]byte) error) (goOn bool)

// framing is how a protocol's messages are told apart.
type framing struct {
	name string
	head int // bytes before the body
	size func(head []byte) (body int, kind byte)
	make func(kind byte, body []byte) []byte
}

var postgresFraming = framing{"postgres", 5,
	func(h []byte) (int, byte) { return int(binary.BigEndian.Uint32(h[1:])) - 4, h[0] },
	func(kind byte, body []byte) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4)), body...)
	}}

var mariadbFraming = framing{"mariadb", 4,
	func(h []byte) (int, byte) { return int(h[0]) | int(h[1])<<8 | int(h[2])<<16, h[3] },
	func(kind byte, body []byte) []byte {
		return append([]byte{byte(len(body)), byte(len(body) >> 8), byte(len(body) >> 16), kind}, body...)
	}}

// proxy listens for drivers and passes on to a server.
type proxy struct {
	framing
	port     int
	upstream string
	change   tamper
	marker   string // of the query

	mu   sync.Mutex
	sent strings.Builder // by the driver
}

func startProxy(t *testing.T, f framing, upstream, marker string, change tamper) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{framing: f, port: l.Addr().(*net.TCPAddr).Port, upstream: upstream, change: change, marker: marker}
	var open sync.WaitGroup
	done := make(chan struct{})
	t.Cleanup(func() {
		close(done)
		_ = l.Close()
		open.Wait()
	})
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { p.serve(c, done) })
		}
	})
	return p
}

func (p *proxy) serve(driver net.Conn, done chan struct{}) {
	server, err := net.Dial("tcp", p.upstream)
	if err != nil {
		_ = driver.Close()
		return
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() { // ends both directions, of which either may hang
		select {
		case <-done:
		case <-ended:
		}
		_, _ = driver.Close(), server.Close()
	}()
	var asked atomic.Bool
	go p.listen(driver, server, &asked)
	for n := 1; ; n++ {
		head := make([]byte, p.head)
		if _, err := io.ReadFull(server, head); err != nil {
			return
		}
		size, kind := p.size(head)
		body := make([]byte, size)
		if _, err := io.ReadFull(server, body); err != nil {
			return
		}
		send := func(b []byte) error { _, err := driver.Write(b); return err }
		if !p.change(message{n, kind, body, asked.Load()}, send) {
			return
		}
	}
}

// listen passes on what the driver says, and refuses TLS.
func (p *proxy) listen(driver, server net.Conn, asked *atomic.Bool) {
	buf := make([]byte, 64<<10)
	for first := true; ; first = false {
		n, err := driver.Read(buf)
		if err != nil {
			_ = server.Close()
			return
		}
		if first && p.name == "postgres" && n == 8 && binary.BigEndian.Uint32(buf[4:]) == 80877103 {
			if _, err := driver.Write([]byte("N")); err != nil {
				return
			}
			continue
		}
		p.mu.Lock()
		p.sent.Write(buf[:n])
		if strings.Contains(p.sent.String(), p.marker) {
			asked.Store(true)
		}
		p.mu.Unlock()
		if _, err := server.Write(buf[:n]); err != nil && !errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

func (p *proxy) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent.String()
}
