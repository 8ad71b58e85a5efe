package classify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/connection"
)

// Bounds of reading a sample.
type Bounds struct {
	Rows    int           // default 500
	Columns int           // default 200: columns beyond are not looked at
	Timeout time.Duration // of the whole, default 5 s
}

// valueLength is how much of a value is read: more than anything known is long.
const valueLength = 260

func (b Bounds) filled() Bounds {
	if b.Rows <= 0 {
		b.Rows = 500
	}
	if b.Columns <= 0 {
		b.Columns = 200
	}
	if b.Timeout <= 0 {
		b.Timeout = 5 * time.Second
	}
	return b
}

// Sample reads some rows of a table and proposes tags from the values; they are
// kept nowhere. Read are tables and partitioned tables, columns of PostgreSQL's
// own types only, and nothing under row-level security: views, policies and
// types of others would run their functions with the privileges of the session.
// (A materialised view would not, but cannot be locked, and so be replaced by a
// view right before it is read.) The session must be able to SELECT; in broker mode
// the system account is not.
func Sample(ctx context.Context, conn *pgx.Conn, table connection.ObjectRef, b Bounds) ([]Proposal, error) {
	b = b.filled()
	ctx, cancel := context.WithTimeout(ctx, b.Timeout+5*time.Second) // the server's own limit comes first
	defer cancel()
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, explain(table, err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // there is nothing to keep
	s := sampler{tx: tx, table: table, bounds: b}
	if err := s.open(ctx); err != nil {
		return nil, explain(table, err)
	}
	if err := s.read(ctx); err != nil {
		return nil, explain(table, err)
	}
	var out []Proposal
	for i, c := range s.columns {
		if p := byValues(c, s.values[i]); p != nil {
			out = append(out, *p)
		}
	}
	return out, nil
}

type sampler struct {
	tx      pgx.Tx
	table   connection.ObjectRef
	bounds  Bounds
	columns []connection.Column
	values  [][]string // of each column
}

func (s *sampler) name() string { return pgx.Identifier{s.table.Schema, s.table.Name}.Sanitize() }

// open locks the table, so that what is checked is what is read.
func (s *sampler) open(ctx context.Context) error {
	settings := fmt.Sprintf(`SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = %d;
		SET LOCAL row_security = off; SET LOCAL datestyle = 'ISO'; LOCK TABLE %s IN ACCESS SHARE MODE`, s.bounds.Timeout.Milliseconds(), s.name())
	if _, err := s.tx.Conn().PgConn().Exec(ctx, settings).ReadAll(); err != nil {
		var remote *pgconn.PgError
		if errors.As(err, &remote) && remote.Code == "42809" {
			return s.noTable()
		}
		return err
	}
	var kind string
	var security bool
	err := s.tx.QueryRow(ctx, `SELECT c.relkind::text, c.relrowsecurity FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.oid = $1 AND n.nspname = $2 AND c.relname = $3`, s.table.OID, s.table.Schema, s.table.Name).Scan(&kind, &security)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return &connection.Error{Code: "table_gone", Message: fmt.Sprintf("%s is another table than was listed", s.name())}
	case err != nil:
		return err
	case kind != "r" && kind != "p":
		return s.noTable()
	case security:
		return &connection.Error{Code: "not_sampled", Message: fmt.Sprintf("%s is not sampled", s.name()),
			Detail: "It has row-level security, whose policies would run with the privileges of the system account."}
	}
	return s.readColumns(ctx)
}

func (s *sampler) noTable() error {
	return &connection.Error{Code: "not_sampled", Message: fmt.Sprintf("%s is not sampled", s.name()),
		Detail: "It is not a table. Reading a view runs what its owner wrote, with the privileges of the system account."}
}

// readColumns takes those of PostgreSQL's own types (OIDs below 16384 are
// initdb's) and computes nothing: generated columns that are not stored are left out.
func (s *sampler) readColumns(ctx context.Context) error {
	rows, err := s.tx.Query(ctx, `SELECT a.attnum, a.attname::text, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
		WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid < 16384 AND a.attgenerated <> 'v' ORDER BY a.attnum LIMIT $2`,
		s.table.OID, s.bounds.Columns)
	if err != nil {
		return err
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c connection.Column, err error) {
		return c, row.Scan(&c.Number, &c.Name, &c.Type)
	})
	for _, c := range found {
		if shapeOf(c.Type) != other && !strings.HasSuffix(c.Type, "[]") {
			s.columns = append(s.columns, c)
		}
	}
	return err
}

// read takes rows of a few pages that lie evenly over the table, of more pages
// where those held little, and else the first rows.
func (s *sampler) read(ctx context.Context) error {
	if len(s.columns) == 0 {
		return nil
	}
	list, err := s.stretches(ctx)
	if err != nil {
		return err
	}
	for _, most := range []int64{20, 200} {
		from, all := s.pages(list, most)
		if from == "" {
			break
		}
		if got, err := s.rows(ctx, from); err != nil || got >= s.bounds.Rows/5 || all {
			return err
		}
	}
	_, err = s.rows(ctx, fmt.Sprintf("SELECT %s FROM %s LIMIT %d", s.list(), s.name(), s.bounds.Rows))
	return err
}

// list is what is selected.
func (s *sampler) list() string {
	list := make([]string, len(s.columns))
	for i, c := range s.columns {
		list[i] = fmt.Sprintf("left(%s::text, %d)", pgx.Identifier{c.Name}.Sanitize(), valueLength)
	}
	return strings.Join(list, ", ")
}

// rows keeps the values of what a query returns.
func (s *sampler) rows(ctx context.Context, query string) (got int, err error) {
	values := make([]*string, len(s.columns))
	targets := make([]any, len(s.columns))
	for i := range s.columns {
		targets[i] = &values[i]
	}
	rows, err := s.tx.Query(ctx, query)
	if err != nil {
		return 0, err
	}
	s.values = make([][]string, len(s.columns))
	_, err = pgx.ForEachRow(rows, targets, func() error {
		got++
		for i, v := range values {
			if v != nil {
				s.values[i] = append(s.values[i], *v)
			}
		}
		return nil
	})
	return got, err
}

// explain tells what went wrong without the words of the instance, in which a
// value may stand.
func explain(table connection.ObjectRef, err error) error {
	var known *connection.Error
	if errors.As(err, &known) {
		return known
	}
	e := &connection.Error{Code: "sample_failed", Message: fmt.Sprintf("%s could not be sampled", pgx.Identifier{table.Schema, table.Name}.Sanitize()), Err: nil}
	var remote *pgconn.PgError
	if !errors.As(err, &remote) {
		e.Detail = "The connection was lost or the time was up."
		return e
	}
	e.SQLState = remote.Code
	switch remote.Code {
	case "42501":
		e.Code, e.Detail = "missing_privilege", "The system account may not read it."
		e.Hint = "Names, comments and labels are looked at all the same. In broker mode the account can read no table, by design."
	case "57014":
		e.Code, e.Detail = "timeout", "Reading took too long."
	case "55P03":
		e.Code, e.Detail = "locked", "Somebody holds a lock on it."
	case "42P01", "3F000":
		e.Code = "table_gone"
	}
	return e
}
