package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

func datasync(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }

// privateKB is the private memory of a process, in kB.
func privateKB(pid uint32) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	var sum int64
	for line := range strings.Lines(string(b)) {
		var kb int64
		if name, value, ok := strings.Cut(line, ":"); ok && strings.HasPrefix(name, "Private_") {
			if _, err := fmt.Sscan(value, &kb); err != nil {
				return 0, err
			}
			sum += kb
		}
	}
	return sum, nil
}

// peak samples the private memory of a process while f runs, 100 times a second.
func peak(ctx context.Context, pid uint32, f func() error) (highest int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			if kb, err := privateKB(pid); err == nil {
				highest = max(highest, kb)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	err = f()
	cancel()
	wg.Wait()
	return highest, err
}
