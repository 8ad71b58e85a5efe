package node

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// maxEvent bounds a line of the change stream in bytes.
const maxEvent = 64 << 10

// event is a line of GET /v1/node/events.
type event struct {
	Type    string `json:"type"`
	Version *int64 `json:"version"` // version
	Role    string `json:"role"`    // account
	OK      bool   `json:"ok"`
	Reason  string `json:"reason"`
	Hint    string `json:"hint"`
	TTLMS   int64  `json:"ttl_ms"`
}

var errSilent = errors.New("the policy service's change stream fell silent")

// holdEvents keeps the change stream open. While it is not, the lease runs
// out by itself in the worker: silence is the signal.
func (s *session) holdEvents(ctx context.Context) error {
	retry := backoff{first: 100 * time.Millisecond, most: 2 * time.Second}
	for {
		err := s.authorised(ctx, func(token string) error {
			return s.readEvents(ctx, token, retry.reset)
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.report("service", "cannot be reached")
		s.fail("events", err)
		if err := retry.wait(ctx, nil); err != nil {
			return err
		}
	}
}

// readEvents reads one stream to its end, which is always an error.
func (s *session) readEvents(ctx context.Context, token string, heard func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(s.opts.Silence, func() { cancel(errSilent) })
	defer silence.Stop()

	resp, err := s.client.stream(ctx, "/v1/node/events?node="+url.QueryEscape(s.cfg.node), token)
	if err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 4096), maxEvent)
	stream := stream{session: s}
	for lines.Scan() {
		renews, err := stream.take(lines.Bytes())
		if err != nil {
			return err
		}
		silence.Reset(s.opts.Silence)
		if renews {
			s.control.lease(s.opts.Lease)
			s.metrics.heard.SetToCurrentTime()
			s.report("service", "connected")
			heard()
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the change stream: %w", err)
	}
	return errors.New("the policy service ended the change stream")
}

// stream is the state of one connection.
type stream struct {
	*session
	versioned bool
}

// take acts on a line and says whether it renews the lease. Before the policy
// version was told, nothing does: what changed while we were away is unknown.
func (s *stream) take(line []byte) (renews bool, err error) {
	var e event
	if err := json.Unmarshal(line, &e); err != nil {
		return false, errors.New("a line of the change stream cannot be read")
	}
	switch e.Type {
	case "version":
		if e.Version == nil || *e.Version < 0 {
			return false, errors.New("a version event of the change stream has no version")
		}
		s.control.epoch(uint64(*e.Version))
		s.report("version", fmt.Sprint(*e.Version))
		s.versioned = true
	case "account":
		if e.Role == "" {
			return false, errors.New("an account event of the change stream has no role")
		}
		s.control.account(e.Role, verdict{OK: e.OK, Reason: e.Reason, Hint: e.Hint, TTL: pushTTL(e.TTLMS)})
	case "heartbeat":
	default:
		s.log.Warn("event of an unknown type, left out", "type", oneLine(e.Type, maxStatus))
		return false, nil
	}
	return s.versioned, nil
}

// pushTTL: a pushed answer without a time of its own is kept for a minute.
func pushTTL(ms int64) time.Duration {
	if ms <= 0 {
		return time.Minute
	}
	return time.Duration(min(ms, maxTTL.Milliseconds())) * time.Millisecond
}
