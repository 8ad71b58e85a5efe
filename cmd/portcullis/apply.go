package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"

	"portcullis.dev/portcullis/service"
)

func runApply(ctx context.Context, args []string, io streams) error {
	f := flag.NewFlagSet("apply", flag.ContinueOnError)
	var r remote
	r.flags(f)
	file := f.String("f", "", "state `file` (docs/state.md)")
	dry := f.Bool("dry-run", false, "only tell the difference")
	if err := parse(f, args, 0, io); err != nil {
		return err
	}
	if *file == "" {
		return usage(f, io, "-f is needed")
	}
	state, err := service.ReadStateFile(*file)
	if err != nil {
		return err
	}
	c, err := r.patientClient()
	if err != nil {
		return err
	}
	defer c.Close()
	var reply service.ApplyReply
	if err := c.Call(ctx, http.MethodPost, fmt.Sprintf("/v1/state?dry_run=%t", *dry), state.State, &reply); err != nil {
		return state.Locate(err)
	}
	if r.json() {
		return printJSON(io, reply)
	}
	printDifferences(io, reply)
	return nil
}

func printDifferences(io streams, reply service.ApplyReply) {
	signs := map[string]string{"create": "+", "update": "~", "delete": "-"}
	for _, d := range reply.Differences {
		fmt.Fprintf(io.out, "%s %s %s", signs[d.Action], d.Object, d.Key)
		if d.Secret {
			fmt.Fprint(io.out, " (password)")
		}
		fmt.Fprintln(io.out)
		if d.Action == "update" && string(d.Before) != string(d.After) {
			fmt.Fprintf(io.out, "    was %s\n    is  %s\n", d.Before, d.After)
		}
	}
	for _, c := range reply.Reached {
		describeReached(io, c.Connection, c.Reached)
	}
	for _, w := range reply.Waiting {
		fmt.Fprintf(io.err, "warning: %s\n", waitingText(w))
	}
	for _, w := range reply.Remarks {
		fmt.Fprintf(io.err, "warning: %s: %s\n", w.Field, w.Message)
	}
	verb := "changed"
	if reply.DryRun {
		verb = "would change"
	}
	fmt.Fprintf(io.out, "%d %s, policy version %d\n", len(reply.Differences), verb, reply.Version)
}
