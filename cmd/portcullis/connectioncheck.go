package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"portcullis.dev/portcullis/connection/setup"
	"portcullis.dev/portcullis/service"
)

// connectionCheck fails where something is missing, so that scripts can ask.
func connectionCheck(ctx context.Context, i *invocation) error {
	required := i.flags.Bool("required", false, "exit with 1 only for what the connection cannot work without, not for tables that cannot be enforced on")
	c, err := i.call(1, 1)
	if err != nil {
		return err
	}
	defer c.Close()
	var found service.ConnectionCheck
	if err := c.Call(ctx, http.MethodGet, path("connections", i.args[0], "check"), nil, &found); err != nil {
		return err
	}
	if i.remote.json() {
		if err := printJSON(i.io, found); err != nil {
			return err
		}
	} else {
		printCheck(i.io, found)
	}
	if n := len(found.Missing); !found.Ready || n > 0 && !*required {
		return &service.Error{Code: setup.CodePrivilege, Message: found.Account + " lacks " + count(n, "privilege"), Hint: "A DBA runs the statements that are listed, each in its database."}
	}
	return nil
}

func printCheck(io streams, found service.ConnectionCheck) {
	fmt.Fprintf(io.out, "%s: PostgreSQL %d, system %s, account %s\n", found.Connection, found.Server.Version/10000, found.Server.SystemID, found.Account)
	for _, m := range found.Missing {
		kind, where := "missing", ""
		if m.Optional {
			kind = "not enforceable"
		}
		if m.Database != "" {
			where = " in database " + m.Database
		}
		fmt.Fprintf(io.out, "%s%s: %s\n  a DBA runs: %s\n", kind, where, m.What, m.Statement)
	}
	for _, w := range found.Warnings {
		fmt.Fprintf(io.out, "warning: %s\n", w)
	}
	for _, d := range found.DefaultPrivileges {
		fmt.Fprintf(io.out, "new tables in database %s\n  their maker runs: %s\n", d.Database, strings.TrimSpace(d.Statement))
	}
	if len(found.Missing) == 0 {
		fmt.Fprintln(io.out, "nothing is missing")
	}
}
