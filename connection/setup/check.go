package setup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/broker"
	"portcullis.dev/portcullis/connection/dial"
	"portcullis.dev/portcullis/connection/rows"
	"portcullis.dev/portcullis/connection/views"
	"portcullis.dev/portcullis/internal/sqltext"
)

// Missing is a privilege that the system account, or the role in whose name it
// grants, lacks.
type Missing struct {
	Database  string `json:"database,omitempty"` // "": of the whole instance
	What      string `json:"what"`
	Statement string `json:"statement"` // that grants it, run in the database
	// Optional: the connection works; what is named here is not enforceable.
	Optional bool `json:"optional,omitempty"`
}

func (m Missing) String() string {
	where := ""
	if m.Database != "" {
		where = "database " + m.Database + ": "
	}
	return where + m.What + ": " + m.Statement
}

// Default is a line for a role that makes tables.
type Default struct {
	Database  string `json:"database"`
	Statement string `json:"statement"`
}

// Report is what Check found.
type Report struct {
	Server            connection.Server `json:"server"`
	Missing           []Missing         `json:"missing,omitempty"`
	Warnings          []string          `json:"warnings,omitempty"`
	DefaultPrivileges []Default         `json:"default_privileges,omitempty"`
}

// Ready reports whether nothing is missing that the connection cannot work without.
func (r Report) Ready() bool {
	for _, m := range r.Missing {
		if !m.Optional {
			return false
		}
	}
	return true
}

// Check logs in as the system account and lists what it lacks in the target's
// database and in the others given; nil: in all that take connections.
func Check(ctx context.Context, d *dial.Dialer, t connection.Target, databases []string) (Report, error) {
	var r Report
	var err error
	if r.Server, err = d.Probe(ctx, t); err != nil {
		return r, err
	}
	conn, err := d.Connect(ctx, t, "")
	if err != nil {
		return r, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := r.account(ctx, conn, t); err != nil {
		return r, dial.Explain(err, t)
	}
	if len(databases) == 0 {
		if databases, err = databasesOf(ctx, conn, nil); err != nil {
			return r, dial.Explain(err, t)
		}
	}
	for _, name := range (ScriptOptions{Target: t, Databases: databases}).databases() {
		if err := r.database(ctx, d, t, name); err != nil {
			return r, err
		}
	}
	return r, nil
}

// accountSQL reads what the account is beside being the system account; $1 is
// the owner's role, $2 the one that owns views.
const accountSQL = `SELECT r.rolsuper, r.rolbypassrls, r.rolcreaterole, r.rolreplication,
		ARRAY(SELECT g.rolname::text FROM pg_roles g WHERE g.oid <> r.oid AND g.rolname NOT IN ($1, $2) AND NOT r.rolsuper AND pg_has_role(r.oid, g.oid, 'MEMBER')
			AND g.rolname NOT IN ('rds_iam', 'pg_monitor', 'pg_read_all_settings', 'pg_read_all_stats', 'pg_stat_scan_tables')
			AND NOT EXISTS (SELECT FROM pg_roles o WHERE o.rolname = $1 AND pg_has_role(o.oid, g.oid, 'MEMBER')) ORDER BY 1),
		EXISTS (SELECT FROM pg_roles o WHERE o.rolname = $1 AND pg_has_role(r.oid, o.oid, 'MEMBER')),
		EXISTS (SELECT FROM pg_roles o WHERE o.rolname = $1
			AND pg_has_role(r.oid, o.oid, CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END)),
		coalesce((SELECT o.rolcreaterole FROM pg_roles o WHERE o.rolname = $1), false)
	FROM pg_roles r WHERE r.rolname = current_user`

func (r *Report) account(ctx context.Context, conn *pgx.Conn, t connection.Target) error {
	var super, bypass, createrole, replication, member, acts, ownerMakes bool
	var groups []string
	if err := one(ctx, conn, accountSQL, []any{t.OwnerRole(), t.ViewsOwner()}, &super, &bypass, &createrole, &replication, &groups, &member, &acts, &ownerMakes); err != nil {
		return fmt.Errorf("reading the account's attributes: %w", err)
	}
	warn := func(format string, args ...any) { r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...)) }
	account := sqltext.Identifier(t.Username)
	if super {
		warn("%s is a superuser: whoever gets its password owns the instance. ALTER ROLE %s NOSUPERUSER;", t.Username, account)
	}
	if bypass {
		warn("%s has BYPASSRLS, which it does not need: ALTER ROLE %s NOBYPASSRLS;", t.Username, account)
	}
	if createrole && !super {
		warn("%s has CREATEROLE itself, which it does not need: ALTER ROLE %s NOCREATEROLE;", t.Username, account)
	}
	if replication && !super {
		warn("%s has REPLICATION and can copy the whole instance: ALTER ROLE %s NOREPLICATION;", t.Username, account)
	}
	for _, g := range groups {
		warn("%s is a member of %s, which it does not need: REVOKE %s FROM %s;", t.Username, g, sqltext.Identifier(g), account)
	}
	if t.Mode != connection.ModeGrantor {
		if member {
			warn("%s is a member of %s and so has CREATEROLE beside the broker: REVOKE %s FROM %s;", t.Username, t.OwnerRole(), sqltext.Identifier(t.OwnerRole()), account)
		}
		return nil
	}
	r.Warnings = append(r.Warnings, strings.ReplaceAll(risk(t), "\n", " "))
	if r.Server.Version < 160000 {
		warn("%s has CREATEROLE through %s, which up to PostgreSQL 15 reaches the operating system (pg_execute_server_program)", t.Username, t.OwnerRole())
	}
	owner, options := sqltext.Identifier(t.OwnerRole()), ""
	if r.Server.Version >= 160000 {
		options = " WITH INHERIT TRUE, SET TRUE"
	}
	join := fmt.Sprintf("GRANT %s TO %s%s;", owner, account, options)
	switch {
	case !ownerMakes:
		r.lack("", false, fmt.Sprintf("CREATE ROLE %s NOLOGIN CREATEROLE; %s", owner, join), "there is no role %s with CREATEROLE", t.OwnerRole())
	case !acts:
		r.lack("", false, join, "%s may not act as %s", t.Username, t.OwnerRole())
	}
	return nil
}

func (r *Report) lack(database string, optional bool, statement, format string, args ...any) {
	r.Missing = append(r.Missing, Missing{Database: database, What: fmt.Sprintf(format, args...), Statement: statement, Optional: optional})
}

func (r *Report) database(ctx context.Context, d *dial.Dialer, t connection.Target, name string) error {
	conn, err := d.Connect(ctx, t, name)
	if err != nil {
		e := dial.Explain(err, t)
		if e.Code != dial.CodePrivilege {
			return e
		}
		r.lack(name, name != t.Database, fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO %s;", sqltext.Identifier(name), sqltext.Identifier(t.Username)), "%s may not connect", t.Username)
		return nil
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = r.owned(ctx, conn, t, name)
	if err == nil {
		err = r.views(ctx, conn, t, name)
	}
	if err == nil && t.RowSecurity {
		err = r.rows(ctx, conn, t, name)
	}
	if err == nil && t.Mode == connection.ModeBroker {
		var installed bool
		if installed, err = r.broker(ctx, conn, t, name); err == nil && !installed {
			return nil
		}
	}
	if err == nil {
		err = r.way(ctx, conn, t, name)
	}
	if err == nil {
		err = r.tables(ctx, conn, t, name)
	}
	if err != nil {
		return dial.Explain(err, t)
	}
	return nil
}

// way looks whether people can be let into a database that not everybody may enter.
func (r *Report) way(ctx context.Context, conn *pgx.Conn, t connection.Target, name string) error {
	var grantor string
	var able bool
	err := one(ctx, conn, `SELECT coalesce(pg_get_userbyid(us.grantor), ''), coalesce(has_database_privilege(us.grantor, current_database(), 'CONNECT WITH GRANT OPTION'), true)
		OR has_database_privilege('public', current_database(), 'CONNECT') FROM (SELECT `+grantorOID(t)+`) us(grantor)`, nil, &grantor, &able)
	if err != nil {
		return fmt.Errorf("reading who may enter: %w", err)
	}
	if !able {
		r.lack(name, true, fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO %s WITH GRANT OPTION;", sqltext.Identifier(name), sqltext.Identifier(grantor)),
			"%s may not pass on CONNECT", grantor)
	}
	return nil
}

// owned warns of what the account owns: it can do there what it likes.
func (r *Report) owned(ctx context.Context, conn *pgx.Conn, t connection.Target, name string) error {
	var n int
	var first string
	err := one(ctx, conn, `SELECT count(*), coalesce(min(quote_ident(n.nspname) || '.' || quote_ident(c.relname)), '') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_roles u ON u.oid = c.relowner AND u.rolname = current_user WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT starts_with(n.nspname, 'pg_')`, nil, &n, &first)
	if err == nil && n > 0 {
		r.Warnings = append(r.Warnings, fmt.Sprintf("%s owns %d tables in database %s (%s …): it can read and change them whatever the mode", t.Username, n, name, first))
	}
	return err
}

// broker looks whether the functions are those that this version needs.
func (r *Report) broker(ctx context.Context, conn *pgx.Conn, t connection.Target, name string) (bool, error) {
	reinstall := "-- run by psql what this prints: " + t.ScriptCommand(name)
	var callable bool
	err := one(ctx, conn, `SELECT coalesce(has_schema_privilege($1, 'USAGE') AND has_function_privilege(to_regprocedure($1 || '.about()'), 'EXECUTE')
		AND has_function_privilege(to_regprocedure($1 || '.tables(jsonb)'), 'EXECUTE')
		AND (SELECT p.prosecdef AND p.proowner <> (SELECT oid FROM pg_roles WHERE rolname = current_user) FROM pg_proc p
			WHERE p.pronamespace = n AND p.proname = 'about' AND p.pronargs = 0), false) FROM (SELECT to_regnamespace($1)) x(n) WHERE n IS NOT NULL
		UNION ALL SELECT false LIMIT 1`, []any{connection.BrokerSchema}, &callable)
	if err != nil {
		return false, fmt.Errorf("looking for the broker: %w", err)
	}
	if !callable {
		r.lack(name, name != t.Database, reinstall, "the broker is not installed for %s", t.Username)
		return false, nil
	}
	var about struct {
		Version       int
		Prefix        string
		Roles, Logins bool
	}
	var text []byte
	// Others may have written it: it changes nothing, and no commit runs what it put off.
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		return false, fmt.Errorf("asking the broker: %w", err)
	}
	err = tx.QueryRow(ctx, "SELECT portcullis_broker.about()::text").Scan(&text)
	if err := errors.Join(err, tx.Rollback(ctx)); err != nil {
		return false, fmt.Errorf("asking the broker: %w", err)
	}
	if err := json.Unmarshal(text, &about); err != nil {
		return false, fmt.Errorf("the broker's answer: %w", err)
	}
	switch here := name == t.Database; {
	case about.Version != broker.Version:
		r.lack(name, false, reinstall, "the broker is version %d, not %d", about.Version, broker.Version)
	case about.Prefix != t.Prefix:
		r.lack(name, false, reinstall, "the broker is for roles named %s…, not %s…", about.Prefix, t.Prefix)
	case here && !about.Roles:
		r.lack(name, false, reinstall, "the broker makes no roles here")
	case here && t.MakeRoles && !about.Logins:
		r.lack(name, false, reinstall, "the broker may not make login roles")
	default:
		return true, nil
	}
	return false, nil
}

// tables lists, by schema, what the role in whose name is granted may not pass
// on, and the lines for roles that make tables.
func (r *Report) tables(ctx context.Context, conn *pgx.Conn, t connection.Target, name string) error {
	rows, err := conn.Query(ctx, strings.ReplaceAll(lackingSQL, "{{grantor_oid}}", grantorOID(t)))
	if err != nil {
		return fmt.Errorf("reading what may be granted: %w", err)
	}
	var schema, grantor string
	var usage bool
	var lacking, total int
	var names []string
	_, err = pgx.ForEachRow(rows, []any{&schema, &grantor, &usage, &lacking, &total, &names}, func() error {
		if !usage {
			r.lack(name, true, fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s WITH GRANT OPTION;", sqltext.Identifier(schema), sqltext.Identifier(grantor)),
				"%s may not pass on USAGE of schema %s", grantor, schema)
		}
		if lacking > 0 {
			on := "ALL TABLES IN SCHEMA " + sqltext.Identifier(schema)
			if lacking < total && lacking == len(names) {
				on = "TABLE " + strings.Join(names, ", ")
			}
			r.lack(name, true, fmt.Sprintf("GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON %s TO %s WITH GRANT OPTION;", on, sqltext.Identifier(grantor)),
				"%s may not pass on the five privileges of %d of %d tables in schema %s", grantor, lacking, total, schema)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading what may be granted: %w", err)
	}
	lines, err := conn.Query(ctx, strings.TrimSuffix(strings.TrimSpace(fill("defaults", ScriptOptions{Target: t}, name)), ";"))
	if err != nil {
		return fmt.Errorf("reading default privileges: %w", err)
	}
	statements, err := pgx.CollectRows(lines, pgx.RowTo[string])
	for _, s := range statements {
		r.DefaultPrivileges = append(r.DefaultPrivileges, Default{Database: name, Statement: s})
	}
	return err
}

// views looks, where there is a role that owns views, whether they can be made,
// and whether the account could make schemas that somebody's search path finds.
func (r *Report) views(ctx context.Context, conn *pgx.Conn, t connection.Target, name string) error {
	var meant, self, owner, bypass bool
	if err := one(ctx, conn, `SELECT v.oid IS NOT NULL, has_database_privilege(current_database(), 'CREATE'), coalesce(has_database_privilege(v.oid, current_database(), 'CREATE'), false), coalesce(v.rolbypassrls, false)
		FROM (SELECT) x LEFT JOIN pg_roles v ON v.rolname = $1`, []any{t.ViewsOwner()}, &meant, &self, &owner, &bypass); err != nil {
		return fmt.Errorf("asking who may make schemas: %w", err)
	}
	if self || owner {
		who := t.Username
		if owner {
			who = t.ViewsOwner()
		}
		r.Warnings = append(r.Warnings, fmt.Sprintf("%s may make schemas in database %s, which a search path of others may find: REVOKE CREATE ON DATABASE %s FROM %s;",
			who, name, sqltext.Identifier(name), sqltext.Identifier(who)))
	}
	if !meant {
		return nil
	}
	if !bypass && name == t.Database { // said once: the role is of the whole instance
		r.Warnings = append(r.Warnings, fmt.Sprintf("%s is subject to policies of tables, in which who owns a table with a view can read what it may read: ALTER ROLE %s BYPASSRLS;",
			t.ViewsOwner(), sqltext.Identifier(t.ViewsOwner())))
	}
	if err := r.foundByName(ctx, conn, t, name); err != nil {
		return err
	}
	ready, err := views.Ready(ctx, conn, t)
	if err == nil && !ready {
		r.lack(name, true, "run what "+t.ScriptCommand(name)+" --views prints", "views of parts of tables are not set up")
	}
	return err
}

// rows looks whether tables can be given policies.
func (r *Report) rows(ctx context.Context, conn *pgx.Conn, t connection.Target, name string) error {
	ready, err := rows.Ready(ctx, conn)
	if err != nil {
		return fmt.Errorf("looking for the functions of row-level security: %w", err)
	}
	if !ready {
		r.lack(name, true, "-- run by psql what this prints: "+t.ScriptCommand(name)+" --row-security", "row-level security is not set up")
	}
	return nil
}

// foundByName tells of roles that were given the name of a schema of views since:
// "$user" in their search path finds it, and what the account may put there.
func (r *Report) foundByName(ctx context.Context, conn *pgx.Conn, t connection.Target, name string) error {
	rows, err := conn.Query(ctx, `SELECT r.rolname::text FROM pg_namespace n JOIN pg_roles v ON v.oid = n.nspowner JOIN pg_roles r ON r.rolname = n.nspname
		WHERE v.rolname = $1 AND r.oid <> v.oid ORDER BY 1 LIMIT $2`, t.ViewsOwner(), namedTables)
	if err != nil {
		return fmt.Errorf("looking for roles with the name of a schema of views: %w", err)
	}
	roles, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, role := range roles {
		r.Warnings = append(r.Warnings, fmt.Sprintf("the search path of role %s may find the schema of views of its name in database %s, in which the account can make functions: ALTER ROLE %s RENAME TO another name, or SET search_path without \"$user\";",
			role, name, sqltext.Identifier(role)))
	}
	return err
}

// namedTables bounds how many tables one statement names.
const namedTables = 50

var lackingSQL = fmt.Sprintf(`WITH us AS (SELECT {{grantor_oid}} AS grantor),
	tables AS (
		SELECT c.relnamespace AS schema, c.relname, (SELECT bool_and(has_table_privilege(us.grantor, c.oid, p || ' WITH GRANT OPTION'))
			FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) p) AS able
		FROM us, pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND us.grantor IS NOT NULL)
	SELECT n.nspname::text, pg_get_userbyid(us.grantor)::text, has_schema_privilege(us.grantor, n.oid, 'USAGE WITH GRANT OPTION') OR has_schema_privilege('public', n.oid, 'USAGE'),
		count(t.relname) FILTER (WHERE NOT t.able), count(t.relname),
		coalesce((array_agg(format('%%I.%%I', n.nspname, t.relname) ORDER BY t.relname) FILTER (WHERE NOT t.able))[:%d], '{}')
	FROM us, pg_namespace n LEFT JOIN tables t ON t.schema = n.oid
	WHERE us.grantor IS NOT NULL AND NOT starts_with(n.nspname, 'pg_') AND n.nspname NOT IN ('information_schema', 'portcullis_broker', 'portcullis_views')
	GROUP BY n.oid, n.nspname, us.grantor ORDER BY 1`, namedTables)
