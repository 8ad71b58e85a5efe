// Package aws makes RDS authentication tokens: with a role that is assumed
// across accounts for each connection, or once with an access key that a DBA
// gives for the registration. Nothing is stored.
//
// It is tested against a local stand-in that verifies signatures; it was not
// run against AWS.
package aws

// AccessKey of a DBA, used for the registration only.
type AccessKey struct {
	ID, Secret   string
	SessionToken string // of temporary credentials
}
