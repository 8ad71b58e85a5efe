package run

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"
	"unsafe"

	"portcullis.dev/portcullis/engine/mask"
	"portcullis.dev/portcullis/policy"
)

// usageKey names what limits are counted over: the scans of one statement on
// one source.
type usageKey struct {
	queryID int64
	source  string
}

// usage is what a statement has taken from a source so far. Rows and bytes
// are counted as they are handed to the executor, after row filter and masks:
// a limit must tell nothing about hidden rows. Its fields up to the mutex
// belong to the backend's thread.
type usage struct {
	key     usageKey
	contact string // whom to ask
	scans   int    // that count here
	rows    int64
	bytes   int64

	mu     sync.Mutex
	limits policy.Limits
	active map[*fetch]struct{} // whose remote statements run
	since  time.Time           // when the first of them began
	spent  time.Duration       // before that
	timer  *time.Timer
}

// join counts a scan under the limits of its decision.
func (e *Engine) join(s *Scan, queryID int64) {
	if s.held == nil || s.held.decision.Limits == (policy.Limits{}) {
		return
	}
	key := usageKey{queryID, s.source.ServerName}
	u := e.usages[key]
	if u == nil {
		u = &usage{key: key, contact: s.held.decision.Contact, active: map[*fetch]struct{}{}}
		e.usages[key] = u
	}
	u.scans++
	u.mu.Lock()
	u.limits = u.limits.Tighter(s.held.decision.Limits)
	u.mu.Unlock()
	s.usage = u
}

func (e *Engine) leave(u *usage) {
	if u == nil {
		return
	}
	if u.scans--; u.scans == 0 {
		delete(e.usages, u.key)
	}
}

// admit counts a block that is about to be handed over, and cuts it where it
// goes over a limit: the error comes when the executor asks for more.
func (u *usage) admit(block unsafe.Pointer, rows int, bytes int64) (admittedRows int, admittedBytes int64, over error) {
	rowsLeft, bytesLeft := int64(math.MaxInt32), int64(math.MaxInt64)
	if u.limits.Rows > 0 {
		rowsLeft = max(u.limits.Rows-u.rows, 0)
	}
	if u.limits.Bytes > 0 {
		bytesLeft = max(u.limits.Bytes-u.bytes, 0)
	}
	if int64(rows) > rowsLeft || bytes > bytesLeft {
		admitted, size := mask.Cut(block, int(min(rowsLeft, math.MaxInt32)), bytesLeft)
		if int64(admitted) == rowsLeft {
			over = u.exceeded(u.limits.Rows, "rows")
		} else {
			over = u.exceeded(u.limits.Bytes, "bytes")
		}
		rows, bytes = admitted, size
	}
	u.rows += int64(rows)
	u.bytes += bytes
	return rows, bytes, over
}

func (u *usage) exceeded(limit int64, what string) *Error {
	return &Error{
		State:   stateLimit,
		Message: fmt.Sprintf("a statement may read at most %d %s from source \"%s\"", limit, what, u.key.source),
		Detail:  fmt.Sprintf("This statement needs more than its limit of %s.", what),
		Hint:    "Ask for less in one statement, or ask " + whom(u.contact) + " for a higher limit.",
	}
}

func (u *usage) tookTooLong() *Error {
	return &Error{
		State:   stateCanceled,
		Message: fmt.Sprintf("a statement may keep source \"%s\" busy for at most %d seconds", u.key.source, u.limits.Seconds),
		Detail:  "The remote statement was cancelled.",
		Hint:    "Ask for less in one statement, or ask " + whom(u.contact) + " for a higher limit.",
	}
}

func whom(contact string) string {
	if contact == "" {
		return "an administrator of Portcullis"
	}
	return strings.TrimSuffix(contact, ".")
}

// begin lets the clock run while the fetch keeps the source busy; an error
// says that no time is left.
func (u *usage) begin(f *fetch) error {
	if u == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.limits.Seconds == 0 {
		return nil
	}
	left := time.Duration(u.limits.Seconds)*time.Second - u.spent
	if left <= 0 {
		return u.tookTooLong()
	}
	if len(u.active) == 0 {
		u.since = time.Now()
		e := f.scan.engine
		u.timer = time.AfterFunc(left, func() { e.guard("limit of seconds", func(error) {}, u.expire) })
	}
	u.active[f] = struct{}{}
	return nil
}

// end stops the clock with the last fetch. It may be called twice.
func (u *usage) end(f *fetch) {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, runs := u.active[f]; !runs {
		return
	}
	delete(u.active, f)
	if len(u.active) == 0 {
		u.timer.Stop()
		u.spent += time.Since(u.since)
	}
}

// expire cancels what runs. A timer that fired while it was being stopped
// finds time left.
func (u *usage) expire() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.spent+time.Since(u.since) < time.Duration(u.limits.Seconds)*time.Second {
		return
	}
	for f := range u.active {
		f.expire(u.tookTooLong())
	}
}

// limitKey names person and source in the counters that all sessions share;
// the person is who acts: acting as others gives nobody more.
func limitKey(d *policy.Decision) uint64 {
	iamid, userid := d.Person.IAMID, d.Person.UserID
	if d.Person.Impersonator != "" {
		iamid, userid = d.Person.ImpersonatorIAMID, d.Person.Impersonator
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", d.Source, iamid, userid))
	return binary.LittleEndian.Uint64(sum[:8])
}

// TooMany is the refusal of a statement because as many as the decision's
// limit allows run already.
func (e *Engine) TooMany(decision uint64) *Error {
	h, ok := e.decisions.byID.Get(decision)
	if !ok {
		return &Error{State: stateTooMany, Message: "too many statements run"}
	}
	d := h.decision
	return &Error{
		State:   stateTooMany,
		Message: fmt.Sprintf("too many of your statements read from source \"%s\"", d.Source),
		Detail:  fmt.Sprintf("At most %d may run at once, open cursors and statements of functions included.", d.Limits.Statements),
		Hint:    "Wait until one of them ends, or ask " + whom(d.Contact) + " for a higher limit.",
	}
}
