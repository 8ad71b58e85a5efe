// Package difftest holds the tests that compare what real sources compute and
// deliver with what PostgreSQL does. It is apart from package fdw because it
// needs the drivers.
package difftest
