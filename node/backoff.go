package node

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff doubles its pauses from first to most, each drawn between half and
// the whole, so that many nodes do not knock at once.
type backoff struct {
	first, most time.Duration
	next        time.Duration
}

func (b *backoff) reset() { b.next = 0 }

func (b *backoff) pause() time.Duration {
	b.next = min(max(2*b.next, b.first), b.most)
	return b.next/2 + rand.N(b.next/2+1)
}

// wait pauses; early (may be nil) ends the pause.
func (b *backoff) wait(ctx context.Context, early <-chan struct{}) error {
	return sleep(ctx, b.pause(), early)
}

func sleep(ctx context.Context, d time.Duration, early <-chan struct{}) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	case <-early:
		return nil
	}
}
