// Command pgservers puts PostgreSQL servers of other major versions than
// Debian's into build/, for the tests.
package main

import (
	"context"
	"fmt"
	"os"

	"portcullis.dev/portcullis/internal/testenv"
)

func main() {
	if err := testenv.FetchServers(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "pgservers:", err)
		os.Exit(1)
	}
}
