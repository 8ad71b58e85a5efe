// Package broker prints the definer functions that the owner of a database
// installs, so that the system account can grant on listed tables to roles of
// one prefix and do nothing else.
package broker
