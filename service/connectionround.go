package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/crawl"
	"portcullis.dev/portcullis/connection/grants"
	"portcullis.dev/portcullis/connection/mapping"
)

// roundMemory is what a loop remembers between rounds while it holds the lease.
type roundMemory struct {
	name       string
	row        connectionRow
	status     ConnectionStatus
	loaded     bool // status was read from the store
	tables     *nativeTables
	roles      []mapping.Role
	inForce    *grants.Known      // what the last round that succeeded completely wanted; nil: the next one is complete
	wantViews  string             // digest of the views that it wanted
	config     string             // of the row, when a complete round last succeeded
	took       time.Duration      // how long that took
	lookAgain  time.Time          // when a complete round is due after narrowed ones; zero: none was
	version    int64              // policy version last looked at
	objects    int64              // version of objects last looked at
	views      map[string]viewsOf // by database
	viewsLeft  bool               // there was no time for all views or policies: the next round goes on at once
	rows       map[string]rowsIn  // by database
	rowsMended int                // policies of this round that somebody had changed by hand
	surplus    []string           // databases with policies that are not wanted any more
	absent     string             // digest of the roles that had no rows yet, when they were made last
	expires    time.Time
	crawled    time.Time // the last crawl that succeeded
}

// connectionRow is what a round reads of the connection itself.
type connectionRow struct {
	connection Connection
	config     string // changes with everything that reaching the instance depends on
	syncWanted int64
	syncDone   int64
	objects    int64
	version    int64 // of the policies
}

func (s *Store) connectionRow(ctx context.Context, id string) (r connectionRow, err error) {
	list, err := listConnections(ctx, s.pool, []string{id})
	if err != nil {
		return r, err
	}
	if len(list) == 0 {
		return r, errGone
	}
	r.connection = list[0]
	err = s.pool.QueryRow(ctx, `SELECT md5(concat_ws('/', host, port, database, tls, ca, username, sealed_password, aws, system_id)), sync_wanted, sync_done, objects_version,
		(SELECT version FROM portcullis.policy_version) FROM portcullis.connections WHERE id = $1`, id).Scan(&r.config, &r.syncWanted, &r.syncDone, &r.objects, &r.version)
	if errors.Is(err, pgx.ErrNoRows) {
		return r, errGone
	}
	return r, err
}

// work does what is due and says how long nothing will be.
func (l *connectionLoop) work(ctx context.Context) (time.Duration, error) {
	row, err := l.c.store.connectionRow(ctx, l.id)
	if err != nil {
		return firstRetry, err
	}
	before, m, now := l.memory.row, &l.memory, l.c.now()
	m.row, m.name = row, row.connection.Name
	if m.views == nil {
		m.views, m.rows = map[string]viewsOf{}, map[string]rowsIn{}
	}
	if !m.loaded {
		if m.status, err = l.c.store.ConnectionStatus(ctx, m.name); err != nil {
			return firstRetry, err
		}
		m.loaded = true
	}
	if now.Before(l.notUntil) && !l.news(before) && !m.viewsLeft {
		return l.pause(), nil
	}
	every, err := time.ParseDuration(row.connection.SyncEvery)
	if err != nil {
		return firstRetry, err
	}
	if row.connection.Deleting {
		return every, l.finish(ctx, l.takeBack(ctx))
	}
	crawlDue := row.syncWanted > row.syncDone || m.crawled.IsZero() || now.Sub(m.crawled) >= every
	roundDue := crawlDue || m.inForce == nil || m.status.unsettled() || row.version != m.version || row.objects != m.objects || m.expired(now) || m.lookDue(now)
	if roundDue {
		err := l.finish(ctx, l.round(ctx, crawlDue))
		if err == nil && m.viewsLeft {
			return 0, nil
		}
		if err != nil || m.status.unsettled() {
			return l.pause(), err
		}
	}
	wait := every - l.c.now().Sub(m.crawled)
	if !m.expires.IsZero() {
		wait = min(wait, m.expires.Sub(l.c.now()))
	}
	if !m.lookAgain.IsZero() {
		wait = min(wait, m.lookAgain.Sub(l.c.now()))
	}
	return max(wait, 0), nil
}

// news tells whether something happened for which a pause after a failure is
// not kept: what was asked for now, another way to the instance, and, where it
// could be reached, every change of policies and objects. One statement that
// waits for a lock must not hold up the others.
func (l *connectionLoop) news(before connectionRow) bool {
	m := &l.memory
	row := m.row
	if row.config != before.config || row.syncWanted != before.syncWanted || row.connection.Deleting != before.connection.Deleting {
		return true
	}
	return m.status.Error == nil && (row.version != m.version || row.objects != m.objects || m.expired(l.c.now()))
}

// expired reports whether a subscription ended since the last round.
func (m *roundMemory) expired(now time.Time) bool {
	return !m.expires.IsZero() && !now.Before(m.expires)
}

// pause is how long nothing is done after a round that left something.
func (l *connectionLoop) pause() time.Duration {
	until, m := l.notUntil, &l.memory
	if m.status.Error == nil && !m.expires.IsZero() && m.expires.Before(until) {
		until = m.expires
	}
	return max(until.Sub(l.c.now()), 0)
}

// finish stores how it went, and when to try again.
func (l *connectionLoop) finish(ctx context.Context, err error) error {
	m, now := &l.memory, l.c.now().UTC()
	if errors.Is(err, errGone) || errors.Is(err, errLease) || ctx.Err() != nil {
		return err
	}
	st := &m.status
	st.LastTry, st.SyncTried = &now, m.row.syncWanted
	l.notUntil = time.Time{}
	switch {
	case err != nil:
		st.State, st.Tries = standBehind, st.Tries+1
		e := asInstanceError(err)
		if st.Error == nil || st.Error.Code != e.Code {
			st.Since = &now
		}
		st.Error = e
	default:
		st.Error, st.Since, st.Tries = nil, nil, 0
		st.State = standInStep
		if len(st.Lingering) > 0 {
			st.State = standLingering
		}
		if len(st.Pending) > 0 {
			st.State = standPending
		}
		if len(st.Overdue) > 0 {
			st.State = standOverdue
		}
	}
	if err != nil || st.unsettled() {
		if err == nil && st.State == standLingering {
			l.retry = min(l.retry, lastLook)
		}
		l.notUntil = now.Add(l.retry)
		l.retry = min(2*l.retry, lastRetry)
	} else {
		l.retry = firstRetry
	}
	l.c.metrics.finished(l.id, st, err)
	return errors.Join(err, l.c.store.storeStatus(ctx, l.id, *st, nil, nil))
}

func asInstanceError(err error) *connection.Error {
	var e *connection.Error
	if errors.As(err, &e) {
		return e
	}
	var s *Error
	if errors.As(err, &s) {
		return &connection.Error{Code: s.Code, Message: s.Error(), Hint: s.Hint}
	}
	return &connection.Error{Code: "internal", Message: "the service could not do this", Detail: err.Error()}
}

// round crawls if that is due and brings the instance in line.
func (l *connectionLoop) round(ctx context.Context, crawlDue bool) error {
	m := &l.memory
	target, err := l.c.store.target(ctx, m.row.connection)
	if err != nil {
		return err
	}
	open := l.c.reach.opener(target)
	if crawlDue {
		if err := l.crawl(ctx, target, open); err != nil {
			return err
		}
	}
	d, accounts, version, err := l.wanted(ctx, target, crawlDue)
	if err != nil {
		return err
	}
	w := d.known()
	done, err := l.narrow(ctx, target, open, &d, w, crawlDue)
	if err != nil {
		return err
	}
	if !done {
		if err := l.complete(ctx, target, open, d, accounts, w, crawlDue); err != nil {
			return err
		}
	}
	now := l.c.now().UTC()
	m.status.Version, m.status.LastSync, m.status.Withheld = version, &now, withoutRows(d.withheld, m.row.connection, m.status.Rows)
	m.version, m.objects, m.expires = version, m.tables.version, d.expires
	if m.row.syncWanted > m.row.syncDone {
		_, err = l.c.store.pool.Exec(ctx, "UPDATE portcullis.connections SET sync_done = $2 WHERE id = $1", l.id, m.row.syncWanted)
		m.row.syncDone = m.row.syncWanted
	}
	return err
}

// wanted is what the policies want. The roles of the instance are read again
// where anew says so, and where somebody has no account because of them: the
// role may be there since.
func (l *connectionLoop) wanted(ctx context.Context, target connection.Target, anew bool) (d desired, accounts ConnectionAccounts, version int64, err error) {
	m := &l.memory
	for anew = anew || m.roles == nil; ; anew = true {
		if anew {
			if m.roles, err = l.c.readRoles(ctx, target, l.id); err != nil {
				return d, accounts, 0, err
			}
		}
		d, accounts, version, err = l.desired(ctx, target)
		if err != nil || anew || !slices.ContainsFunc(accounts.Unmapped, mapping.Problem.OfRole) {
			return d, accounts, version, err
		}
	}
}

// desired computes what the policies want, at one policy version.
func (l *connectionLoop) desired(ctx context.Context, target connection.Target) (d desired, accounts ConnectionAccounts, version int64, err error) {
	m := &l.memory
	err = l.c.store.read(ctx, func(tx pgx.Tx, snap *snapshot) error {
		version = snap.version
		var err error
		d, accounts, m.tables, err = l.c.store.desired(ctx, tx, snap, m.row.connection, target, m.roles, m.tables, l.c.now())
		return err
	})
	return d, accounts, version, err
}

// desired computes what the policies want of a connection.
func (s *Store) desired(ctx context.Context, tx pgx.Tx, snap *snapshot, c Connection, target connection.Target, roles []mapping.Role, had *nativeTables, now time.Time) (
	d desired, accounts ConnectionAccounts, tables *nativeTables, err error) {
	if tables, err = loadNativeTables(ctx, tx, c.ID, had); err != nil {
		return d, accounts, tables, err
	}
	people, emails, err := everybody(ctx, tx)
	if err != nil {
		return d, accounts, tables, err
	}
	entries, err := mappedEntries(ctx, tx, c.ID)
	if err != nil {
		return d, accounts, tables, err
	}
	subscriptions, err := tableSubscriptions(ctx, tx, c.ID)
	if err != nil {
		return d, accounts, tables, err
	}
	var key []byte
	if c.Views {
		if key, err = s.viewKey(ctx, c.ID); err != nil {
			return d, accounts, tables, err
		}
	}
	accounts.resolve(c, withEmails(people, emails), entries, mapping.Instance{Prefix: c.Prefix, SystemAccount: target.Username, Roles: roles})
	f, err := loadFollowed(ctx, tx, c.ID)
	if err != nil {
		return d, accounts, tables, err
	}
	w := &wanting{connection: c, viewKey: key, tables: tables, policies: f.policies(snap.policies), followed: f, now: now}
	w.mapPeople(people, accounts.Accounts)
	d, err = w.compute(ctx, tx, subscriptions)
	d.want.Accounts = accounts.watched()
	return d, accounts, tables, err
}

// crawl looks at the instance and stores what is there.
func (l *connectionLoop) crawl(ctx context.Context, target connection.Target, open crawl.Open) error {
	m := &l.memory
	server, err := l.c.reach.dialer().Probe(ctx, target)
	if err != nil {
		return err
	}
	if err := l.c.store.sameInstance(ctx, m.row.connection, server); err != nil {
		return err
	}
	m.status.Server = &server
	w := newCrawlStore(l.c.store, m.row.connection, l.fence)
	since, err := w.digests(ctx)
	if err != nil {
		return err
	}
	told := time.Time{}
	started := l.c.now()
	databases, err := crawl.Crawl(ctx, crawl.Options{Open: open, Target: target, Since: since, Visit: w.visit,
		LeftOut: func(databases []uint32) { w.leftOut = databases },
		Progress: func(p crawl.Progress) {
			if now := l.c.now(); now.Sub(told) > time.Second {
				told = now
				if err := l.c.store.storeProgress(ctx, l.id, p); err != nil {
					l.c.log.Debug("progress could not be stored", "error", err)
				}
			}
		}})
	if err != nil {
		return err
	}
	if err := w.finish(ctx, databases); err != nil {
		return err
	}
	now := l.c.now().UTC()
	m.crawled, m.status.LastCrawl = now, &now
	l.c.metrics.crawled(m.name, now.Sub(started))
	return nil
}

// enforce applies the difference and takes over the report; failed is pending
// beside it. It ends with grants.ErrGaveWay where giveWay is closed in time.
func (l *connectionLoop) enforce(ctx context.Context, target connection.Target, open grants.Connect, d desired, accounts ConnectionAccounts, failed []connection.Pending, giveWay <-chan struct{}) error {
	m := &l.memory
	engine, err := l.engine(target, open, giveWay)
	if err != nil {
		return err
	}
	report, err := engine.Round(ctx, d.want)
	if err != nil {
		return err
	}
	report.Pending = append(report.Pending, failed...)
	report.Drift += m.rowsMended
	l.takeOver(report)
	st := &m.status
	st.Lacking = append(firstOf(m.tables.lacking, maxListed), report.Lacking...)
	st.Lacking = firstOf(append(st.Lacking, report.Unlimited...), maxListed)
	st.People = PeopleCounts{Mapped: len(accounts.Accounts), Unmapped: len(accounts.Unmapped), Warnings: len(accounts.Warnings)}
	return l.c.store.storeStatus(ctx, l.id, *st, listOrEmpty(report.Excess), &accounts)
}

func firstOf[T any](list []T, n int) []T { return list[:min(len(list), n):min(len(list), n)] }

func (l *connectionLoop) engine(target connection.Target, open grants.Connect, giveWay <-chan struct{}) (*grants.Engine, error) {
	return grants.New(grants.Options{
		Target: target, Connect: open, Ledger: &ledger{store: l.c.store, connection: l.id, fence: l.fence},
		Fence:   func(ctx context.Context) error { return l.c.store.checkLease(ctx, l.id, l.fence) },
		Pending: l.memory.status.Pending, Lingering: l.memory.status.Lingering, Now: l.c.now, Hurry: l.hurry, GiveWay: giveWay,
	})
}

// takeOver keeps what a report says, and raises the alarm on revokes that wait too long.
func (l *connectionLoop) takeOver(r connection.Report) {
	st := &l.memory.status
	st.NotEnforceable = r.NotEnforceable
	st.Equal, st.Exceeds, st.Lacks, st.Applied, st.Drift, st.Given, st.Incomplete, st.Pending = r.Equal, r.Exceeds, r.Lacks, r.Applied, r.Drift, r.Given, r.Incomplete, r.Pending
	l.takeLingering(r.Lingering)
	st.Drifts += int64(r.Drift)
	l.c.metrics.applied(l.memory.name, r.Applied, r.Drift)
	alarmed := len(st.Overdue)
	st.Overdue = nil
	for _, p := range r.Pending {
		if p.Revoke && l.c.now().Sub(p.Since) >= time.Duration(l.c.overdue.Load()) {
			st.Overdue = append(st.Overdue, p)
		}
	}
	if len(st.Overdue) > alarmed {
		p := st.Overdue[0]
		l.c.log.Error("a revoke is not in force", "connection", l.memory.name, "statement", p.Statement, "since", p.Since, "blocked by", p.Blocker, "further", len(st.Overdue)-1)
	}
}

// takeLingering keeps which sessions from before a revoke are open, and says it of new ones.
func (l *connectionLoop) takeLingering(sessions []connection.LingeringSession) {
	st := &l.memory.status
	if n := len(sessions); n > len(st.Lingering) {
		s := sessions[n-1]
		l.c.log.Warn("a session from before a revoke is still open", "connection", l.memory.name, "pid", s.PID, "role", s.Role, "sessions", n)
	}
	st.Lingering = sessions
}

// takeBack ends a connection: all that it gave is taken away, then it is forgotten.
func (l *connectionLoop) takeBack(ctx context.Context) error {
	m := &l.memory
	target, err := l.c.store.target(ctx, m.row.connection)
	if err != nil {
		return err
	}
	open := l.c.reach.opener(target)
	var failed, rowsFailed []connection.Pending
	for more := true; more; more = m.viewsLeft {
		if failed, err = l.applyViews(ctx, target, open, &desired{}, true); err != nil {
			return err
		}
		if rowsFailed, err = l.applyRows(ctx, target, open, &desired{}, true); err != nil {
			return err
		}
	}
	engine, err := l.engine(target, open, nil)
	if err != nil {
		return err
	}
	report, err := engine.TakeBack(ctx)
	if err != nil {
		return err
	}
	report.Pending = append(append(report.Pending, failed...), rowsFailed...)
	l.takeOver(report)
	if err := l.clearRows(ctx, target, open, &desired{}); err != nil {
		return err
	}
	if len(m.status.Pending) > 0 || m.viewsLeft {
		return nil
	}
	left := slices.DeleteFunc(report.Excess, func(x connection.Excess) bool { return x.Kind != connection.FindingLeft })
	if _, err := l.c.store.forgetConnection(ctx, "service", m.name, false, left...); err != nil {
		return err
	}
	l.c.log.Info("a connection is deleted: what it gave was taken back", "connection", m.name)
	for _, x := range left {
		l.c.log.Warn("a role of a deleted connection is left behind: it cannot be dropped", "connection", m.name, "role", x.Role, "because", x.Via)
	}
	return errGone
}

// forgetConnection removes a connection with all that is known of it. left are
// roles that could not be dropped: whoever asks for the connection later is told.
// Nothing may name its tables unless that was made sure of when it began to go.
func (s *Store) forgetConnection(ctx context.Context, actor, name string, unnamed bool, left ...connection.Excess) (id string, err error) {
	_, err = s.Change(ctx, actor, func(c *change) error {
		err := c.QueryRow(ctx, "DELETE FROM portcullis.connections WHERE name = $1 RETURNING id::text", name).Scan(&id)
		if errors.Is(err, pgx.ErrNoRows) {
			return notFound("connection", name)
		}
		if err != nil {
			return err
		}
		if unnamed {
			c.gone = append(c.gone, removed{kind: "connections", key: name, connection: name})
		}
		var after any
		if len(left) > 0 {
			after = leftBehind{Left: left}
		}
		return c.record(ctx, "forget", "connections", name, nil, after)
	})
	return id, err
}

// leftBehind is what a deleted connection left at its instance.
type leftBehind struct {
	Left []connection.Excess `json:"left"`
}

// gone is the answer to who asks for a connection that is not there, or not any more.
func (s *Store) gone(ctx context.Context, name string) error {
	refusal := notFound("connection", name)
	var last leftBehind
	err := s.pool.QueryRow(ctx, `SELECT after FROM portcullis.change_log WHERE object = 'connections' AND key = $1 AND action = 'forget' AND after IS NOT NULL
		AND made_at > now() - interval '1 day' ORDER BY seq DESC LIMIT 1`, name).Scan(&last)
	if errors.Is(err, pgx.ErrNoRows) {
		return refusal
	}
	if err != nil {
		return err
	}
	var roles []string
	for _, x := range last.Left {
		roles = append(roles, fmt.Sprintf("role %s is left behind, since it cannot be dropped (%s); nobody is a member of it. A DBA decides what becomes of that, and runs:\n%s", x.Role, strings.Join(x.Via, ", "), x.Statement))
	}
	refusal.Hint = "It was deleted, and all that it gave was taken back; " + strings.Join(roles, "\n")
	return refusal
}
