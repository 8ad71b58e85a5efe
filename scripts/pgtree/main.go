// Command pgtree makes this checkout's private PostgreSQL installation and
// prints its pg_config.
package main

import (
	"context"
	"fmt"
	"os"

	"portcullis.dev/portcullis/internal/testenv"
)

func main() {
	tree, err := testenv.PGTree(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, "pgtree:", err)
		os.Exit(1)
	}
	fmt.Println(tree.PGConfig)
}
