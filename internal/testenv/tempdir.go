package testenv

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

const (
	tempPrefix = "portcullis-"
	lockName   = "lock"
)

// lockedTemp makes a temporary folder whose lock file stays locked while this
// process lives, so that a later process can tell what was left behind.
func lockedTemp() (string, *os.File, error) {
	dir, err := os.MkdirTemp("", tempPrefix)
	if err != nil {
		return "", nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", nil, err
	}
	// It gets its name when it is locked: another process that sweeps in between
	// would take the folder for one that was left behind.
	unlocked := filepath.Join(dir, lockName+".new")
	lock, err := os.OpenFile(unlocked, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return "", nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if err := os.Rename(unlocked, filepath.Join(dir, lockName)); err != nil {
		return "", nil, err
	}
	return dir, lock, nil
}

// sweepTemp removes folders of processes that ended without stopping.
func sweepTemp() {
	locks, err := filepath.Glob(filepath.Join(os.TempDir(), tempPrefix+"*", lockName))
	if err != nil {
		return
	}
	for _, name := range locks {
		lock, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			continue // another user's
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = os.RemoveAll(filepath.Dir(name)) // the next one tries again
		}
		lock.Close()
	}
}

func tail(name string, n int64) string {
	f, err := os.Open(name)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err.Error()
	}
	from := max(0, info.Size()-n)
	b := make([]byte, info.Size()-from)
	got, err := f.ReadAt(b, from)
	if err != nil {
		return err.Error()
	}
	return string(b[:got])
}
