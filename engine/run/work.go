package run

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"portcullis.dev/portcullis/fdw"
	"portcullis.dev/portcullis/odbc"
)

// withRemote runs work on a connection of the source, in the local
// transaction's remote transaction.
func (e *Engine) withRemote(ctx context.Context, source *Source, work func(*remote) error) error {
	r, _, err := e.pool.acquire(ctx, source, func(*remote) bool { return true })
	if err != nil {
		return err
	}
	failed := true
	defer func() { e.pool.release(r, failed) }()
	if err := work(r); err != nil {
		if ctx.Err() != nil {
			return canceled()
		}
		return err
	}
	failed = false
	return nil
}

// Count counts rows of a remote table; with columns also the distinct values
// and the fraction of NULLs of each. First row: count. Then a row a column:
// name, distinct values, null fraction.
func (e *Engine) Count(source *Source, table *fdw.Table, withColumns bool) (uint64, error) {
	d, err := dialectOf(source)
	if err != nil {
		return 0, err
	}
	relation, err := d.Relation(table)
	if err != nil {
		return 0, AsError(err)
	}
	type counted struct{ name, sql string }
	var columns []counted
	for i := range table.Columns {
		c := &table.Columns[i]
		t, err := d.Transfer(c)
		if err != nil {
			return 0, AsError(err)
		}
		columns = append(columns, counted{c.Name, fmt.Sprintf("SELECT COUNT(DISTINCT %s), COUNT(%s) FROM %s", t.Select, t.Select, relation)})
	}
	if !withColumns {
		columns = nil
	}
	return e.start("count", func(ctx context.Context) (any, error) {
		rows := Rows{}
		err := e.withRemote(ctx, source, func(r *remote) error {
			numbers := func(sql string, n int) ([]int64, error) {
				found, err := r.conn.QueryStrings(ctx, sql, nil)
				if err != nil {
					return nil, sourceError(source, d, "count rows at", err)
				}
				return readNumbers(found, n, source)
			}
			total, err := numbers("SELECT COUNT(*) FROM "+relation, 1)
			if err != nil {
				return err
			}
			rows = append(rows, row(strconv.FormatInt(total[0], 10)))
			for _, c := range columns {
				n, err := numbers(c.sql, 2)
				if err != nil {
					return err
				}
				fraction := 0.0
				if total[0] > 0 {
					fraction = float64(total[0]-n[1]) / float64(total[0])
				}
				rows = append(rows, row(c.name, strconv.FormatInt(n[0], 10), strconv.FormatFloat(fraction, 'g', 6, 64)))
			}
			return nil
		})
		return rows, err
	}), nil
}

func readNumbers(found [][]*string, n int, source *Source) ([]int64, error) {
	out := make([]int64, n)
	if len(found) == 1 && len(found[0]) == n {
		for i, cell := range found[0] {
			if cell == nil {
				break
			}
			v, err := strconv.ParseInt(*cell, 10, 64)
			if err != nil {
				break
			}
			out[i] = v
			if i == n-1 {
				return out, nil
			}
		}
	}
	return nil, &Error{State: stateFDW, Message: fmt.Sprintf("server \"%s\" gave no counts where counts were asked for", source.ServerName)}
}

// ImportRequest is IMPORT FOREIGN SCHEMA (pc_import_request).
type ImportRequest struct {
	Source       *Source
	RemoteSchema string
	LocalSchema  string
	ListKind     int // 0 all, 1 LIMIT TO, 2 EXCEPT
	Names        []string
	Options      map[string]string
}

// Import reads a remote schema; the rows are CREATE FOREIGN TABLE statements,
// NULL for a table that is left out, and warnings of what is, NULL if nothing.
func (e *Engine) Import(r *ImportRequest) (uint64, error) {
	d, err := dialectOf(r.Source)
	if err != nil {
		return 0, err
	}
	request := fdw.ImportRequest{
		Server: r.Source.ServerName, RemoteSchema: r.RemoteSchema, LocalSchema: r.LocalSchema,
		List: fdw.ListKind(r.ListKind), Names: r.Names, Options: r.Options,
	}
	return e.start("import", func(ctx context.Context) (any, error) {
		rows := Rows{}
		err := e.withRemote(ctx, r.Source, func(remote *remote) error {
			tables, err := d.Import(ctx, querier{remote, r.Source}, request)
			if err != nil {
				return AsError(err)
			}
			for _, t := range tables {
				rows = append(rows, []*string{orNull(t.SQL), orNull(strings.Join(t.Warnings(), "; "))})
			}
			return nil
		})
		return rows, err
	}), nil
}

// querier asks a source's catalog for package fdw.
type querier struct {
	remote *remote
	source *Source
}

func (q querier) QueryStrings(ctx context.Context, sql string, params []string) ([][]*string, error) {
	bound := make([]odbc.Param, len(params))
	for i, text := range params {
		bound[i] = odbc.Param{Type: odbc.ParamText, Text: text}
	}
	rows, err := q.remote.conn.QueryStrings(ctx, sql, bound)
	if err != nil {
		return nil, sourceError(q.source, q.remote.dialect, "read the catalog of", err)
	}
	return rows, nil
}
