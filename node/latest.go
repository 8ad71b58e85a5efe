package node

import "sync"

// latest holds the newest value of something and wakes those who wait for it.
type latest[T any] struct {
	mu    sync.Mutex
	value T
	set   bool
	wake  chan struct{}
}

func newLatest[T any]() *latest[T] { return &latest[T]{wake: make(chan struct{})} }

func (l *latest[T]) put(v T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.value, l.set = v, true
	close(l.wake)
	l.wake = make(chan struct{})
}

// get returns the value; false if none was put yet.
func (l *latest[T]) get() (T, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.value, l.set
}

// changed is closed by the next put. Ask for it before get, so that no put is missed.
func (l *latest[T]) changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wake
}
