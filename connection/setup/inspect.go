package setup

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/dial"
	"portcullis.dev/portcullis/internal/sqltext"
)

// findings are what the DBA's account sees before anything is changed.
type findings struct {
	databases     []string
	accountExists bool
	accountOurs   bool // made by an earlier registration
	keepPassword  bool // the given one is valid already
	warnings      []string
	lacking       []string // what the DBA's account cannot do, with what would let it
}

// inspect looks at everything that setup needs and changes nothing. All that
// is lacking is told at once.
func inspect(ctx context.Context, d *dial.Dialer, dba connection.Target, r Request) (findings, error) {
	var f findings
	conn, err := d.Connect(ctx, dba, "")
	if err != nil {
		return f, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := f.roles(ctx, conn, r); err != nil {
		return f, dial.Explain(err, dba)
	}
	if f.databases, err = databasesOf(ctx, conn, r.Databases); err != nil {
		return f, dial.Explain(err, dba)
	}
	for _, name := range f.databases {
		if err := f.database(ctx, d, dba, r, name); err != nil {
			return f, err
		}
	}
	if len(f.lacking) > 0 {
		return f, &connection.Error{Code: CodePrivilege, Message: "the setup account " + dba.Username + " cannot make this instance ready",
			Detail: strings.Join(f.lacking, "\n"), Hint: "Use an account that can, or have a DBA run the script that `" + r.Target.ScriptCommand("") + "` prints."}
	}
	if f.accountExists && r.Target.AWS == nil && r.Target.Password != "" {
		f.keepPassword = logsIn(ctx, d, r.Target)
	}
	return f, nil
}

func logsIn(ctx context.Context, d *dial.Dialer, t connection.Target) bool {
	conn, err := d.Connect(ctx, t, "")
	if err == nil {
		_ = conn.Close(ctx)
	}
	return err == nil
}

// inspectSQL reads, for the account $1 and the owner $2, what the current user may do.
const inspectSQL = `SELECT u.rolsuper, u.rolcreaterole, current_setting('server_version_num')::int,
		a.oid IS NOT NULL, coalesce(a.rolsuper, false), coalesce(shobj_description(a.oid, 'pg_authid'), ''),
		a.oid IS NULL OR u.rolsuper OR current_setting('server_version_num')::int < 160000 OR pg_has_role(u.oid, a.oid, 'MEMBER WITH ADMIN OPTION'),
		o.oid IS NULL OR u.rolsuper OR current_setting('server_version_num')::int < 160000 OR pg_has_role(u.oid, o.oid, 'MEMBER WITH ADMIN OPTION'),
		o.oid IS NULL OR NOT (o.rolcanlogin OR o.rolsuper OR o.rolbypassrls OR o.rolreplication OR NOT o.rolcreaterole),
		EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_iam')
	FROM pg_roles u LEFT JOIN pg_roles a ON a.rolname = $1 LEFT JOIN pg_roles o ON o.rolname = $2 WHERE u.rolname = current_user`

func (f *findings) roles(ctx context.Context, conn *pgx.Conn, r Request) error {
	var super, createrole, accountSuper, adminOfAccount, adminOfOwner, ownerSound, rdsIAM bool
	var version int
	var comment string
	t := r.Target
	if err := one(ctx, conn, inspectSQL, []any{t.Username, t.OwnerRole()}, &super, &createrole, &version, &f.accountExists, &accountSuper, &comment,
		&adminOfAccount, &adminOfOwner, &ownerSound, &rdsIAM); err != nil {
		return fmt.Errorf("reading roles: %w", err)
	}
	f.accountOurs = comment == accountComment(t)
	lack := func(format string, args ...any) { f.lacking = append(f.lacking, fmt.Sprintf(format, args...)) }
	user := conn.Config().User
	switch {
	case accountSuper:
		lack("role %s is a superuser, which no system account needs: name another", t.Username)
	case !super && !createrole:
		lack("%s may not make roles: ALTER ROLE %s CREATEROLE;", user, sqltext.Identifier(user))
	case !adminOfAccount:
		lack("%s may not change role %s: GRANT %s TO %s WITH ADMIN OPTION;", user, t.Username, sqltext.Identifier(t.Username), sqltext.Identifier(user))
	}
	if !adminOfOwner {
		lack("%s may not use role %s: GRANT %s TO %s WITH ADMIN OPTION;", user, t.OwnerRole(), sqltext.Identifier(t.OwnerRole()), sqltext.Identifier(user))
	}
	if !ownerSound {
		lack("role %s is there and is not NOLOGIN CREATEROLE and nothing more: it is somebody else's, or was changed", t.OwnerRole())
	}
	if t.AWS != nil && !rdsIAM {
		lack("the instance has no role rds_iam: IAM authentication needs Amazon RDS or Aurora")
	}
	if t.Mode == connection.ModeGrantor && version < 160000 && !r.AcceptCreateRoleEscalation {
		return &connection.Error{Code: CodeEscalation,
			Message: fmt.Sprintf("grantor mode gives the system account CREATEROLE, which on PostgreSQL %d reaches the operating system", version/10000),
			Detail:  "It makes the roles that hold grants, with make_roles or without. Up to PostgreSQL 15 whoever has CREATEROLE may join pg_execute_server_program and so run programs as the server.",
			Hint:    "Use broker mode, PostgreSQL 16 or later, or accept it with --accept-createrole-escalation."}
	}
	return nil
}

// databasesOf are those asked for, else all that take connections. Providers'
// own are left out.
func databasesOf(ctx context.Context, conn *pgx.Conn, wanted []string) ([]string, error) {
	rows, err := conn.Query(ctx, `SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate
		AND datname NOT IN ('rdsadmin', 'cloudsqladmin', 'azure_maintenance') ORDER BY 1`)
	if err != nil {
		return nil, fmt.Errorf("reading databases: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(wanted) == 0 {
		return all, err
	}
	for _, w := range wanted {
		if !slices.Contains(all, w) {
			return nil, &connection.Error{Code: CodeDatabase, Message: fmt.Sprintf("there is no database %s that takes connections", w),
				Hint: "There are: " + strings.Join(all, ", ")}
		}
	}
	return wanted, nil
}

// database looks whether the broker can be installed, and whether anything
// there is the DBA's to pass on.
func (f *findings) database(ctx context.Context, d *dial.Dialer, dba connection.Target, r Request, name string) error {
	conn, err := d.Connect(ctx, dba, name)
	if err != nil {
		e := dial.Explain(err, dba)
		return &connection.Error{Code: e.Code, Message: fmt.Sprintf("database %s cannot be looked at: %s", name, e.Message), Detail: e.Detail,
			Hint: e.Hint, SQLState: e.SQLState, Err: err}
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, s := range r.Schemas[name] {
		var there bool
		if err := one(ctx, conn, "SELECT to_regnamespace(quote_ident($1)) IS NOT NULL", []any{s}, &there); err != nil {
			return dial.Explain(err, dba)
		}
		if !there {
			f.lacking = append(f.lacking, fmt.Sprintf("database %s has no schema %s", name, s))
		}
	}
	if r.Target.Mode != connection.ModeBroker {
		return nil
	}
	var owner string
	var mayCreate bool
	err = one(ctx, conn, `SELECT coalesce((SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = $1), ''),
		has_database_privilege(current_database(), 'CREATE')`, []any{connection.BrokerSchema}, &owner, &mayCreate)
	if err != nil {
		return dial.Explain(err, dba)
	}
	switch {
	case owner != "" && owner != dba.Username:
		f.lacking = append(f.lacking, fmt.Sprintf("in database %s schema %s is %s's: register as that role", name, connection.BrokerSchema, owner))
	case owner == "" && !mayCreate:
		f.lacking = append(f.lacking, fmt.Sprintf("%s may not make a schema in database %s: GRANT CREATE ON DATABASE %s TO %s;", dba.Username, name,
			sqltext.Identifier(name), sqltext.Identifier(dba.Username)))
	}
	return nil
}
