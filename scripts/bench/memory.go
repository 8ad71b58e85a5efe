package main

import (
	"context"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"portcullis.dev/portcullis/internal/testenv"
)

func datasync(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }

// privateKB is the private memory of a process, in kB.
func privateKB(pid uint32) (int64, error) {
	kb, err := testenv.PrivateKB(int(pid))
	return int64(kb), err
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
