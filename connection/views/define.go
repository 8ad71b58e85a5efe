package views

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/parts"
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

// errReplaced says that the view was made over another table than was meant.
var errReplaced = errors.New("the table was replaced while its view was made")

// define makes and drops views, each in its own transaction.
func (a *applier) define(ctx context.Context, jobs []job) error {
	list := make([]parts.Job, len(jobs))
	for i, j := range jobs {
		list[i] = a.schedule(j)
	}
	return a.out.Do(ctx, a.o, func(_ context.Context, f func(*pgx.Conn) error) error { return f(a.conn) }, list)
}

// schedule says how a job is done. It needs its view alone, and the table for
// reading, which only those hold up who may write it.
func (a *applier) schedule(j job) parts.Job {
	p := parts.Job{Table: j.table.Ref, Keep: func() { a.keep(j) }, Do: func(ctx context.Context, wait time.Duration) error { return a.one(ctx, j, wait) }}
	verb := "CREATE OR REPLACE"
	p.Failed = func(remote *pgconn.PgError) {
		a.out.Refuse(j.table.Ref, "the view cannot be made: "+remote.Message, "")
		a.keep(j)
	}
	if j.view == nil {
		p.Table.OID, verb = j.before.base, "DROP"
		p.Failed = func(*pgconn.PgError) {} // others built on it: it stays, and shows nobody anything
	}
	p.Statement = fmt.Sprintf("%s VIEW %s -- in database %q", verb, j.qualified(), a.database)
	if j.before != nil && j.before.ours {
		p.Alone = j.before.view
	}
	if j.meanwhile == nil {
		j.without = len(j.content.roles)
	}
	if j.without > 0 {
		p.Lost = fmt.Sprintf("somebody holds the view or the table: %d people see nothing until it can be made anew", j.without)
	}
	return p
}

func (a *applier) one(ctx context.Context, j job, wait time.Duration) error {
	var made *Made
	err := a.transaction(ctx, wait, func(tx pgx.Tx) (err error) {
		if j.view == nil {
			return a.drop(ctx, tx, j.before)
		}
		made, err = a.make(ctx, tx, j)
		return err
	})
	switch {
	case errors.Is(err, errReplaced):
		a.out.Refuse(j.table.Ref, err.Error(), "")
		return nil
	case err == nil && made != nil:
		a.out.Made = append(a.out.Made, *made)
	}
	return err
}

// keep tells that what stood goes on to stand.
func (a *applier) keep(j job) {
	if j.meanwhile != nil {
		a.out.Made = append(a.out.Made, *j.meanwhile)
	}
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
