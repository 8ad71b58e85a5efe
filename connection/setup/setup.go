// Package setup registers an instance: it makes the system account with the
// privileges that it needs and no more, or prints the script with which a DBA
// does so. Setup credentials are used for that and kept nowhere.
package setup

import (
	"context"
	"errors"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/aws"
	"portcullis.dev/portcullis/connection/dial"
)

// Credentials of a DBA, used for one registration.
type Credentials struct {
	Username  string
	Password  string
	AccessKey *aws.AccessKey // makes an RDS token in place of a password
	Region    string         // with AccessKey
}

// Request is a registration.
type Request struct {
	// Target is the connection as it shall be. Its Username is the system
	// account, made when it is missing; without a Password (and without AWS)
	// one is generated.
	Target      connection.Target
	Credentials Credentials
	Databases   []string // nil: each that takes connections and is no template
	// AcceptCreateRoleEscalation takes it that CREATEROLE reaches the
	// operating system up to PostgreSQL 15 (grantor mode only).
	AcceptCreateRoleEscalation bool
	// TakeAccount lets an account that exists already become the system
	// account: its password is set anew.
	TakeAccount bool
	DryRun      bool // check everything, change nothing, return the statements
}

// Result of a registration.
type Result struct {
	Target            connection.Target // to be stored: with the account's password
	Server            connection.Server
	Databases         []string
	Statements        []string // that were run (or would be), without secrets
	Warnings          []string
	DefaultPrivileges []string // for each creating role to run, so that new tables are enforceable
}

// Missing is a privilege that the system account lacks.
type Missing struct {
	Database  string `json:"database,omitempty"` // "": of the whole instance
	What      string `json:"what"`
	Statement string `json:"statement"` // that grants it
	Optional  bool   `json:"optional,omitempty"`
}

// Report is what Check found.
type Report struct {
	Server            connection.Server `json:"server"`
	Missing           []Missing         `json:"missing,omitempty"`
	Warnings          []string          `json:"warnings,omitempty"`
	DefaultPrivileges []string          `json:"default_privileges,omitempty"`
}

// ScriptOptions say for what the script is.
type ScriptOptions struct {
	Target                     connection.Target // Password "": the DBA is asked for one by psql's \password
	Databases                  []string          // at least one
	AcceptCreateRoleEscalation bool
}

var errNotBuilt = errors.New("not built")

// Register makes the instance ready. Nothing is changed before every check passed.
func Register(ctx context.Context, d *dial.Dialer, r Request) (Result, error) {
	return Result{}, errNotBuilt
}

// Check logs in as the system account and lists what it lacks.
func Check(ctx context.Context, d *dial.Dialer, t connection.Target) (Report, error) {
	return Report{}, errNotBuilt
}

// Script is what a DBA pastes into psql to do what Register does.
func Script(o ScriptOptions) (string, error) { return "", errNotBuilt }

// RemovalScript takes away what Script made, after the connection was deleted.
func RemovalScript(o ScriptOptions) (string, error) { return "", errNotBuilt }
