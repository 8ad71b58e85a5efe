// Command run is behind `make run`, `make show`, `make stop` and `make clean`:
// it starts an instance with the extension, the policy service and three
// remote databases with sample data, all on loopback, described in .run/env.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := command(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	l, err := newLayout()
	if err != nil {
		return err
	}
	if len(args) == 1 {
		switch args[0] {
		case "up":
			return up(ctx, l)
		case "show":
			return showAgain(ctx, l)
		case "stop":
			return stop(ctx, l)
		case "clean":
			return clean(l)
		}
	}
	return errors.New("usage: run up|show|stop|clean")
}
