package crawl

import (
	"context"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
)

// relation is a row of objectsSQL.
type relation struct {
	schema, oid, partitionOf uint32
	parents                  []uint32
	name, kind, owner        string
	lack                     lack
	comment                  string
	numbers                  []int16
	names, types, comments   []string
}

func (r *relation) scan(rows pgx.Rows) error {
	return rows.Scan(&r.schema, &r.oid, &r.name, &r.kind, &r.owner, &r.partitionOf, &r.parents, &r.lack, &r.comment,
		&r.numbers, &r.names, &r.types, &r.comments)
}

var kinds = map[string]connection.ObjectKind{
	"r": connection.KindTable, "p": connection.KindPartitioned, "v": connection.KindView,
	"m": connection.KindMaterialised, "f": connection.KindForeign,
}

func (r *relation) object(db connection.Database, s *foundSchema, f facts, labels labels, names interned) connection.Object {
	name, spelled := clean(r.name)
	o := connection.Object{
		OID: r.oid, Name: name, Kind: kinds[r.kind], Owner: names.of(r.owner), Comment: cleaned(r.comment),
		Labels: labels[labelled{r.oid, 0}], PartitionOf: r.partitionOf, Parents: r.parents,
	}
	if len(r.numbers) > 0 {
		o.Columns = make([]connection.Column, len(r.numbers))
	}
	for i, number := range r.numbers {
		o.Columns[i] = connection.Column{Number: number, Name: names.of(r.names[i]), Type: names.of(r.types[i]),
			Comment: cleaned(r.comments[i]), Labels: labels[labelled{r.oid, number}]}
	}
	if o.NotEnforceable, o.Fix = r.lack.explain(f, db.Name, s.Name, o); !spelled || s.unspelled {
		o.NotEnforceable, o.Fix = unnameable, ""
	}
	return o
}

// interned keeps one copy of each name: thousands of tables have the same
// columns, types and owners.
type interned map[string]string

func (n interned) of(s string) string {
	if one, ok := n[s]; ok {
		return one
	}
	one := cleaned(s)
	n[s] = one
	return one
}

// labelled is a table (column 0) or a column with security labels.
type labelled struct {
	oid    uint32
	column int16
}

type labels map[labelled][]string

func readLabels(ctx context.Context, conn *pgx.Conn, schemas []uint32) (labels, error) {
	rows, err := conn.Query(ctx, labelsSQL, pgx.QueryExecModeExec, schemas)
	if err != nil {
		return nil, err
	}
	out := labels{}
	var on labelled
	var label string
	_, err = pgx.ForEachRow(rows, []any{&on.oid, &on.column, &label}, func() error {
		out[on] = append(out[on], cleaned(label))
		return nil
	})
	return out, err
}
