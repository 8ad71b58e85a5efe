// Package setup registers an instance: it makes the system account with the
// privileges that it needs and no more, or prints the script with which a DBA
// does so. Setup credentials are used for that and kept nowhere.
package setup

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/aws"
	"portcullis.dev/portcullis/connection/dial"
	"portcullis.dev/portcullis/internal/sqltext"
)

// Credentials of a DBA, used for one registration.
type Credentials struct {
	Username  string
	Password  string
	AccessKey *aws.AccessKey // makes an RDS token in place of a password
	Region    string         // with AccessKey
}

// String keeps the secrets out of logs and errors.
func (c Credentials) String() string { return "setup credentials of " + c.Username }

// GoString does so for %#v.
func (c Credentials) GoString() string { return c.String() }

// Request is a registration.
type Request struct {
	// Target is the connection as it shall be. Its Username is the system
	// account, made when it is missing; without a Password (and without AWS)
	// one is generated.
	Target connection.Target
	// Credentials without a Username: the account is ready, as Script makes
	// it, and is only checked.
	Credentials Credentials
	Databases   []string            // nil: each that takes connections and is no template
	Schemas     map[string][]string // by database; no entry: all that are there
	// AcceptCreateRoleEscalation takes it that CREATEROLE reaches the
	// operating system up to PostgreSQL 15 (grantor mode only).
	AcceptCreateRoleEscalation bool
	// TakeAccount lets an account that exists already become the system
	// account: its password is set anew.
	TakeAccount bool
	DryRun      bool // check everything, change nothing, return the statements
	// Admit is asked before anything is changed, once it is known which
	// instance it is: it refuses one that is registered already.
	Admit func(context.Context, connection.Server) error
}

// Result of a registration.
type Result struct {
	Target            connection.Target // to be stored: with the account's password
	Server            connection.Server
	Databases         []string
	Statements        []string // that were run (or would be), without secrets
	Warnings          []string
	DefaultPrivileges []Default // so that new tables are enforceable
	Missing           []Missing // what is left for others to grant: tables of other owners
}

// ScriptOptions say for what the script is.
type ScriptOptions struct {
	Target                     connection.Target   // Password "": psql asks the DBA for one
	Databases                  []string            // beside the target's own
	Schemas                    map[string][]string // by database; no entry: all that are there
	AcceptCreateRoleEscalation bool
	Views                      bool // the account may make views of parts of tables
	HasPassword                bool // the account has one that the service knows: the script leaves it
}

// Register makes the instance ready. Nothing is changed before every check
// passed. What fails after that can be repeated: each step leaves as it is what
// is done. The password in the result is valid even if an error comes with it
// whose code is setup_incomplete.
func Register(ctx context.Context, d *dial.Dialer, r Request) (Result, error) {
	if err := r.script().check(); err != nil {
		return Result{}, err
	}
	if r.Credentials.Username == "" {
		return adopt(ctx, d, r)
	}
	dba, err := dbaTarget(ctx, r)
	if err != nil {
		return Result{}, err
	}
	res := Result{Target: r.Target}
	if res.Server, err = d.Probe(ctx, dba); err != nil {
		return res, err
	}
	if r.Admit != nil {
		if err := r.Admit(ctx, res.Server); err != nil {
			return res, err
		}
	}
	found, err := inspect(ctx, d, dba, r)
	if err != nil {
		return res, err
	}
	r.Databases, res.Warnings = found.databases, found.warnings
	res.Databases = r.script().databases()
	if err := settlePassword(ctx, d, &r, found); err != nil {
		return res, err
	}
	res.Target.Password = r.Target.Password
	if found.accountExists && !found.keepPassword && r.Target.AWS == nil {
		res.Warnings = append(res.Warnings, fmt.Sprintf("the role %s was there and gets another password: whatever else uses it, such as a policy service with another store that has this instance, cannot log in any more", r.Target.Username))
	}
	options := r.script()
	if found.keepPassword {
		options.Target.Password = ""
	}
	steps, err := plan(options)
	if err != nil {
		return res, err
	}
	for _, s := range steps {
		res.Statements = append(res.Statements, fmt.Sprintf("-- database %s\n%s", sqltext.Identifier(s.database), s.shown))
	}
	if r.DryRun {
		return res, nil
	}
	if err := apply(ctx, d, dba, steps); err != nil {
		return res, err
	}
	return res, verify(ctx, d, &res)
}

func (r Request) script() ScriptOptions {
	return ScriptOptions{Target: r.Target, Databases: r.Databases, Schemas: r.Schemas, AcceptCreateRoleEscalation: r.AcceptCreateRoleEscalation}
}

// dbaTarget is the instance as the DBA reaches it.
func dbaTarget(ctx context.Context, r Request) (connection.Target, error) {
	t := r.Target
	if r.Credentials.Username == t.Username {
		return t, &connection.Error{Code: CodeSame, Message: t.Username + " is the account of the setup credentials",
			Hint: "Name another system account; setup credentials are used once and forgotten."}
	}
	t.Username, t.Password, t.AWS = r.Credentials.Username, r.Credentials.Password, nil
	if key := r.Credentials.AccessKey; key != nil {
		token, err := aws.TokenOf(ctx, *key, r.Credentials.Region, t.Host, t.Port, t.Username)
		if err != nil {
			return t, err
		}
		t.Password = token
	}
	return t, nil
}

// adopt checks an account that a DBA made with the script.
func adopt(ctx context.Context, d *dial.Dialer, r Request) (Result, error) {
	res := Result{Target: r.Target, Databases: r.script().databases()}
	var err error
	if res.Server, err = d.Probe(ctx, r.Target); err != nil {
		return res, err
	}
	if r.Admit != nil {
		if err := r.Admit(ctx, res.Server); err != nil {
			return res, err
		}
	}
	return res, verify(ctx, d, &res)
}

// settlePassword decides whether the account keeps its password.
func settlePassword(ctx context.Context, d *dial.Dialer, r *Request, found findings) error {
	if r.Target.AWS != nil {
		return nil
	}
	if r.Target.Password == "" {
		r.Target.Password = rand.Text()
	}
	if found.keepPassword || !found.accountExists || found.accountOurs || r.TakeAccount {
		return nil
	}
	return &connection.Error{Code: CodeAccountIs, Message: "the role " + r.Target.Username + " exists, and its password is not the one given",
		Hint: "Give its password, name another account, or let this one be taken: its password is then set anew."}
}

func apply(ctx context.Context, d *dial.Dialer, dba connection.Target, steps []step) error {
	for i, s := range steps {
		if err := run(ctx, d, dba, s); err != nil {
			e := dial.Explain(err, dba)
			if e.SQLState == "XX000" && strings.Contains(e.Message, "concurrently updated") {
				e.Hint = "Somebody else, another registration say, changed the same role at this moment. Register again."
			}
			if i == 0 {
				return e
			}
			return &connection.Error{Code: CodeHalf, SQLState: e.SQLState, Err: err,
				Message: fmt.Sprintf("database %s could not be made ready; the account and the databases before it are", s.database),
				Detail:  strings.TrimSpace(e.Message + ": " + e.Detail),
				Hint:    strings.TrimSpace(e.Hint + " Then register again: what is done stays as it is.")}
		}
	}
	return nil
}

func run(ctx context.Context, d *dial.Dialer, dba connection.Target, s step) error {
	conn, err := d.Connect(ctx, dba, s.database)
	if err != nil {
		return err
	}
	for _, sql := range s.parts {
		if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			return errors.Join(err, conn.Close(ctx))
		}
	}
	return conn.Close(ctx)
}

// verify logs in as the system account and reads back what it may.
func verify(ctx context.Context, d *dial.Dialer, res *Result) error {
	report, err := Check(ctx, d, res.Target, res.Databases)
	if err != nil {
		return err
	}
	res.Warnings = append(res.Warnings, report.Warnings...)
	res.DefaultPrivileges, res.Missing = report.DefaultPrivileges, report.Missing
	var lacking []string
	for _, m := range report.Missing {
		if !m.Optional {
			lacking = append(lacking, m.String())
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	return &connection.Error{Code: CodePrivilege, Message: "the system account lacks privileges", Detail: strings.Join(lacking, "\n"),
		Hint: "A DBA runs these statements, or the script that `portcullis connection print-script` prints."}
}

// one reads one row into fields.
func one(ctx context.Context, conn *pgx.Conn, sql string, args []any, into ...any) error {
	return conn.QueryRow(ctx, sql, args...).Scan(into...)
}
