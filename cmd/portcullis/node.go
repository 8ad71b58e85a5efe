package main

import (
	"context"
	"errors"

	"portcullis.dev/portcullis/node"
)

// runNode is started by the instance's worker, not by people.
func runNode(ctx context.Context, args []string, io streams) error {
	says := io.err
	if len(args) == 1 && asksHelp(args[0]) {
		says, args = io.out, []string{"--help"}
	}
	err := node.Command(ctx, args, says)
	if errors.Is(err, node.ErrUsage) {
		return errUsage
	}
	return err
}
