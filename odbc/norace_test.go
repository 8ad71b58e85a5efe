//go:build !race

package odbc_test

const memoryCounts = true
