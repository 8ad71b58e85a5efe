package testenv

import (
	"os"
	"sync"
	"testing"
)

// TestSweep: folders of processes that live are not swept while they are made.
func TestSweep(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	done := make(chan struct{})
	var sweeping sync.WaitGroup
	for range 2 {
		sweeping.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					sweepTemp()
				}
			}
		})
	}
	for range 500 {
		dir, lock, err := lockedTemp()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(dir); err != nil {
			t.Error("a folder that is in use was swept: ", err)
		}
		if lock.Close(); t.Failed() {
			break
		}
	}
	close(done)
	sweeping.Wait()
}
