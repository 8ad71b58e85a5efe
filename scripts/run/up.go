package main

import (
	"context"
	"errors"
	"fmt"
)

// up starts everything, or says that it runs already, and shows it.
func up(ctx context.Context, l layout) error {
	whole, any, err := l.running()
	if err != nil {
		return err
	}
	if whole {
		fmt.Println("Already running.")
		v, err := readEnvFile(l.env())
		if err != nil {
			return err
		}
		describe(v, l)
		return show(ctx, v)
	}
	if any {
		fmt.Println("Parts of an earlier run are left; starting anew.")
		if err := stop(ctx, l); err != nil {
			return err
		}
	}
	v, err := startAll(ctx, l)
	if err != nil {
		fmt.Println("Starting failed; stopping what was started.")
		return errors.Join(err, stop(context.WithoutCancel(ctx), l))
	}
	describe(v, l)
	return show(ctx, v)
}
