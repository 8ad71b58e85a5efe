package cache

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// handClock is a clock that the test turns.
type handClock struct{ now atomic.Int64 }

func (h *handClock) read() time.Duration { return time.Duration(h.now.Load()) }
func (h *handClock) set(t time.Duration) { h.now.Store(int64(t)) }
func newTestCache(t *testing.T, size int) (*Cache[string, int], *handClock) {
	t.Helper()
	clock := &handClock{}
	c, err := New[string, int](size, clock.read)
	if err != nil {
		t.Fatal(err)
	}
	return c, clock
}

func TestValuesEndCountedFromWhenTheyWereAskedFor(t *testing.T) {
	c, clock := newTestCache(t, 4)
	clock.set(10 * time.Second)
	asked := c.Now()
	clock.set(13 * time.Second) // the answer took three seconds
	c.Put("a", 1, asked, 5*time.Second)
	for at, want := range map[time.Duration]bool{13 * time.Second: true, 15*time.Second - 1: true} {
		clock.set(at)
		if _, ok := c.Get("a"); ok != want {
			t.Errorf("at %v: %v", at, ok)
		}
	}
	clock.set(15 * time.Second)
	if _, ok := c.Get("a"); ok {
		t.Error("the value outlived its age")
	}
	clock.set(14 * time.Second)
	if _, ok := c.Get("a"); ok {
		t.Error("an ended value came back")
	}
}

func TestWhatIsTooOldIsNotKeptAndReplacesWhatWas(t *testing.T) {
	c, clock := newTestCache(t, 4)
	c.Put("a", 1, 0, time.Minute)
	clock.set(10 * time.Second)
	c.Put("a", 2, 0, 10*time.Second)
	if v, ok := c.Get("a"); ok {
		t.Errorf("got %d", v)
	}
	c.Put("b", 1, c.Now(), 0)
	c.Put("c", 1, c.Now(), -1)
	if c.Len() != 0 {
		t.Errorf("%d values kept", c.Len())
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	c, _ := newTestCache(t, 2)
	for i, key := range []string{"a", "b", "c"} {
		c.Put(key, i, 0, time.Minute)
	}
	if _, ok := c.Get("a"); ok || c.Len() != 2 {
		t.Errorf("a kept: %v, %d values", ok, c.Len())
	}
	c.Flush()
	if c.Len() != 0 {
		t.Errorf("%d values after a flush", c.Len())
	}
}

func TestOnceSharesOneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newTestCache(t, 2)
		var calls atomic.Int32
		release := make(chan struct{})
		results := make(chan any, 8)
		for range 8 {
			go func() {
				v, _ := c.Once("k", func() (any, error) {
					calls.Add(1)
					<-release
					return 7, nil
				})
				results <- v
			}()
			synctest.Wait() // the asker is inside Once
		}
		close(release)
		for range 8 {
			if v := <-results; v != 7 {
				t.Errorf("got %v", v)
			}
		}
		if n := calls.Load(); n != 1 {
			t.Errorf("%d fetches for 8 askers", n)
		}
	})
}
