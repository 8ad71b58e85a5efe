//go:build race

package odbc_test

// The race detector keeps shadow memory, so growth says nothing then.
const memoryCounts = false
