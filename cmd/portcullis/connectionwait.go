package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"portcullis.dev/portcullis/service"
)

// How often is looked: at first lookEvery, then more seldom the longer it takes,
// since a look counts all objects.
const (
	lookEvery  = 200 * time.Millisecond
	lookSeldom = 2 * time.Second
)

func connectionSync(ctx context.Context, i *invocation) error {
	object := i.flags.String("object", "", "as OBJECT: id or full `name` of a database, schema or table")
	wait := i.flags.Bool("wait", true, "wait until it is done")
	c, err := i.call(1, 2)
	if err != nil {
		return err
	}
	defer c.Close()
	name := i.args[0]
	if len(i.args) == 2 {
		*object = i.args[1]
	}
	var reply service.SyncReply
	if err := c.Call(ctx, http.MethodPost, path("connections", name, "sync"), map[string]string{"object": *object}, &reply); err != nil || !*wait {
		return err
	}
	return i.waitSync(ctx, c, name, reply.Wanted)
}

func (i *invocation) status(ctx context.Context, c *service.Client, name string) (st service.ConnectionStatus, err error) {
	return st, c.Call(ctx, http.MethodGet, path("connections", name, "status"), nil, &st)
}

// waitSync waits until a sync is done, telling how far it is.
func (i *invocation) waitSync(ctx context.Context, c *service.Client, name string, wanted int64) error {
	begun, told := time.Now(), time.Now()
	for {
		st, err := i.status(ctx, c, name)
		if err != nil {
			return err
		}
		switch {
		case st.SyncDone >= wanted:
			if i.remote.json() {
				return printJSON(i.io, st)
			}
			fmt.Fprintf(i.io.out, "%s: %s, %s, %s, %d enforced; %s\n",
				name, count(st.Objects.Databases, "database"), count(st.Objects.Schemas, "schema"), count(st.Objects.Tables, "table"), st.Objects.Enforced, st.State)
			return nil
		case st.Error != nil && st.SyncTried >= wanted && st.LastTry.After(begun): // a round that had begun before tells nothing of this sync
			return &service.Error{Code: st.Error.Code, Message: name + ": " + st.Error.Error(), Hint: st.Error.Hint}
		case st.Progress != nil && time.Since(told) > time.Second:
			told = time.Now()
			fmt.Fprintf(i.io.err, "crawling %s: %d of %d databases, %d of %d objects\n", st.Progress.Database,
				st.Progress.DatabasesDone, st.Progress.Databases, st.Progress.ObjectsDone, st.Progress.Objects)
		}
		if err := pause(ctx, begun); err != nil {
			return err
		}
	}
}

// waitGone waits until a deleted connection is forgotten.
func (i *invocation) waitGone(ctx context.Context, c *service.Client, name string) error {
	begun := time.Now()
	for {
		st, err := i.status(ctx, c, name)
		var refused *service.Error
		if errors.As(err, &refused) && refused.Status == http.StatusNotFound {
			if refused.Hint != "" { // roles that are left behind
				fmt.Fprintln(i.io.err, refused.Hint)
			}
			return nil
		}
		if err != nil {
			return err
		}
		if st.LastTry != nil && st.LastTry.After(begun) && (st.Error != nil || len(st.Pending) > 0) {
			message, hint := "not everything could be taken back yet; it is tried again", "See portcullis connection status "+name+"; --forget gives up on it."
			if st.Error != nil {
				message += ": " + st.Error.Error()
			}
			return &service.Error{Code: "pending", Message: message, Hint: hint}
		}
		if err := pause(ctx, begun); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, begun time.Time) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(min(max(lookEvery, time.Since(begun)/20), lookSeldom)):
		return nil
	}
}
