package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"portcullis.dev/portcullis/internal/testenv"
)

// stop ends the servers and removes what they left.
func stop(ctx context.Context, l layout) error {
	stopped, err := testenv.StopDir(ctx, l.servers)
	if err != nil {
		return err
	}
	if len(stopped) == 0 {
		fmt.Println("Nothing was running.")
	} else {
		fmt.Println("Stopped:", strings.Join(stopped, ", "))
	}
	return os.RemoveAll(l.run)
}

// clean removes what a build left outside the checkout.
func clean(l layout) error {
	if _, any, err := l.running(); err != nil || any {
		return fmt.Errorf("servers of make run are there: make stop first (%v)", err)
	}
	for _, what := range []string{"tree", "servers"} {
		if err := os.RemoveAll(testenv.OutsideFolder(l.root, what)); err != nil {
			return err
		}
	}
	return nil
}
