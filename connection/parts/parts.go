// Package parts is what packages views and rows have in common: both show people
// their part of a table, and what they make there needs locks that others hold.
// So each table is done in a transaction of its own, and who holds a lock delays that one only.
package parts

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
)

// Options of who shows parts of tables.
type Options struct {
	Target connection.Target
	// Fence is asked right before each commit.
	Fence func(ctx context.Context) error
	// Patience is how long to wait for locks of others, all tables together: what
	// comes after in a round waits as long. Default 200 ms.
	Patience time.Duration
	Limit    time.Duration // after which no further table is begun but the first, default 1 s
}

const (
	Patience    = 200 * time.Millisecond // by default
	Briefly     = 100 * time.Millisecond // for one lock
	longestWork = time.Second
	longestIdle = 5 * time.Second // of a transaction that holds locks
)

// Outcome is how the parts of tables of a database stand.
type Outcome struct {
	Refused []Refusal
	// Waiting is what could not be done for somebody's lock. Who may no longer see
	// something does not see it meanwhile.
	Waiting []connection.Pending
	Waited  time.Duration // for locks, in vain
	Left    bool          // there was no time for all: to be called again
}

// Refusal says why somebody cannot be shown their part of a table natively.
type Refusal struct {
	Table  connection.ObjectRef
	Role   string // "": nobody can
	Reason string
	Fix    string // what a DBA runs
}

// String is the reason, with whom it is about.
func (r Refusal) String() string {
	if r.Role == "" {
		return r.Reason
	}
	return r.Role + ": " + r.Reason
}

// Refuse notes that nobody can be shown their part of a table.
func (o *Outcome) Refuse(t connection.ObjectRef, reason, fix string) {
	o.Refused = append(o.Refused, Refusal{Table: t, Reason: reason, Fix: fix})
}

// Settings are those of a transaction that waits for a lock so long.
func Settings(wait time.Duration) string {
	return fmt.Sprintf("SET LOCAL lock_timeout = %d; SET LOCAL idle_in_transaction_session_timeout = %d; SET LOCAL search_path = pg_catalog, pg_temp; "+
		"SET LOCAL client_min_messages = warning", wait.Milliseconds(), longestIdle.Milliseconds())
}

// RoleOIDs finds roles by their names.
func RoleOIDs(ctx context.Context, q interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}, names []string) (map[string]uint32, error) {
	slices.Sort(names)
	rows, err := q.Query(ctx, "SELECT rolname::text, oid FROM pg_catalog.pg_roles WHERE rolname = ANY ($1)", slices.Compact(names))
	if err != nil {
		return nil, err
	}
	oids := map[string]uint32{}
	var name string
	var oid uint32
	_, err = pgx.ForEachRow(rows, []any{&name, &oid}, func() error { oids[name] = oid; return nil })
	return oids, err
}
