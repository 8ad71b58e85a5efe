// Package fdw turns what PostgreSQL asks of a foreign table into a statement
// of the remote database: it reads conditions as a typed tree, lets a dialect
// say which of them the source computes exactly as PostgreSQL would, and
// composes the SQL from those and from the decision of the policy service.
// It does no I/O of its own.
package fdw
