package grants

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"portcullis.dev/portcullis/connection"
)

// Whoever may make objects in a database decides how much there is to read and
// to follow. So that is bounded, and a finding says where a bound was reached: what
// was left out may lead to tables, too.

// Limits are bounds of what one round looks at in a database; 0: as said here.
type Limits struct {
	Functions int // SECURITY DEFINER functions, and as many functions of triggers (10,000)
	Steps     int // of by-paths from relations, and as many from functions (5,000,000)
}

// publishedAtMost bounds the entries of publications that are read.
const publishedAtMost = 1000

func (l Limits) orDefault() Limits {
	if l.Functions <= 0 {
		l.Functions = 10_000
	}
	if l.Steps <= 0 {
		l.Steps = 5_000_000
	}
	return l
}

// bounded is each of a bounded number of rows; count is the query of how many
// there are.
func (d *database) bounded(ctx context.Context, conn *pgx.Conn, limit int, what string, row func(pgx.Rows) error, query, count string, args ...any) error {
	n := 0
	err := each(ctx, conn, func(rows pgx.Rows) error {
		if n++; n > limit {
			return nil
		}
		return row(rows)
	}, fmt.Sprintf("%s LIMIT %d", query, limit+1), args...)
	if err != nil || n <= limit {
		return err
	}
	var all int64
	if err := conn.QueryRow(ctx, count, args...).Scan(&all); err != nil {
		return err
	}
	d.incomplete = append(d.incomplete, fmt.Sprintf("%d of %d %s were looked at", limit, all, what))
	return nil
}

// incomplete are findings of what was not looked at.
func incomplete(v *view, st *standing) (out []connection.Excess) {
	for _, d := range v.want.databases {
		for _, what := range d.incomplete {
			out = append(out, connection.Excess{Kind: connection.FindingIncomplete, Object: connection.ObjectRef{Database: d.name}, Privilege: what})
		}
	}
	for _, c := range []*causes{&st.causes, &st.given} {
		if c.more {
			out = append(out, connection.Excess{Kind: connection.FindingIncomplete, Privilege: fmt.Sprintf("%d findings are listed, there are more", c.limit)})
		}
	}
	return out
}
