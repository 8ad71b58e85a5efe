package run

// Go starts f in a goroutine of its own. A panic in it would end the process
// and so restart the whole PostgreSQL instance: it is recovered and handed to
// fail, which makes the ticket or scan behind it fail. No other function of
// the library starts goroutines (TestGoroutinesAreStartedInOnePlace).
func (e *Engine) Go(what string, fail func(error), f func()) {
	e.running.Add(1)
	go func() {
		defer e.running.Add(-1)
		e.guard(what, fail, f)
	}()
}

// guard runs f and hands its panic to fail. A panic in fail itself is dropped:
// there is nobody left to tell.
func (e *Engine) guard(what string, fail func(error), f func()) {
	defer func() {
		if value := recover(); value != nil {
			defer func() { _ = recover() }()
			fail(panicked(what, value))
		}
	}()
	f()
}
