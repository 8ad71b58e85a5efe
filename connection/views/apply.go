package views

import (
	"context"
	"crypto/sha256"
	_ "embed" // the tables that the views read
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/sqltext"
)

//go:embed store.sql
var storeSQL string

// Made is a view that stands as it was asked for: Roles see their part through it.
type Made struct {
	Base  connection.ObjectRef
	View  connection.ObjectRef
	Roles []string
}

// Options of Apply.
type Options struct {
	Target connection.Target
	// Fence is asked right before the commit.
	Fence       func(ctx context.Context) error
	LockTimeout time.Duration // default 1 s
}

// Apply makes the views of one database equal to what is wanted: in one
// transaction, what is taken away first. conn is a session of the system account
// in that database. Tables that cannot be had leave nothing standing for them:
// their people are refused, and see nothing.
func Apply(ctx context.Context, conn *pgx.Conn, o Options, database string, tables []Table) (made []Made, refused []Refusal, err error) {
	a := &applier{o: o, database: database}
	if ready, err := a.ready(ctx, conn, len(tables) > 0); err != nil || !ready {
		for _, t := range tables {
			refused = append(refused, Refusal{Table: t.Ref, Reason: "views are not set up in this database", Fix: "what portcullis connection print-script --views prints"})
		}
		return nil, refused, err
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if err := a.prepare(ctx, tx); err != nil {
			return err
		}
		if err := a.takeAway(ctx, tx, tables); err != nil {
			return err
		}
		for _, t := range tables {
			m, out, err := a.table(ctx, tx, t)
			if err != nil {
				return err
			}
			refused = append(refused, out...)
			if m != nil {
				made = append(made, *m)
			}
		}
		if len(tables) == 0 {
			if err := a.cleanUp(ctx, tx); err != nil {
				return err
			}
		}
		return o.Fence(ctx)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("views in database %q: %w", database, err)
	}
	return made, refused, nil
}

type applier struct {
	o        Options
	database string
}

// ready tells whether the account may act as the owner of views here. Where
// nothing is wanted, nothing is made.
func (a *applier) ready(ctx context.Context, conn *pgx.Conn, wanted bool) (bool, error) {
	var acts, creates, stands bool
	err := conn.QueryRow(ctx, `SELECT coalesce(pg_has_role(r.oid, 'MEMBER'), false) AND NOT r.rolsuper AND NOT r.rolbypassrls AND NOT r.rolcanlogin AND NOT r.rolcreaterole,
			has_database_privilege(r.oid, current_database(), 'CREATE'),
			EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = 'portcullis_views' AND n.nspowner = r.oid)
		FROM pg_roles r WHERE r.rolname = $1`, a.o.Target.ViewsOwner()).Scan(&acts, &creates, &stands)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return acts && (stands || creates && wanted), err
}

// prepare becomes the owner of views for the rest of the transaction.
func (a *applier) prepare(ctx context.Context, tx pgx.Tx) error {
	timeout := a.o.LockTimeout
	if timeout <= 0 {
		timeout = time.Second
	}
	for _, sql := range []string{
		fmt.Sprintf("SET LOCAL lock_timeout = %d", timeout.Milliseconds()),
		"SET LOCAL search_path = pg_catalog, pg_temp",
		"SET LOCAL client_min_messages = warning",
		"SET LOCAL ROLE " + sqltext.Identifier(a.o.Target.ViewsOwner()),
	} {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return err
		}
	}
	var foreign bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = 'portcullis_views' AND n.nspowner <> current_user::regrole)").Scan(&foreign); err != nil {
		return err
	}
	if foreign {
		return &connection.Error{Code: "foreign_schema", Message: "schema portcullis_views belongs to somebody else", Hint: "Drop or rename it if it is not known to you."}
	}
	_, err := tx.Exec(ctx, storeSQL)
	return err
}

// takeAway ends what people see who are no longer wanted, then drops views of
// tables that want none. A view on which others built their own stays, and
// shows nobody anything.
func (a *applier) takeAway(ctx context.Context, tx pgx.Tx, tables []Table) error {
	bases := make([]uint32, 0, len(tables))
	for _, t := range tables {
		bases = append(bases, t.Ref.OID)
	}
	for _, sql := range []string{"DELETE FROM portcullis_views.person WHERE base <> ALL ($1::oid[])", "DELETE FROM portcullis_views.slot WHERE base <> ALL ($1::oid[])",
		"DELETE FROM portcullis_views.key WHERE base <> ALL ($1::oid[])"} {
		if _, err := tx.Exec(ctx, sql, bases); err != nil {
			return err
		}
	}
	rows, err := tx.Query(ctx, `SELECT m.base, n.nspname, c.relname FROM portcullis_views.made m
		LEFT JOIN pg_class c ON c.oid = m.view AND c.relkind = 'v' AND c.relowner = current_user::regrole LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE m.base <> ALL ($1::oid[])`, bases)
	if err != nil {
		return err
	}
	type gone struct {
		base         uint32
		schema, name *string
	}
	list, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (g gone, err error) { return g, r.Scan(&g.base, &g.schema, &g.name) })
	if err != nil {
		return err
	}
	for _, g := range list {
		if g.name != nil {
			if ok, err := attempt(ctx, tx, "DROP VIEW "+sqltext.Identifier(*g.schema)+"."+sqltext.Identifier(*g.name)); err != nil {
				return err
			} else if !ok {
				continue
			}
		}
		if _, err := tx.Exec(ctx, "DELETE FROM portcullis_views.made WHERE base = $1", g.base); err != nil {
			return err
		}
	}
	return nil
}

// cleanUp drops our schemas once nothing of ours is in them.
func (a *applier) cleanUp(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `SELECT n.nspname::text FROM pg_namespace n WHERE n.nspowner = current_user::regrole AND starts_with(n.nspname, $1)
		AND NOT EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid)`, schemaPrefix)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, err := attempt(ctx, tx, "DROP SCHEMA "+sqltext.Identifier(name)); err != nil {
			return err
		}
	}
	var left bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM portcullis_views.made)").Scan(&left); err != nil || left {
		return err
	}
	_, err = attempt(ctx, tx, "DROP TABLE portcullis_views.person, portcullis_views.slot, portcullis_views.key, portcullis_views.made; DROP SCHEMA portcullis_views")
	return err
}

// attempt runs a statement that may fail for the sake of others.
func attempt(ctx context.Context, tx pgx.Tx, sql string) (ok bool, err error) {
	inner, err := tx.Begin(ctx)
	if err != nil {
		return false, err
	}
	if _, err := inner.Exec(ctx, sql); err != nil {
		var remote *pgconn.PgError
		if !errors.As(err, &remote) || remote.Code == "57P01" {
			return false, err
		}
		return false, inner.Rollback(ctx)
	}
	return true, inner.Commit(ctx)
}

// table makes one view and what it reads.
func (a *applier) table(ctx context.Context, tx pgx.Tx, t Table) (*Made, []Refusal, error) {
	v, refused := compile(t)
	refuse := func(reason, fix string) (*Made, []Refusal, error) {
		_, err := tx.Exec(ctx, "DELETE FROM portcullis_views.person WHERE base = $1", t.Ref.OID)
		return nil, append(refused, Refusal{Table: t.Ref, Reason: reason, Fix: fix}), err
	}
	reason, fix, err := a.readable(ctx, tx, t)
	if err != nil {
		return nil, nil, err
	}
	if reason != "" {
		return refuse(reason, fix)
	}
	view, reason, err := a.define(ctx, tx, t, v)
	if err != nil {
		return nil, nil, err
	}
	if reason != "" {
		return refuse(reason, "")
	}
	roles, err := a.fill(ctx, tx, t, v)
	return &Made{Base: t.Ref, View: view, Roles: roles}, refused, err
}

// readable says why the owner of views cannot read the very table that was meant.
func (a *applier) readable(ctx context.Context, tx pgx.Tx, t Table) (reason, fix string, err error) {
	var there, may bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1 AND c.relname = $2 AND n.nspname = $3),
		coalesce(has_table_privilege(to_regclass(quote_ident($3) || '.' || quote_ident($2)), 'SELECT'), false) AND has_schema_privilege(to_regnamespace(quote_ident($3)), 'USAGE')`,
		t.Ref.OID, t.Ref.Name, t.Ref.Schema).Scan(&there, &may); err != nil {
		return "", "", err
	}
	owner := sqltext.Identifier(a.o.Target.ViewsOwner())
	switch {
	case !there:
		return "the table is gone or has another name", "", nil
	case !may:
		return "the owner of views may not read the table", fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON %s.%s TO %s;",
			sqltext.Identifier(t.Ref.Schema), owner, sqltext.Identifier(t.Ref.Schema), sqltext.Identifier(t.Ref.Name), owner), nil
	}
	return "", "", nil
}

// define makes the view as it is to be, unless it stands like that already.
func (a *applier) define(ctx context.Context, tx pgx.Tx, t Table, v *view) (ref connection.ObjectRef, reason string, err error) {
	schema, name := SchemaOf(t.Ref.Schema), t.Ref.Name
	qualified := sqltext.Identifier(schema) + "." + sqltext.Identifier(name)
	query := v.query(t)
	sum := sha256.Sum256([]byte(qualified + query))
	digest := hex.EncodeToString(sum[:])
	ref = connection.ObjectRef{Database: t.Ref.Database, Schema: schema, Name: name}
	// The definition is compared as PostgreSQL keeps it too: a view replaced by hand is made anew.
	const stands = `SELECT c.oid FROM portcullis_views.made m JOIN pg_class c ON c.oid = m.view AND c.relkind = 'v' AND c.relowner = current_user::regrole
			AND c.relname = $3 AND c.reloptions @> ARRAY['security_barrier=true'] JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $4 AND n.nspowner = current_user::regrole
		WHERE m.base = $1 AND m.digest = $2 || md5(pg_get_viewdef(c.oid))`
	err = tx.QueryRow(ctx, stands, t.Ref.OID, digest, name, schema).Scan(&ref.OID)
	if err == nil || !errors.Is(err, pgx.ErrNoRows) {
		return ref, "", err
	}
	if reason, err := a.schema(ctx, tx, schema); err != nil || reason != "" {
		return ref, reason, err
	}
	create := "CREATE OR REPLACE VIEW " + qualified + " WITH (security_barrier = true) AS " + query
	ok, err := attempt(ctx, tx, create)
	if err == nil && !ok { // other columns do not replace those it has
		if ok, err = attempt(ctx, tx, "DROP VIEW "+qualified); err == nil && ok {
			ok, err = attempt(ctx, tx, create)
		}
	}
	if err != nil || !ok {
		return ref, "the view cannot be made: something of its name is there, or others built on it what its new columns do not fit", err
	}
	if err := a.passOn(ctx, tx, "SELECT ON "+qualified); err != nil {
		return ref, "", err
	}
	err = tx.QueryRow(ctx, `INSERT INTO portcullis_views.made (base, view, digest)
		SELECT $1, c.oid, $2 || md5(pg_get_viewdef(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relname = $3 AND n.nspname = $4
		ON CONFLICT (base) DO UPDATE SET view = excluded.view, digest = excluded.digest RETURNING view`, t.Ref.OID, digest, name, schema).Scan(&ref.OID)
	return ref, "", err
}

func (a *applier) schema(ctx context.Context, tx pgx.Tx, schema string) (reason string, err error) {
	var exists, ours bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1), EXISTS (SELECT FROM pg_namespace WHERE nspname = $1 AND nspowner = current_user::regrole)`,
		schema).Scan(&exists, &ours); err != nil {
		return "", err
	}
	if exists && !ours {
		return fmt.Sprintf("schema %q is there and belongs to somebody else", schema), nil
	}
	if !exists {
		if _, err := tx.Exec(ctx, "CREATE SCHEMA "+sqltext.Identifier(schema)); err != nil {
			return "", err
		}
	}
	return "", a.passOn(ctx, tx, "USAGE ON SCHEMA "+sqltext.Identifier(schema))
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

// fill writes who sees which shape with which values, unless that stands
// already. Roles that are not there see nothing.
func (a *applier) fill(ctx context.Context, tx pgx.Tx, t Table, v *view) (roles []string, err error) {
	names := make([]string, len(v.members))
	for i, m := range v.members {
		names[i] = m.role
	}
	rows, err := tx.Query(ctx, "SELECT rolname::text, oid FROM pg_roles WHERE rolname = ANY ($1)", names)
	if err != nil {
		return nil, err
	}
	oids := map[string]uint32{}
	var name string
	var oid uint32
	if _, err := pgx.ForEachRow(rows, []any{&name, &oid}, func() error { oids[name] = oid; return nil }); err != nil {
		return nil, err
	}
	batch := &pgx.Batch{}
	for _, table := range []string{"person", "slot", "key"} {
		batch.Queue("DELETE FROM portcullis_views."+table+" WHERE base = $1", t.Ref.OID)
	}
	content := sha256.New()
	for _, m := range v.members {
		oid, there := oids[m.role]
		if !there {
			continue
		}
		roles = append(roles, m.role)
		fmt.Fprintf(content, "%d %d %q\n", oid, m.shape, m.slots)
		batch.Queue("INSERT INTO portcullis_views.person VALUES ($1, $2, $3)", t.Ref.OID, oid, m.shape)
		for i, list := range m.slots {
			batch.Queue("INSERT INTO portcullis_views.slot VALUES ($1, $2, $3, $4)", t.Ref.OID, oid, i+1, list)
		}
	}
	if v.keyed {
		inner, outer := blocks(t.HashKey)
		fmt.Fprintf(content, "%x", inner)
		batch.Queue("INSERT INTO portcullis_views.key VALUES ($1, $2, $3)", t.Ref.OID, inner, outer)
	}
	filled := hex.EncodeToString(content.Sum(nil))
	var stands bool
	if err := tx.QueryRow(ctx, `SELECT filled = $2 AND (SELECT count(*) FROM portcullis_views.person p WHERE p.base = m.base) = $3
		FROM portcullis_views.made m WHERE base = $1`, t.Ref.OID, filled, len(roles)).Scan(&stands); err != nil || stands {
		return roles, err
	}
	batch.Queue("UPDATE portcullis_views.made SET filled = $2 WHERE base = $1", t.Ref.OID, filled)
	return roles, tx.SendBatch(ctx, batch).Close()
}
