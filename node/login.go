package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"portcullis.dev/portcullis/internal/apiclient"
)

const (
	checkers   = 4           // login checks at once
	maxChecks  = 1024        // waiting
	refusalTTL = time.Second // of an answer that was not the service's
	maxTTL     = time.Hour
)

// verdict is the answer about an account.
type verdict struct {
	OK     bool
	Reason string
	Hint   string
	TTL    time.Duration // how long the worker may keep it
}

// checkQueue holds the roles to be checked, each once.
type checkQueue struct {
	mu      sync.Mutex
	waiting map[string]bool
	roles   chan string
}

func newCheckQueue() *checkQueue {
	return &checkQueue{waiting: map[string]bool{}, roles: make(chan string, maxChecks)}
}

// put returns false if the queue is full.
func (q *checkQueue) put(role string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting[role] {
		return true
	}
	select {
	case q.roles <- role:
		q.waiting[role] = true
		return true
	default:
		return false
	}
}

// take waits for a role. A role that came after a change of configuration is
// left for the next session, which ends the wait with context.Canceled.
func (q *checkQueue) take(ctx context.Context, changed <-chan struct{}) (string, error) {
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case <-changed:
		return "", context.Canceled
	case role := <-q.roles:
		q.mu.Lock()
		delete(q.waiting, role) // a CHECK from now on wants a fresh answer
		q.mu.Unlock()
		select {
		case <-changed:
			q.put(role)
			return "", context.Canceled
		default:
			return role, nil
		}
	}
}

func (s *session) answerChecks(ctx context.Context) error {
	for {
		role, err := s.checks.take(ctx, s.changed)
		if err != nil {
			return err
		}
		v, err := s.check(ctx, role)
		if ctx.Err() != nil {
			s.checks.put(role)
			return ctx.Err()
		}
		if err != nil {
			s.fail("login check", err)
			v = verdict{Reason: "the policy service cannot be asked about this account: " + whyNot(err),
				Hint: "try again; if it lasts, tell the administrator of this database", TTL: refusalTTL}
		}
		s.control.account(role, v)
	}
}

// whyNot leaves out that the service cannot be reached, where that is said already.
func whyNot(err error) string {
	var unreachable *apiclient.Unreachable
	switch {
	case !errors.As(err, &unreachable):
		return err.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "it does not answer in time"
	}
	return unreachable.Cause.Error()
}

func (s *session) check(ctx context.Context, role string) (verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.CheckLimit)
	defer cancel()
	answer := struct {
		OK     *bool  `json:"ok"`
		Reason string `json:"reason"`
		Hint   string `json:"hint"`
		TTLMS  int64  `json:"ttl_ms"`
	}{}
	ask := func(token string) error {
		return s.client.call(ctx, "/v1/node/login", token, map[string]string{"node": s.cfg.node, "role": role}, &answer)
	}
	err := s.authorised(ctx, ask)
	if apiclient.IsStatus(err, 401) { // the token just expired or was withdrawn: once more with the next
		err = s.authorised(ctx, ask)
	}
	if err != nil {
		return verdict{}, err
	}
	if answer.OK == nil {
		return verdict{}, errors.New("the policy service's answer to a login check cannot be read")
	}
	ttl := time.Duration(max(0, min(answer.TTLMS, maxTTL.Milliseconds()))) * time.Millisecond
	return verdict{OK: *answer.OK, Reason: answer.Reason, Hint: answer.Hint, TTL: ttl}, nil
}

// refuseChecks denies every login of a node that has no usable service.
func (d *daemon) refuseChecks(ctx context.Context, changed <-chan struct{}, reason, hint string) error {
	for {
		role, err := d.checks.take(ctx, changed)
		if err != nil {
			return err
		}
		d.control.account(role, verdict{Reason: reason, Hint: hint, TTL: refusalTTL})
	}
}
