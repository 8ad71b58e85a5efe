// Package grants keeps what people can reach on a PostgreSQL instance equal to
// what the policies want, as far as that is ours to change, and says what is
// not.
//
// A round reads the catalogs, works out what each mapped person effectively
// reaches, plans the difference, applies it and reads the catalogs again:
// only what they then say counts.
//
//	read      role graph, ACLs, owners and by-paths (catalog_*.go)
//	effective what a role reaches (reach.go), verdicts on people and tables (standing.go)
//	plan      pure: wanted against actual of our own roles (plan*.go)
//	apply     fenced transactions with bounded waits (apply*.go)
//
// Grants hang on roles that this package makes and nobody else: the ledger
// lists them by OID. So whatever such a role was granted came after it was
// made, and taking a connection back is taking those roles back.
package grants
