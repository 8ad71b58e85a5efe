package main

import (
	"context"
	"errors"

	"portcullis.dev/portcullis/node"
)

// runNode is started by the instance's worker, not by people.
func runNode(ctx context.Context, args []string, io streams) error {
	err := node.Command(ctx, args, io.err)
	if errors.Is(err, node.ErrUsage) {
		return errUsage
	}
	return err
}
