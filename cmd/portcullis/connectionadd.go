package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/mapping"
	"portcullis.dev/portcullis/service"
)

// registration holds the flags that describe a connection.
type registration struct {
	v         service.Connection
	setup     service.Setup
	aws       connection.AWSRole
	automatic mapping.Automatic

	caFile, passwordFile, setupPasswordFile, secretKeyFile string
	kinds, tags                                            string
}

func (r *registration) define(f *flag.FlagSet) {
	v := &r.v
	f.StringVar((*string)(&v.Provider), "provider", "postgresql", "postgresql, rds, aurora, crunchy or neon")
	f.StringVar(&v.Host, "host", "", "`host` name, address, or directory of a Unix socket")
	f.IntVar(&v.Port, "port", 5432, "port")
	f.StringVar(&v.Database, "database", "postgres", "`database` where roles are handled and crawling begins")
	f.StringVar((*string)(&v.TLS), "tls", "verify-full", "verify-full, or disable on loopback and Unix sockets")
	f.StringVar(&r.caFile, "instance-ca-file", "", "`file` with the CA of the instance (default: the provider's, else the system's)")
	f.StringVar(&v.Username, "user", "portcullis", "the system `account`")
	f.StringVar(&r.passwordFile, "password-file", "", "`file` with the system account's password, - for standard input (or PORTCULLIS_CONNECTION_PASSWORD); made up if the setup makes the account")
	f.StringVar((*string)(&v.Mode), "mode", "broker", "broker: the account may execute functions that grant, no more; grantor: it can itself read and write all that it manages")
	f.StringVar(&v.Prefix, "prefix", connection.DefaultPrefix, "`prefix` of the roles that are made")
	f.BoolVar(&v.MakeRoles, "make-roles", false, "make login roles for people who have none; they have no password: how people log in as them is the instance's business")
	f.BoolVar(&v.Views, "views", false, "show people who may see a part of a table that part, by a view; the system account may then read tables that have views")
	f.BoolVar(&v.RowSecurity, "row-security", false, "show people who may see some rows of a table, and no masked values, these rows under its own name, by row-level security (broker mode)")
	f.StringVar(&r.automatic.Attribute, "map-by", "", "map people by this `attribute`, userid or email (default: one by one)")
	f.StringVar(&r.automatic.StripSuffix, "map-strip-suffix", "", "take this away from the end of its value")
	f.StringVar(&r.automatic.Template, "map-template", "", "the account's name, with {} for the value")
	f.BoolVar(&r.automatic.Lower, "map-lower", false, "map in lower case; names are case-sensitive otherwise")
	f.StringVar((*string)(&r.automatic.Kind), "map-kind", "", "role (default), iam_user, iam_role or identity_center")
	f.StringVar(&r.kinds, "kinds", "", "`kinds` to enforce on, separated by commas: table, partitioned table, view, materialized view, foreign table")
	f.StringVar(&v.SyncEvery, "sync-every", "5m", "crawl and check for drift this often")
	f.StringVar(&r.tags, "tags", "", "`tags` of all its tables, separated by commas")
	f.StringVar(&r.aws.Region, "aws-region", "", "`region`, with --aws-role-arn")
	f.StringVar(&r.aws.ARN, "aws-role-arn", "", "assume this `role` for each connection, in place of a password")
	f.StringVar(&r.aws.ExternalID, "aws-external-id", "", "external `id` for assuming it")
	f.StringVar(&r.aws.STSEndpoint, "aws-sts-endpoint", "", "`URL` of STS (default: AWS's own of the region)")
	r.defineSetup(f)
}

// defineSetup defines the flags of whoever makes the system account ready.
func (r *registration) defineSetup(f *flag.FlagSet) {
	f.StringVar(&r.setup.Username, "setup-user", "", "`account` of a DBA that makes the system account ready; used once, never stored")
	f.StringVar(&r.setupPasswordFile, "setup-password-file", "", "`file` with its password (or PORTCULLIS_SETUP_PASSWORD, or asked for)")
	f.StringVar(&r.setup.AccessKeyID, "setup-access-key-id", "", "AWS access key `id` that makes a token for the setup account; the secret from AWS_SECRET_ACCESS_KEY or --setup-secret-key-file")
	f.StringVar(&r.secretKeyFile, "setup-secret-key-file", "", "`file` with the secret of that key")
	f.BoolVar(&r.setup.TakeAccount, "take-account", false, "take an account that exists as the system account: its password is set anew")
	f.BoolVar(&r.setup.AcceptCreateRoleEscalation, "accept-createrole-escalation", false, "grantor mode on PostgreSQL 15 and older: accept that whoever gets the system account's password can run programs and read and write files "+
		"as the operating system user of the server, and so owns the instance (CREATEROLE may join pg_execute_server_program there)")
}

// connection fills in what comes from files, the environment and the terminal.
// Passwords are never taken from the command line, which others can read.
func (r *registration) connection(name string, io streams) (service.Connection, error) {
	v := r.v
	v.Name = name
	v.Tags = list(r.tags)
	for _, k := range list(r.kinds) {
		v.Kinds = append(v.Kinds, connection.ObjectKind(k))
	}
	if r.automatic.Attribute != "" {
		v.Mapping = &r.automatic
	}
	if r.aws.ARN != "" {
		v.AWS = &r.aws
	}
	var err error
	if r.caFile != "" {
		raw, err := os.ReadFile(r.caFile)
		if err != nil {
			return v, fmt.Errorf("CA of the instance: %w", err)
		}
		v.CA = string(raw)
	}
	if v.Password, err = secret(r.passwordFile, "PORTCULLIS_CONNECTION_PASSWORD"); err != nil {
		return v, fmt.Errorf("password of the system account: %w", err)
	}
	if r.setup.Username == "" {
		return v, nil
	}
	v.Setup = &r.setup
	return v, r.credentials(io)
}

func (r *registration) credentials(io streams) error {
	var err error
	if r.setup.AccessKeyID != "" {
		r.setup.Region = r.aws.Region
		if r.setup.SecretAccessKey, err = secret(r.secretKeyFile, "AWS_SECRET_ACCESS_KEY"); err != nil {
			return fmt.Errorf("secret of the access key: %w", err)
		}
		r.setup.SessionToken, err = secret("", "AWS_SESSION_TOKEN")
		return err
	}
	if r.setup.Password, err = secret(r.setupPasswordFile, "PORTCULLIS_SETUP_PASSWORD"); err != nil || r.setup.Password != nil {
		return err
	}
	r.setup.Password, err = ask(io, "Password of "+r.setup.Username+": ")
	return err
}

func list(text string) []string {
	var out []string
	for _, part := range strings.Split(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// secret reads a secret from a file, else from the environment; nil: neither.
func secret(file, variable string) (*string, error) {
	text := os.Getenv(variable)
	if file != "" {
		raw, err := readFile(file)
		if err != nil {
			return nil, err
		}
		if text = strings.TrimRight(string(raw), "\r\n"); text == "" {
			return nil, fmt.Errorf("%s is empty", file)
		}
	}
	if text == "" {
		return nil, nil
	}
	return &text, nil
}

// readFile reads a file, or standard input where its name is -.
func readFile(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(name)
}

// ask reads a password from the terminal without showing it.
func ask(io streams, prompt string) (_ *string, err error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, errors.New("a password is needed: give a file, the environment variable, or a terminal to ask on")
	}
	defer tty.Close()
	fd := int(tty.Fd())
	was, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	silent := *was
	silent.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &silent); err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, unix.IoctlSetTermios(fd, unix.TCSETS, was))
		fmt.Fprintln(tty)
	}()
	fmt.Fprint(tty, prompt)
	line, err := bufio.NewReader(tty).ReadString('\n')
	line = strings.TrimRight(line, "\r\n")
	if err != nil || line == "" {
		return nil, errors.New("no password was given")
	}
	return &line, nil
}

func connectionAdd(ctx context.Context, i *invocation) error {
	var r registration
	r.define(i.flags)
	print := i.flags.Bool("print-script", false, "register nothing; print what a DBA runs to make the system account ready")
	wait := i.flags.Bool("wait", true, "wait until the instance was crawled and brought in line")
	c, err := i.call(1, 1)
	if err != nil {
		return err
	}
	defer c.Close()
	if *print {
		return i.script(ctx, c, &r, false, nil)
	}
	if r.v.Host == "" {
		return usage(i.flags, i.io, "--host is needed")
	}
	v, err := r.connection(i.args[0], i.io)
	if err != nil {
		return err
	}
	var made service.Registered
	if err := c.Call(ctx, http.MethodPost, path("connections"), v, &made); err != nil {
		return err
	}
	if i.remote.json() {
		if err := printJSON(i.io, made); err != nil {
			return err
		}
	} else {
		describeRegistration(i.io, made)
	}
	if !*wait {
		return nil
	}
	return i.waitSync(ctx, c, v.Name, 1)
}

func describeRegistration(io streams, made service.Registered) {
	fmt.Fprintf(io.out, "registered %s: %s:%d, %s mode, system account %s\n", made.Name, made.Host, made.Port, made.Mode, made.Username)
	describeReached(io, made.Name, made.Reached)
}

// describeReached tells what an administrator should know and a DBA has to do.
func describeReached(io streams, name string, r service.Reached) {
	for _, w := range r.Warnings {
		fmt.Fprintf(io.err, "warning: %s: %s\n", name, w)
	}
	for _, m := range r.Missing {
		fmt.Fprintf(io.err, "not enforceable yet: %s: %s\n", name, m)
	}
	if len(r.DefaultPrivileges) > 0 {
		fmt.Fprintf(io.out, "%s: new tables are enforceable once each role that makes tables ran:\n", name)
	}
	for _, d := range r.DefaultPrivileges {
		fmt.Fprintf(io.out, "  %s: %s\n", d.Database, d.Statement)
	}
}

func connectionScript(ctx context.Context, i *invocation) error {
	var r registration
	r.define(i.flags)
	removal := i.flags.Bool("removal", false, "print what takes away what the script made: print it before the connection is deleted, run it afterwards")
	databases := i.flags.String("databases", "", "`databases` beside the connection's own, separated by commas (default: all that a registered connection has)")
	c, err := i.call(1, 1)
	if err != nil {
		return err
	}
	defer c.Close()
	return i.script(ctx, c, &r, *removal, list(*databases))
}

// script prints the script of a connection that is registered, or of one that the flags describe.
func (i *invocation) script(ctx context.Context, c *service.Client, r *registration, removal bool, databases []string) error {
	req := service.ScriptRequest{Databases: databases, AcceptCreateRoleEscalation: r.setup.AcceptCreateRoleEscalation, Removal: removal}
	r.setup.Username = ""
	var err error
	if r.v.Host != "" {
		req.Connection, err = r.connection(i.args[0], i.io)
	} else if err = c.Call(ctx, http.MethodGet, path("connections", i.args[0]), nil, &req.Connection); err == nil {
		req.Connection, err = r.over(i.flags, req.Connection, i.io)
	}
	if err != nil {
		return err
	}
	req.Connection.Password = nil // a script that is printed holds none
	return i.printScript(ctx, c, path("connection_script"), req)
}
