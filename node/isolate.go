package node

import (
	"context"
	"errors"
	"net/http"

	"portcullis.dev/portcullis/internal/apiclient"
)

const (
	wholeTries    = 2  // so often a batch is sent whole before one of its records is suspected
	failuresInRow = 24 // after so many without a success it is the service that fails
)

// errServiceFails says that the service took nothing of a batch.
var errServiceFails = errors.New("the policy service fails on every audit record")

// isolation looks for the records of a batch on which the service fails.
type isolation struct {
	*session
	suspects []record
	failures int // since it took one
}

// isolate sends records like send. One on which the service fails each time
// (500) is put aside, so that it cannot hold up the rest for ever, but only if
// the service takes another record right before and right after it.
func (s *session) isolate(ctx context.Context, sp spool, records []record) error {
	i := &isolation{session: s}
	if err := i.part(ctx, sp, records); err != nil {
		return err
	}
	for _, r := range i.suspects {
		if err := i.convict(ctx, sp, r); err != nil {
			return err
		}
	}
	return nil
}

// part sends records, in halves where the service fails on them.
func (i *isolation) part(ctx context.Context, sp spool, records []record) error {
	err := i.send(ctx, sp, records)
	if err == nil {
		i.failures = 0
		return nil
	}
	if i.failures++; !apiclient.IsStatus(err, http.StatusInternalServerError) || i.failures > failuresInRow {
		return err
	}
	if len(records) == 1 {
		i.suspects = append(i.suspects, records[0])
		return nil
	}
	half := len(records) / 2
	if err := i.part(ctx, sp, records[:half]); err != nil {
		return err
	}
	return i.part(ctx, sp, records[half:])
}

func (i *isolation) convict(ctx context.Context, sp spool, r record) error {
	if i.taken == nil {
		return errServiceFails
	}
	if err := i.post(ctx, sp, []record{*i.taken}); err != nil {
		return err
	}
	failure := i.post(ctx, sp, []record{r})
	if failure == nil || !apiclient.IsStatus(failure, http.StatusInternalServerError) {
		return failure
	}
	if err := i.post(ctx, sp, []record{*i.taken}); err != nil {
		return err
	}
	return i.refuse(sp, r, failure.Error())
}
