package testenv

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
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

// onFreePort starts a server on the first free port from want on, or on any
// (0), and again when the log says that somebody took it in between.
func onFreePort(want int, log string, start func(port int) error) error {
	for tries := 5; ; tries-- {
		port, err := portFrom(want)
		if err != nil {
			return err
		}
		if err = start(port); err == nil || tries == 1 || !strings.Contains(tail(log, 2000), "ddress already in use") {
			return err
		}
	}
}

func portFrom(want int) (int, error) {
	if want == 0 {
		return FreePort()
	}
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
