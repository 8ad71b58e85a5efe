package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"portcullis.dev/portcullis/internal/apiclient"
)

// shipLimit bounds one batch: a slow sink may take its time, a dead one not for ever.
const shipLimit = 30 * time.Second

// shipPause gathers records once all that was synced is shipped: a batch costs
// the service a commit and this daemon a sync, on disks that statements wait for.
const shipPause = 200 * time.Millisecond

// ship sends the spool in order, at least once; the service keeps each record
// id once.
func (s *session) ship(ctx context.Context) error {
	sp := spool{s.opts.Spool}
	retry := backoff{first: 250 * time.Millisecond, most: 15 * time.Second}
	at, err := sp.start()
	for ; err != nil; at, err = sp.start() {
		s.fail("audit", err)
		if err := retry.wait(ctx, nil); err != nil {
			return err
		}
	}
	s.control.shipped(at)
	for failed := 0; ; {
		changed := s.synced.changed()
		next, err := s.shipBatch(ctx, sp, at, failed)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if failed++; err == nil {
			failed = 0
		}
		if err != nil {
			s.report("audit", "not shipped: "+err.Error())
			s.fail("audit", err)
			if err := retry.wait(ctx, nil); err != nil {
				return err
			}
			continue
		}
		retry.reset()
		if next != at {
			at = next
			if synced, _ := s.synced.get(); at == synced {
				if err := sleep(ctx, shipPause, nil); err != nil {
					return err
				}
			}
			continue
		}
		s.report("audit", "all shipped")
		s.metrics.pending.Set(0)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// shipBatch sends what follows a place, which failed so often before, and
// returns the place after it.
func (s *session) shipBatch(ctx context.Context, sp spool, at place, failed int) (place, error) {
	synced, ok := s.synced.get()
	if !ok || at == synced {
		return at, nil
	}
	if synced.before(at) { // another spool than the place was kept for
		s.log.Warn("audit spool begins anew", "kept", at, "synced", synced)
		return sp.first(0)
	}
	s.metrics.pending.Set(float64(synced.offset - at.offset)) // exact within the last segment
	b, err := sp.read(at, synced)
	if err != nil {
		return at, err
	}
	if b.torn > 0 {
		s.log.Warn("end of an abandoned segment left out", "segment", at.segment, "bytes", b.torn)
	}
	if b.next == at {
		return at, nil
	}
	send := s.send
	if failed >= wholeTries {
		send = s.isolate
	}
	if err := send(ctx, sp, b.records); err != nil {
		return at, err
	}
	// Without the place a later daemon repeats records, which is harmless. The
	// worker is told all the same: where the disk is full, that makes room.
	if err := sp.keep(b.next); err != nil {
		s.fail("audit", err)
	}
	s.control.shipped(b.next)
	return b.next, nil
}

// send posts records; those that the service refuses for what they are get
// put aside, so that one cannot hold up the rest.
func (s *session) send(ctx context.Context, sp spool, records []record) error {
	whole := records[:0:0]
	for _, r := range records {
		if r.body == nil {
			if err := s.refuse(sp, r, "the line of the spool is damaged"); err != nil {
				return err
			}
			continue
		}
		whole = append(whole, r)
	}
	if len(whole) == 0 {
		return nil
	}
	err := s.post(ctx, sp, whole)
	var answer *apiclient.Refusal
	if !errors.As(err, &answer) || !isRefusal(answer.Status) {
		return err
	}
	if len(whole) == 1 {
		return s.refuse(sp, whole[0], answer.Error())
	}
	half := len(whole) / 2
	if err := s.send(ctx, sp, whole[:half]); err != nil {
		return err
	}
	return s.send(ctx, sp, whole[half:])
}

// isRefusal: the body is at fault, sending it again cannot help.
func isRefusal(status int) bool { return status == 400 || status == 413 || status == 422 }

// auditAnswer says what became of each record of a request.
type auditAnswer struct {
	Stored   *int `json:"stored"`
	Repeated int  `json:"repeated"`
	Refused  []struct {
		Line   int    `json:"line"` // from 1
		Reason string `json:"reason"`
	} `json:"refused"`
}

// confirms tells whether the answer accounts for each of so many records.
func (a *auditAnswer) confirms(sent int) bool {
	seen := map[int]bool{}
	for _, r := range a.Refused {
		if r.Line < 1 || r.Line > sent || seen[r.Line] {
			return false
		}
		seen[r.Line] = true
	}
	return a.Stored != nil && *a.Stored+a.Repeated+len(a.Refused) == sent
}

// post sends records; those that the service refuses by themselves are put aside.
func (s *session) post(ctx context.Context, sp spool, records []record) error {
	var body bytes.Buffer
	for _, r := range records {
		body.Write(r.body)
		body.WriteByte('\n')
	}
	ctx, cancel := context.WithTimeout(ctx, shipLimit)
	defer cancel()
	var answer auditAnswer
	err := s.authorised(ctx, func(token string) error {
		return s.client.post(ctx, "/v1/audit/records", token, "application/x-ndjson", body.Bytes(), &answer)
	})
	if err != nil {
		return err
	}
	if !answer.confirms(len(records)) {
		return fmt.Errorf("the policy service did not confirm all of %d audit records", len(records))
	}
	refused := map[int]bool{}
	for _, r := range answer.Refused {
		refused[r.Line] = true
		if err := s.refuse(sp, records[r.Line-1], r.Reason); err != nil {
			return err
		}
	}
	for i := range records {
		if !refused[i+1] {
			s.taken = &records[i]
			break
		}
	}
	s.metrics.records.WithLabelValues("stored").Add(float64(*answer.Stored))
	s.metrics.records.WithLabelValues("repeated").Add(float64(answer.Repeated))
	return nil
}

func (s *session) refuse(sp spool, r record, why string) error {
	s.metrics.records.WithLabelValues("refused").Inc()
	s.fail("audit", errors.New("a record was put aside in "+refusedFile+": "+why))
	return sp.refuse(r, why)
}
