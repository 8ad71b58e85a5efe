package grants

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// What a round may spend in all on locks of others before every statement was
// tried once; then it asks for more locks without waiting. The next change of
// the policies waits for the round to end, so a person who holds locks on
// everything that he may lock delays it by no more than this and Options.LockTimeout.
const (
	longestBrief = 500 * time.Millisecond
	noWait       = 2 * time.Millisecond
)

// heldChange is a change that met somebody's lock.
type heldChange struct {
	change
	database string
	err      error
	blocker  string
}

// wait is how long a statement waits for a lock while others of ours are held.
func (x *executor) wait() time.Duration {
	return min(briefly, max(longestBrief-x.waited, noWait))
}

// setAside puts by the first change of a list, which met a lock, and those whose
// objects are known to be held as well: each would cost a wait to find out. It
// returns the rest.
func (x *executor) setAside(ctx context.Context, database string, list []change, err error) (free []change) {
	holders := x.holders(ctx, database)
	for i, c := range list {
		kind, oid := x.object(c)
		by, held := holders[heldObject{kind, oid}]
		if i == 0 || held {
			x.held = append(x.held, heldChange{c, database, err, by})
		} else {
			free = append(free, c)
		}
	}
	return free
}

// retry makes the changes that were set aside, each alone so that nothing of ours
// is held while it waits, revokes first, and for so long as the round has patience.
// Their order is another one each time: who holds a few locks for ever must not
// keep the same ones from ever being waited for.
func (x *executor) retry(ctx context.Context) error {
	list := x.held
	x.held = nil
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	slices.SortStableFunc(list, func(a, b heldChange) int {
		switch {
		case a.revokes() == b.revokes():
			return 0
		case a.revokes():
			return -1
		}
		return 1
	})
	patience := x.o.LockTimeout
	for _, c := range list {
		if patience >= noWait && !x.hurry() {
			begun := time.Now()
			c.err = x.waitFor(ctx, &c, patience)
			patience -= time.Since(begun)
			if c.err == nil {
				continue
			}
			if errors.Is(c.err, errLost) || ctx.Err() != nil {
				return c.err
			}
		}
		x.failures = append(x.failures, failure{c.change, asError(c.err), c.blocker})
	}
	return nil
}

// waitFor makes one change, and looks meanwhile who holds it up. It gives up when
// something else is wanted of the instance.
func (x *executor) waitFor(ctx context.Context, c *heldChange, patience time.Duration) error {
	waiting, stopWaiting := context.WithCancel(ctx)
	defer stopWaiting()
	go func() {
		select {
		case <-x.o.Hurry:
			stopWaiting()
		case <-waiting.Done():
		}
	}()
	stopWatching := x.watch(ctx, c.database, &c.blocker)
	defer stopWatching()
	_, err := x.transaction(waiting, c.database, []change{c.change}, patience)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		return c.err
	}
	return err
}

func (x *executor) hurry() bool {
	select {
	case <-x.o.Hurry:
		return true
	default:
		return false
	}
}

// heldObject is something that a statement of ours locks.
type heldObject struct {
	kind string
	oid  uint32
}

func (x *executor) object(c change) (kind string, oid uint32) {
	switch c.action {
	case dropRole:
		return "role", x.oids[c.role]
	case grantTable, revokeTable, grantSchema, revokeSchema, grantDatabase, revokeDatabase:
		kind, _ := c.target()
		return kind, c.object.OID
	}
	return "", 0
}

// A row of the catalogs that an open transaction changed shows it in xmax; a role
// is locked by whoever refers to it, and a table from PostgreSQL 18 on by every
// lock but the weakest that its readers and writers take.
const sqlHolders = `WITH h AS (SELECT * FROM pg_locks WHERE granted AND pid <> pg_backend_pid()),
	x AS (SELECT transactionid AS xid, pid FROM h WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock'),
	o AS (SELECT 'table' AS kind, c.oid, x.pid FROM pg_class c JOIN x ON c.xmax = x.xid
		UNION SELECT 'schema', n.oid, x.pid FROM pg_namespace n JOIN x ON n.xmax = x.xid
		UNION SELECT 'database', d.oid, x.pid FROM pg_database d JOIN x ON d.xmax = x.xid
		UNION SELECT 'role', objid, pid FROM h WHERE locktype = 'object' AND classid = 'pg_authid'::regclass
		UNION SELECT 'table', relation, pid FROM h WHERE locktype = 'relation' AND current_setting('server_version_num')::int >= 180000
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
			AND mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock'))
	SELECT o.kind, o.oid, ` + blockerColumns + ` FROM o JOIN pg_stat_activity a ON a.pid = o.pid`

// holders tells what is held in a database, and by whom. An error leaves it
// empty: each statement then finds out by itself.
func (x *executor) holders(ctx context.Context, database string) map[heldObject]string {
	conn, err := x.sessions.get(ctx, database)
	if err != nil {
		return nil
	}
	out := map[heldObject]string{}
	err = reading(ctx, conn, func() error {
		return each(ctx, conn, func(rows pgx.Rows) error {
			var o heldObject
			var b blocker
			if err := rows.Scan(append([]any{&o.kind, &o.oid}, b.targets()...)...); err != nil {
				return err
			}
			out[o] = b.String()
			return nil
		}, sqlHolders)
	})
	if err != nil {
		x.sessions.drop(database)
	}
	return out
}
