package run

import (
	"cmp"
	"slices"
	"strconv"
)

// Connections lists the session's remote connections, connects under way or
// abandoned included. Times are microseconds since 1970.
func (e *Engine) Connections() Rows {
	p := e.pool
	p.closeRetired()
	p.mu.Lock()
	defer p.mu.Unlock()
	rows := Rows{}
	for r := range p.remotes {
		rows = append(rows, row(r.server, r.driver, r.state(),
			strconv.FormatInt(r.opened.UnixMicro(), 10), strconv.FormatInt(r.used.UnixMicro(), 10),
			strconv.FormatInt(r.statements, 10), strconv.FormatBool(r.inTx)))
	}
	for a := range p.attempts {
		state := "busy"
		if a.abandoned {
			state = "abandoned"
		}
		began := strconv.FormatInt(a.began.UnixMicro(), 10)
		rows = append(rows, row(a.server, a.driver, state, began, began, "0", "false"))
	}
	slices.SortFunc(rows, func(a, b []*string) int {
		return cmp.Or(cmp.Compare(*a[0], *b[0]), cmp.Compare(*a[3], *b[3]))
	})
	return rows
}

func row(cells ...string) []*string {
	out := make([]*string, len(cells))
	for i := range cells {
		out[i] = &cells[i]
	}
	return out
}

// Disconnect closes idle connections of a server (0: of all) and says how many.
func (e *Engine) Disconnect(server uint32) int { return e.pool.disconnect(server) }

// TransactionEnd ends the remote transactions of the local one, in the
// background. After an error what was given up is cancelled at once; else it
// keeps its grace, since a cancel costs the connection.
func (e *Engine) TransactionEnd(committed bool) {
	e.mu.Lock()
	for f := range e.fetches {
		if !committed && f.isStopped() {
			f.cancel()
		}
	}
	e.mu.Unlock()
	e.pool.transactionEnd()
	e.resting.Reset(restAfter)
}

// orNull is NULL for an empty text.
func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
