package classify

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Which pages are read is not left to TABLESAMPLE: it takes each page by chance,
// so that now and then most of what it takes lies in one corner of the table, and how
// many to ask it for is only known from statistics, which a new table has none of.

// stretch is the pages of one table: of the one that is sampled, or of a
// partition or child of it.
type stretch struct {
	schema, name string
	pages        int64
}

// Partitions and children were locked with their parent. Those whose storage is not
// PostgreSQL's own (2 is heap) are left out. The size is that of the file, not what
// was last counted.
const sqlStretches = `WITH RECURSIVE t AS (SELECT $1::oid AS oid UNION SELECT i.inhrelid FROM pg_inherits i JOIN t ON t.oid = i.inhparent)
	SELECT n.nspname::text, c.relname::text, pg_relation_size(c.oid) / current_setting('block_size')::bigint,
		has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE') AND NOT c.relrowsecurity
	FROM t JOIN pg_class c ON c.oid = t.oid JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relkind = 'r' AND c.relam = 2 AND pg_relation_size(c.oid) > 0 ORDER BY c.oid`

// stretches are none if the account may not read all of them by name.
func (s *sampler) stretches(ctx context.Context) ([]stretch, error) {
	rows, err := s.tx.Query(ctx, sqlStretches, s.table.OID)
	if err != nil {
		return nil, err
	}
	every := true
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (x stretch, err error) {
		var readable bool
		err = row.Scan(&x.schema, &x.name, &x.pages, &readable)
		every = every && readable
		return x, err
	})
	if !every {
		list = nil
	}
	return list, err
}

// pages is a query for rows of so many pages at most, as many rows of each: from
// the middle of each of as many equal parts. all tells that these are all pages;
// there is no query if there are none.
func (s *sampler) pages(list []stretch, most int64) (query string, all bool) {
	var total int64
	for _, x := range list {
		total += x.pages
	}
	n := min(total, most)
	if n == 0 {
		return "", true
	}
	each := (int64(s.bounds.Rows) + n - 1) / n
	var parts []string
	var before int64 // pages of the tables before the one at hand
	at := 0
	for i := range n {
		page := (2*i + 1) * total / (2 * n)
		for page >= before+list[at].pages {
			before += list[at].pages
			at++
		}
		page -= before
		parts = append(parts, fmt.Sprintf("(SELECT %s FROM ONLY %s WHERE ctid >= '(%d,0)' AND ctid < '(%d,0)' LIMIT %d)",
			s.list(), pgx.Identifier{list[at].schema, list[at].name}.Sanitize(), page, page+1, each))
	}
	return strings.Join(parts, " UNION ALL "), n == total
}
