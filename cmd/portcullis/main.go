// Portcullis is the policy service, its command line client and the daemon
// beside an engine, in one binary.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"portcullis.dev/portcullis/service"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitBehind = 3 // connection status --check: something is not in force
)

// command is one sub-command.
type command struct {
	name  string
	about string
	run   func(ctx context.Context, args []string, io streams) error
}

type streams struct {
	out io.Writer
	err io.Writer
}

// commands lists the sub-commands in the order of the help.
func commands() []command {
	return []command{
		{"serve", "run the policy service", runServe},
		{"apply", "make the service equal to a state file", runApply},
		{"status", "show versions, nodes and what is not in step", runStatus},
		{"audit", "list audit records, or follow them; audit verify: are they whole", runAudit},
		{"explain", "explain the decision for a person and a data source", runExplain},
		{"connection", "register PostgreSQL instances whose GRANTs follow the policies", runConnection},
		{"apikey", "make, list and revoke API keys", runAPIKey},
		{"node", "the daemon beside an engine; started by the engine", runNode},
		{"seal", "make key files and seal secrets", runSeal},
		{"version", "show the version", runVersion},
	}
}

// errUsage is a wrong command line; the message has been written.
var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := dispatch(ctx, os.Args[1:], streams{out: os.Stdout, err: os.Stderr})
	stop()
	os.Exit(code)
}

func dispatch(ctx context.Context, args []string, io streams) int {
	io.err = plainWriter{io.err}
	if len(args) == 0 {
		help(io.err)
		return exitUsage
	}
	switch {
	case args[0] == "help" && len(args) > 1 && !asksHelp(args[1]): // help COMMAND …
		return dispatch(ctx, append(slices.Clone(args[1:]), "--help"), io)
	case asksHelp(args[0]):
		help(io.out)
		return exitOK
	case args[0] == "--version", args[0] == "-version":
		args[0] = "version"
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return finish(c.run(ctx, args[1:], io), io)
		}
	}
	fmt.Fprintf(io.err, "portcullis: unknown command %q\n", args[0])
	help(io.err)
	return exitUsage
}

// asksHelp tells whether a word of the command line asks for help.
func asksHelp(word string) bool {
	return slices.Contains([]string{"help", "-h", "-help", "--help"}, word)
}

func finish(err error, io streams) int {
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.Is(err, errNotInStep):
		return exitBehind
	}
	fmt.Fprintf(io.err, "portcullis: %v\n", err)
	var e *service.Error
	if errors.As(err, &e) && e.Hint != "" {
		fmt.Fprintf(io.err, "hint: %s\n", e.Hint)
	}
	return exitFailed
}

func help(w io.Writer) {
	fmt.Fprintln(w, "usage: portcullis COMMAND [FLAGS]")
	fmt.Fprintln(w)
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-11s %s\n", c.name, c.about)
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, "portcullis help COMMAND lists the flags. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not in step (connection status --check).")
}

// parseFlags reads flags up to the first argument. What flags there are is
// written to standard output when asked for, else to standard error.
func parseFlags(f *flag.FlagSet, args []string, io streams) error {
	var said bytes.Buffer
	f.SetOutput(&said)
	err := f.Parse(args)
	f.SetOutput(io.err)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(io.out, said.String())
		return err
	}
	return usage(f, io, "%v", err)
}

// parse reads the flags of a command; at most so many arguments may follow.
func parse(f *flag.FlagSet, args []string, most int, io streams) error {
	if err := parseFlags(f, args, io); err != nil {
		return err
	}
	if f.NArg() > most {
		return usage(f, io, "unexpected argument %q", f.Arg(most))
	}
	return nil
}

// usage writes what is wrong with the command line.
func usage(f *flag.FlagSet, io streams, format string, args ...any) error {
	fmt.Fprintf(io.err, "portcullis %s: %s\n", f.Name(), fmt.Sprintf(format, args...))
	words := slices.DeleteFunc(strings.Fields(f.Name()), func(w string) bool { return w != strings.ToLower(w) || w == "or" })
	fmt.Fprintf(io.err, "The flags: portcullis help %s\n", strings.Join(words, " "))
	return errUsage
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}
