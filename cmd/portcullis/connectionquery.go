package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"portcullis.dev/portcullis/connection/queryaudit"
	"portcullis.dev/portcullis/service"
)

// connectionQueryAudit says how the log of an instance is read, or sets who is
// read of it, or prints what lets the system account read it.
func connectionQueryAudit(ctx context.Context, i *invocation) error {
	script := i.flags.Bool("print-script", false, "print what a superuser runs in the connection's database, so that its log can be read")
	c, err := i.call(1, 2)
	if err != nil {
		return err
	}
	defer c.Close()
	name := i.args[0]
	at := path("connection_query_audits", name)
	if *script {
		var v service.Connection
		if err := c.Call(ctx, http.MethodGet, path("connections", name), nil, &v); err != nil {
			return err
		}
		fmt.Fprintf(i.exact, "-- To be run by a superuser in database %q.\n%s", v.Database, queryaudit.Script(v.Username))
		return nil
	}
	if len(i.args) == 1 {
		return showQueryAudit(ctx, i, c, at)
	}
	switch who := i.args[1]; who {
	case "off":
		return c.Call(ctx, http.MethodDelete, at, nil, nil)
	case "mapped", "everybody":
		return c.Call(ctx, http.MethodPut, at, service.ConnectionQueryAudit{Connection: name, Who: who}, nil)
	default:
		return usage(i.flags, i.io, "%q is none of mapped, everybody and off", who)
	}
}

func showQueryAudit(ctx context.Context, i *invocation, c *service.Client, at string) error {
	var a service.ConnectionQueryAudit
	err := c.Call(ctx, http.MethodGet, at, nil, &a)
	var answer *service.Error
	if errors.As(err, &answer) && answer.Status == http.StatusNotFound {
		// Of a connection that there is.
		if err := c.Call(ctx, http.MethodGet, path("connections", i.args[0]), nil, &service.Connection{}); err != nil {
			return err
		}
		fmt.Fprintln(i.io.out, "off")
		return nil
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(i.io.out, "%s: %d records, %d entries damaged\n", a.Who, a.Records, a.Damaged)
	if a.LastRead != nil {
		fmt.Fprintf(i.io.out, "last read %s\n", a.LastRead.Format("2006-01-02 15:04:05Z07:00"))
	}
	if a.Lost != "" {
		fmt.Fprintf(i.io.out, "lost: %s\n", a.Lost)
	}
	if a.Error != nil {
		fmt.Fprintf(i.io.out, "error: %s\n%s\n", a.Error, a.Error.Hint)
	}
	return nil
}
