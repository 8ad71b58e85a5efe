package service

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/internal/sqltext"
)

// tableSchema is where people find the data sources.
const tableSchema = "immuta"

// serverMark is the comment of foreign servers that the service made and may drop.
const serverMark = "made by the policy service"

// foreignTable is a foreign table of the engine that is a data source.
type foreignTable struct {
	oid          uint32
	name         string
	schema       string
	server       string
	remoteSchema string
	remoteTable  string
	ours         bool // made here, so it may be dropped here

	others []string // further tables that claim the same data source
}

// fits tells whether the table is what the data source describes.
func (t foreignTable) fits(d DataSource) bool {
	return t.oid != 0 && t.server == d.Source && t.remoteSchema == d.RemoteSchema && t.remoteTable == d.RemoteTable && t.name == d.LocalName
}

// alone refuses a data source that several tables claim: which of them
// describes it is an administrator's to say.
func (t foreignTable) alone() error {
	if t.others == nil {
		return nil
	}
	return fmt.Errorf("the engine has further foreign tables that claim it, %s: drop them or their option data_source", strings.Join(t.others, ", "))
}

// syncedFrom is what the dictionary was last learned from.
type syncedFrom struct {
	OID    uint32 // foreign table
	Resync bool   // somebody asked to look at the source again
}

func (e *Engine) syncTables(ctx context.Context, conn *pgx.Conn) error {
	if err := prepareSchema(ctx, conn); err != nil {
		return err
	}
	sources, err := listSources(ctx, e.store.pool, nil)
	if err != nil {
		return err
	}
	wanted, err := listDataSources(ctx, e.store.pool, nil)
	if err != nil {
		return err
	}
	have, err := foreignTables(ctx, conn)
	if err != nil {
		return err
	}
	failed := e.dropTables(ctx, conn, wanted, have)
	usable := map[string]Source{}
	for _, s := range sources {
		if err := e.syncServer(ctx, conn, s); err != nil {
			failed = errors.Join(failed, fmt.Errorf("source %q: %w", s.Name, err))
			continue
		}
		usable[s.Name] = s
	}
	// What failed before comes last, so that a source that does not answer delays no other.
	slices.SortStableFunc(wanted, func(a, b DataSource) int { return cmp.Compare(len(a.SyncError), 0) - cmp.Compare(len(b.SyncError), 0) })
	silent := map[string]error{} // sources that could not be connected to in this round
	for _, d := range wanted {
		source, ok := usable[d.Source]
		if !ok {
			continue
		}
		if d.SyncError != "" && len(e.wake) > 0 {
			failed = errors.Join(failed, fmt.Errorf("data source %q: %s", d.Name, d.SyncError))
			continue // the next round begins at once
		}
		err := have[d.ID].alone()
		if err == nil {
			err = silent[d.Source]
		}
		if err == nil {
			err = e.syncTable(ctx, conn, source, d, have[d.ID])
		}
		if err != nil {
			if notConnected(err) {
				silent[d.Source] = err
			}
			failed = errors.Join(failed, fmt.Errorf("data source %q: %w", d.Name, err))
			if _, err := e.store.pool.Exec(ctx, "UPDATE portcullis.data_sources SET sync_error = $2 WHERE id = $1", d.ID, err.Error()); err != nil {
				return err
			}
		}
	}
	return errors.Join(failed, e.dropServers(ctx, conn, sources))
}

// notConnected tells whether the engine failed to connect to the source.
func notConnected(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && strings.HasPrefix(e.Code, "08")
}

func prepareSchema(ctx context.Context, conn *pgx.Conn) error {
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT to_regnamespace($1) IS NOT NULL", tableSchema).Scan(&exists); err != nil {
		return err
	}
	if !exists {
		if _, err := conn.Exec(ctx, "CREATE SCHEMA "+tableSchema); err != nil {
			return err
		}
	}
	_, err := conn.Exec(ctx, "GRANT USAGE ON SCHEMA "+tableSchema+" TO "+governedRole)
	return err
}

// foreignTables finds the data sources of the engine by id. Of several tables
// that claim one, ours counts, else the oldest.
func foreignTables(ctx context.Context, conn *pgx.Conn) (map[string]foreignTable, error) {
	rows, err := conn.Query(ctx, selectForeignTables+"AND o.options ? 'data_source' ORDER BY 8 DESC, c.oid", serverMark)
	if err != nil {
		return nil, err
	}
	tables := map[string]foreignTable{}
	_, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (t foreignTable, err error) {
		var id string
		if err := scanForeignTable(r, &id, &t); err != nil {
			return t, err
		}
		if first, claimed := tables[id]; claimed {
			first.others = append(first.others, qualified(t))
			t = first
		}
		tables[id] = t
		return t, nil
	})
	return tables, err
}

const selectForeignTables = `SELECT coalesce(o.options ->> 'data_source', ''), c.oid, c.relname, n.nspname, s.srvname,
		coalesce(o.options ->> 'schema_name', ''), coalesce(o.options ->> 'table_name', c.relname), coalesce(obj_description(c.oid, 'pg_class') = $1, false)
	FROM pg_foreign_table t JOIN pg_class c ON c.oid = t.ftrelid JOIN pg_namespace n ON n.oid = c.relnamespace
	JOIN pg_foreign_server s ON s.oid = t.ftserver JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw,
	LATERAL (SELECT coalesce(jsonb_object_agg(option_name, option_value), '{}') AS options FROM pg_options_to_table(t.ftoptions)) o
	WHERE w.fdwname = 'portcullis' `

func scanForeignTable(r pgx.CollectableRow, id *string, t *foreignTable) error {
	return r.Scan(id, &t.oid, &t.name, &t.schema, &t.server, &t.remoteSchema, &t.remoteTable, &t.ours)
}

// dropTables drops foreign tables of data sources that are no more.
func (e *Engine) dropTables(ctx context.Context, conn *pgx.Conn, wanted []DataSource, have map[string]foreignTable) error {
	var failed error
	for id, t := range have {
		if !t.ours || slices.ContainsFunc(wanted, func(d DataSource) bool { return d.ID == id }) {
			continue
		}
		if _, err := conn.Exec(ctx, "DROP FOREIGN TABLE "+qualified(t)); err != nil {
			failed = errors.Join(failed, fmt.Errorf("drop foreign table %s: %w", t.name, err))
			continue
		}
		e.log.Info("dropped a foreign table", "table", t.name)
	}
	return failed
}

func qualified(t foreignTable) string { return pgx.Identifier{t.schema, t.name}.Sanitize() }

func inTransaction(ctx context.Context, conn *pgx.Conn, statements ...string) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		for _, sql := range statements {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		return nil
	})
}

// importSchema is the remote schema to import from where the data source names none.
func importSchema(s Source, d DataSource) string {
	switch {
	case d.RemoteSchema != "":
		return d.RemoteSchema
	case strings.Contains(strings.ToLower(s.Driver), "sqlite"):
		return "main"
	}
	return s.Database
}

// syncTable makes the foreign table of a data source and learns its columns.
func (e *Engine) syncTable(ctx context.Context, conn *pgx.Conn, s Source, d DataSource, have foreignTable) error {
	was, first, err := e.syncedBefore(ctx, d)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return err
	}
	keep := have.fits(d) || d.Unmanaged
	if have.oid == 0 && d.Unmanaged {
		return errors.New("the engine has no foreign table for it yet: immutasys.create_data_source makes one of a foreign table")
	}
	if keep && was == (syncedFrom{OID: have.oid}) && d.SyncError == "" {
		return nil
	}
	var columns []Column
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) (err error) {
		if !keep || was.Resync && have.ours {
			if have, err = importTable(ctx, tx, s, d, have); err != nil {
				return err
			}
		}
		if columns, err = importedColumns(ctx, tx, have.oid); err != nil || !first {
			return err
		}
		return checkTaggedColumns(d, columns)
	})
	if err != nil {
		return err
	}
	if err := e.learn(ctx, d, columns, syncedFrom{OID: have.oid}, first); err != nil {
		return err
	}
	e.log.Info("a foreign table is in step", "data_source", d.Name, "table", d.LocalName, "columns", len(columns))
	return nil
}

// checkTaggedColumns refuses a table whose column was tagged under a name that
// it does not have: a mask by that tag would leave the meant column open.
// Columns that go later take their tags with them, and what comes is masked.
func checkTaggedColumns(d DataSource, columns []Column) error {
	for _, stated := range d.Columns {
		if len(stated.Tags) > 0 && !slices.ContainsFunc(columns, func(c Column) bool { return c.Name == stated.Name }) {
			return fmt.Errorf("column %q, which is stated with tags, is not at the source", stated.Name)
		}
	}
	return nil
}

// syncedBefore says what the dictionary was last learned from; first: never yet.
func (e *Engine) syncedBefore(ctx context.Context, d DataSource) (was syncedFrom, first bool, err error) {
	var raw []byte
	if err := e.store.pool.QueryRow(ctx, "SELECT synced FROM portcullis.data_sources WHERE id = $1", d.ID).Scan(&raw); err != nil || raw == nil {
		return was, true, err
	}
	return was, false, json.Unmarshal(raw, &was)
}

// importTable imports into a schema of its own and then moves the table, so
// that names in schema immuta are free to differ from the remote ones.
func importTable(ctx context.Context, tx pgx.Tx, s Source, d DataSource, old foreignTable) (foreignTable, error) {
	var t foreignTable
	staging := "portcullis_import_" + strings.ReplaceAll(d.ID, "-", "")
	remote := importSchema(s, d)
	if remote == "" {
		return t, errors.New("remote_schema is needed for this source")
	}
	var statements []string
	if old.oid != 0 {
		statements = append(statements, "DROP FOREIGN TABLE "+qualified(old))
	}
	statements = append(statements, "CREATE SCHEMA "+quote(staging),
		"IMPORT FOREIGN SCHEMA "+quote(remote)+" LIMIT TO ("+quote(d.RemoteTable)+") FROM SERVER "+quote(s.Name)+" INTO "+quote(staging)+
			" OPTIONS (import_not_null 'false')") // a mask may show NULL
	for _, sql := range statements {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return t, err
		}
	}
	rows, err := tx.Query(ctx, selectForeignTables+"AND n.nspname = $2", serverMark, staging)
	if err != nil {
		return t, err
	}
	t, err = pgx.CollectExactlyOneRow(rows, func(r pgx.CollectableRow) (t foreignTable, err error) {
		var id string
		return t, scanForeignTable(r, &id, &t)
	})
	if err != nil {
		return t, fmt.Errorf("the source has no single table %q in schema %q: %w", d.RemoteTable, remote, err)
	}
	if err := placeTable(ctx, tx, t, d); err != nil {
		return t, err
	}
	t.schema, t.name = tableSchema, d.LocalName
	if err := claimTable(ctx, tx, t, d); err != nil {
		return t, err
	}
	if _, err := tx.Exec(ctx, "COMMENT ON FOREIGN TABLE "+qualified(t)+" IS "+sqltext.Literal(serverMark)); err != nil {
		return t, err
	}
	_, err = tx.Exec(ctx, "DROP SCHEMA "+quote(staging))
	return t, err
}

// placeTable moves the imported table to where people find it.
func placeTable(ctx context.Context, tx pgx.Tx, t foreignTable, d DataSource) error {
	if t.name != d.LocalName {
		if _, err := tx.Exec(ctx, "ALTER FOREIGN TABLE "+qualified(t)+" RENAME TO "+quote(d.LocalName)); err != nil {
			return err
		}
		t.name = d.LocalName
	}
	_, err := tx.Exec(ctx, "ALTER FOREIGN TABLE "+qualified(t)+" SET SCHEMA "+tableSchema)
	return err
}

// claimTable gives the table the options of the data source and lets people ask for it.
func claimTable(ctx context.Context, tx pgx.Tx, t foreignTable, d DataSource) error {
	have, _, err := readOptions(ctx, tx.Conn(), "SELECT ftrelid, ftoptions FROM pg_foreign_table WHERE ftrelid = $1", t.oid)
	if err != nil {
		return err
	}
	want := maps.Clone(have)
	want["table_name"], want["data_source"] = d.RemoteTable, d.ID
	delete(want, "schema_name")
	if d.RemoteSchema != "" {
		want["schema_name"] = d.RemoteSchema
	}
	if list := optionList(have, want); list != "" {
		if _, err := tx.Exec(ctx, "ALTER FOREIGN TABLE "+qualified(t)+list); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, "GRANT SELECT ON "+qualified(t)+" TO "+governedRole)
	return err
}

func importedColumns(ctx context.Context, tx pgx.Tx, oid uint32) ([]Column, error) {
	rows, err := tx.Query(ctx, `SELECT coalesce((SELECT o.option_value FROM pg_options_to_table(a.attfdwoptions) o WHERE o.option_name = 'column_name'), a.attname),
			format_type(a.atttypid, a.atttypmod)
		FROM pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`, oid)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (c Column, err error) { return c, r.Scan(&c.Name, &c.Type) })
}

// learn stores what the source really has. Columns that appear after the
// first time are masked until somebody confirms them.
func (e *Engine) learn(ctx context.Context, d DataSource, columns []Column, from syncedFrom, first bool) error {
	raw, err := json.Marshal(from)
	if err != nil {
		return err
	}
	_, err = e.store.Change(ctx, "service", func(c *change) error {
		names := make([]string, 0, len(columns))
		for i, col := range columns {
			names = append(names, col.Name)
			if _, err := c.Exec(ctx, `INSERT INTO portcullis.columns (data_source, name, ordinal, type, confirmed) VALUES ($1, $2, $3, $4, $5)
				ON CONFLICT (data_source, name) DO UPDATE SET ordinal = EXCLUDED.ordinal, type = EXCLUDED.type`,
				d.ID, col.Name, i+1, col.Type, first); err != nil {
				return err
			}
		}
		if _, err := c.Exec(ctx, "DELETE FROM portcullis.columns WHERE data_source = $1 AND name <> ALL ($2::text[])", d.ID, names); err != nil {
			return err
		}
		if _, err := c.Exec(ctx, "UPDATE portcullis.data_sources SET synced = $2, sync_error = NULL WHERE id = $1", d.ID, raw); err != nil {
			return err
		}
		return c.record(ctx, "sync", "data_sources", d.Name, nil, columns)
	})
	return err
}
