package service

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/internal/sqltext"
)

// serverOptions are the options that the foreign server is to have.
func serverOptions(s Source) map[string]string {
	o := maps.Clone(s.Options)
	if o == nil {
		o = map[string]string{}
	}
	o["driver"] = s.Driver
	if s.Host != "" {
		o["host"] = s.Host
	}
	if s.Port != 0 {
		o["port"] = strconv.Itoa(s.Port)
	}
	if s.Database != "" {
		o["database"] = s.Database
	}
	return o
}

// syncServer makes foreign server and user mapping of a source.
func (e *Engine) syncServer(ctx context.Context, conn *pgx.Conn, s Source) error {
	have, exists, err := readOptions(ctx, conn, "SELECT s.oid, s.srvoptions FROM pg_foreign_server s WHERE s.srvname = $1", s.Name)
	if err != nil {
		return err
	}
	if s.Unmanaged {
		if !exists {
			return errors.New("the engine has no foreign server of this name yet: an administrator makes it with CREATE SERVER")
		}
		return nil
	}
	want := serverOptions(s)
	if !exists {
		if err := inTransaction(ctx, conn,
			"CREATE SERVER "+quote(s.Name)+" FOREIGN DATA WRAPPER portcullis"+optionList(nil, want),
			"COMMENT ON SERVER "+quote(s.Name)+" IS "+sqltext.Literal(serverMark)); err != nil {
			return err
		}
	} else if list := optionList(have, want); list != "" {
		if _, err := conn.Exec(ctx, "ALTER SERVER "+quote(s.Name)+list); err != nil {
			return err
		}
	}
	return e.syncMapping(ctx, conn, s)
}

// syncMapping stores the credential for PUBLIC: decisions govern, and USAGE
// on the server is granted to nobody.
func (e *Engine) syncMapping(ctx context.Context, conn *pgx.Conn, s Source) error {
	have, exists, err := readOptions(ctx, conn, `SELECT m.oid, m.umoptions FROM pg_user_mapping m JOIN pg_foreign_server s ON s.oid = m.umserver
		WHERE m.umuser = 0 AND s.srvname = $1`, s.Name)
	if err != nil {
		return err
	}
	password, err := sourcePassword(ctx, e.store.pool, e.store, s.Name)
	if err != nil {
		return err
	}
	want := map[string]string{}
	if s.Username != "" {
		want["username"] = s.Username
	}
	if password != nil {
		if err := e.sealPassword(want, have, *password); err != nil {
			return err
		}
	}
	switch list := optionList(have, want); {
	case !exists && len(want) == 0:
		return nil
	case !exists:
		_, err = conn.Exec(ctx, "CREATE USER MAPPING FOR PUBLIC SERVER "+quote(s.Name)+list)
	case list != "":
		_, err = conn.Exec(ctx, "ALTER USER MAPPING FOR PUBLIC SERVER "+quote(s.Name)+list)
	}
	if err != nil {
		return fmt.Errorf("user mapping: %w", err)
	}
	return nil
}

// sealPassword adds the option of the password. A sealed text differs each
// time it is made, so one that opens to the same password is kept.
func (e *Engine) sealPassword(want, have map[string]string, password string) error {
	if e.cfg.NodeKey == nil {
		want["password"] = password
		return nil
	}
	if old, err := e.cfg.NodeKey.Unseal(have["password_sealed"]); err == nil && string(old) == password {
		want["password_sealed"] = have["password_sealed"]
		return nil
	}
	sealed, err := e.cfg.NodeKey.Seal([]byte(password))
	want["password_sealed"] = sealed
	return err
}

// readOptions reads name=value options of one catalog row.
func readOptions(ctx context.Context, conn *pgx.Conn, sql string, args ...any) (map[string]string, bool, error) {
	var oid uint32
	var list []string
	err := conn.QueryRow(ctx, sql, args...).Scan(&oid, &list)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, false, nil
	}
	options := map[string]string{}
	for _, o := range list {
		name, value, _ := strings.Cut(o, "=")
		options[name] = value
	}
	return options, err == nil, err
}

// optionList is the OPTIONS clause that turns have into want, "" for none.
// have is nil where the object is being created.
func optionList(have, want map[string]string) string {
	var parts []string
	for _, name := range sortedKeys(want) {
		old, exists := have[name]
		switch {
		case have == nil:
			parts = append(parts, quote(name)+" "+sqltext.Literal(want[name]))
		case !exists:
			parts = append(parts, "ADD "+quote(name)+" "+sqltext.Literal(want[name]))
		case old != want[name]:
			parts = append(parts, "SET "+quote(name)+" "+sqltext.Literal(want[name]))
		}
	}
	for _, name := range sortedKeys(have) {
		if _, keep := want[name]; !keep {
			parts = append(parts, "DROP "+quote(name))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return " OPTIONS (" + strings.Join(parts, ", ") + ")"
}

// dropServers drops the servers that were made here and that no source needs any more.
func (e *Engine) dropServers(ctx context.Context, conn *pgx.Conn, sources []Source) error {
	rows, err := conn.Query(ctx, `SELECT s.srvname FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
		WHERE w.fdwname = 'portcullis' AND obj_description(s.oid, 'pg_foreign_server') = $1
		  AND NOT EXISTS (SELECT FROM pg_foreign_table t WHERE t.ftserver = s.oid)`, serverMark)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, name := range names {
		if slices.ContainsFunc(sources, func(s Source) bool { return s.Name == name }) {
			continue
		}
		if err := inTransaction(ctx, conn, "DROP USER MAPPING IF EXISTS FOR PUBLIC SERVER "+quote(name), "DROP SERVER "+quote(name)); err != nil {
			return fmt.Errorf("drop server %s: %w", name, err)
		}
	}
	return nil
}
