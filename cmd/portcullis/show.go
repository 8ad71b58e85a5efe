package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"portcullis.dev/portcullis/policy"
	"portcullis.dev/portcullis/service"
)

func runStatus(ctx context.Context, args []string, io streams) error {
	f := flag.NewFlagSet("status", flag.ContinueOnError)
	var r remote
	r.flags(f)
	if err := parse(f, args, 0, io); err != nil {
		return err
	}
	c, err := r.client()
	if err != nil {
		return err
	}
	defer c.Close()
	var st service.Status
	if err := c.Call(ctx, http.MethodGet, "/v1/status", nil, &st); err != nil {
		return err
	}
	if r.json() {
		return printJSON(io, st)
	}
	fmt.Fprintf(io.out, "policy version  %d\npeople          %d\ndata sources    %d\npolicies        %d\n", st.Version, st.People, st.DataSources, st.Policies)
	if st.Engine != "" {
		fmt.Fprintf(io.out, "engine          %s\n", st.Engine)
	}
	for _, n := range st.Nodes {
		seen := "never seen"
		if n.LastSeen != nil {
			seen = "last seen " + n.LastSeen.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(io.out, "node            %s, %s, %d SQL accounts\n", n.Name, seen, n.Accounts)
	}
	for _, v := range st.Connections {
		fmt.Fprintf(io.out, "connection      %s, %s\n", v.Name, standing(service.ConnectionStatus{State: v.State, Disabled: v.Disabled}))
	}
	for _, name := range st.Unsynced {
		fmt.Fprintf(io.out, "not in step     %s\n", name)
	}
	return nil
}

func runExplain(ctx context.Context, args []string, io streams) error {
	f := flag.NewFlagSet("explain", flag.ContinueOnError)
	var r remote
	r.flags(f)
	user := f.String("user", "", "`userid` of the person")
	iam := f.String("iamid", service.DefaultIAM, "identity manager of the person")
	source := f.String("data-source", "", "`name` or id of the data source")
	if err := parse(f, args, 0, io); err != nil {
		return err
	}
	if *user == "" || *source == "" {
		return usage(f, io, "--user and --data-source are needed")
	}
	c, err := r.client()
	if err != nil {
		return err
	}
	defer c.Close()
	var e service.Explanation
	query := url.Values{"user": {*user}, "iamid": {*iam}, "data_source": {*source}}
	if err := c.Call(ctx, http.MethodGet, "/v1/explain?"+query.Encode(), nil, &e); err != nil {
		return err
	}
	if r.json() {
		return printJSON(io, e)
	}
	printExplanation(io, *user, e)
	return nil
}

func printExplanation(io streams, user string, e service.Explanation) {
	if !e.Decision.Allowed {
		fmt.Fprintf(io.out, "%s is refused %s: %s\n", user, e.DataSource, e.Decision.Reason)
		if e.Decision.Contact != "" {
			fmt.Fprintf(io.out, "ask %s\n", e.Decision.Contact)
		}
		return
	}
	fmt.Fprintf(io.out, "%s may read %s (%s)\n", user, e.DataSource, strings.Join(e.Subscribed, ", "))
	if e.Decision.Filter != nil {
		raw, err := json.Marshal(e.Decision.Filter)
		if err == nil {
			fmt.Fprintf(io.out, "rows by %s: %s\n", strings.Join(e.Filters, ", "), raw)
		}
	}
	for _, m := range e.Masks {
		fmt.Fprintf(io.out, "mask %s\n", m)
	}
	if l := e.Decision.Limits; l != (policy.Limits{}) {
		fmt.Fprintf(io.out, "limits on %s: %s\n", e.Decision.Source, l)
	}
	fmt.Fprintf(io.out, "policy version %d, may be kept for %d ms\n", e.Decision.Version, e.Decision.MaxAgeMS)
}

func runAudit(ctx context.Context, args []string, io streams) error {
	if len(args) > 0 && args[0] == "verify" {
		return runAuditVerify(ctx, args[1:], io)
	}
	f := flag.NewFlagSet("audit", flag.ContinueOnError)
	var r remote
	r.flags(f)
	query := url.Values{}
	for name, about := range map[string]string{
		"node": "only records of this `node`", "kind": "only records of this `kind`", "person": "only records of this `userid`", "iamid": "the `id` of the person's identity provider (default: any)",
		"role": "only records of this `role`", "data_source": "only records about the data source of this `name` or id", "id": "only the record of this `id`",
		"since": "only records from this `time` on, such as 2030-01-31T12:00:00Z",
	} {
		f.Func(strings.ReplaceAll(name, "_", "-"), about, func(v string) error {
			query.Set(name, v)
			return nil
		})
	}
	limit := f.Int("limit", 20, "at most so many, newest")
	follow := f.Bool("f", false, "go on and show new records as they come")
	if err := parse(f, args, 0, io); err != nil {
		return err
	}
	query.Set("limit", strconv.Itoa(*limit))
	c, err := r.client()
	if err != nil {
		return err
	}
	defer c.Close()
	seen := map[string]bool{}
	for {
		var list []service.AuditEntry
		if err := c.Call(ctx, http.MethodGet, "/v1/audit?"+query.Encode(), nil, &list); err != nil {
			if *follow && ctx.Err() != nil {
				return nil
			}
			return err
		}
		slices.Reverse(list)
		for _, e := range list {
			key := e.Node + e.ID + e.Kind
			if seen[key] {
				continue
			}
			seen[key] = true
			if err := printEntry(io, r.json(), e); err != nil {
				return err
			}
		}
		if !*follow {
			return nil
		}
		if n := len(list); n > 0 {
			// Records received within one transaction share a time: look a little back.
			query.Set("since", list[n-1].Received.Add(-5*time.Second).Format(time.RFC3339Nano))
			query.Set("limit", "1000")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

func printEntry(io streams, asJSON bool, e service.AuditEntry) error {
	if asJSON {
		raw, err := json.Marshal(e)
		if err == nil {
			_, err = fmt.Fprintf(io.out, "%s\n", raw)
		}
		return err
	}
	var rec struct {
		Role      string `json:"role"`
		Statement string `json:"statement"`
		Message   string `json:"message"`
		Outcome   string `json:"outcome"`
		Rows      *int64 `json:"rows"`
	}
	if err := json.Unmarshal(e.Record, &rec); err != nil {
		rec.Message = "unreadable record"
	}
	line := fmt.Sprintf("%s %s %-10s %s", e.Received.UTC().Format("2006-01-02 15:04:05.000"), e.Node, e.Kind, rec.Role)
	for _, part := range []string{rec.Outcome, rec.Message, rec.Statement} {
		if part != "" {
			line += " " + strconv.Quote(part)
		}
	}
	if rec.Rows != nil {
		line += fmt.Sprintf(" %d rows", *rec.Rows)
	}
	_, err := fmt.Fprintln(io.out, line)
	return err
}
