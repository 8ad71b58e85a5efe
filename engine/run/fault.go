package run

import "context"

// Fault panics in a goroutine behind a ticket, for tests.
func (e *Engine) Fault() uint64 {
	return e.start("fault", func(context.Context) (any, error) { panic("fault asked for") })
}
