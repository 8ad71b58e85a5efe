// Package cache keeps the answers of the policy service for as long as they
// may be kept, and asks only once for what several want at the same time.
package cache

import (
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

// Clock is a monotonic clock. Ages are never taken from the wall clock, which
// may be set back.
type Clock func() time.Duration

// NewClock returns a monotonic clock that starts now.
func NewClock() Clock {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}

// Cache holds values that end by themselves. It is safe for concurrent use.
type Cache[K comparable, V any] struct {
	now     Clock
	entries *lru.Cache[K, entry[V]]
	flights singleflight.Group
}

type entry[V any] struct {
	value V
	until time.Duration
}

// New makes a cache of at most size values; the least recently used go first.
func New[K comparable, V any](size int, now Clock) (*Cache[K, V], error) {
	entries, err := lru.New[K, entry[V]](size)
	if err != nil {
		return nil, fmt.Errorf("make a cache of %d values: %w", size, err)
	}
	return &Cache[K, V]{now: now, entries: entries}, nil
}

// Now reads the cache's clock.
func (c *Cache[K, V]) Now() time.Duration { return c.now() }

// Get returns a value that has not ended.
func (c *Cache[K, V]) Get(key K) (value V, ok bool) {
	found, ok := c.entries.Get(key)
	if !ok {
		return value, false
	}
	if c.now() >= found.until {
		c.entries.Remove(key)
		return value, false
	}
	return found.value, true
}

// Put keeps a value for maxAge, counted from asked: the moment (by Now) at
// which it was asked for, not at which it arrived. An age that is over already keeps nothing.
func (c *Cache[K, V]) Put(key K, value V, asked, maxAge time.Duration) {
	if until := asked + maxAge; maxAge > 0 && until > c.now() {
		c.entries.Add(key, entry[V]{value: value, until: until})
		return
	}
	c.entries.Remove(key)
}

// Flush forgets everything.
func (c *Cache[K, V]) Flush() { c.entries.Purge() }

// Len is the number of values kept, ended ones included.
func (c *Cache[K, V]) Len() int { return c.entries.Len() }

// Once runs fetch unless a fetch of the same name is under way, and then
// shares that one's outcome. It blocks in the caller's goroutine.
func (c *Cache[K, V]) Once(name string, fetch func() (any, error)) (any, error) {
	value, err, _ := c.flights.Do(name, fetch)
	return value, err
}
