package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/service"
)

// errNotInStep is the outcome of `connection status --check`.
var errNotInStep = errors.New("not in step")

func connectionStatus(ctx context.Context, i *invocation) error {
	check := i.flags.Bool("check", false, "exit with 3 unless everything is in force and nobody reaches more")
	c, err := i.call(1, 1)
	if err != nil {
		return err
	}
	defer c.Close()
	st, err := i.status(ctx, c, i.args[0])
	if err != nil {
		return err
	}
	if i.remote.json() {
		err = printJSON(i.io, st)
	} else {
		printConnectionStatus(i.io, st)
	}
	if err == nil && *check && (st.Disabled || st.State != "in step" || st.Exceeds+st.Lacks+st.Incomplete > 0) {
		return errNotInStep
	}
	return err
}

func printConnectionStatus(io streams, st service.ConnectionStatus) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(io.out, "%-16s%s\n", name, fmt.Sprintf(format, args...))
	}
	line("state", "%s", standing(st))
	if e := st.Error; e != nil {
		line("error", "%s", e)
		if e.Hint != "" {
			line("", "%s", e.Hint)
		}
		line("", "since %s, tried %d times", when(st.Since), st.Tries)
	}
	if st.Server != nil {
		line("server", "PostgreSQL %d, system %s", st.Server.Version/10000, st.Server.SystemID)
	}
	line("last sync", "%s, policy version %d", when(st.LastSync), st.Version)
	line("last crawl", "%s", when(st.LastCrawl))
	o := st.Objects
	line("objects", "%s, %s, %s, %d gone; %d enforced on", count(o.Databases, "database"), count(o.Schemas, "schema"), count(o.Tables, "table"), o.Dropped, o.Enforced)
	if o.Unreadable+o.NotEnforceable > 0 {
		line("", "could not be read: %s; not enforceable: %s", count(o.Unreadable, "database"), count(o.NotEnforceable, "table"))
	}
	line("people", "%d mapped, %d without an account, %d warnings", st.People.Mapped, st.People.Unmapped, st.People.Warnings)
	lack := fmt.Sprintf("%d lack", st.Lacks)
	if st.NotEnforceable > 0 {
		lack += fmt.Sprintf(", %d of them not enforceable", st.NotEnforceable)
	}
	if st.Compared != nil && st.LastSync != nil && st.LastSync.Sub(*st.Compared) > time.Second {
		line("compared", "%s; what was wanted since is in force, and counted with the next complete comparison", when(st.Compared))
	}
	line("access", "%d equal, %d exceed by what others gave, %s", st.Equal, st.Exceeds, lack)
	if st.Given > 0 {
		line("", "%d relations that the policies give show what they hide or do not give elsewhere: see findings", st.Given)
	}
	if st.Incomplete > 0 {
		line("", "NOT COMPLETE: there is more than was looked at or listed, see findings")
	}
	line("drift", "%d statements in the last round mended what somebody changed, %d in all", st.Drift, st.Drifts)
	for _, p := range st.Overdue {
		line("OVERDUE", "%s: pending since %s%s", p.Statement, when(&p.Since), blocker(p))
	}
	for _, p := range st.Pending {
		line("pending", "%s%s", p.Statement, blocker(p))
		if p.Error != nil {
			line("", "%s", p.Error)
			if p.Error.Hint != "" {
				line("", "%s", p.Error.Hint)
			}
		}
	}
	for _, s := range st.Lingering {
		line("lingering", "session %d of %s is older than a revoke and may still act as %s; it ends by itself, or a DBA runs: %s", s.PID, s.Role, some(s.Roles), s.Statement)
	}
	for _, v := range st.Views {
		switch {
		case v.View == "":
			line("no view", "%s: %s%s", v.Table, strings.Join(v.Reason, "; "), fixed(v.Fix))
		default:
			line("view", "%s of %s, for %d people", v.View, v.Table, v.People)
			for _, why := range v.Reason {
				line("no view", "%s: %s", v.Table, why)
			}
		}
	}
	for _, r := range st.Rows {
		if r.InForce {
			line("rows", "of %s, for %d people by row-level security", r.Table, r.People)
		}
		for _, why := range r.Reasons {
			line("no rows", "%s: %s%s", r.Table, why, fixed(r.Fix))
		}
	}
	for _, w := range st.Withheld {
		line("withheld", "%s (%s) from %s, who may see a part only: %s", count(w.Count, "table"), some(w.Tables), some(w.People), strings.Join(w.Policies, ", "))
	}
	for _, l := range st.Lacking {
		line("not enforceable", "%s", l)
	}
	for _, w := range st.Waiting {
		line("waits", "%s", waitingText(w))
	}
	for _, r := range st.Remarks {
		line("policy", "%s (%s): %s", r.Policy, r.Field, r.Message)
	}
}

// standing is the state in words. What is not enforced on is in step with ease.
func standing(st service.ConnectionStatus) string {
	if st.Disabled && st.State != "deleting" {
		return st.State + ", disabled: nothing is enforced but what is enabled below"
	}
	return st.State
}

// count is a number with the word for what is counted.
func count(n int, of string) string {
	if n != 1 {
		of += "s"
	}
	return fmt.Sprintf("%d %s", n, of)
}

func waitingText(w service.WaitingObject) string {
	if len(w.Columns) > 0 {
		return w.Name + ": tags wait for column " + strings.Join(w.Columns, ", ")
	}
	return w.Name + ": settings wait for it to be seen"
}

func fixed(fix string) string {
	if fix == "" {
		return ""
	}
	return "; a DBA runs: " + fix
}

func blocker(p connection.Pending) string {
	if p.Blocker == "" {
		return ""
	}
	return ", waits for " + p.Blocker
}

func some(names []string) string {
	if len(names) > 3 {
		return strings.Join(names[:3], ", ") + " …"
	}
	return strings.Join(names, ", ")
}

func when(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return t.UTC().Format(time.RFC3339) + " (" + time.Since(*t).Truncate(time.Second).String() + " ago)"
}

func connectionShow(ctx context.Context, i *invocation) error {
	q := url.Values{}
	for name, about := range map[string]string{"level": "only database, schema or table", "under": "only in this database or schema (full name)", "text": "only names with this text"} {
		i.flags.Func(name, about, func(v string) error { q.Set(name, v); return nil })
	}
	dropped := i.flags.Bool("dropped", false, "also what is no longer there")
	c, err := i.call(1, 2)
	if err != nil {
		return err
	}
	defer c.Close()
	if len(i.args) == 2 {
		return i.showObject(ctx, c)
	}
	q.Set("dropped", fmt.Sprint(*dropped))
	q.Set("limit", "1000")
	all := []service.Object{}
	for {
		var page []service.Object
		if err := c.Call(ctx, http.MethodGet, path("connections", i.args[0], "objects")+"?"+q.Encode(), nil, &page); err != nil {
			return err
		}
		if i.remote.json() {
			all = append(all, page...)
		} else {
			for _, o := range page {
				printObject(i.io, o)
			}
		}
		if len(page) < 1000 {
			break
		}
		last := page[len(page)-1]
		q.Set("after", last.Name)
		q.Set("after_id", last.ID)
	}
	if i.remote.json() {
		return printJSON(i.io, all)
	}
	st, err := i.status(ctx, c, i.args[0])
	if err != nil {
		return err
	}
	for _, w := range st.Waiting {
		fmt.Fprintf(i.io.out, "waits\t%s\n", waitingText(w))
	}
	return nil
}

func printObject(io streams, o service.Object) {
	kind := string(o.Kind)
	if kind == "" {
		kind = o.Level
	}
	var notes []string
	switch {
	case o.Dropped != nil:
		notes = append(notes, "gone since "+o.Dropped.UTC().Format(time.RFC3339))
	case o.Error != nil:
		notes = append(notes, "as seen "+when(&o.LastSeen)+": "+o.Error.Error())
	case !o.Enforced:
		notes = append(notes, "not enforced on")
	case o.NotEnforceable != "":
		notes = append(notes, "not enforceable: "+o.NotEnforceable)
	}
	if len(o.Tags) > 0 {
		notes = append(notes, "tags "+strings.Join(o.Tags, ", "))
	}
	if len(o.InheritedTags) > 0 {
		notes = append(notes, "inherits tags "+strings.Join(o.InheritedTags, ", "))
	}
	if len(o.Owners) > 0 {
		notes = append(notes, "owners "+ownersText(o.Owners))
	}
	fmt.Fprintf(io.out, "%s\t%s\t%s\t%s\n", shown(o.Name), kind, o.State, shown(strings.Join(notes, "; ")))
}

func (i *invocation) showObject(ctx context.Context, c *service.Client) error {
	var o service.Object
	if err := c.Call(ctx, http.MethodGet, path("connections", i.args[0], "objects", i.args[1]), nil, &o); err != nil {
		return err
	}
	if i.remote.json() {
		return printJSON(i.io, o)
	}
	printObject(i.io, o)
	fmt.Fprintf(i.io.out, "  owner there %s, id %s\n", shown(o.Owner), o.ID)
	if len(o.InheritedOwners) > 0 {
		fmt.Fprintf(i.io.out, "  owners of levels above: %s\n", ownersText(o.InheritedOwners))
	}
	if o.Fix != "" {
		fmt.Fprintf(i.io.out, "  a DBA runs: %s\n", o.Fix)
	}
	for _, col := range o.Columns {
		fmt.Fprintf(i.io.out, "  %s\t%s\t%s\n", shown(col.Name), shown(col.Type), strings.Join(col.Tags, ", "))
	}
	return nil
}

func connectionAccounts(ctx context.Context, i *invocation) error {
	c, err := i.call(1, 1)
	if err != nil {
		return err
	}
	defer c.Close()
	var a service.ConnectionAccounts
	if err := c.Call(ctx, http.MethodGet, path("connections", i.args[0], "accounts"), nil, &a); err != nil {
		return err
	}
	if i.remote.json() {
		return printJSON(i.io, a)
	}
	for _, m := range a.Accounts {
		fmt.Fprintf(i.io.out, "%s\t%s\n", m.Person, m.Role)
	}
	for _, p := range a.Unmapped {
		fmt.Fprintf(i.io.out, "%s/%s\t-\t%s%s\n", p.Person.IAMID, p.Person.UserID, p.Message, fixed(p.Statement))
	}
	for _, p := range a.Warnings {
		fmt.Fprintf(i.io.err, "warning: %s/%s: %s%s\n", p.Person.IAMID, p.Person.UserID, p.Message, fixed(p.Statement))
	}
	return nil
}

func connectionFindings(ctx context.Context, i *invocation) error {
	c, err := i.call(1, 1)
	if err != nil {
		return err
	}
	defer c.Close()
	var list []connection.Excess
	if err := c.Call(ctx, http.MethodGet, path("connections", i.args[0], "findings"), nil, &list); err != nil {
		return err
	}
	if i.remote.json() {
		return printJSON(i.io, list)
	}
	for _, e := range list {
		printFinding(i.io, e)
	}
	return nil
}

func printFinding(io streams, e connection.Excess) {
	if e.Kind == connection.FindingLeft {
		fmt.Fprintf(io.out, "role %s is %s: %s\n  a DBA decides what becomes of that, and runs:\n%s\n", e.Role, e.Privilege, strings.Join(e.Via, ", "), e.Statement)
		return
	}
	if e.Kind == connection.FindingIncomplete {
		fmt.Fprintf(io.out, "NOT COMPLETE on %s: %s\n  people may reach tables by what was left out, and nothing tells\n", shown(e.Object.Place()), e.Privilege)
		return
	}
	who := e.Role
	if e.Person != "" {
		who = fmt.Sprintf("%s (%s)", e.Person, e.Role)
	}
	if e.People > 1 {
		who += fmt.Sprintf(" and %d more", e.People-1)
	}
	fmt.Fprintf(io.out, "%s has %s on %s", shown(who), e.Privilege, shown(e.Object.Place()))
	if len(e.Via) > 0 {
		fmt.Fprintf(io.out, " via %s", shown(strings.Join(e.Via, ", ")))
	}
	if e.Grantor != "" {
		fmt.Fprintf(io.out, ", granted by %s", shown(e.Grantor))
	}
	if e.Kind == connection.FindingGiven {
		fmt.Fprint(io.out, "\n  the policies give it: take the relation out of them, subscribe to what it shows, or mask it there too\n")
		return
	}
	fmt.Fprintf(io.out, "\n  a DBA runs: %s\n", e.Statement)
}
