// Package run is what the exported functions of the library do: decisions,
// remote connections, scans and audit records of one PostgreSQL backend. It
// has no cgo exports, so that it runs under go test.
//
// All methods of Engine are called from the backend's one thread and never
// wait; whatever may wait runs in goroutines, and each step forward is told
// by a write to the eventfd.
package run

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"portcullis.dev/portcullis/engine/guard"
)

// Config is what a process gives at its start.
type Config struct {
	PGMajor      int
	MaxProcs     int
	MemoryLimit  int64 // bytes; 0: none
	BlockBytes   int64 // bound on one row block
	WholeBytes   int64 // what a driver may keep of a result, as estimated, before it is read in pages
	Idle         time.Duration
	MaxAbandoned int    // connects that may hang in a driver
	FileFolder   string // file databases must lie below it; "": none allowed
	KeyFile      string
	CAFile       string
	AllowedHosts string // what sources may be connected to, as package guard reads it
}

// Engine is the library in one process.
type Engine struct {
	cfg     Config
	ctx     context.Context // ends with the process
	cancel  context.CancelFunc
	eventFD int
	running atomic.Int64 // goroutines started by Go

	mu      sync.Mutex
	lastID  uint64
	tickets map[uint64]*ticket
	scans   map[uint64]*Scan
	fetches map[*fetch]struct{} // whose goroutines run

	resyncs map[string]time.Time // when the service was asked to look at a data source again

	undirected map[relation]bool      // tables whose columns were not described as was hoped for
	whole      map[relation]time.Time // tables that are not to be read in pages, and since when that is known

	usages map[usageKey]*usage // of limited statements; used by the backend's thread

	decisions *decisions
	pool      *pool
	reach     *guard.Guard
	unguarded error       // why there is no guard: nothing is connected to then
	resting   *time.Timer // fires when the session has been at rest for restAfter
}

// restAfter is how long after its last transaction a session gives memory
// that it does not use back to the system: most sessions rest most of the time.
const restAfter = time.Second

// The heap of a session is small; collecting it often costs little and keeps
// hundreds of sessions small.
const (
	gcPercent       = 50
	defaultMaxProcs = 2
)

// Start makes the engine of this process.
func Start(cfg Config) (*Engine, error) {
	if cfg.MaxProcs <= 0 {
		cfg.MaxProcs = defaultMaxProcs
	}
	runtime.GOMAXPROCS(cfg.MaxProcs)
	debug.SetGCPercent(gcPercent)
	if cfg.MemoryLimit > 0 {
		debug.SetMemoryLimit(cfg.MemoryLimit)
	}
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, &Error{State: stateSystem, Message: fmt.Sprintf("could not create an eventfd: %v", err)}
	}
	e := &Engine{
		cfg:     cfg,
		eventFD: fd,
		tickets: map[uint64]*ticket{},
		scans:   map[uint64]*Scan{},
		fetches: map[*fetch]struct{}{},
		resyncs: map[string]time.Time{}, undirected: map[relation]bool{}, whole: map[relation]time.Time{},
		usages: map[usageKey]*usage{},
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	if e.decisions, err = newDecisions(cfg.CAFile); err != nil {
		unix.Close(fd)
		return nil, err
	}
	e.pool = newPool(e)
	e.reach, e.unguarded = guard.Parse(cfg.AllowedHosts)
	e.resting = time.AfterFunc(restAfter, func() {
		e.guard("giving memory back", func(error) {}, debug.FreeOSMemory)
	})
	return e, nil
}

// EventFD is the descriptor that becomes readable with each step forward.
func (e *Engine) EventFD() int { return e.eventFD }

// progress tells the shim to ask again. A full counter already says so.
func (e *Engine) progress() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(e.eventFD, one[:])
}

// stopPatience bounds how long Stop waits for threads inside drivers.
const stopPatience = 100 * time.Millisecond

// Stop cancels everything and waits at most stopPatience for what runs.
func (e *Engine) Stop() {
	e.mu.Lock()
	scans := make([]*Scan, 0, len(e.scans))
	for _, s := range e.scans {
		scans = append(scans, s)
	}
	clear(e.scans)
	clear(e.tickets)
	e.mu.Unlock()

	e.cancel()
	e.resting.Stop()
	for _, s := range scans {
		s.end()
	}
	e.pool.stop()
	deadline := time.Now().Add(stopPatience)
	for e.running.Load() > 0 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	e.decisions.service.close()
}
