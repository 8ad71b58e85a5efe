package testenv

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Loopback is where every server listens.
const Loopback = "127.0.0.1"

// FreePort returns a port that nobody listens on. It lies below the range
// that the kernel hands out itself, so it stays free a while.
func FreePort() (int, error) {
	for range 200 {
		port := 20000 + rand.IntN(12000)
		if portFree(port) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port found between 20000 and 32000")
}

// PortFrom returns want if it is free, else the next free one after it.
func PortFrom(want int) (int, error) {
	for port := want; port < want+200 && port < 65536; port++ {
		if portFree(port) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port found from %d on", want)
}

func portFree(port int) bool {
	for _, host := range []string{Loopback, ""} { // "": taken by a wildcard listener
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}
