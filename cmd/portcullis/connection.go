package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"portcullis.dev/portcullis/service"
)

// action is one word after `portcullis connection`.
type action struct {
	name  string
	args  string
	about string
	run   func(ctx context.Context, a *invocation) error
}

func connectionActions() []action {
	return []action{
		{"add", "NAME", "register a PostgreSQL instance", connectionAdd},
		{"set", "NAME", "change a registered connection: account, password, mapping, kinds, views …", connectionSet},
		{"list", "", "list connections", connectionList},
		{"show", "NAME [OBJECT]", "list databases, schemas and tables, or one with its columns", connectionShow},
		{"status", "NAME", "how it stands: last sync, objects, pending statements, drift, unmapped people", connectionStatus},
		{"check", "NAME", "what the system account lacks there now, with the statements that grant it", connectionCheck},
		{"rotate", "NAME", "give it another system account, or the account another password", connectionRotate},
		{"replaced", "NAME", "go on with the instance that is there now: it was upgraded or restored", connectionReplaced},
		{"sync", "NAME [OBJECT]", "crawl completely, compare and apply now", connectionSync},
		{"enable", "NAME or OBJECT", "enforce on it", connectionState},
		{"disable", "NAME or OBJECT", "do not enforce on it; what was granted is taken back", connectionState},
		{"inherit", "OBJECT", "as the level above", connectionState},
		{"tag", "NAME or OBJECT TAG…", "add tags, or remove them with --remove", connectionTag},
		{"owner", "NAME or OBJECT", "who answers for it; --user or --group adds an owner, --remove removes one", connectionOwner},
		{"proposals", "NAME [OBJECT]", "tags that comments, labels, names and samples suggest, with the commands that set them", connectionProposals},
		{"map", "NAME", "say which account a person has there", connectionMap},
		{"unmap", "NAME", "leave a person to the connection's mapping", connectionUnmap},
		{"accounts", "NAME", "who is who there, and who has no account", connectionAccounts},
		{"query-audit", "NAME [WHO]", "take what people do there into the audit: mapped, everybody or off", connectionQueryAudit},
		{"findings", "NAME", "what people reach beyond the policies, and what a DBA runs against it", connectionFindings},
		{"dry-run", "NAME", "print the SQL that would be run now", connectionDryRun},
		{"print-script", "NAME", "print the SQL with which a DBA makes the system account ready", connectionScript},
		{"delete", "NAME", "take back what it gave, then forget it", connectionDelete},
	}
}

// invocation is one call of an action.
type invocation struct {
	action string
	flags  *flag.FlagSet
	remote remote
	rest   []string // what follows the action, flags not yet parsed
	args   []string // without flags, once parsed
	io     streams
	exact  io.Writer // for SQL, which means the bytes that it has
}

func runConnection(ctx context.Context, args []string, io streams) error {
	if len(args) > 1 && args[0] == "help" && !asksHelp(args[1]) {
		args = []string{args[1], "--help"}
	}
	switch {
	case len(args) == 0:
		helpConnection(io.err)
		return errUsage
	case asksHelp(args[0]):
		helpConnection(io.out)
		return flag.ErrHelp
	}
	for _, a := range connectionActions() {
		if a.name != args[0] {
			continue
		}
		i := &invocation{action: a.name, exact: io.out, flags: flag.NewFlagSet(strings.TrimSpace("connection "+a.name+" "+a.args), flag.ContinueOnError), rest: args[1:], io: streams{out: plainWriter{io.out}, err: io.err}}
		i.remote.flags(i.flags)
		return a.run(ctx, i)
	}
	fmt.Fprintf(io.err, "portcullis connection: unknown action %q\n", args[0])
	helpConnection(io.err)
	return errUsage
}

func helpConnection(w io.Writer) {
	fmt.Fprintln(w, "usage: portcullis connection ACTION [ARGUMENTS] [FLAGS]")
	fmt.Fprintln(w)
	for _, a := range connectionActions() {
		fmt.Fprintf(w, "  %-34s %s\n", strings.TrimSpace(a.name+" "+a.args), a.about)
	}
	fmt.Fprintln(w, "\nportcullis help connection ACTION lists the flags. An OBJECT is named connection.database[.schema[.table]].")
}

// parse reads flags before, between and after the arguments.
func (i *invocation) parse(least, most int) error {
	for rest := i.rest; ; {
		if err := parseFlags(i.flags, rest, i.io); err != nil {
			return err
		}
		if i.flags.NArg() == 0 {
			break
		}
		i.args = append(i.args, i.flags.Arg(0))
		rest = i.flags.Args()[1:]
	}
	switch {
	case len(i.args) < least:
		return usage(i.flags, i.io, "an argument is missing")
	case most >= 0 && len(i.args) > most:
		return usage(i.flags, i.io, "unexpected argument %q", i.args[most])
	}
	return nil
}

// call parses the command line and returns a client for the service.
func (i *invocation) call(least, most int) (*service.Client, error) {
	if err := i.parse(least, most); err != nil {
		return nil, err
	}
	return i.remote.patientClient()
}

func path(parts ...string) string {
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return "/v1/" + strings.Join(parts, "/")
}

func connectionList(ctx context.Context, i *invocation) error {
	c, err := i.call(0, 0)
	if err != nil {
		return err
	}
	defer c.Close()
	var list []service.Connection
	if err := c.Call(ctx, http.MethodGet, path("connections"), nil, &list); err != nil {
		return err
	}
	if i.remote.json() {
		return printJSON(i.io, list)
	}
	for _, v := range list {
		var st service.ConnectionStatus
		if err := c.Call(ctx, http.MethodGet, path("connections", v.Name, "status"), nil, &st); err != nil {
			return err
		}
		fmt.Fprintf(i.io.out, "%s\t%s:%d\t%s\t%s\n", v.Name, v.Host, v.Port, v.Mode, standing(st))
	}
	return nil
}

func connectionDryRun(ctx context.Context, i *invocation) error {
	c, err := i.call(1, 1)
	if err != nil {
		return err
	}
	defer c.Close()
	return i.printScript(ctx, c, path("connections", i.args[0], "dry-run"), struct{}{})
}

func (i *invocation) printScript(ctx context.Context, c *service.Client, path string, body any) error {
	var reply service.ScriptReply
	if err := c.Call(ctx, http.MethodPost, path, body, &reply); err != nil {
		return err
	}
	if i.remote.json() {
		return printJSON(i.io, reply)
	}
	_, err := fmt.Fprint(i.exact, reply.Script)
	return err
}

func connectionDelete(ctx context.Context, i *invocation) error {
	forget := i.flags.Bool("forget", false, "forget it at once and take nothing back, for an instance that is gone")
	wait := i.flags.Bool("wait", true, "wait until everything is taken back")
	c, err := i.call(1, 1)
	if err != nil {
		return err
	}
	defer c.Close()
	name := i.args[0]
	if err := c.Call(ctx, http.MethodDelete, path("connections", name)+fmt.Sprintf("?forget=%t", *forget), nil, nil); err != nil || *forget || !*wait {
		return err
	}
	return i.waitGone(ctx, c, name)
}
