package grants

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"portcullis.dev/portcullis/connection"
)

// Statements of one transaction: few enough that its locks last a moment. The
// first has fewer, since nobody knows how long they take here; in each the
// broker needs a new session, so further ones have more while that is short.
const (
	firstSize       = 100
	transactionSize = 250
	longHeld        = 300 * time.Millisecond
)

// Waits for locks while others of ours are held, and how long our transaction
// may idle: a commit that comes later than that cannot come any more, so a lease
// must outlive it.
const (
	briefly       = 100 * time.Millisecond
	longestIdle   = 5 * time.Second
	longestPerRun = 30 * time.Second
)

// failure is a change that could not be made.
type failure struct {
	change  change
	err     *connection.Error
	blocker string
}

// errLost says that the lease is gone: nothing may be changed any more.
var errLost = errors.New("grants: the lease was lost")

// executor makes changes, in transactions, and remembers what failed.
type executor struct {
	o        Options
	sessions *sessions
	version  int
	oids     map[string]uint32 // of roles
	brokers  map[string]bool   // functions of the broker that handle roles and are who they should be
	applied  int
	drift    int
	failures []failure
	left     []change // memberships of people that were revoked
	held     []heldChange
	waited   time.Duration // for locks, while others of ours were held
}

// run makes the changes of a database in order. A statement that fails is left
// out and does not hold up the rest; those that met a lock are set aside for
// retry. The error is for what ends the round.
func (x *executor) run(ctx context.Context, database string, list []change) error {
	size := firstSize
	list = x.callable(list)
	for len(list) > 0 {
		batch := list[:min(size, len(list))]
		begun := time.Now()
		at, err := x.transaction(ctx, database, batch, x.wait())
		switch {
		case err == nil:
			list, size = list[len(batch):], nextSize(size, time.Since(begun))
		case ends(ctx, err):
			return err
		case noBroker(err):
			x.fail(list, err)
			return nil
		case (connection.Passing(err) || errors.Is(err, errReplaced)) && (at >= 0 || len(batch) == 1):
			x.waited += time.Since(begun)
			met := max(at, 0)
			list = slices.Concat(batch[:met], x.setAside(ctx, database, list[met:], err))
		case at < 0 && len(batch) > 1 && isRemote(err):
			size = len(batch) / 2 // something is wrong, and it is not known where
		case at > 0:
			size = at // what came before, then this one alone
		case at < 0 && !isRemote(err):
			x.fail(list, err) // the session is gone
			return nil
		default:
			x.fail(list[:1], err)
			list, size = list[1:], firstSize // one failure says nothing of the time they take
		}
	}
	return nil
}

func nextSize(size int, took time.Duration) int {
	if took > longHeld {
		return max(size/2, 1)
	}
	return min(2*size, transactionSize)
}

// callable splits off the changes that a function of the broker would have to
// make that is not there, or is not whose it should be.
func (x *executor) callable(list []change) (out []change) {
	if x.o.Target.Mode != connection.ModeBroker || len(list) == 0 || !list[0].onRoles() {
		return list
	}
	for _, c := range list {
		function := makerFunction(x.o.Target, c.as)
		if x.brokers[function] {
			out = append(out, c)
			continue
		}
		x.fail([]change{c}, &connection.Error{Code: "broker_missing",
			Message: fmt.Sprintf("the broker is not installed, not for this account, or portcullis_broker.%s is not its maker's", function), Hint: reinstall})
	}
	return out
}

func (x *executor) fail(list []change, err error) {
	for _, c := range list {
		x.failures = append(x.failures, failure{change: c, err: asError(err)})
	}
}

// transaction makes changes together or none of them. On failure it tells which
// was the first that could not be made, or -1.
func (x *executor) transaction(ctx context.Context, database string, list []change, wait time.Duration) (at int, err error) {
	conn, err := x.sessions.get(ctx, database)
	if err != nil {
		return -1, err
	}
	if x.o.Target.Mode == connection.ModeBroker && !list[0].onRoles() {
		defer x.sessions.drop(database) // others' functions may have changed its settings and prepared statements
	}
	at, err = x.send(ctx, conn, list, wait)
	if err == nil {
		if err = x.o.Fence(ctx); err != nil {
			err = errors.Join(errLost, err)
		} else if _, err = conn.Exec(ctx, "COMMIT"); err == nil {
			x.applied += len(list)
			for _, c := range list {
				if c.drift {
					x.drift++
				}
				if c.action == leaveRole && !x.o.Target.Ours(c.member) {
					x.left = append(x.left, c)
				}
			}
			return -1, nil
		}
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), longestIdle)
	defer cancel()
	if _, broken := conn.Exec(ending, "ROLLBACK"); broken != nil {
		x.sessions.drop(database)
	}
	return at, err
}

func (x *executor) send(ctx context.Context, conn *pgx.Conn, list []change, wait time.Duration) (int, error) {
	if x.o.Target.Mode == connection.ModeBroker {
		return x.sendToBroker(ctx, conn, list, wait)
	}
	return x.sendDirectly(ctx, conn, list, wait)
}

// begin opens a transaction in which nothing of the session or of the role's
// settings counts.
func begin(wait time.Duration) string {
	return fmt.Sprintf("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL lock_timeout = %d; "+
		"SET LOCAL statement_timeout = %d; SET LOCAL idle_in_transaction_session_timeout = %d",
		wait.Milliseconds(), longestPerRun.Milliseconds(), longestIdle.Milliseconds())
}

const beginStatements = 5

// makeRoles makes the changes on roles, and tells the ledger what came of it.
func (x *executor) makeRoles(ctx context.Context, p *plan) error {
	if err := x.run(ctx, x.o.Target.Database, p.roles); err != nil {
		return err
	}
	made := map[string]MadeRole{}
	for _, r := range p.announce {
		if r.OID == 0 {
			made[r.Name] = r
		}
	}
	if len(made) == 0 {
		return nil
	}
	conn, err := x.sessions.get(ctx, x.o.Target.Database)
	if err != nil {
		return x.unknown(p, err)
	}
	var seen []MadeRole
	err = each(ctx, conn, func(rows pgx.Rows) error {
		var name, comment string
		var oid uint32
		err := rows.Scan(&name, &oid, &comment)
		if m := made[name]; err == nil && strings.Contains(comment, m.Mark) {
			m.OID, m.Made = oid, x.o.Now()
			x.oids[name] = oid
			seen = append(seen, m)
		}
		return err
	}, `SELECT rolname::text, oid, coalesce(shobj_description(oid, 'pg_authid'), '') FROM pg_roles WHERE rolname = ANY ($1)`,
		slices.Sorted(maps.Keys(made)))
	if err != nil {
		return x.unknown(p, err)
	}
	return x.o.Ledger.Put(ctx, seen...)
}

// unknown ends a round in which it could not be read which roles were made.
func (x *executor) unknown(p *plan, err error) error {
	return remote("reading the roles that were made", err)
}

// known splits off the changes on roles that are not there, since making them failed.
func (x *executor) known(list []change) []change {
	var out []change
	for _, c := range list {
		_, role := x.oids[c.role]
		_, member := x.oids[c.member]
		if role && (member || c.member == "") {
			out = append(out, c)
		} else {
			x.failures = append(x.failures, failure{change: c, err: &connection.Error{Code: "role_missing",
				Message: "a role that the statement needs could not be made"}})
		}
	}
	return out
}

// noBroker reports whether there is no function to call: nothing of a list can
// be done then.
func noBroker(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "42883" || e.Code == "3F000" || e.Code == "42501") && strings.Contains(e.Message, "portcullis_broker") ||
		errors.As(err, &e) && e.Code == "42501" && strings.HasPrefix(e.Message, "permission denied for function roles")
}

func isRemote(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Severity != "FATAL" || errors.Is(err, errReplaced)
}

func ends(ctx context.Context, err error) bool { return errors.Is(err, errLost) || ctx.Err() != nil }

const reinstall = "The owner runs the script that `portcullis connection print-script` with the name of the connection prints."

// asError says what the instance said.
func asError(err error) *connection.Error {
	var known *connection.Error
	if errors.As(err, &known) {
		return known
	}
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return &connection.Error{Code: "unreachable", Message: "the session with the instance broke", Detail: err.Error(), Err: err}
	}
	code := "remote_error"
	if noBroker(err) {
		return &connection.Error{Code: "broker_missing", Message: "the broker is not installed, or not for this account", Detail: e.Message,
			Hint: reinstall, SQLState: e.Code, Err: err}
	}
	switch e.Code {
	case "55P03":
		code = "locked"
	case "42501":
		code = "missing_privilege"
	case "54000":
		code = "acl_full"
	}
	return &connection.Error{Code: code, Message: e.Message, Detail: e.Detail, Hint: e.Hint, SQLState: e.Code, Err: err}
}
