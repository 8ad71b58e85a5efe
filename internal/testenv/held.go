package testenv

import (
	"fmt"
	"os"
	"strings"
)

// Held is what a process holds of things that may leak.
type Held struct {
	Threads, Descriptors   int
	PrivateKB, AnonymousKB int
}

// Holds reads what a process holds.
func Holds(pid int) (h Held, err error) {
	if h.Threads, err = entries(pid, "task"); err != nil {
		return h, err
	}
	if h.Descriptors, err = entries(pid, "fd"); err != nil {
		return h, err
	}
	if h.PrivateKB, err = PrivateKB(pid); err != nil {
		return h, err
	}
	h.AnonymousKB, err = memoryKB(pid, func(part string) bool { return part == "Anonymous" })
	return h, err
}

func entries(pid int, of string) (int, error) {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/%s", pid, of))
	return len(list), err
}

// PrivateKB is the memory that a process shares with no other, in kB.
func PrivateKB(pid int) (int, error) {
	return memoryKB(pid, func(part string) bool { return strings.HasPrefix(part, "Private_") })
}

// memoryKB adds up parts of a process's memory, in kB (proc(5), smaps_rollup).
func memoryKB(pid int, counts func(part string) bool) (sum int, err error) {
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(rollup)) {
		part, value, ok := strings.Cut(line, ":")
		if !ok || !counts(part) {
			continue
		}
		var kb int
		if _, err := fmt.Sscan(value, &kb); err != nil {
			return 0, err
		}
		sum += kb
	}
	return sum, nil
}
