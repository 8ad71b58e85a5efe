// Package testenv starts real servers on loopback for the tests and for
// `make run`: PostgreSQL from a private installation tree of this checkout,
// MariaDB, SQLite files, the policy service, and an instance with all of it.
//
// Run as root, the servers run as the users their packages created (postgres,
// mysql); run as anyone else, they run as that user. Everything lies below one
// folder, which Stop removes.
package testenv

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Options says where an Env lives and how its servers relate to this process.
type Options struct {
	Dir    string // "" makes a folder below os.TempDir
	Detach bool   // servers outlive this process; else they die with it
}

// Env is a set of servers below one folder. Its methods may be called from
// several goroutines.
type Env struct {
	Dir string

	opts Options
	lock *os.File // held while a temporary folder is in use

	mu    sync.Mutex
	stops []func(context.Context) error
}

// New makes the folder and an empty Env in it.
func New(opts Options) (*Env, error) {
	e := &Env{Dir: opts.Dir, opts: opts}
	if e.Dir == "" {
		sweepTemp()
		dir, lock, err := lockedTemp()
		if err != nil {
			return nil, err
		}
		e.Dir, e.lock = dir, lock
	} else if err := os.MkdirAll(e.Dir, 0o755); err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(e.Dir)
	if err != nil {
		return nil, err
	}
	e.Dir = abs
	if err := checkReachable(abs); err != nil {
		return nil, errors.Join(err, e.Stop(context.Background()))
	}
	return e, nil
}

// ForTest makes an Env that ends with the test; on failure the tails of the
// servers' logs are shown.
func ForTest(tb testing.TB) *Env {
	tb.Helper()
	e, err := New(Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Log(e.LogTails(4000))
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := e.Stop(ctx); err != nil {
			tb.Errorf("stopping servers: %v", err)
		}
	})
	return e
}

// Stop stops the servers, the youngest first, and removes the folder.
func (e *Env) Stop(ctx context.Context) error {
	e.mu.Lock()
	stops := e.stops
	e.stops = nil
	e.mu.Unlock()

	var errs []error
	for i := len(stops) - 1; i >= 0; i-- {
		errs = append(errs, stops[i](ctx))
	}
	errs = append(errs, os.RemoveAll(e.Dir))
	if e.lock != nil {
		errs = append(errs, e.lock.Close())
		e.lock = nil
	}
	return errors.Join(errs...)
}

// LogTails returns the last n bytes of each log below the folder.
func (e *Env) LogTails(n int64) string {
	logs, err := filepath.Glob(filepath.Join(e.Dir, "*.log"))
	if err != nil {
		return err.Error()
	}
	out := ""
	for _, name := range logs {
		out += fmt.Sprintf("--- %s\n%s\n", filepath.Base(name), tail(name, n))
	}
	return out
}

func (e *Env) onStop(f func(context.Context) error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stops = append(e.stops, f)
}

// Own gives a file or folder to the user that the instances and services run
// as; it keeps its mode.
func (e *Env) Own(path string) error {
	as, err := serverAccount("postgres")
	if err != nil {
		return err
	}
	return as.own(path)
}

// Password makes a random password of 24 characters that needs no quoting in
// shells, connection strings or SQL.
func Password() string {
	b := make([]byte, 18)
	if _, err := rand.Read(b); err != nil {
		panic(err) // documented never to fail on Linux
	}
	return base64.RawURLEncoding.EncodeToString(b)
}
