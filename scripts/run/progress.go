package main

import (
	"fmt"
	"time"
)

const quiet = 2 * time.Second // steps that take longer are told about

// step runs f; if it takes longer than quiet it says what is going on, and
// how long it took.
func step(what string, f func() error) error {
	begun := time.Now()
	done := make(chan error, 1)
	go func() { done <- f() }()
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	var err error
	select {
	case err = <-done:
		timer.Stop()
	case <-timer.C:
		fmt.Printf("%s …\n", what)
		err = <-done
		if err == nil {
			fmt.Printf("%s: done in %.1f s\n", what, time.Since(begun).Seconds())
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
