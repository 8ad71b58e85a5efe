package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/service"
)

// connectionProposals lists tags that nobody set yet, each with the command that does.
func connectionProposals(ctx context.Context, i *invocation) error {
	sample := i.flags.Bool("sample", false, "also look at some values, of at most 50 tables; the system account must be able to read them (grantor mode)")
	after := i.flags.String("after", "", "go on after this `table`: a thousand are looked at in one call")
	c, err := i.call(1, 2)
	if err != nil {
		return err
	}
	defer c.Close()
	query := url.Values{"sample": {fmt.Sprint(*sample)}, "after": {*after}}
	if len(i.args) == 2 {
		query.Set("under", i.args[1])
	}
	var list []service.TagProposal
	if err := c.Call(ctx, http.MethodGet, path("connections", i.args[0], "proposals")+"?"+query.Encode(), nil, &list); err != nil {
		return err
	}
	if *sample {
		if err := i.tellUnsampled(ctx, c); err != nil {
			return err
		}
	}
	if i.remote.json() {
		return printJSON(i.io, list)
	}
	for _, p := range list {
		column := ""
		if p.Column != "" {
			column = " --column " + connection.ShellWord(p.Column)
		}
		fmt.Fprintf(i.io.out, "portcullis connection tag %s%s %s    # %.0f %%: %q\n", connection.ShellWord(p.Object), column, connection.ShellWord(p.Tag), 100*p.Confidence, p.Reason)
	}
	return nil
}

// tellUnsampled warns where no values can have been looked at.
func (i *invocation) tellUnsampled(ctx context.Context, c *service.Client) error {
	var v service.Connection
	err := c.Call(ctx, http.MethodGet, path("connections", i.args[0]), nil, &v)
	if err == nil && v.Mode == connection.ModeBroker && !v.Views {
		fmt.Fprintf(i.io.err, "no values were looked at: in broker mode %s may read no table; names and comments count all the same\n", v.Username)
	}
	return err
}
