package service

import (
	"context"
	"errors"
	"time"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/grants"
)

// A complete round reads every table of an instance. On large ones, a round is
// narrowed to the sets that are wanted otherwise than before; a complete one
// follows when nothing more is wanted for a while.
const (
	narrowFrom  = 2000            // tables: smaller instances are looked at as a whole
	narrowShare = 4               // at most one in so many tables of the instance is looked at by a narrowed round
	firstLook   = 5 * time.Second // a complete round follows after so long at the earliest,
	lookShare   = 10              // and after so many times what the last one took
)

// known is what is wanted, to be compared with what is wanted later.
type known struct {
	grants *grants.Known
	views  string
}

func (d *desired) known() known {
	return known{grants.Know(d.want), viewsDigest([]any{d.views, d.rows})}
}

func (m *roundMemory) lookDue(now time.Time) bool {
	return !m.lookAgain.IsZero() && !now.Before(m.lookAgain)
}

// isInForce reports whether the last round left in force what is wanted now.
func (m *roundMemory) isInForce(w known) bool {
	return m.inForce != nil && m.inForce.Same(w.grants) && m.wantViews == w.views && len(m.status.Pending) == 0
}

// lookLater puts a complete round off, for so long that it takes a small share of
// the instance's time.
func (m *roundMemory) lookLater(now time.Time) {
	m.lookAgain = now.Add(max(firstLook, lookShare*m.took))
}

// gaveWay remembers what was in force before a complete round that gave way, and
// what failed in it before.
func (m *roundMemory) gaveWay(before *grants.Known, failed []connection.Pending, now time.Time) {
	m.inForce = before
	m.status.Pending = append(m.status.Pending, failed...)
	m.lookLater(now)
}

// narrow does what a narrowed round can. It reports whether there is nothing to
// be done, or told, by a complete one now.
func (l *connectionLoop) narrow(ctx context.Context, target connection.Target, open grants.Connect, d *desired, w known, crawled bool) (done bool, err error) {
	m := &l.memory
	inForce, due := m.isInForce(w), m.lookDue(l.c.now())
	if crawled || inForce && due {
		return false, nil
	}
	if inForce && len(m.status.Lingering) == 0 {
		return true, nil
	}
	// Where all is in force, only the sessions that linger are looked at.
	diff := l.difference(d, w)
	if diff == nil || due && !l.justCompleted() {
		return false, nil
	}
	engine, err := l.engine(target, open, nil)
	if err != nil {
		return false, err
	}
	started := l.c.now()
	m.inForce = nil // whatever comes of it
	report, complete, err := engine.Narrow(ctx, diff)
	if err != nil {
		return false, err
	}
	m.status.Applied, m.status.Drift = report.Applied, report.Drift
	l.takeLingering(report.Lingering)
	m.status.Drifts += int64(report.Drift)
	l.c.metrics.applied(m.name, report.Applied, report.Drift)
	l.c.metrics.rounded(m.name, l.c.now().Sub(started))
	if complete {
		m.inForce = w.grants
	}
	if m.lookAgain.IsZero() && !inForce {
		m.lookLater(l.c.now())
	}
	return complete, nil
}

// difference is what a narrowed round would look at; nil: a complete one is needed.
func (l *connectionLoop) difference(d *desired, w known) *grants.Difference {
	m := &l.memory
	if len(m.status.Pending) > 0 || m.wantViews != w.views || m.row.config != m.config || int64(len(m.tables.list)) < l.c.narrowFrom.Load() {
		return nil
	}
	diff := m.inForce.Difference(d.want, w.grants)
	if diff == nil || narrowShare*(diff.Tables()+diff.Sets()) > max(len(m.tables.list), narrowFrom) {
		return nil
	}
	return diff
}

// complete makes a complete round. One without another cause than narrowed ones
// before gives way to what is wanted meanwhile, and stays due.
func (l *connectionLoop) complete(ctx context.Context, target connection.Target, open grants.Connect, d desired, accounts ConnectionAccounts, w known, crawled bool) error {
	m := &l.memory
	started := l.c.now()
	before := m.inForce
	var giveWay <-chan struct{}
	if m.isInForce(w) && m.row.syncWanted <= m.row.syncDone && l.justCompleted() {
		giveWay = l.hurry
	}
	m.inForce = nil
	failed, err := l.applyViews(ctx, target, open, &d, crawled)
	if err != nil {
		return err
	}
	more, err := l.applyRows(ctx, target, open, &d, crawled)
	if err != nil {
		return err
	}
	failed = append(failed, more...)
	switch err := l.enforce(ctx, target, open, d, accounts, failed, giveWay); {
	case errors.Is(err, grants.ErrGaveWay):
		m.gaveWay(before, failed, l.c.now())
		return nil
	case err != nil:
		return err
	}
	if err := l.clearRows(ctx, target, open, &d); err != nil {
		return err
	}
	if len(m.status.Pending) == 0 && !m.viewsLeft {
		m.inForce, m.wantViews, m.config = w.grants, w.views, m.row.config
	}
	now := l.c.now().UTC()
	m.status.Compared, m.took, m.lookAgain = &now, now.Sub(started), time.Time{}
	l.c.metrics.rounded(m.name, m.took)
	return nil
}

// justCompleted reports whether the last complete round is younger than the
// sync period, within which drift has to be found.
func (l *connectionLoop) justCompleted() bool {
	every, err := time.ParseDuration(l.memory.row.connection.SyncEvery)
	compared := l.memory.status.Compared
	return err == nil && compared != nil && l.c.now().Sub(*compared) < every
}
