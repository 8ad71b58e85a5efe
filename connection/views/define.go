package views

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/sqltext"
)

// job is a view to be made, or to be dropped if there is no view in it.
type job struct {
	table     Table
	view      *view
	content   content
	digest    string
	schemaOf  uint32    // of the table
	before    *standing // what stands of it
	meanwhile *Made     // that, if it can be left as it is until then
	without   int       // people who see nothing through that
}

func newJob(t Table, v *view, b base, roles map[string]uint32) job {
	j := job{table: t, view: v, content: contentOf(t, v, roles, nil), schemaOf: b.schema}
	sum := sha256.Sum256([]byte(j.qualified() + v.query(t)))
	j.digest = hex.EncodeToString(sum[:])
	return j
}

func (j job) base() uint32 {
	if j.view == nil {
		return j.before.base
	}
	return j.table.Ref.OID
}

func (j job) ref(oid uint32) connection.ObjectRef {
	return connection.ObjectRef{Database: j.table.Ref.Database, Schema: SchemaOf(j.table.Ref.Schema), Name: j.table.Ref.Name, OID: oid}
}

// qualified is the name of the view.
func (j job) qualified() string {
	if j.view == nil {
		return j.before.qualified()
	}
	return sqltext.Identifier(SchemaOf(j.table.Ref.Schema)) + "." + sqltext.Identifier(j.table.Ref.Name)
}

func (s *standing) qualified() string {
	return sqltext.Identifier(s.schema) + "." + sqltext.Identifier(s.name)
}

// locks are the relations that the job needs: its view alone, or a table for
// reading, which only those hold up who may write it.
func (j job) locks() (view, table uint32) {
	if j.before != nil && j.before.ours {
		view = j.before.view
	}
	return view, j.base()
}

// errReplaced says that the view was made over another table than was meant.
var errReplaced = errors.New("the table was replaced while its view was made")

// define makes and drops views, each in its own transaction. Those that somebody holds
// come last, in any order, since patience may not suffice for all of them.
func (a *applier) define(ctx context.Context, jobs []job) error {
	held, err := a.held(ctx, jobs)
	if err != nil {
		return err
	}
	rand.Shuffle(len(jobs), func(i, k int) { jobs[i], jobs[k] = jobs[k], jobs[i] })
	slices.SortStableFunc(jobs, func(x, y job) int { return boolean(held[x.base()] != "") - boolean(held[y.base()] != "") })
	begun := time.Now()
	for i, j := range jobs {
		by := held[j.base()]
		wait := min(briefly, a.o.Patience-a.out.Waited).Truncate(time.Millisecond)
		late := i > 0 && time.Since(begun) >= a.o.Limit
		switch {
		case by != "" && (late || wait <= 0):
			a.wait(j, by, &connection.Error{Code: "locked", Message: "somebody holds a lock"})
		case late:
			a.out.Left = true
			a.keep(j)
		default:
			if err := a.one(ctx, j, max(wait, time.Millisecond)); err != nil {
				return err
			}
		}
	}
	return nil
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// one does one job. The error is for what ends the round.
func (a *applier) one(ctx context.Context, j job, wait time.Duration) error {
	var made *Made
	begun := time.Now()
	err := a.transaction(ctx, wait, func(tx pgx.Tx) (err error) {
		if j.view == nil {
			return a.drop(ctx, tx, j.before)
		}
		made, err = a.make(ctx, tx, j)
		return err
	})
	remote := refusal(err)
	switch {
	case err == nil && made != nil:
		a.out.Made = append(a.out.Made, *made)
	case err == nil:
	case remote != nil && passing(remote):
		a.out.Waited += time.Since(begun)
		held, err := a.held(ctx, []job{j})
		if err != nil {
			return err
		}
		a.wait(j, held[j.base()], &connection.Error{Code: "locked", Message: remote.Message, SQLState: remote.Code})
	case remote != nil && j.view == nil:
		// Others built on it: it stays, and shows nobody anything.
	case remote != nil:
		a.refuse(j.table, "the view cannot be made: "+remote.Message, "")
		a.keep(j)
	case errors.Is(err, errReplaced):
		a.refuse(j.table, err.Error(), "")
	default:
		return err
	}
	return nil
}

// keep tells that what stood goes on to stand.
func (a *applier) keep(j job) {
	if j.meanwhile != nil {
		a.out.Made = append(a.out.Made, *j.meanwhile)
	}
}

// wait tells that a job is not done, and who is in the way.
func (a *applier) wait(j job, blocker string, err *connection.Error) {
	verb := "DROP VIEW "
	if j.view != nil {
		verb = "CREATE OR REPLACE VIEW "
		if j.meanwhile == nil {
			j.without = len(j.content.roles)
		}
		if j.without > 0 {
			a.refuse(j.table, fmt.Sprintf("somebody holds the view or the table: %d people see nothing until it can be made anew", j.without), "")
		}
	}
	err.Hint = "It is tried again. Nobody sees meanwhile what they may no longer see."
	a.out.Waiting = append(a.out.Waiting, connection.Pending{Statement: verb + j.qualified() + fmt.Sprintf(" -- in database %q", a.database), Error: err, Blocker: blocker})
	a.keep(j)
}

// heldSQL names who holds a view ($1) or keeps others from reading a table ($2).
// Since when a transaction is open stands there for members of pg_read_all_stats only.
const heldSQL = `SELECT w.base, string_agg(DISTINCT CASE WHEN l.pid IS NULL THEN 'a prepared transaction (pg_prepared_xacts)'
		ELSE concat('pid ', l.pid, ', role ' || s.usename, ', application ' || nullif(s.application_name, ''),
			to_char(s.xact_start AT TIME ZONE 'UTC', '", in a transaction since "YYYY-MM-DD"T"HH24:MI:SS"Z"')) END, '; ')
	FROM unnest($1::oid[], $2::oid[]) w(view, base) JOIN pg_locks l ON l.relation = w.view OR l.relation = w.base AND l.mode = 'AccessExclusiveLock'
		LEFT JOIN pg_stat_activity s ON s.pid = l.pid
	WHERE l.locktype = 'relation' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid() AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
	GROUP BY w.base`

// held tells, by table, who holds up a job.
func (a *applier) held(ctx context.Context, jobs []job) (map[uint32]string, error) {
	if len(jobs) == 0 {
		return nil, nil
	}
	views, bases := make([]uint32, len(jobs)), make([]uint32, len(jobs))
	for i, j := range jobs {
		views[i], bases[i] = j.locks()
	}
	rows, err := a.conn.Query(ctx, heldSQL, views, bases)
	if err != nil {
		return nil, err
	}
	out := map[uint32]string{}
	var oid uint32
	var by string
	_, err = pgx.ForEachRow(rows, []any{&oid, &by}, func() error { out[oid] = by; return nil })
	return out, err
}

// drop drops a view that is not wanted. Nobody sees anything through it already.
func (a *applier) drop(ctx context.Context, tx pgx.Tx, s *standing) error {
	if s.ours {
		if _, err := tx.Exec(ctx, "DROP VIEW "+s.qualified()); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, "DELETE FROM portcullis_views.made WHERE base = $1", s.base)
	return err
}

// make makes a view and writes who sees what through it.
func (a *applier) make(ctx context.Context, tx pgx.Tx, j job) (*Made, error) {
	var schema string
	if err := tx.QueryRow(ctx, "SELECT portcullis_views.make_schema($1)", j.schemaOf).Scan(&schema); err != nil {
		return nil, err
	}
	if want := SchemaOf(j.table.Ref.Schema); schema != want {
		return nil, errReplaced
	}
	if err := a.passOn(ctx, tx, "USAGE ON SCHEMA "+sqltext.Identifier(schema)); err != nil {
		return nil, err
	}
	if s := j.before; s != nil && s.ours && s.qualified() != j.qualified() { // the table has another name now
		if _, err := tx.Exec(ctx, "DROP VIEW "+s.qualified()); err != nil {
			return nil, err
		}
	}
	if err := create(ctx, tx, j.qualified(), j.view.query(j.table)); err != nil {
		return nil, err
	}
	if err := a.passOn(ctx, tx, "SELECT ON "+j.qualified()); err != nil {
		return nil, err
	}
	shapes := make([]int64, len(j.view.shapes))
	for i, s := range j.view.shapes {
		shapes[i] = s.number
	}
	var view uint32
	err := tx.QueryRow(ctx, `INSERT INTO portcullis_views.made (base, view, digest, kept, shapes)
		SELECT $1, c.oid, $2, `+keptSQL("$1")+`, $3 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $4 AND c.relname = $5 AND `+readsOnly+`
		ON CONFLICT (base) DO UPDATE SET view = excluded.view, digest = excluded.digest, kept = excluded.kept, shapes = excluded.shapes RETURNING view`,
		j.table.Ref.OID, j.digest, shapes, schema, j.table.Ref.Name).Scan(&view)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, errReplaced
	}
	if err != nil {
		return nil, err
	}
	batch := &pgx.Batch{}
	j.content.write(batch, j.table)
	return &Made{Base: j.table.Ref, View: j.ref(view), Roles: j.content.roles}, tx.SendBatch(ctx, batch).Close()
}

// readsOnly makes sure that a view c reads the very table $1, which is still one, and
// beside it only what is ours: names are looked up, and somebody may have swapped them.
const readsOnly = `EXISTS (SELECT FROM pg_class b WHERE b.oid = $1 AND b.relkind IN ('r', 'p', 'm', 'f') AND NOT b.relrowsecurity)
	AND 0 < (SELECT count(*) FILTER (WHERE d.refobjid = $1) * bool_and(d.refobjid IN ($1, c.oid) OR b.relnamespace = 'portcullis_views'::regnamespace)::int
		FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid >= 16384
			JOIN pg_class b ON b.oid = d.refobjid WHERE r.ev_class = c.oid)`

// create replaces a view, or drops it first where other columns do not replace those it has.
func create(ctx context.Context, tx pgx.Tx, name, query string) error {
	statement := createText(name, query)
	refused, err := attempt(ctx, tx, statement)
	if refused == nil || refused.Code != "42P16" {
		return err
	}
	if _, err := tx.Exec(ctx, "DROP VIEW "+name); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, statement)
	return err
}

func createText(name, query string) string {
	return "CREATE OR REPLACE VIEW " + name + " WITH (security_barrier = true) AS " + query
}

// passOn lets those who make our grants grant what belongs to the owner of views.
func (a *applier) passOn(ctx context.Context, tx pgx.Tx, what string) error {
	grantees := []string{a.o.Target.Username}
	if a.o.Target.Mode == connection.ModeBroker {
		var owner string
		err := tx.QueryRow(ctx, `SELECT pg_get_userbyid(p.proowner) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
			WHERE n.nspname = $1 AND p.proname = 'tables'`, connection.BrokerSchema).Scan(&owner)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if err == nil {
			grantees = []string{owner}
		}
	}
	for _, g := range grantees {
		if _, err := tx.Exec(ctx, "GRANT "+what+" TO "+sqltext.Identifier(g)+" WITH GRANT OPTION"); err != nil {
			return err
		}
	}
	return nil
}
