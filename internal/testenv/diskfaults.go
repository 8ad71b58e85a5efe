package testenv

import (
	_ "embed"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

//go:embed testdata/diskfaults.c
var diskFaultsSource []byte

// DiskFaults makes the disk below an instance's audit spool misbehave: real
// file systems that are full or broken need root and a kernel that allows
// mounts, this works everywhere.
type DiskFaults struct {
	tb  testing.TB
	dir string
	lib string
}

// NewDiskFaults builds the library that a server is to run with (Wrap); no
// fault is set.
func NewDiskFaults(tb testing.TB) *DiskFaults {
	tb.Helper()
	dir, err := os.MkdirTemp("", "portcullis-faults-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	as, err := serverAccount("postgres")
	if err == nil {
		err = as.own(dir) // the server says there that it hangs
	}
	source, lib := filepath.Join(dir, "diskfaults.c"), filepath.Join(dir, "diskfaults.so")
	if err == nil {
		err = os.WriteFile(source, diskFaultsSource, 0o600)
	}
	if err == nil {
		err = run(exec.CommandContext(tb.Context(), "gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", lib, source))
	}
	if err != nil {
		tb.Fatalf("disk faults: %v (make deps installs gcc)", err)
	}
	return &DiskFaults{tb: tb, dir: dir, lib: lib}
}

// Wrap is the command that a server runs under.
func (f *DiskFaults) Wrap() []string {
	return []string{"env", "LD_PRELOAD=" + f.lib, "PORTCULLIS_FAULTS=" + f.dir}
}

// Full lets so many bytes fit into the spool's folder.
func (f *DiskFaults) Full(bytes int64) { f.set("budget", bytes) }

// Write makes every write to the spool fail.
func (f *DiskFaults) Write(with syscall.Errno) { f.set("write", int64(with)) }

// Short lets a write take so many bytes and fails the next.
func (f *DiskFaults) Short(bytes int64) { f.set("short", bytes) }

// Sync makes every fsync and fdatasync of the spool fail.
func (f *DiskFaults) Sync(with syscall.Errno) { f.set("sync", int64(with)) }

// Hang makes every sync of the spool wait; Hanging tells that one does.
func (f *DiskFaults) Hang() { f.set("hang", 1) }

// Hanging says that a sync waits since Hang.
func (f *DiskFaults) Hanging() bool { return fileExists(filepath.Join(f.dir, "hanging")) }

// Clear ends all faults.
func (f *DiskFaults) Clear() {
	f.tb.Helper()
	for _, name := range []string{"budget", "write", "short", "sync", "hang", "hanging"} {
		if err := os.Remove(filepath.Join(f.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			f.tb.Fatal(err)
		}
	}
}

// set writes the file whole: a server may read it at any moment.
func (f *DiskFaults) set(name string, value int64) {
	f.tb.Helper()
	path := filepath.Join(f.dir, name)
	err := os.WriteFile(path+".new", []byte(strconv.FormatInt(value, 10)), 0o644)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		f.tb.Fatal(err)
	}
}
