package rows

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/parts"
	"portcullis.dev/portcullis/internal/sqltext"
)

// standing are the policies of a table as they were made.
type standing struct {
	base    uint32
	readers string
	digest  string
	forms   []int64
	kept    string // what the catalogs said then
	filled  string
	people  int64
	stands  bool // false: in a restored instance another table has the OID
	listed  bool
}

// base is a table as the catalogs have it.
type base struct {
	schema, name, kind, owner, kept      string
	kin, secured, forced, others, viewed bool
	ours                                 bool // has policies of our names
	owned                                bool // by the owner of our functions, or by a role that it is a member of
	brokerOwner                          string
}

// found is what there is in a database.
type found struct {
	ready    bool
	standing map[uint32]*standing
	bases    map[uint32]base
	roles    map[string]uint32
}

const (
	// Whoever owns the database could put other functions in place of ours: they
	// are called only if they act as the owner of the broker, and not as the account. Those
	// of an earlier version do not tell which tables stand.
	sqlReady = `SELECT o.oid, o.rolname::text, 4 = (SELECT count(*) FROM pg_proc f WHERE f.pronamespace = p.pronamespace AND f.prosecdef AND f.proowner = p.proowner
				AND f.oid IN (to_regprocedure('portcullis_broker.row_fill(oid, jsonb, text)'), to_regprocedure('portcullis_broker.row_policies(jsonb)'),
					to_regprocedure('portcullis_broker.row_remove(oid)'), to_regprocedure('portcullis_broker.row_state()'))
				AND (f.proname <> 'row_state' OR 'stands' = ANY (f.proargnames)) AND has_function_privilege(f.oid, 'EXECUTE'))
			AND coalesce(has_function_privilege('public', to_regprocedure('portcullis_broker.row_form(oid, name, text, text)'), 'EXECUTE')
				AND has_function_privilege('public', to_regprocedure('portcullis_broker.row_values(oid, integer)'), 'EXECUTE'), false)
		FROM pg_proc p JOIN pg_roles o ON o.oid = p.proowner
		WHERE p.oid = to_regprocedure('portcullis_broker.tables(jsonb)') AND p.prosecdef AND o.rolname <> current_user AND has_schema_privilege(p.pronamespace, 'USAGE')`
	sqlStands = `SELECT EXISTS (SELECT FROM pg_policy WHERE polname = 'portcullis_rows')`
	sqlState  = `SELECT base, readers, digest, forms, kept, filled, people, stands, listed FROM portcullis_broker.row_state()`
	sqlBases  = `SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, pg_get_userbyid(c.relowner)::text, ` + keptSQL + `,
			c.relispartition OR EXISTS (SELECT FROM pg_inherits i WHERE c.oid IN (i.inhrelid, i.inhparent)), c.relrowsecurity, c.relforcerowsecurity,
			EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname NOT IN ('portcullis_rows', 'portcullis_others')),
			EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname IN ('portcullis_rows', 'portcullis_others')),
			EXISTS (SELECT FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class JOIN pg_roles o ON o.oid = v.relowner
				WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND o.rolname = $2),
			pg_has_role($3::oid, c.relowner, 'USAGE')
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY ($1)`
)

// look reads what there is, in one snapshot, in a session of its own: after what
// others wrote has run nothing is read any more, and nothing is committed.
func (a *applier) look(ctx context.Context, tables []Table) (f found, err error) {
	conn, err := a.o.Open(ctx)
	if err != nil {
		return f, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.PgConn().Exec(ctx, fmt.Sprintf("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL statement_timeout = %d",
		longestLook.Milliseconds())).ReadAll(); err != nil {
		return f, err
	}
	f = found{standing: map[uint32]*standing{}, bases: map[uint32]base{}}
	var owner uint32
	var ownerName string
	if err := conn.QueryRow(ctx, sqlReady).Scan(&owner, &ownerName, &f.ready); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return f, err
	}
	if !f.ready {
		return f, a.unready(ctx, conn)
	}
	var names []string
	for _, t := range tables {
		for _, p := range t.People {
			names = append(names, p.Role)
		}
	}
	if f.roles, err = parts.RoleOIDs(ctx, conn, names); err != nil {
		return f, err
	}
	if err := f.readBases(ctx, conn, tables, owner, ownerName, a.o.Target.ViewsOwner()); err != nil {
		return f, err
	}
	rows, err := conn.Query(ctx, sqlState)
	if err != nil {
		return f, err
	}
	_, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (*standing, error) {
		s := &standing{}
		err := r.Scan(&s.base, &s.readers, &s.digest, &s.forms, &s.kept, &s.filled, &s.people, &s.stands, &s.listed)
		f.standing[s.base] = s
		return s, err
	})
	return f, err
}

// Ready tells whether tables can be given policies in a database. conn is a
// session of the system account there.
func Ready(ctx context.Context, conn *pgx.Conn) (ready bool, err error) {
	var owner uint32
	var name string
	err = conn.QueryRow(ctx, sqlReady).Scan(&owner, &name, &ready)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return ready, err
}

// unready is an error where policies of ours stand that cannot be changed any
// more: nobody's rows could be taken away by them.
func (a *applier) unready(ctx context.Context, conn *pgx.Conn) error {
	var stands bool
	if err := conn.QueryRow(ctx, sqlStands).Scan(&stands); err != nil || !stands {
		return err
	}
	return &connection.Error{Code: "rows_not_ready", Message: fmt.Sprintf("tables have policies of Portcullis, and %s can no longer change them", a.o.Target.Username),
		Hint: "Run again what " + scriptCommand + " prints."}
}

const scriptCommand = "portcullis connection print-script --row-security"

func (f *found) readBases(ctx context.Context, conn *pgx.Conn, tables []Table, owner uint32, ownerName, viewsOwner string) error {
	oids := make([]uint32, len(tables))
	for i, t := range tables {
		oids[i] = t.Ref.OID
	}
	rows, err := conn.Query(ctx, sqlBases, oids, viewsOwner, owner)
	if err != nil {
		return err
	}
	var oid uint32
	b := base{brokerOwner: ownerName}
	_, err = pgx.ForEachRow(rows, []any{&oid, &b.schema, &b.name, &b.kind, &b.owner, &b.kept, &b.kin, &b.secured, &b.forced, &b.others, &b.ours, &b.viewed, &b.owned},
		func() error { f.bases[oid] = b; return nil })
	return err
}

// unusable says why a table cannot have our policies, "" if it can.
func (b base) unusable(t Table, s *standing) (reason, fix string) {
	switch {
	case b.name != t.Ref.Name || b.schema != t.Ref.Schema:
		return "the table is gone or has another name", ""
	case b.kind != "r":
		return "row-level security is for plain tables", ""
	case b.kin:
		return "it is a partition or child of another table, or has some: PostgreSQL uses the policies of the table that a query names", ""
	case s != nil && !s.listed:
		return "the broker no longer lists it", fmt.Sprintf("SELECT portcullis_broker.list_table(%s);", sqltext.Literal(sqltext.Identifier(b.schema)+"."+sqltext.Identifier(b.name)))
	case s == nil && b.ours && !b.others:
		name := sqltext.Identifier(b.schema) + "." + sqltext.Identifier(b.name)
		return "it has policies of Portcullis that are not known here: it was restored from a dump",
			fmt.Sprintf("DROP POLICY IF EXISTS portcullis_rows ON %s; DROP POLICY IF EXISTS portcullis_others ON %[1]s; ALTER TABLE %[1]s DISABLE ROW LEVEL SECURITY;", name)
	case b.others, b.forced, s == nil && b.secured:
		return "it has row-level security or policies of its own", ""
	case b.viewed:
		return "a view of it stands, which is dropped first", ""
	case !b.owned:
		owner, broker := sqltext.Identifier(b.owner), sqltext.Identifier(b.brokerOwner)
		return fmt.Sprintf("it belongs to %s, and the broker to %s: only who owns a table can give it policies", owner, broker), fmt.Sprintf("GRANT %s TO %s;", owner, broker)
	}
	return "", ""
}
