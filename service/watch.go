package service

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// pollEvery is how often the policy version is looked up for all streams of
// this process; so a change made through another replica is noticed as soon.
const pollEvery = 100 * time.Millisecond

// watcher tells streams of new versions.
type watcher struct {
	store *Store
	log   *slog.Logger

	mu      sync.Mutex
	version int64
	healthy bool
	changed chan struct{} // closed and replaced at each change
}

func newWatcher(store *Store, log *slog.Logger) *watcher {
	return &watcher{store: store, log: log, changed: make(chan struct{})}
}

func (w *watcher) run(ctx context.Context) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		w.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (w *watcher) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	v, err := w.store.Version(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		if w.healthy {
			w.log.Warn("cannot read the policy version", "error", err)
		}
		w.healthy = false
		return
	}
	w.healthy = true
	if v != w.version {
		w.version = v
		close(w.changed)
		w.changed = make(chan struct{})
	}
}

// state returns the version last seen, whether the database answered then,
// and a channel that is closed at the next change.
func (w *watcher) state() (version int64, healthy bool, changed <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.version, w.healthy, w.changed
}
